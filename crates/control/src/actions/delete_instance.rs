//! DeleteInstance: releases an instance; its disks go with it or stay, as each is marked.

use crate::catalogue::disks::{self, DiskKind};
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, BY_FORCE, JobKind};
use crate::catalogue::tags::{self, ResourceType};
use crate::guests;
use crate::notices::{self, By};
use crate::rules;
use crate::states::{DiskCause, DiskStatus, INSTANCE, InstanceCause, InstanceStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_instance::{Request, Response};

impl Control {
    /// The instance is off the lists when this answers; its disks follow.
    pub async fn delete_instance(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| delete(t, &control, &caller, &request);
        let jobs = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&jobs, self.config().linger).await;
        Ok(Response {})
    }
}

pub(super) fn delete(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<Vec<i64>, ApiError> {
    control.check_region(request.region_id.as_deref())?;
    let instance = rules::instance(t, caller, &request.instance_id)?;
    if instance.deletion_protection {
        let message = format!("The instance {} is protected against deletion.", instance.id);
        return Err(ApiError::new(403, "InvalidOperation.DeletionProtection", message));
    }
    if instance.status == InstanceStatus::Pending {
        let message = format!("The instance {} is still being created.", instance.id);
        return Err(ApiError::new(
            403,
            "IncorrectInstanceStatus.Initializing",
            message,
        ));
    }
    let (by, wanted) = match request.force {
        false => (InstanceCause::DeleteInstance, "Stopped, or Running with Force"),
        true => (InstanceCause::ForceDelete, "Stopped or Running"),
    };
    if !INSTANCE.allows(instance.status, by) {
        return Err(rules::wrong_instance_state(403, &instance, wanted));
    }
    check_disks(t, &instance)?;
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    let asked = By::caller(caller, "DeleteInstance");
    release(t, instance, by, &asked, control.now_ms())
}

/// 409 while a disk is on its way somewhere.
fn check_disks(t: &mut dyn Transaction, instance: &InstanceRow) -> Result<(), ApiError> {
    let own = disks::of_instance(t, &instance.id)?;
    match own.iter().find(|disk| disk.status != DiskStatus::InUse) {
        Some(disk) => Err(ApiError::operation_conflict(format!(
            "its disk {} is {}",
            disk.id, disk.status
        ))),
        None => Ok(()),
    }
}

/// Releases an instance that may be released; answers the jobs that see its disks off.
pub(crate) fn release(
    t: &mut dyn Transaction,
    mut instance: InstanceRow,
    by: InstanceCause,
    asked: &By,
    now_ms: i64,
) -> Result<Vec<i64>, ApiError> {
    check_disks(t, &instance)?;
    let mut started = Vec::new();
    let is_guest = guests::is_guest(&instance);
    if is_guest {
        let id = &instance.id;
        started.push(jobs::add(t, JobKind::EndGuest, id, id, BY_FORCE, now_ms)?);
    }
    for mut disk in disks::of_instance(t, &instance.id)? {
        disk.instance_id = None;
        let (cause, job) = if disk.delete_with_instance || instance.security_lock {
            notices::disk_deleted(t, &disk, &instance.id, asked, now_ms)?;
            rules::remove_automatic_snapshots(t, &disk, asked, now_ms)?;
            (DiskCause::ReleasedWithInstance, JobKind::DeleteDisk)
        } else {
            disk.kind = DiskKind::Data;
            (DiskCause::KeptAfterInstance, JobKind::DetachDisk)
        };
        disk.step(t, cause)?;
        // A guest lets go of its disks first.
        let lane = if is_guest { &instance.id } else { &disk.id };
        started.push(jobs::add(t, job, &disk.id, lane, "", now_ms)?);
    }
    tags::clear(t, ResourceType::Instance, &instance.id)?;
    instance.step(t, by)?;
    Ok(started)
}
