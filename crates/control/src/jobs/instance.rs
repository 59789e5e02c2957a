//! Jobs of an instance: its disks' exports come and go with its state.

use super::disk::{disk_id, make_volume, take_back, withdraw};
use super::{JobError, Step, is_final};
use crate::Control;
use crate::catalogue::disks::{self, DiskRow};
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, JobRow};
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::states::{DiskCause, DiskStatus, InstanceCause, InstanceStatus};
use crate::store::{StoreError, Transaction};
use tidemark_node::NodeError;

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

/// Pending → Starting → Running; Pending → gone when a disk cannot be made.
pub(super) async fn run(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(own) = subject(control, job, InstanceStatus::Pending).await? {
        for disk in own.iter().filter(|disk| disk.status == DiskStatus::Creating) {
            if let Some(error) = make_volume(control, job, disk).await? {
                return give_up(control, job, own, error).await;
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
                instance.step(t, InstanceCause::DisksReady).map(drop)
            },
        )
        .await?;
    }
    start(control, job).await
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
    change(control, job, InstanceStatus::Pending, true, |t, mut instance| {
        for disk in disks::of_instance(t, &instance.id)? {
            take_back(t, disk)?;
        }
        tags::clear(t, ResourceType::Instance, &instance.id)?;
        tokens::take_back(t, &instance.id)?;
        instance.step(t, InstanceCause::RunFailed).map(drop)
    })
    .await?;
    Ok(Step::Failed(error))
}

/// Starting → Running, with every disk exported; or back to Stopped.
pub(super) async fn start(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    let mut failure = None;
    for disk in subject(control, job, InstanceStatus::Starting)
        .await?
        .unwrap_or_default()
    {
        let node = control.node_of(&disk.region)?;
        match node.set_exported(&disk_id(job, &disk.id)?, true).await {
            Ok(()) => {}
            Err(error) if is_final(&error, job) => {
                failure = Some(error);
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(error) = failure {
        for disk in subject(control, job, InstanceStatus::Starting)
            .await?
            .unwrap_or_default()
        {
            withdraw(control, job, &disk).await?;
        }
        change(control, job, InstanceStatus::Starting, true, |t, mut instance| {
            instance.step(t, InstanceCause::StartFailed).map(drop)
        })
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
            instance.step(t, InstanceCause::Started).map(drop)
        },
    )
    .await?;
    Ok(Step::Done)
}

/// Stopping → Stopped, with no disk exported.
pub(super) async fn stop(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    for disk in subject(control, job, InstanceStatus::Stopping)
        .await?
        .unwrap_or_default()
    {
        withdraw(control, job, &disk).await?;
    }
    change(control, job, InstanceStatus::Stopping, true, |t, mut instance| {
        instance.step(t, InstanceCause::StopDone).map(drop)
    })
    .await?;
    Ok(Step::Done)
}
