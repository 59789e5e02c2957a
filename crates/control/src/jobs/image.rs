//! The job of an image: it is whole when its snapshots are.

use super::{JobError, Step};
use crate::Control;
use crate::catalogue::images::{self, ImageRow};
use crate::catalogue::jobs::{self, JobRow};
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::rules;
use crate::states::{ImageCause, ImageStatus, SnapshotCause, SnapshotStatus};
use crate::store::{StoreError, Transaction};

/// Creating → Available or CreateFailed; or gone, when a crash came before the last mark.
pub(super) async fn complete(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let (id, subject, now) = (job.id, job.subject.clone(), control.now_ms());
    let work = move |t: &mut dyn Transaction| -> Result<bool, StoreError> {
        let Some(mut image) = ImageRow::get(t, &subject)?.filter(|row| row.status == ImageStatus::Creating)
        else {
            jobs::finish(t, id)?;
            return Ok(true);
        };
        if !image.marked {
            take_back(t, image, now)?;
            jobs::finish(t, id)?;
            return Ok(true);
        }
        let mut whole = true;
        for disk in images::disks(t, &image.id)? {
            if disk.snapshot_id.is_empty() {
                continue;
            }
            let status = SnapshotRow::get(t, &disk.snapshot_id)?.map(|row| row.status);
            match status {
                Some(SnapshotStatus::Accomplished) => {}
                Some(SnapshotStatus::Progressing) => whole = false,
                Some(SnapshotStatus::Failed | SnapshotStatus::Deleting) | None => {
                    image.failure = format!("the snapshot {} was not completed", disk.snapshot_id);
                }
            }
        }
        match (image.failure.is_empty(), whole) {
            (true, false) => return Ok(false),
            (true, true) => image.step(t, ImageCause::Ready)?,
            (false, _) => image.step(t, ImageCause::Failed)?,
        };
        jobs::finish(t, id)?;
        Ok(true)
    };
    match control.store().write(work).await? {
        true => {
            // Snapshots that were taken back have jobs now.
            control.jobs().wake();
            Ok(Step::Done)
        }
        false => Ok(Step::Again(control.poll())),
    }
}

/// Removes an image that nobody was told of, with the snapshots that were begun for it.
pub(crate) fn take_back(t: &mut dyn Transaction, mut image: ImageRow, now_ms: i64) -> Result<(), StoreError> {
    for disk in images::disks(t, &image.id)? {
        let snapshot = SnapshotRow::get(t, &disk.snapshot_id)?;
        if let Some(row) = snapshot.filter(|row| row.status != SnapshotStatus::Deleting) {
            rules::remove_snapshot(t, row, SnapshotCause::DeleteSnapshot, now_ms)?;
        }
    }
    tags::clear(t, ResourceType::Image, &image.id)?;
    tokens::take_back(t, &image.id)?;
    image.step(t, ImageCause::NotMarked).map(drop)
}
