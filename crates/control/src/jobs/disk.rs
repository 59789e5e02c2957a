//! Jobs of a disk: each takes it from a transitional state to a stable one.
//!
//! A disk that is not in the state that the job was made for has been served by an earlier run:
//! then only the job's row is left to remove.

use super::{JobError, Step, is_final};
use crate::Control;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, JobRow};
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::states::{DiskCause, DiskStatus, InstanceStatus};
use crate::store::{StoreError, Transaction};
use tidemark_node::{NodeError, NodeErrorKind};
use tidemark_units::{DiskId, GIB, SnapshotId};

/// The id as the node takes it. Ids in the catalogue are our own.
pub(super) fn disk_id(job: &JobRow, id: &str) -> Result<DiskId, JobError> {
    DiskId::new(id).map_err(|e| JobError::Unusable(job.id, e.to_string()))
}

pub(super) fn snapshot_id(job: &JobRow, id: &str) -> Result<SnapshotId, JobError> {
    SnapshotId::new(id).map_err(|e| JobError::Unusable(job.id, e.to_string()))
}

/// The job's disk, if it is still in the state that the job is for.
async fn subject(control: &Control, job: &JobRow, status: DiskStatus) -> Result<Option<DiskRow>, StoreError> {
    let id = job.subject.clone();
    let found = control.store().read(move |t| DiskRow::get(t, id)).await?;
    Ok(found.filter(|disk| disk.status == status))
}

/// Changes the disk and finishes the job in one transaction. `Done` whether or not the disk was
/// still in the state that the job is for.
async fn conclude(
    control: &Control,
    job: &JobRow,
    status: DiskStatus,
    change: impl FnOnce(&mut dyn Transaction, DiskRow) -> Result<(), StoreError> + Send + 'static,
) -> Result<Step, JobError> {
    let (id, subject) = (job.id, job.subject.clone());
    let change = move |t: &mut dyn Transaction| {
        if let Some(disk) = DiskRow::get(t, subject)?.filter(|disk| disk.status == status) {
            change(t, disk)?;
        }
        jobs::finish(t, id)
    };
    control.store().write(change).await?;
    Ok(Step::Done)
}

