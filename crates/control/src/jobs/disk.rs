//! Jobs of a disk: each takes it from a transitional state to a stable one.
//!
//! A disk that is not in the state that the job was made for has been served by an earlier run:
//! then only the job's row is left to remove.

use super::{JobError, Step, is_final};
use crate::Control;
use crate::catalogue::disks::{self, DiskKind, DiskRow};
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, JobKind, JobRow};
use crate::catalogue::policies;
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::guests::{self, is_guest};
use crate::notices::{self, By};
use crate::states::{DISK, DiskCause, DiskStatus, InstanceCause, InstanceStatus};
use crate::store::{StoreError, Transaction};
use tidemark_node::{Node, NodeError, NodeErrorKind};
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
        let (now, why) = (control.now_ms(), error.message.clone());
        let undo = move |t: &mut dyn Transaction, disk: DiskRow| {
            notices::disk_not_made(t, &disk, &why, now)?;
            take_back(t, disk)
        };
        conclude(control, job, DiskStatus::Creating, undo).await?;
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
        let exported = bring(control, &disk, &disk_id(job, &disk.id)?, instance.as_ref()).await;
        match exported {
            Err(JobError::Node(error)) if is_final(&error, job) => {
                // What the guest was asked to take it may have taken, or take yet: nobody else gets it before it is known that it has not.
                if let Some(instance) = &disk.instance_id {
                    control.unplug(instance, &disk.id).await?;
                }
                withdraw(control, job, &disk).await?;
                let (now, why) = (control.now_ms(), error.message.clone());
                let undo = move |t: &mut dyn Transaction, mut disk: DiskRow| {
                    let instance = disk.instance_id.clone().unwrap_or_default();
                    notices::disk_operation(t, &disk, ("AttachDisk", &instance), Some(&why), now)?;
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
        disk.step(t, DiskCause::Attached)?;
        policies::goes_on(t, &disk.id)?;
        let instance = disk.instance_id.clone().unwrap_or_default();
        notices::disk_operation(t, &disk, ("AttachDisk", &instance), None, now)
    })
    .await
}

/// Exports the disk to the instance that runs, and plugs it into its guest.
async fn bring(
    control: &Control,
    disk: &DiskRow,
    id: &DiskId,
    instance: Option<&InstanceRow>,
) -> Result<(), JobError> {
    let Some(instance) = instance.filter(|instance| instance.status == InstanceStatus::Running) else {
        // A guest on its way may have it from an earlier run of this job: the job that ends or starts the guest comes next.
        if instance.is_some_and(|instance| is_guest(instance) && instance.status != InstanceStatus::Stopped) {
            return Ok(());
        }
        return Ok(control.node_of(&disk.region)?.set_exported(id, false).await?);
    };
    if let Some(socket) = control.export_to(instance, disk, id).await? {
        control.plug(&instance.id, disk, &socket).await?;
    }
    Ok(())
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
        if let Some(instance) = &disk.instance_id
            && let Err(error) = control.unplug(instance, &disk.id).await
        {
            // One that does not answer keeps it as well, and is not in the way of what would end it.
            if error.kind != NodeErrorKind::Busy && !is_final(&error, job) {
                return Err(error.into());
            }
            return keep(control, job, error).await;
        }
        withdraw(control, job, &disk).await?;
    }
    let now = control.now_ms();
    conclude(control, job, DiskStatus::Detaching, move |t, mut disk| {
        let instance = disk.instance_id.clone().unwrap_or_default();
        clear_attachment(&mut disk);
        disk.detached_ms = Some(now);
        disk.step(t, DiskCause::Detached)?;
        notices::disk_operation(t, &disk, ("DetachDisk", &instance), None, now)
    })
    .await
}

