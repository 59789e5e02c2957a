//! DeleteSnapshot: deletes a snapshot; cancels one in creation.

use crate::notices::By;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_snapshot::{Request, Response};

impl Control {
    /// The snapshot is off the lists when this answers. Disks that are still being filled
    /// from it keep what they need.
    pub async fn delete_snapshot(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| delete(t, &control, &caller, &request);
        let job = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&[job], self.config().linger).await;
        Ok(Response {})
    }
}

fn delete(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region(request.region_id.as_deref())?;
    let row = rules::snapshot(t, caller, &request.snapshot_id)?;
    let now = control.now_ms();
    if let Some(refusal) = rules::kept(t, &row, request.force, now)? {
        return Err(refusal);
    }
    let by = By::caller(caller, "DeleteSnapshot");
    Ok(rules::delete_snapshot(t, row, &by, now)?)
}