/// Makes the volume of a disk row.
pub(super) async fn make_volume(
    control: &Control,
    job: &JobRow,
    disk: &DiskRow,
) -> Result<Option<NodeError>, JobError> {
    let id = disk_id(job, &disk.id)?;
    let source = match disk.source_snapshot_id.as_str() {
        "" => None,
        text => Some(snapshot_id(job, text)?),
    };
    let bytes = disk.size_gib.unsigned_abs().saturating_mul(GIB);
    let node = control.node_of(&disk.region)?;
    let made = match disk.encrypted {
        true => node.create_encrypted_disk(&id, bytes, source.as_ref()).await,
        false => node.create_disk(&id, bytes, source.as_ref()).await,
    };
    match made {
        Ok(()) => Ok(None),
        Err(error) if is_final(&error, job) => {
            // Whatever was begun goes; that nothing was begun is fine too.
            if let Err(error) = node.delete_disk(&id).await
                && error.kind != NodeErrorKind::Missing
            {
                tracing::warn!(disk = %id, %error, "what is left of a disk that could not be made stays");
            }
            Ok(Some(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes all that the catalogue knows about a disk that was never made.
pub(super) fn take_back(t: &mut dyn Transaction, mut disk: DiskRow) -> Result<(), StoreError> {
    tags::clear(t, ResourceType::Disk, &disk.id)?;
    tokens::take_back(t, &disk.id)?;
    disk.step(t, DiskCause::CreateFailed).map(drop)
}

/// Creating → Available.
pub(super) async fn create(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(disk) = subject(control, job, DiskStatus::Creating).await?
        && let Some(error) = make_volume(control, job, &disk).await?
    {
        conclude(control, job, DiskStatus::Creating, take_back).await?;
        return Ok(Step::Failed(error));
    }
    conclude(control, job, DiskStatus::Creating, |t, mut disk| {
        disk.step(t, DiskCause::Created).map(drop)
    })
    .await
}

/// Attaching → In_use.
pub(super) async fn attach(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(disk) = subject(control, job, DiskStatus::Attaching).await? {
        let instance_id = disk.instance_id.clone().unwrap_or_default();
        let instance = control
            .store()
            .read(move |t| InstanceRow::get(t, instance_id))
            .await?;
        let running = instance.is_some_and(|i| i.status == InstanceStatus::Running);
        let exported = control
            .node_of(&disk.region)?
            .set_exported(&disk_id(job, &disk.id)?, running)
            .await;
        match exported {
            Err(error) if is_final(&error, job) => {
                let undo = |t: &mut dyn Transaction, mut disk: DiskRow| {
                    clear_attachment(&mut disk);
                    disk.step(t, DiskCause::AttachFailed).map(drop)
                };
                conclude(control, job, DiskStatus::Attaching, undo).await?;
                return Ok(Step::Failed(error));
            }
            other => other?,
        }
    }
    let now = control.now_ms();
    conclude(control, job, DiskStatus::Attaching, move |t, mut disk| {
        disk.attached_ms = Some(now);
        disk.ever_attached = true;
        disk.step(t, DiskCause::Attached).map(drop)
    })
    .await
}

fn clear_attachment(disk: &mut DiskRow) {
    disk.instance_id = None;
    disk.device = String::new();
    disk.attached_ms = None;
    disk.delete_with_instance = false;
}

/// Detaching → Available.
pub(super) async fn detach(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(disk) = subject(control, job, DiskStatus::Detaching).await? {
        withdraw(control, job, &disk).await?;
    }
    let now = control.now_ms();
    conclude(control, job, DiskStatus::Detaching, move |t, mut disk| {
        clear_attachment(&mut disk);
        disk.detached_ms = Some(now);
        disk.step(t, DiskCause::Detached).map(drop)
    })
    .await
}

/// Ends the export. A disk that is not open has none.
pub(super) async fn withdraw(control: &Control, job: &JobRow, disk: &DiskRow) -> Result<(), JobError> {
    let node = control.node_of(&disk.region)?;
    match node.set_exported(&disk_id(job, &disk.id)?, false).await {
        Err(error) if error.kind != NodeErrorKind::Missing => Err(error.into()),
        _ => Ok(()),
    }
}

/// Deleting → gone.
pub(super) async fn delete(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(disk) = subject(control, job, DiskStatus::Deleting).await? {
        withdraw(control, job, &disk).await?;
        let node = control.node_of(&disk.region)?;
        match node.delete_disk(&disk_id(job, &disk.id)?).await {
            // A capture that is running gets what it needs first: its snapshot outlives the disk.
            Err(error) if error.kind == NodeErrorKind::Busy => return Ok(Step::Again(control.poll())),
            Err(error) if error.kind != NodeErrorKind::Missing => return Err(error.into()),
            _ => {}
        }
    }
    let done = conclude(control, job, DiskStatus::Deleting, |t, mut disk| {
        tags::clear(t, ResourceType::Disk, &disk.id)?;
        disk.step(t, DiskCause::Deleted).map(drop)
    })
    .await?;
    // A snapshot that was cancelled while this disk was not open can go now.
    control.jobs().hurry();
    Ok(done)
}

/// ReIniting → the state before.
pub(super) async fn reset(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let mut failure = None;
    if let Some(row) = subject(control, job, DiskStatus::ReIniting).await? {
        withdraw(control, job, &row).await?;
        let disk = disk_id(job, &row.id)?;
        let snapshot = snapshot_id(job, &job.arguments)?;
        match control.node_of(&row.region)?.rollback(&disk, &snapshot).await {
            Ok(()) => {}
            // A cancelled capture is still being put away.
            Err(error) if error.kind == NodeErrorKind::Busy => return Ok(Step::Again(control.poll())),
            Err(error) if is_final(&error, job) => failure = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    conclude(control, job, DiskStatus::ReIniting, |t, mut disk| {
        let by = match disk.status_before.parse() {
            Ok(DiskStatus::InUse) => DiskCause::ResetDoneInUse,
            _ => DiskCause::ResetDoneAvailable,
        };
        disk.status_before = String::new();
        disk.step(t, by).map(drop)
    })
    .await?;
    Ok(failure.map_or(Step::Done, Step::Failed))
}
