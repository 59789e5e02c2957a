//! StopInstance: Running → Stopping → Stopped; none of its disks is exported from then on.
//!
//! We do not run the machine, so there is nobody to ask for a shutdown: with and without ForceStop
//! its clients are disconnected at once, as when a cable is pulled.

use crate::catalogue::jobs::{self, JobKind};
use crate::rules;
use crate::states::{INSTANCE, InstanceCause};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::stop_instance::{Request, Response};

impl Control {
    /// Answers when the instance is Stopping.
    pub async fn stop_instance(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| stop(t, &control, &caller, &request);
        let job = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&[job], self.config().linger).await;
        Ok(Response {})
    }
}

pub(super) fn stop(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region(request.region_id.as_deref())?;
    let mut instance = rules::instance(t, caller, &request.instance_id)?;
    rules::not_locked(&instance)?;
    let (by, wanted) = match request.force_stop {
        false => (InstanceCause::StopInstance, "Running"),
        true => (InstanceCause::ForceStop, "Running or Starting"),
    };
    if !INSTANCE.allows(instance.status, by) {
        return Err(rules::wrong_instance_state(403, &instance, wanted));
    }
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    instance.step(t, by)?;
    Ok(jobs::add(
        t,
        JobKind::StopInstance,
        &instance.id,
        &instance.id,
        "",
        control.now_ms(),
    )?)
}
