//! DeleteDisk: releases an Available disk. Manual snapshots stay.

use super::create_snapshot::unfinished;
use crate::catalogue::jobs::{self, JobKind};
use crate::notices::{self, By};
use crate::rules;
use crate::states::{DISK, DiskCause};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_disk::{Request, Response};

impl Control {
    /// The disk is off the lists when this answers; its volume goes soon after.
    pub async fn delete_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.settle_snapshots(&request.disk_id).await?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| delete(t, &control, &caller, &request);
        let job = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&[job], self.config().linger).await;
        Ok(Response {})
    }
}

fn delete(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<i64, ApiError> {
    control.check_region_of("DeleteDisk", request.region_id.as_deref())?;
    let mut disk = rules::disk(t, caller, &request.disk_id)?;
    if !DISK.allows(disk.status, DiskCause::DeleteDisk) {
        return Err(rules::wrong_disk_state(&disk, "Available"));
    }
    unfinished(t, &disk.id, "DiskCreatingSnapshot")?;
    let now = control.now_ms();
    let by = By::caller(caller, "DeleteDisk");
    notices::disk_deleted(t, &disk, "", &by, now)?;
    rules::remove_automatic_snapshots(t, &disk, &by, now)?;
    disk.step(t, DiskCause::DeleteDisk)?;
    Ok(jobs::add(t, JobKind::DeleteDisk, &disk.id, &disk.id, "", now)?)
}