/// Detaching → In_use: pulling out what a guest still uses would fail its writes.
async fn keep(control: &Control, job: &JobRow, error: NodeError) -> Result<Step, JobError> {
    let (now, why) = (control.now_ms(), error.message.clone());
    conclude(control, job, DiskStatus::Detaching, move |t, mut disk| {
        let instance = disk.instance_id.clone().unwrap_or_default();
        disk.step(t, DiskCause::DetachFailed)?;
        notices::disk_operation(t, &disk, ("DetachDisk", &instance), Some(&why), now)
    })
    .await?;
    Ok(Step::Failed(error))
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

/// Whether what the job is to do to the disk was not done, and never will be. A disk that stopped serving in the middle of it
/// and is not open again yet is not one that is missing.
fn is_refused(node: &Node, disk: &DiskId, error: &NodeError, job: &JobRow) -> bool {
    let is_down = error.kind == NodeErrorKind::Missing && job.attempts > 0 && node.open_size(disk).is_none();
    is_final(error, job) && !is_down
}

/// What a ClientToken of ResizeDisk stands for: not the disk, which has a token of its own from its making.
pub(crate) fn growth(disk: &str, gib: i64) -> String {
    format!("{disk} to {gib} GiB")
}

/// Makes the volume larger; then the row says so.
pub(super) async fn resize(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let gib: i64 = job
        .arguments
        .parse()
        .map_err(|_| JobError::Unusable(job.id, format!("{:?} is no size", job.arguments)))?;
    let bytes = gib.unsigned_abs().saturating_mul(GIB);
    let mut failure = None;
    let subject = job.subject.clone();
    let Some(disk) = control.store().read(move |t| DiskRow::get(t, subject)).await? else {
        let id = job.id;
        control.store().write(move |t| jobs::finish(t, id)).await?;
        return Ok(Step::Done);
    };
    let node = control.node_of(&disk.region)?;
    let id = disk_id(job, &disk.id)?;
    match node.grow_disk(&id, bytes).await {
        Ok(()) => {}
        // A cancelled capture is still being put away.
        Err(error) if error.kind == NodeErrorKind::Busy => return Ok(Step::Again(control.poll())),
        Err(error) if is_refused(node, &id, &error, job) => failure = Some(error),
        Err(error) => return Err(error.into()),
    }
    let (id, subject, grown) = (job.id, job.subject.clone(), failure.is_none());
    let (now, why) = (
        control.now_ms(),
        failure.as_ref().map(|error| error.message.clone()),
    );
    let change = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
        // Whatever state it is in by now: its status is not this job's affair.
        if let Some(mut disk) = DiskRow::get(t, &subject)?.filter(|disk| grown && disk.size_gib < gib) {
            disk.size_gib = gib;
            disk.save(t)?;
        }
        if let Some(why) = &why {
            tokens::take_back(t, &growth(&subject, gib))?;
            not_done(t, &subject, "ResizeDisk", why, now)?;
        }
        jobs::finish(t, id)
    };
    control.store().write(change).await?;
    Ok(failure.map_or(Step::Done, Step::Failed))
}

/// Tells whoever is not waiting for the answer any more that a disk's operation came to nothing.
fn not_done(
    t: &mut dyn Transaction,
    disk: &str,
    operation: &str,
    why: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let Some(disk) = DiskRow::get(t, disk)? else {
        return Ok(());
    };
    let instance = disk.instance_id.clone().unwrap_or_default();
    notices::disk_operation(t, &disk, (operation, &instance), Some(why), now_ms)
}

