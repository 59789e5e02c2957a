//! ResetDisk: rolls a disk back, in place, to one of its own snapshots.

use super::create_snapshot::unfinished;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::snapshots::SnapshotRow;
use crate::error::node_refusal;
use crate::rules;
use crate::states::{DISK, DiskCause, DiskStatus, InstanceStatus, SnapshotStatus};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::reset_disk::{Request, Response};

impl Control {
    /// Answers when the rollback is certain to happen; it is done when the disk shows its former
    /// status again. When it fails at once, that is the answer, and the disk is as it was.
    pub async fn reset_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.settle_snapshots(&request.disk_id).await?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| reset(t, &control, &caller, &request);
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
                "OperationDenied",
                "The snapshot cannot be used",
                &error,
            ))
        })
    }
}

fn reset(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region_of("ResetDisk", request.region_id.as_deref())?;
    let (disk, snapshot) = check(t, caller, &request.disk_id, &request.snapshot_id)?;
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    Ok(begin(t, disk, &snapshot, control.now_ms())?)
}

/// Everything that must be so before a disk can be rolled back to a snapshot; answers both.
pub(super) fn check(
    t: &mut dyn Transaction,
    caller: &Caller,
    disk: &str,
    snapshot: &str,
) -> Result<(DiskRow, SnapshotRow), ApiError> {
    let disk = rules::disk(t, caller, disk)?;
    let snapshot = rules::snapshot(t, caller, snapshot)?;
    let instance = match &disk.instance_id {
        Some(id) => Some(rules::instance(t, caller, id)?),
        None => None,
    };
    if let Some(instance) = &instance {
        rules::not_locked(instance)?;
    }
    if disk.status == DiskStatus::ReIniting {
        let message = format!("The disk {} is being rolled back already.", disk.id);
        return Err(ApiError::new(
            403,
            "InvalidOperation.DiskResetInProgress",
            message,
        ));
    }
    if !DISK.allows(disk.status, DiskCause::ResetDisk) {
        return Err(rules::wrong_disk_state(&disk, "In_use or Available"));
    }
    if let Some(instance) = instance.as_ref().filter(|i| i.status != InstanceStatus::Stopped) {
        return Err(rules::wrong_instance_state(403, instance, "Stopped"));
    }
    rules::not_being_replaced(t, &disk)?;
    if snapshot.source_disk_id != disk.id || snapshot.is_copy() || snapshot.region != disk.region {
        let what = if snapshot.is_copy() {
            "is a copy of one that"
        } else {
            ""
        };
        let message = format!(
            "The snapshot {} {what} was made from the disk {} in {}: it does not belong to the disk {}.",
            snapshot.id, snapshot.source_disk_id, snapshot.region, disk.id
        );
        return Err(ApiError::new(403, "InvalidParameter.Mismatch", message));
    }
    match snapshot.status {
        SnapshotStatus::Accomplished => {}
        SnapshotStatus::Progressing => {
            let message = format!("The snapshot {} is still being created.", snapshot.id);
            return Err(ApiError::new(403, "InvalidSnapshotId.NotReady", message));
        }
        SnapshotStatus::Failed | SnapshotStatus::Deleting => {
            let message = format!(
                "The snapshot {} is {} and has no content.",
                snapshot.id, snapshot.status
            );
            return Err(ApiError::new(403, "OperationDenied", message));
        }
    }
    unfinished(t, &disk.id, "IncorrectDiskStatus.HasUnfinishedSnapshot")?;
    Ok((disk, snapshot))
}

/// Promises the rollback; answers its job.
pub(super) fn begin(
    t: &mut dyn Transaction,
    mut disk: DiskRow,
    snapshot: &SnapshotRow,
    now_ms: i64,
) -> Result<i64, StoreError> {
    disk.status_before = disk.status.word().into();
    disk.step(t, DiskCause::ResetDisk)?;
    let lane = disk.instance_id.as_ref().unwrap_or(&disk.id);
    jobs::add(t, JobKind::ResetDisk, &disk.id, lane, &snapshot.id, now_ms)
}
