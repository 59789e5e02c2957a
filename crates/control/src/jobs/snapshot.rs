//! Jobs of a snapshot: following its capture to the end, keeping its record in the vault true, and removing it.

use super::disk::{disk_id, snapshot_id};
use super::{JobError, Step};
use crate::Control;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::jobs::{self, JobKind, JobRow};
use crate::catalogue::locks::LockRow;
use crate::catalogue::policies;
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::catalogue::{groups, locks, usage};
use crate::notices;
use crate::states::{SnapshotCause, SnapshotStatus};
use crate::store::{StoreError, Transaction};
use crate::{record_meta, rules};
use tidemark_node::{NodeError, NodeErrorKind, SnapshotCopyRequest, SnapshotStatus as Capture};

/// progressing → accomplished or failed; or gone, when a crash came before the mark.
pub(super) async fn complete(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let id = job.subject.clone();
    let found = control.store().read(move |t| SnapshotRow::get(t, id)).await?;
    let Some(row) = found.filter(|row| row.status == SnapshotStatus::Progressing) else {
        return finish(control, job).await;
    };
    let capture = control
        .node_of(&row.region)?
        .snapshot_status(&snapshot_id(job, &row.id)?)
        .await?;
    if capture == Capture::Unknown && !is_answerable(control, job, &row).await? {
        return Ok(Step::Again(control.poll()));
    }
    if !settle(control, &row, capture).await? {
        return Ok(Step::Again(control.poll()));
    }
    finish(control, job).await
}

/// progressing → accomplished or failed, for a copy. The node forgets copies when it stops: then it is asked again, and goes
/// on where it was.
pub(super) async fn copy(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let id = job.subject.clone();
    let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
        let row = SnapshotRow::get(t, &id)?.filter(|row| row.status == SnapshotStatus::Progressing);
        let tags = tags::of(t, ResourceType::Snapshot, &id)?;
        Ok(row.map(|row| (row, tags)))
    };
    let Some((row, tags)) = control.store().read(read).await? else {
        return finish(control, job).await;
    };
    let (node, copy) = (control.node_of(&row.region)?, snapshot_id(job, &row.id)?);
    let status = node.snapshot_status(&copy).await?;
    if status == Capture::Unknown {
        let mut meta = record_meta::fields(&row, &tags);
        // In no group, and not under its original's lock.
        meta.extend(record_meta::beside(None, None));
        let request = SnapshotCopyRequest {
            from: control.node_of(&row.source_region_id)?.vault_access(),
            disk: disk_id(job, &row.source_disk_id)?,
            snapshot: snapshot_id(job, &row.source_snapshot_id)?,
            as_snapshot: copy,
            meta: serde_json::Value::Object(meta),
        };
        node.copy_snapshot(request).await?;
        return Ok(Step::Again(control.poll()));
    }
    match settle(control, &row, status).await? {
        true => finish(control, job).await,
        false => Ok(Step::Again(control.poll())),
    }
}

/// Whether the node can know the snapshot at all: the mark is in the disk's log until the capture is
/// done, and the log is not read while the disk is not open.
async fn is_answerable(control: &Control, job: &JobRow, row: &SnapshotRow) -> Result<bool, JobError> {
    if row.is_copy() {
        return Ok(true);
    }
    let id = row.source_disk_id.clone();
    let disk = control.store().read(move |t| DiskRow::get(t, id)).await?;
    let Some(disk) = disk else {
        return Ok(true);
    };
    Ok(control
        .node_of(&disk.region)?
        .disk_status(&disk_id(job, &row.source_disk_id)?)
        .await
        .is_ok())
}

async fn finish(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let id = job.id;
    control.store().write(move |t| jobs::finish(t, id)).await?;
    Ok(Step::Done)
}

/// Writes into the catalogue what the node says about a snapshot in progress. True: it has ended.
/// Also called by DescribeSnapshots, so that an end is seen at once.
pub(crate) async fn settle(
    control: &Control,
    row: &SnapshotRow,
    capture: Capture,
) -> Result<bool, StoreError> {
    let now = control.now_ms();
    if let Capture::Progressing(progress) = &capture {
        let percent = control.percent(&row.id, row.percent, progress);
        // What is being captured was marked and noted, whatever a crash kept from being written here.
        let is_news = !row.marked && percent > 0;
        if is_news || percent > row.percent {
            let id = row.id.clone();
            let note = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
                let found = SnapshotRow::get(t, id)?;
                let Some(mut row) = found.filter(|row| row.status == SnapshotStatus::Progressing) else {
                    return Ok(());
                };
                row.percent = row.percent.max(percent);
                if is_news {
                    row.marked = true;
                    tokens::answered(t, &row.id)?;
                    groups::settled(t, &row.id)?;
                }
                row.save(t)
            };
            control.store().write(note).await?;
        }
        return Ok(false);
    }
    let id = row.id.clone();
    let change = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
        let Some(mut row) = SnapshotRow::get(t, id)?.filter(|r| r.status == SnapshotStatus::Progressing)
        else {
            return Ok(());
        };
        row.modified_ms = now;
        match capture {
            Capture::Accomplished(summary) => {
                row.percent = 100;
                row.marked = true;
                row.full_bytes = i64::try_from(summary.full_bytes).unwrap_or(i64::MAX);
                row.stored_bytes = i64::try_from(summary.stored_bytes).unwrap_or(i64::MAX);
                tokens::answered(t, &row.id)?;
                groups::settled(t, &row.id)?;
                if locks::accomplished(t, &row.id, now)? {
                    rules::update_record(t, &row.id, now)?;
                }
                row.step(t, SnapshotCause::Captured)?;
                usage::begin(t, &row, now)?;
                notices::snapshot_ended(t, &row, now)
            }
            Capture::Failed(why) => {
                row.failure = why;
                row.marked = true;
                tokens::answered(t, &row.id)?;
                groups::settled(t, &row.id)?;
                policies::owe_again(t, &row)?;
                row.step(t, SnapshotCause::CaptureFailed)?;
                notices::snapshot_ended(t, &row, now)
            }
            Capture::Unknown if row.marked => {
                row.failure = "the node has no trace of the mark".into();
                row.step(t, SnapshotCause::CaptureFailed)?;
                notices::snapshot_ended(t, &row, now)
            }
            // The mark was never made, and nobody was told of it.
            Capture::Unknown => forget(t, row),
            Capture::Progressing(_) => Ok(()),
        }
    };
    control.store().write(change).await?;
    control.jobs().wake();
    control.forget_percent(&row.id);
    Ok(true)
}