/// ReIniting → In_use, with the content that the disk was made with.
pub(super) async fn reinit(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let (source, start) = match job.arguments.strip_suffix(jobs::THEN_START) {
        Some(source) => (source, true),
        None => (job.arguments.as_str(), false),
    };
    let mut failure = None;
    if let Some(row) = subject(control, job, DiskStatus::ReIniting).await? {
        withdraw(control, job, &row).await?;
        let disk = disk_id(job, &row.id)?;
        let source = match source {
            "" => None,
            id => Some(snapshot_id(job, id)?),
        };
        let node = control.node_of(&row.region)?;
        match node.reinit_disk(&disk, source.as_ref()).await {
            Ok(()) => {}
            Err(error) if error.kind == NodeErrorKind::Busy => return Ok(Step::Again(control.poll())),
            Err(error) if is_refused(node, &disk, &error, job) => failure = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let (start, now) = (start && failure.is_none(), control.now_ms());
    let why = failure.as_ref().map(|error| error.message.clone());
    let control_of_room = control.clone();
    conclude(control, job, DiskStatus::ReIniting, move |t, mut disk| {
        let instance = InstanceRow::get(t, disk.instance_id.clone().unwrap_or_default())?;
        disk.status_before = String::new();
        disk.step(t, DiskCause::ResetDoneInUse)?;
        if let Some(why) = &why {
            not_done(t, &disk.id, "ReInitDisk", why, now)?;
        }
        match instance {
            Some(mut instance) if start && instance.status == InstanceStatus::Stopped => {
                if let Err(refused) = guests::room_for(t, &control_of_room, &instance.instance_type, 1) {
                    let why = Some(refused.message.as_str());
                    return notices::instance_state(t, &instance, instance.status.word(), why, now);
                }
                instance.step(t, InstanceCause::StartInstance)?;
                jobs::add(t, JobKind::StartInstance, &instance.id, &instance.id, "", now).map(drop)
            }
            _ => Ok(()),
        }
    })
    .await?;
    Ok(failure.map_or(Step::Done, Step::Failed))
}

/// Creating → In_use; the system disk that was there goes. When the new one cannot be made, or the old one is on its way
/// somewhere, the old one stays.
pub(super) async fn replace(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(disk) = subject(control, job, DiskStatus::Creating).await?
        && let Some(error) = make_volume(control, job, &disk).await?
    {
        return not_replaced(control, job, error).await;
    }
    let (id, subject, now) = (job.id, job.subject.clone(), control.now_ms());
    let by = By::from_text(&job.arguments, "ReplaceSystemDisk");
    let place = move |t: &mut dyn Transaction| take_place(t, id, &subject, &by, now);
    let Some(old) = control.store().write(place).await? else {
        return Ok(Step::Done);
    };
    if let Some(error) = control
        .node_of(&old.region)?
        .delete_disk(&disk_id(job, &job.subject)?)
        .await
        .err()
        .filter(|error| error.kind != NodeErrorKind::Missing)
    {
        return Err(error.into());
    }
    let error = NodeError {
        kind: NodeErrorKind::Busy,
        message: format!("the disk {} that was to be replaced is {}", old.id, old.status),
    };
    not_replaced(control, job, error).await
}

/// Takes the new system disk back, whose volume is gone.
async fn not_replaced(control: &Control, job: &JobRow, error: NodeError) -> Result<Step, JobError> {
    let (now, why) = (control.now_ms(), error.message.clone());
    let undo = move |t: &mut dyn Transaction, disk: DiskRow| {
        notices::disk_not_made(t, &disk, &why, now)?;
        take_back(t, disk)
    };
    conclude(control, job, DiskStatus::Creating, undo).await?;
    Ok(Step::Failed(error))
}

/// Lets the new system disk take the old one's place, and finishes the job. Answers an old one that cannot go as it is: then
/// nothing is changed. The old disk's snapshots stay, automatic ones too.
fn take_place(
    t: &mut dyn Transaction,
    job: i64,
    disk: &str,
    by: &By,
    now_ms: i64,
) -> Result<Option<DiskRow>, StoreError> {
    let Some(mut disk) = DiskRow::get(t, disk)?.filter(|disk| disk.status == DiskStatus::Creating) else {
        jobs::finish(t, job)?;
        return Ok(None);
    };
    let instance = disk.instance_id.clone().unwrap_or_default();
    let mut olds = disks::of_instance(t, &instance)?;
    olds.retain(|old| old.kind == DiskKind::System && old.id != disk.id);
    if let Some(stuck) = olds
        .iter()
        .position(|old| !DISK.allows(old.status, DiskCause::Replaced))
    {
        return Ok(Some(olds.swap_remove(stuck)));
    }
    for mut old in olds {
        notices::disk_deleted(t, &old, &instance, by, now_ms)?;
        old.instance_id = None;
        old.step(t, DiskCause::Replaced)?;
        jobs::add(t, JobKind::DeleteDisk, &old.id, &old.id, "", now_ms)?;
    }
    if let Some(mut instance) = InstanceRow::get(t, &instance)? {
        instance.image_id.clone_from(&disk.image_id);
        instance.save(t)?;
    }
    disk.attached_ms = Some(now_ms);
    disk.ever_attached = true;
    disk.step(t, DiskCause::CreatedAttached)?;
    jobs::finish(t, job)?;
    Ok(None)
}

/// ReIniting → the state before.
pub(super) async fn reset(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let mut failure = None;
    if let Some(row) = subject(control, job, DiskStatus::ReIniting).await? {
        withdraw(control, job, &row).await?;
        let disk = disk_id(job, &row.id)?;
        let snapshot = snapshot_id(job, &job.arguments)?;
        let node = control.node_of(&row.region)?;
        match node.rollback(&disk, &snapshot).await {
            Ok(()) => {}
            // A cancelled capture is still being put away.
            Err(error) if error.kind == NodeErrorKind::Busy => return Ok(Step::Again(control.poll())),
            Err(error) if is_refused(node, &disk, &error, job) => failure = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let (now, why) = (
        control.now_ms(),
        failure.as_ref().map(|error| error.message.clone()),
    );
    let snapshot = job.arguments.clone();
    conclude(control, job, DiskStatus::ReIniting, move |t, mut disk| {
        let by = match disk.status_before.parse() {
            Ok(DiskStatus::InUse) => DiskCause::ResetDoneInUse,
            _ => DiskCause::ResetDoneAvailable,
        };
        disk.status_before = String::new();
        disk.step(t, by)?;
        notices::disk_reset(t, &disk, &snapshot, why.as_deref(), now)
    })
    .await?;
    Ok(failure.map_or(Step::Done, Step::Failed))
}
