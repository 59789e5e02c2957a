//! Jobs of a guest: its end, which other jobs of the instance wait for.

use super::{JobError, Step};
use crate::Control;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, BY_FORCE, JobRow};
use crate::store::{StoreError, Transaction};
use std::time::Duration;

/// Between two looks at a guest that was asked to shut down; its end is heard of sooner.
const LOOK: Duration = Duration::from_secs(2);

/// Ends the guest of the job's instance: at once if the job says so, else when it has shut down or its time for that is over. `None`:
/// there is none any more.
pub(super) async fn ended(control: &Control, job: &JobRow) -> Result<Option<Step>, JobError> {
    let Some(guests) = control.guests() else {
        return Ok(None);
    };
    // From when it was first asked: the job may have waited for others, or for this process.
    let late = control.jobs().running_for(job.id) >= guests.stop_patience;
    let by_force = job.arguments == BY_FORCE;
    if late && !by_force {
        tracing::warn!(instance = %job.subject, "a guest did not shut down in time and is switched off");
    }
    let gone = control.end_guest(&job.subject, by_force || late).await?;
    Ok((!gone).then_some(Step::Again(LOOK)))
}

/// The guest is gone; its instance may be, too.
pub(super) async fn end(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    if let Some(again) = ended(control, job).await? {
        return Ok(again);
    }
    let (id, subject) = (job.id, job.subject.clone());
    let read = move |t: &mut dyn Transaction| InstanceRow::get(t, subject);
    if control.store().read::<_, StoreError, _>(read).await?.is_none() {
        control.forget_guest(&job.subject).await;
    }
    control.store().write(move |t| jobs::finish(t, id)).await?;
    Ok(Step::Done)
}
