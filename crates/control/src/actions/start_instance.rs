//! StartInstance: Stopped → Starting → Running; its disks are exported from then on.

use crate::catalogue::disks::{self, DiskKind};
use crate::catalogue::jobs::{self, JobKind};
use crate::error::node_refusal;
use crate::guests;
use crate::rules;
use crate::states::{INSTANCE, InstanceCause};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::start_instance::{Request, Response};

impl Control {
    /// Answers when the instance is Starting. When a disk cannot be exported, that is the answer, and
    /// the instance is Stopped as before.
    pub async fn start_instance(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| start(t, &control, &caller, &request);
        let job = self.store().write(work).await?;
        self.jobs().wake();
        let failed = self
            .jobs()
            .linger(&[job], self.config().linger)
            .await
            .into_iter()
            .next();
        failed.map_or(Ok(Response {}), |(_, error)| {
            Err(node_refusal(
                403,
                "DiskError",
                "The instance cannot be started",
                &error,
            ))
        })
    }
}

pub(super) fn start(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region(request.region_id.as_deref())?;
    let mut instance = rules::instance(t, caller, &request.instance_id)?;
    rules::not_locked(&instance)?;
    if !INSTANCE.allows(instance.status, InstanceCause::StartInstance) {
        return Err(rules::wrong_instance_state(403, &instance, "Stopped"));
    }
    if rules::is_being_replaced(t, &instance.id)? {
        let message = format!(
            "The system disk of the instance {} is being replaced.",
            instance.id
        );
        return Err(ApiError::new(403, "IncorrectInstanceStatus", message));
    }
    if !disks::of_instance(t, &instance.id)?
        .iter()
        .any(|disk| disk.kind == DiskKind::System)
    {
        let message = format!("The instance {} has no system disk.", instance.id);
        return Err(ApiError::new(400, "InvalidInstance.NotFoundSystemDisk", message));
    }
    if guests::is_guest(&instance) {
        control.check_type(&instance.instance_type)?;
    }
    guests::room_for(t, control, &instance.instance_type, 1)?;
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    instance.step(t, InstanceCause::StartInstance)?;
    Ok(jobs::add(
        t,
        JobKind::StartInstance,
        &instance.id,
        &instance.id,
        "",
        control.now_ms(),
    )?)
}
