//! CancelAutoSnapshotPolicy: takes a policy off disks. Their snapshots stay.

use crate::catalogue::policies;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::cancel_auto_snapshot_policy::{Request, Response};

impl Control {
    /// All disks, or none. A disk that does not have it is fine.
    pub async fn cancel_auto_snapshot_policy(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| cancel(t, &control, &caller, &request);
        self.store().write(work).await?;
        Ok(Response {})
    }
}

fn cancel(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<(), ApiError> {
    control.check_policy_region(&request.region_id)?;
    let named = match &request.policy_id {
        Some(id) => Some(rules::policy(t, caller, id)?.id),
        None => None,
    };
    for disk in &request.disk_ids {
        rules::disk(t, caller, disk)?;
        let there = policies::of_disk(t, disk)?;
        if named.is_none() && there.len() > 1 {
            let message = format!(
                "The disk {disk} has {} automatic snapshot policies; AutoSnapshotPolicyId says which one is meant.",
                there.len()
            );
            return Err(ApiError::new(
                403,
                "OperationDenied.TooManyAutoSnapshotPolicies",
                message,
            ));
        }
        for applied in there {
            if named.as_ref().is_none_or(|id| *id == applied.policy_id) {
                applied.remove(t)?;
            }
        }
    }
    Ok(())
}
