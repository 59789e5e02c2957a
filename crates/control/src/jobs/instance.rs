//! Jobs of an instance: its disks' exports come and go with its state, and so does its guest, if we run it.

use super::disk::{disk_id, make_volume, take_back, withdraw};
use super::{JobError, Step, guest, is_final};
use crate::Control;
use crate::catalogue::disks::{self, DiskRow};
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, JobRow};
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::instance_types::guest_type;
use crate::notices;
use crate::states::{DiskCause, DiskStatus, InstanceCause, InstanceStatus};
use crate::store::{StoreError, Transaction};
use std::time::Duration;
use tidemark_ecs::actions::run_instances::Response;
use tidemark_node::NodeError;

/// How long a start waits for memory that others have: a guest that is ending gives its back when it has flushed its disks.
const ROOM_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks; the end of a guest is heard of sooner.
const ROOM_LOOK: Duration = Duration::from_secs(2);

/// The job's instance and its disks, if it is still in the state that the job is for.
async fn subject(
    control: &Control,
    job: &JobRow,
    status: InstanceStatus,
) -> Result<Option<Vec<DiskRow>>, StoreError> {
    let id = job.subject.clone();
    let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
        match InstanceRow::get(t, &id)? {
            Some(instance) if instance.status == status => disks::of_instance(t, &id).map(Some),
            _ => Ok(None),
        }
    };
    control.store().read(read).await
}

/// Changes the instance, if it is still in that state; finishes the job with it if asked.
async fn change(
    control: &Control,
    job: &JobRow,
    status: InstanceStatus,
    finish: bool,
    change: impl FnOnce(&mut dyn Transaction, InstanceRow) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let (id, subject) = (job.id, job.subject.clone());
    let work = move |t: &mut dyn Transaction| {
        if let Some(instance) = InstanceRow::get(t, subject)?.filter(|i| i.status == status) {
            change(t, instance)?;
        }
        if finish { jobs::finish(t, id) } else { Ok(()) }
    };
    control.store().write(work).await
}

/// Pending → Stopped; Pending → gone when a disk cannot be made.
pub(super) async fn create(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    match make_disks(control, job, InstanceCause::Created).await? {
        Some(failed) => Ok(failed),
        None => {
            change(control, job, InstanceStatus::Stopped, true, |_, _| Ok(())).await?;
            Ok(Step::Done)
        }
    }
}

/// Pending → Starting → Running; Pending → gone when a disk cannot be made.
pub(super) async fn run(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    match make_disks(control, job, InstanceCause::DisksReady).await? {
        Some(failed) => Ok(failed),
        None => start(control, job).await,
    }
}

/// Makes the disks of an instance that is Pending, and moves it on by `ready`. What it came to, if they could not be made.
async fn make_disks(control: &Control, job: &JobRow, ready: InstanceCause) -> Result<Option<Step>, JobError> {
    if let Some(own) = subject(control, job, InstanceStatus::Pending).await? {
        for disk in own.iter().filter(|disk| disk.status == DiskStatus::Creating) {
            if let Some(error) = make_volume(control, job, disk).await? {
                return give_up(control, job, own, error).await.map(Some);
            }
        }
        let now = control.now_ms();
        change(
            control,
            job,
            InstanceStatus::Pending,
            false,
            move |t, mut instance| {
                for mut disk in disks::of_instance(t, &instance.id)? {
                    disk.attached_ms = Some(now);
                    disk.ever_attached = true;
                    disk.step(t, DiskCause::CreatedAttached)?;
                }
                instance.step(t, ready).map(drop)
            },
        )
        .await?;
    }
    Ok(None)
}

/// An answer of RunInstances without one of its instances; `None`: there is no other in it.
pub(crate) fn without(answer: &str, instance: &str) -> Option<String> {
    let mut answer: Response = serde_json::from_str(answer).ok()?;
    answer.instance_id_sets.retain(|id| id != instance);
    if answer.instance_id_sets.is_empty() {
        return None;
    }
    serde_json::to_string(&answer).ok()
}

