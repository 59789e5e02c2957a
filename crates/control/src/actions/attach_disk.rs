//! AttachDisk: puts an Available disk on an instance.

use crate::catalogue::disks::{self, DiskKind, DiskRow};
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, JobKind};
use crate::error::node_refusal;
use crate::notices::Quota;
use crate::rules;
use crate::states::{DISK, DiskCause, DiskStatus, InstanceStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::attach_disk::{Request, Response};

/// Device name of a system disk.
pub(super) const SYSTEM_DEVICE: &str = "/dev/xvda";

impl Control {
    /// Answers when the disk is Attaching; it becomes In_use soon after, exported if the instance runs.
    pub async fn attach_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| attach(t, &control, &caller, &request);
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
                "DiskError",
                "The disk cannot be attached",
                &error,
            ))
        })
    }
}

fn attach(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region_of("AttachDisk", request.region_id.as_deref())?;
    let instance = rules::instance(t, caller, &request.instance_id)?;
    let mut disk = rules::disk(t, caller, &request.disk_id)?;
    rules::not_locked(&instance)?;
    if disk.status == DiskStatus::InUse {
        let message = format!(
            "The disk {} is attached to {}.",
            disk.id,
            disk.instance_id.unwrap_or_default()
        );
        return Err(ApiError::new(404, "InvalidDisk.InUse", message));
    }
    if !DISK.allows(disk.status, DiskCause::AttachDisk) {
        return Err(rules::wrong_disk_state(&disk, "Available"));
    }
    if disk.zone != instance.zone {
        let message = format!(
            "The disk {} is in zone {}, the instance in {}.",
            disk.id, disk.zone, instance.zone
        );
        return Err(ApiError::new(403, "ResourcesNotInSameZone", message));
    }
    let own = disks::of_instance(t, &instance.id)?;
    if request.bootable {
        may_boot(&disk, &instance, &own)?;
        disk.kind = DiskKind::System;
        disk.device = SYSTEM_DEVICE.into();
    } else {
        if !matches!(instance.status, InstanceStatus::Running | InstanceStatus::Stopped) {
            return Err(rules::wrong_instance_state(400, &instance, "Running or Stopped"));
        }
        let most = control.limits().data_disks_per_instance;
        let before = own.iter().filter(|disk| disk.kind == DiskKind::Data).count() as u64;
        if before >= most {
            let message = format!("The instance {} has {most} data disks already.", instance.id);
            return Err(ApiError::new(403, "InstanceDiskLimitExceeded", message));
        }
        disk.kind = DiskKind::Data;
        disk.device = free_device(&own, request.device.as_deref())?;
        quota(control, &instance).grown(t, (before, before + 1), control.now_ms())?;
    }
    disk.instance_id = Some(instance.id.clone());
    disk.delete_with_instance = request.delete_with_instance;
    disk.step(t, DiskCause::AttachDisk)?;
    Ok(jobs::add(
        t,
        JobKind::AttachDisk,
        &disk.id,
        &instance.id,
        "",
        control.now_ms(),
    )?)
}

/// The limit of an instance's data disks.
pub(super) fn quota<'a>(control: &Control, instance: &'a InstanceRow) -> Quota<'a> {
    Quota {
        account: &instance.account,
        region: &instance.region,
        of: ("instance", &instance.id),
        what: "data disks of the instance",
        limit: control.limits().data_disks_per_instance,
    }
}

/// A system disk goes back only to the instance that it came from, which must have none and be Stopped.
fn may_boot(disk: &DiskRow, instance: &InstanceRow, own: &[DiskRow]) -> Result<(), ApiError> {
    if disk.origin_instance_id.is_empty() {
        let message = format!("The disk {} was never a system disk.", disk.id);
        return Err(ApiError::new(400, "InvalidDisk.DiskNotBootable", message));
    }
    if disk.origin_instance_id != instance.id {
        let message = format!("The disk {} is the system disk of another instance.", disk.id);
        return Err(ApiError::new(400, "InvalidInstance.NotOriginInstance", message));
    }
    if own.iter().any(|other| other.kind == DiskKind::System) {
        let message = format!("The instance {} has a system disk already.", instance.id);
        return Err(ApiError::new(403, "InvalidDevice.InUse", message));
    }
    if instance.status != InstanceStatus::Stopped {
        return Err(rules::wrong_instance_state(400, instance, "Stopped"));
    }
    Ok(())
}

/// The wanted device name if nobody has it, or the first that is free.
pub(super) fn free_device(own: &[DiskRow], wanted: Option<&str>) -> Result<String, ApiError> {
    let taken = |device: &str| own.iter().any(|disk| disk.device == device);
    match wanted {
        Some(device) if taken(device) => {
            let message = format!("The device {device} is in use on this instance.");
            Err(ApiError::new(403, "InvalidDevice.InUse", message))
        }
        Some(device) => Ok(device.to_owned()),
        None => ('b'..='z')
            .map(|letter| format!("/dev/xvd{letter}"))
            .find(|device| !taken(device))
            .ok_or_else(|| {
                ApiError::new(
                    403,
                    "InstanceDiskLimitExceeded",
                    "No device name is free on this instance.",
                )
            }),
    }
}
