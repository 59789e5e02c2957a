//! RebootInstance: Running → Starting → Running; the disks stay exported. A guest of ours is shut down as by StopInstance, and started.

use crate::catalogue::jobs::{self, BY_FORCE, JobKind};
use crate::guests;
use crate::rules;
use crate::states::{INSTANCE, InstanceCause};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::reboot_instance::{Request, Response};

impl Control {
    /// Answers when the instance is Starting. Whoever runs an external machine reboots it.
    pub async fn reboot_instance(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| reboot(t, &control, &caller, &request);
        let job = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&[job], self.config().linger).await;
        Ok(Response {})
    }
}

pub(super) fn reboot(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region(request.region_id.as_deref())?;
    let mut instance = rules::instance(t, caller, &request.instance_id)?;
    rules::not_locked(&instance)?;
    if !INSTANCE.allows(instance.status, InstanceCause::RebootInstance) {
        return Err(rules::wrong_instance_state(403, &instance, "Running"));
    }
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    instance.step(t, InstanceCause::RebootInstance)?;
    if guests::is_guest(&instance) {
        let how = if request.force_stop { BY_FORCE } else { "" };
        jobs::add(
            t,
            JobKind::EndGuest,
            &instance.id,
            &instance.id,
            how,
            control.now_ms(),
        )?;
    }
    Ok(jobs::add(
        t,
        JobKind::StartInstance,
        &instance.id,
        &instance.id,
        "",
        control.now_ms(),
    )?)
}
