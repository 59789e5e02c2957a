//! DetachDisk: takes a disk off an instance.

use crate::catalogue::disks::DiskKind;
use crate::catalogue::jobs::{self, JobKind};
use crate::rules;
use crate::states::{DISK, DiskCause, DiskStatus, InstanceStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::detach_disk::{Request, Response};

impl Control {
    /// Answers when the disk is Detaching; its clients are disconnected, then it is Available.
    pub async fn detach_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| detach(t, &control, &caller, &request);
        let job = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&[job], self.config().linger).await;
        Ok(Response {})
    }
}

fn detach(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region_of("DetachDisk", request.region_id.as_deref())?;
    let instance = rules::instance(t, caller, &request.instance_id)?;
    let mut disk = rules::disk(t, caller, &request.disk_id)?;
    let here = disk.instance_id.as_ref() == Some(&instance.id);
    match disk.status {
        DiskStatus::Available => {
            let message = format!("The disk {} is not attached.", disk.id);
            return Err(ApiError::new(404, "InvalidDisk.AlreadyDetached", message));
        }
        DiskStatus::Detaching if here => {
            let message = format!(
                "The disk {} is being detached from {} already.",
                disk.id, instance.id
            );
            return Err(ApiError::new(
                403,
                "InvalidOperation.DiskDetachingFromThisEcs",
                message,
            ));
        }
        DiskStatus::InUse if !here => {
            let message = format!(
                "The disk {} is attached to another instance than {}.",
                disk.id, instance.id
            );
            return Err(ApiError::new(403, "DependencyViolation", message));
        }
        status if !DISK.allows(status, DiskCause::DetachDisk) => {
            return Err(rules::wrong_disk_state(&disk, "In_use"));
        }
        _ => {}
    }
    rules::not_locked(&instance)?;
    match (disk.kind, instance.status) {
        (_, InstanceStatus::Stopped) | (DiskKind::Data, InstanceStatus::Running) => {}
        (DiskKind::System, _) => {
            return Err(rules::wrong_instance_state(
                403,
                &instance,
                "Stopped, as this is its system disk",
            ));
        }
        (DiskKind::Data, _) => return Err(rules::wrong_instance_state(403, &instance, "Running or Stopped")),
    }
    rules::not_being_replaced(t, &disk)?;
    // Nothing is noted of DeleteWithInstance: a disk that is detached goes with no instance, and one that its guest does not let go
    // of stays as it is.
    disk.step(t, DiskCause::DetachDisk)?;
    Ok(jobs::add(
        t,
        JobKind::DetachDisk,
        &disk.id,
        &instance.id,
        "",
        control.now_ms(),
    )?)
}
