//! DeleteSnapshot: deletes a snapshot; cancels one in creation.

use crate::catalogue::disks;
use crate::rules;
use crate::states::SnapshotCause;
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
    if let Some(user) = rules::in_transfer(t, &row.id)? {
        let message = format!("{user} is being made from the snapshot {}.", row.id);
        return Err(ApiError::new(403, "Operation.Conflict", message));
    }
    if !request.force && disks::any_from(t, &row.id)? {
        let message = format!(
            "Disks that were created from the snapshot {} exist; Force deletes it all the same.",
            row.id
        );
        return Err(ApiError::new(403, "SnapshotCreatedDisk", message));
    }
    Ok(rules::remove_snapshot(
        t,
        row,
        SnapshotCause::DeleteSnapshot,
        control.now_ms(),
    )?)
}