/// Removes a snapshot that was never marked. The slot of an automatic one is served later.
pub(crate) fn forget(t: &mut dyn Transaction, mut row: SnapshotRow) -> Result<(), StoreError> {
    policies::put_back(t, &row)?;
    tags::clear(t, ResourceType::Snapshot, &row.id)?;
    tokens::take_back(t, &row.id)?;
    row.step(t, SnapshotCause::NotMarked).map(drop)
}

/// Writes what the catalogue says now into the snapshot's record. The job says that something changed, not what: of
/// several changes the last one counts, whatever was tried in between, and one write is enough for all of them. It is tried
/// until it is done, or the snapshot is deleted.
pub(super) async fn update_record(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let subject = job.subject.clone();
    let newest = move |t: &mut dyn Transaction| jobs::newest(t, JobKind::UpdateRecord, &subject);
    let last = control.store().read::<_, StoreError, _>(newest).await?;
    if !write_record(control, job, SnapshotStatus::Accomplished).await? {
        // A directory that is not mounted looks like this, too.
        return Err(JobError::Node(NodeError {
            kind: NodeErrorKind::Missing,
            message: format!(
                "snapshot {} is in the catalogue, and the vault does not have it now",
                job.subject
            ),
        }));
    }
    let subject = job.subject.clone();
    let done = move |t: &mut dyn Transaction| jobs::finish_up_to(t, JobKind::UpdateRecord, &subject, last);
    control.store().write::<_, StoreError, _>(done).await?;
    Ok(Step::Done)
}

/// Writes what the catalogue says of the job's snapshot, if it is in that state. `false`: the vault has no record of it.
async fn write_record(control: &Control, job: &JobRow, status: SnapshotStatus) -> Result<bool, JobError> {
    let id = job.subject.clone();
    let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
        let Some(row) = SnapshotRow::get(t, &id)?.filter(|row| row.status == status) else {
            return Ok(None);
        };
        let mut fields = record_meta::fields(&row, &tags::of(t, ResourceType::Snapshot, &id)?);
        let (group, lock) = (groups::of_snapshot(t, &id)?, LockRow::get(t, id.as_str())?);
        let mut beside = record_meta::beside(group.as_ref(), lock.as_ref());
        // It left its group when it was deleted, and is in it again when it is brought back.
        if status == SnapshotStatus::Deleting {
            beside.remove("snapshot_group");
        }
        fields.extend(beside);
        Ok(Some((row, fields)))
    };
    let Some((row, fields)) = control.store().read::<_, StoreError, _>(read).await? else {
        return Ok(true);
    };
    let node = control.node_of(&row.region)?;
    Ok(node
        .update_record_meta(&snapshot_id(job, &row.id)?, fields)
        .await?)
}

/// deleting → gone. Disks that are still being filled from it keep what they need: the node frees no
/// data that a volume refers to.
pub(super) async fn delete(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let id = job.subject.clone();
    let found = control.store().read(move |t| SnapshotRow::get(t, id)).await?;
    if let Some(row) = found {
        // A mark whose disk is not open cannot be withdrawn, and would be captured at the next open.
        if row.percent < 100 && !is_answerable(control, job, &row).await? {
            return Ok(Step::Again(control.poll()));
        }
        let (disk, snapshot) = (disk_id(job, &row.source_disk_id)?, snapshot_id(job, &row.id)?);
        let node = control.node_of(&row.region)?;
        if row.percent == 100 {
            // A vault that is not mounted now has no such snapshot, and has it again tomorrow.
            node.check_vault().await?;
            // A second run finds no record any more.
            if job.arguments == rules::RECORD_FIRST {
                write_record(control, job, SnapshotStatus::Deleting).await?;
            }
        }
        node.delete_snapshot(&disk, &snapshot).await?;
    }
    let (id, subject) = (job.id, job.subject.clone());
    let gone = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
        if let Some(mut row) = SnapshotRow::get(t, &subject)? {
            tags::clear(t, ResourceType::Snapshot, &subject)?;
            row.step(t, SnapshotCause::Deleted)?;
            // Only now the vault counts its copies for others.
            usage::want(t)?;
        }
        jobs::finish(t, id)
    };
    control.store().write(gone).await?;
    control.forget_percent(&job.subject);
    // A rollback or a deletion of the disk may have waited for the capture's end.
    control.jobs().hurry();
    Ok(Step::Done)
}
