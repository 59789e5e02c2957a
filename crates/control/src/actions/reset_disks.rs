//! ResetDisks: rolls several disks of one instance back, each as ResetDisk does.
//!
//! What was snapshotted together can be rolled back together: the limit is that of a snapshot group, and 10, the
//! contract's, where groups are smaller.

use super::reset_disk;
use crate::error::node_refusal;
use crate::store::Transaction;
use crate::{Caller, Control};
use std::collections::{BTreeMap, BTreeSet};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::reset_disks::{self, Request, Response};
use tidemark_ecs::model::OperationProgress;

/// Disks that one request may always have.
const LEAST_LIMIT: u64 = 10;

impl Control {
    /// Answers when all rollbacks are certain to happen, or none is begun. One that fails at once says so in its place;
    /// its disk is as it was.
    pub async fn reset_disks(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region_of("ResetDisks", Some(&request.region_id))?;
        let most = self.limits().disks_per_snapshot_group.max(LEAST_LIMIT);
        if request.disks.len() as u64 > most {
            return Err(reset_disks::too_many(request.disks.len(), most));
        }
        for (disk, _) in &request.disks {
            self.settle_snapshots(disk).await?;
        }
        let (caller, now, of) = (caller.clone(), self.now_ms(), request.clone());
        let work = move |t: &mut dyn Transaction| reset(t, &caller, &of, now);
        let jobs = self.store().write(work).await?;
        self.jobs().wake();
        let failed = self.jobs().linger(&jobs, self.config().linger).await;
        let failed: BTreeMap<i64, ApiError> = failed
            .into_iter()
            .map(|(job, error)| {
                let what = "The snapshot cannot be used";
                (job, node_refusal(403, "OperationDenied", what, &error))
            })
            .collect();
        let item = |((disk, snapshot), job): (&(String, String), &i64)| {
            let outcome = failed.get(job).map_or(Ok(()), Err);
            OperationProgress::new(outcome, &[("SnapshotId", snapshot), ("DiskId", disk)])
        };
        Ok(Response {
            operation_progress_set: request.disks.iter().zip(&jobs).map(item).collect(),
        })
    }
}

/// All are checked before any is begun.
fn reset(
    t: &mut dyn Transaction,
    caller: &Caller,
    request: &Request,
    now: i64,
) -> Result<Vec<i64>, ApiError> {
    let mut checked = Vec::new();
    for (disk, snapshot) in &request.disks {
        checked.push(reset_disk::check(t, caller, disk, snapshot)?);
    }
    let instances: BTreeSet<_> = checked.iter().map(|(disk, _)| &disk.instance_id).collect();
    if instances.len() > 1 {
        let message = "The disks are not attached to one instance.";
        return Err(ApiError::new(403, "InvalidParameter.Mismatch", message));
    }
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    let begin = |(disk, snapshot)| reset_disk::begin(t, disk, &snapshot, now);
    Ok(checked.into_iter().map(begin).collect::<Result<_, _>>()?)
}
