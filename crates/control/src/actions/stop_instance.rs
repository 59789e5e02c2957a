//! StopInstance: Running → Stopping → Stopped; none of its disks is exported from then on.
//!
//! A guest of ours is asked to shut down, and has a time for it; with ForceStop it is switched off. Of a machine that we do not run nobody
//! can be asked: with and without ForceStop its clients are disconnected at once, as when a cable is pulled.

use crate::catalogue::jobs::{self, BY_FORCE, JobKind};
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
        if request.force_stop { BY_FORCE } else { "" },
        control.now_ms(),
    )?)
}