async fn give_up(
    control: &Control,
    job: &JobRow,
    own: Vec<DiskRow>,
    error: NodeError,
) -> Result<Step, JobError> {
    for disk in &own {
        // The one that failed is away already; removing twice is fine.
        let node = control.node_of(&disk.region)?;
        if let Err(error) = node.delete_disk(&disk_id(job, &disk.id)?).await {
            tracing::warn!(disk = %disk.id, %error, "a disk of an instance that could not be made stays behind");
        }
    }
    let (now, why) = (control.now_ms(), error.message.clone());
    // What the call's ClientToken is kept with: its first instance.
    let call = match job.arguments.as_str() {
        "" => job.subject.clone(),
        first => first.to_owned(),
    };
    change(
        control,
        job,
        InstanceStatus::Pending,
        true,
        move |t, mut instance| {
            notices::instance_state(t, &instance, "Deleted", Some(&why), now)?;
            for disk in disks::of_instance(t, &instance.id)? {
                take_back(t, disk)?;
            }
            tags::clear(t, ResourceType::Instance, &instance.id)?;
            tokens::take_back_one(t, &call, |answer| without(answer, &instance.id))?;
            instance.step(t, InstanceCause::RunFailed).map(drop)
        },
    )
    .await?;
    Ok(Step::Failed(error))
}

/// Exports the disks of an instance that is Starting, and starts its guest if we run it.
async fn bring_up(control: &Control, job: &JobRow) -> Result<(), JobError> {
    let id = job.subject.clone();
    let row = control.store().read(move |t| InstanceRow::get(t, id)).await?;
    let Some(instance) = row.filter(|row| row.status == InstanceStatus::Starting) else {
        return Ok(());
    };
    let mut disks = Vec::new();
    for disk in subject(control, job, InstanceStatus::Starting)
        .await?
        .unwrap_or_default()
    {
        let socket = control
            .export_to(&instance, &disk, &disk_id(job, &disk.id)?)
            .await?;
        disks.extend(socket.map(|socket| (disk, socket)));
    }
    match guest_type(&instance.instance_type) {
        Some(kind) => Ok(control.start_guest(&instance, kind, &disks).await?),
        None => Ok(()),
    }
}

/// Starting → Running, with every disk exported, and the guest running if we run it; or back to Stopped.
pub(super) async fn start(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let failure = match bring_up(control, job).await {
        Ok(()) => None,
        Err(JobError::Node(error)) if is_final(&error, job) => Some(error),
        Err(JobError::NoRoom(error)) => match control.jobs().running_for(job.id) < ROOM_PATIENCE {
            true => return Ok(Step::Again(ROOM_LOOK)),
            false => Some(error),
        },
        Err(error) => return Err(error),
    };
    if let Some(error) = failure {
        control.end_guest(&job.subject, true).await?;
        for disk in subject(control, job, InstanceStatus::Starting)
            .await?
            .unwrap_or_default()
        {
            withdraw(control, job, &disk).await?;
        }
        let (now, why) = (control.now_ms(), error.message.clone());
        change(
            control,
            job,
            InstanceStatus::Starting,
            true,
            move |t, mut instance| {
                instance.step(t, InstanceCause::StartFailed)?;
                notices::instance_state(t, &instance, instance.status.word(), Some(&why), now)
            },
        )
        .await?;
        return Ok(Step::Failed(error));
    }
    let now = control.now_ms();
    change(
        control,
        job,
        InstanceStatus::Starting,
        true,
        move |t, mut instance| {
            instance.started_ms = Some(now);
            instance.step(t, InstanceCause::Started)?;
            notices::instance_state(t, &instance, instance.status.word(), None, now)
        },
    )
    .await?;
    Ok(Step::Done)
}

/// Stopping → Stopped, with its guest gone and no disk exported.
pub(super) async fn stop(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(again) = guest::ended(control, job).await? {
        return Ok(again);
    }
    for disk in subject(control, job, InstanceStatus::Stopping)
        .await?
        .unwrap_or_default()
    {
        withdraw(control, job, &disk).await?;
    }
    let now = control.now_ms();
    change(
        control,
        job,
        InstanceStatus::Stopping,
        true,
        move |t, mut instance| {
            instance.step(t, InstanceCause::StopDone)?;
            notices::instance_state(t, &instance, instance.status.word(), None, now)
        },
    )
    .await?;
    Ok(Step::Done)
}
