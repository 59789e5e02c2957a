//! ResizeDisk: a disk gets larger, attached or not, running or not.
//!
//! The row shows the new size when the volume has it: a snapshot in between would claim what it does not hold, so
//! while the job waits no snapshot is taken, and no disk grows while a snapshot is in creation.

use super::create_snapshot::unfinished;
use crate::catalogue::disks::{DiskKind, DiskRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::error::node_refusal;
use crate::jobs::disk::growth;
use crate::rules::{self, Token};
use crate::states::{DiskStatus, InstanceStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::resize_disk::{Request, Response};
use tidemark_ecs::rules::category;
use tidemark_node::{NodeError, NodeErrorKind};

impl Control {
    /// Answers when the growth is certain to happen; it is usually done. When it fails at once, that is the answer, and the
    /// disk has the size that it had. Clients that are connected see it when they connect again.
    pub async fn resize_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.settle_snapshots(&request.disk_id).await?;
        let given = request.client_token.as_ref();
        let token = Token::new(caller, "ResizeDisk", given, &request, "IdempotentProcessing")?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| resize(t, &control, &caller, &request, token.as_ref());
        let job = self.store().write(work).await?;
        self.jobs().wake();
        let failed = self.jobs().linger(job.as_slice(), self.config().linger).await;
        failed
            .into_iter()
            .next()
            .map_or(Ok(Response {}), |(_, error)| Err(refusal(&error)))
    }
}

fn resize(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
    token: Option<&Token>,
) -> Result<Option<i64>, ApiError> {
    let now = control.now_ms();
    if Token::replay::<Response>(token, t, now)?.is_some() {
        return Ok(None);
    }
    control.check_region_of("ResizeDisk", request.region_id.as_deref())?;
    let disk = rules::disk(t, caller, &request.disk_id)?;
    check_state(t, caller, &disk, request.online)?;
    rules::not_being_replaced(t, &disk)?;
    if rules::is_growing(t, &disk.id)? {
        let message = format!("The disk {} is being resized already.", disk.id);
        return Err(ApiError::new(403, "Operation.Conflict", message));
    }
    unfinished(t, &disk.id, "DiskCreatingSnapshot")?;
    check_size(&disk, request.new_size)?;
    let lane = disk.instance_id.as_ref().unwrap_or(&disk.id);
    let size = request.new_size.to_string();
    let job = jobs::add(t, JobKind::ResizeDisk, &disk.id, lane, &size, now)?;
    let growth = growth(&disk.id, request.new_size);
    Token::remember(token, t, &growth, &Response {}, false, now)?;
    Ok(Some(job))
}

fn check_state(
    t: &mut dyn Transaction,
    caller: &Caller,
    disk: &DiskRow,
    online: bool,
) -> Result<(), ApiError> {
    let instance = match &disk.instance_id {
        Some(id) => Some(rules::instance(t, caller, id)?),
        None => None,
    };
    if let Some(instance) = &instance {
        rules::not_locked(instance)?;
    }
    match disk.status {
        DiskStatus::InUse => {}
        DiskStatus::Available if disk.kind == DiskKind::System => {
            let message = format!("The disk {} is a system disk that is not attached.", disk.id);
            return Err(ApiError::new(400, "InvalidDisk.DetachedSystemDisk", message));
        }
        DiskStatus::Available if !online => {}
        DiskStatus::Available => return Err(rules::wrong_disk_state(disk, "In_use to be resized online")),
        _ => return Err(rules::wrong_disk_state(disk, "In_use or Available")),
    }
    let Some(instance) = instance else { return Ok(()) };
    match instance.status {
        InstanceStatus::Running => Ok(()),
        _ if online => {
            let message = format!(
                "The instance {} is {}; it must be Running for a resize online.",
                instance.id, instance.status
            );
            Err(ApiError::new(403, "InvalidInstanceStatus.NotRunning", message))
        }
        InstanceStatus::Stopped => Ok(()),
        _ => Err(rules::wrong_instance_state(403, &instance, "Running or Stopped")),
    }
}

fn check_size(disk: &DiskRow, wanted: i64) -> Result<(), ApiError> {
    let now = disk.size_gib;
    if wanted <= now {
        let (code, why) = match wanted == now {
            true => ("InvalidDiskSize", "has that size already"),
            false => ("InvalidDiskSize.TooSmall", "never shrinks"),
        };
        let message = format!("{wanted} GiB: the disk {} of {now} GiB {why}.", disk.id);
        return Err(ApiError::new(403, code, message));
    }
    let level = Some(disk.performance_level.as_str()).filter(|level| !level.is_empty());
    let sizes = category(&disk.category).map(|category| match disk.kind {
        DiskKind::System => category.system_sizes(level),
        DiskKind::Data => category.data_sizes(level),
    });
    let most = sizes.map_or(0, |sizes| *sizes.end());
    if wanted.unsigned_abs() <= most {
        return Ok(());
    }
    let message = format!(
        "{wanted} GiB: a {} disk of category {} has at most {most} GiB.",
        disk.kind, disk.category
    );
    Err(match disk.kind {
        DiskKind::System => ApiError::new(400, "InvalidSystemDiskSize.ValueNotSupported", message),
        DiskKind::Data => ApiError::new(403, "InvalidDiskSize.TooLarge", message),
    })
}

/// Why the node could not make the disk larger, in the contract's words.
pub(super) fn refusal(error: &NodeError) -> ApiError {
    match error.kind {
        NodeErrorKind::Full => node_refusal(
            400,
            "QuotaExceed.DiskCapacity",
            "The storage has no room for the larger disk",
            error,
        ),
        _ => node_refusal(403, "DiskError", "The disk cannot be made larger", error),
    }
}
