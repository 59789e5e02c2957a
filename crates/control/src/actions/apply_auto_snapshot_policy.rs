//! ApplyAutoSnapshotPolicy: has a policy run for disks.

use crate::catalogue::policies::{self, PolicyRow};
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::apply_auto_snapshot_policy::{Request, Response};

impl Control {
    /// All disks, or none. A disk that has the policy already keeps its place in time.
    pub async fn apply_auto_snapshot_policy(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| -> Result<(), ApiError> {
            control.check_policy_region(&request.region_id)?;
            let policy = rules::policy(t, &caller, &request.policy_id)?;
            for disk in &request.disk_ids {
                rules::disk(t, &caller, disk)?;
            }
            let mut give = |disk: &String| give(t, &control, &policy, disk);
            request.disk_ids.iter().try_for_each(&mut give)
        };
        self.store().write(work).await?;
        Ok(Response {})
    }
}

/// Gives a disk the policy: instead of the one that it has, or beside it where disks may have several.
pub(super) fn give(
    t: &mut dyn Transaction,
    control: &Control,
    policy: &PolicyRow,
    disk: &str,
) -> Result<(), ApiError> {
    let most = control.limits().policies_per_disk;
    let there = policies::of_disk(t, disk)?;
    if there.iter().any(|applied| applied.policy_id == policy.id) {
        return Ok(());
    }
    if most <= 1 {
        policies::leave(t, disk)?;
    } else if there.len() as u64 >= most {
        let message = format!("The disk {disk} has {most} automatic snapshot policies already.");
        return Err(ApiError::new(
            403,
            "QuotaExceed.AppliedAutoSnapshotPolicyQuota",
            message,
        ));
    }
    Ok(policies::apply(t, policy, disk, control.now_ms())?)
}
