//! ReInitDisk: a disk becomes again what it was when it was made: its image's, its snapshot's, or empty.
//!
//! It keeps its id, its size and its own snapshots; everything written since is lost.

use super::create_snapshot::unfinished;
use super::key_pair_rules;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::images::{self, ImageRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::snapshots::SnapshotRow;
use crate::error::node_refusal;
use crate::rules::{self, EXTERNAL_IMAGE};
use crate::states::{DISK, DiskCause, InstanceStatus, SnapshotStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::re_init_disk::{Request, Response};

impl Control {
    /// Answers when it is certain to happen; it is done when the disk is In_use again. When it fails at once, that is the
    /// answer, and the disk is as it was.
    pub async fn re_init_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.settle_snapshots(&request.disk_id).await?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| reinit(t, &control, &caller, &request);
        let job = self.store().write(work).await?;
        self.jobs().wake();
        let failed = self.jobs().linger(&[job], self.config().linger).await;
        failed.into_iter().next().map_or(Ok(Response {}), |(_, error)| {
            let what = "The disk cannot be made anew";
            Err(node_refusal(403, "OperationDenied", what, &error))
        })
    }
}

fn reinit(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region_of("ReInitDisk", request.region_id.as_deref())?;
    let mut disk = rules::disk(t, caller, &request.disk_id)?;
    let instance = match &disk.instance_id {
        Some(id) => Some(rules::instance(t, caller, id)?),
        None => None,
    };
    if let Some(instance) = &instance {
        rules::not_locked(instance)?;
    }
    let Some(mut instance) = instance.filter(|_| DISK.allows(disk.status, DiskCause::ReInitDisk)) else {
        return Err(rules::wrong_disk_state(&disk, "In_use"));
    };
    if instance.status != InstanceStatus::Stopped {
        return Err(rules::wrong_instance_state(403, &instance, "Stopped"));
    }
    if instance.started_ms.is_none() {
        let message = format!("The instance {} has never been started.", instance.id);
        return Err(ApiError::new(403, "IncorrectInstanceStatus", message));
    }
    rules::not_being_replaced(t, &disk)?;
    unfinished(t, &disk.id, "DiskCreatingSnapshot")?;
    let source = birth_content(t, &disk)?;
    let key_pair = request.key_pair_name.as_ref();
    key_pair_rules::check(t, caller, &instance.region, key_pair.map(String::as_str), 400)?;
    if let Some(key_pair) = key_pair {
        instance.key_pair.clone_from(key_pair);
        instance.save(t)?;
    }
    disk.status_before = disk.status.word().into();
    disk.step(t, DiskCause::ReInitDisk)?;
    let arguments = match request.auto_start_instance {
        true => format!("{source}{}", jobs::THEN_START),
        false => source,
    };
    let now = control.now_ms();
    Ok(jobs::add(
        t,
        JobKind::ReInitDisk,
        &disk.id,
        &instance.id,
        &arguments,
        now,
    )?)
}

/// The snapshot that the disk was made from, directly or by an image; `""`: it was made empty.
fn birth_content(t: &mut dyn Transaction, disk: &DiskRow) -> Result<String, ApiError> {
    match disk.image_id.as_str() {
        "" => {}
        EXTERNAL_IMAGE => return Ok(String::new()),
        image => {
            let system = match ImageRow::get(t, image)? {
                Some(_) => images::system_disk(t, image)?,
                None => None,
            };
            return system.map(|disk| disk.snapshot_id).ok_or_else(|| {
                let message = format!(
                    "The image {image} that the disk {} was made from is gone.",
                    disk.id
                );
                ApiError::new(404, "InvalidDiskId.OperationNotSupported", message)
            });
        }
    }
    if disk.source_snapshot_id.is_empty() {
        return Ok(String::new());
    }
    let usable = SnapshotRow::get(t, &disk.source_snapshot_id)?
        .is_some_and(|snapshot| snapshot.status == SnapshotStatus::Accomplished);
    if usable {
        return Ok(disk.source_snapshot_id.clone());
    }
    let message = format!(
        "The snapshot {} that the disk {} was made from is gone.",
        disk.source_snapshot_id, disk.id
    );
    Err(ApiError::new(403, "InvalidSourceSnapshot", message))
}
