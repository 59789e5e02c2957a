//! Copies to another region that policies owe: one for each automatic snapshot of a policy with EnableCrossRegionCopy.
//!
//! What is owed is written with the snapshot's row, so that a later change of the policy does not change it, and is due once
//! the snapshot is accomplished. It ends in the transaction that begins the copy (from then on that is a snapshot with a job
//! of its own), or when the snapshot goes. A copy that cannot be, because of what the snapshot is, is not tried again, and an
//! event says so; one that fails is begun again after a pause.
//!
//! Not here: the copying (`actions::copy_snapshot`).

use crate::Control;
use crate::actions::copy_snapshot::{NewCopy, begin};
use crate::catalogue::policies::{self, RunRow};
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::notices;
use crate::store::{StoreError, Transaction};
use tidemark_ecs::ApiError;

/// The pause after the first copy that failed; each further one doubles it.
const PAUSE_FIRST_MS: i64 = 10 * MINUTE_MS;
const PAUSE_LONGEST_MS: i64 = 6 * HOUR_MS;

impl Control {
    /// Begins the copies that are due, oldest snapshot first. A part of every round of housekeeping.
    pub(crate) async fn begin_due_copies(&self) -> Result<(), ApiError> {
        let due = self.store().read_in_background(policies::copies_due).await?;
        // A region that is not served now may be again.
        let served = |run: &RunRow| self.find_region(&run.copy_region).is_some();
        for run in due.into_iter().filter(served) {
            let (control, owed) = (self.clone(), run.clone());
            let work = move |t: &mut dyn Transaction| begin_one(t, &control, owed);
            match self.store().write(work).await {
                Ok(()) => self.jobs().wake(),
                Err(failure) if failure.is_server_fault() => return Err(failure),
                Err(refusal) => {
                    tracing::warn!(snapshot = %run.snapshot_id, region = %run.copy_region, %refusal, "no copy, although a policy wants one");
                    let now = self.now_ms();
                    self.store()
                        .write::<_, StoreError, _>(move |t| refuse(t, run, &refusal.message, now))
                        .await?;
                    self.jobs().wake();
                }
            }
        }
        Ok(())
    }
}

fn begin_one(t: &mut dyn Transaction, control: &Control, run: RunRow) -> Result<(), ApiError> {
    let Some(source) = SnapshotRow::get(t, &run.snapshot_id)? else {
        return Ok(());
    };
    // Somebody else's copy of it is under way: after that.
    if snapshots::unfinished_copy(t, &source.id, &run.copy_region)?.is_some() {
        return Ok(());
    }
    let (failed, last_ms) = snapshots::failed_copies(t, &source.id, &run.copy_region)?;
    if failed > 0 && control.now_ms() < last_ms.saturating_add(pause_ms(failed)) {
        return Ok(());
    }
    let new = NewCopy {
        region: run.copy_region.clone(),
        name: source.name.clone(),
        description: String::new(),
        retention_days: Some(run.copy_retention_days).filter(|days| *days > 0),
        snapshot_type: SnapshotType::Timer,
        encrypted: run.copy_encrypted.then_some(true),
        resource_group: source.resource_group.clone(),
        tags: Vec::new(),
    };
    begin(t, control, &source, new)?;
    Ok(settle(t, run)?)
}

/// How long to wait when so many copies have failed.
fn pause_ms(failed: i64) -> i64 {
    let doublings = u32::try_from(failed - 1).unwrap_or(0).min(16);
    PAUSE_LONGEST_MS.min(PAUSE_FIRST_MS << doublings)
}

/// There will be no copy.
fn refuse(t: &mut dyn Transaction, run: RunRow, why: &str, now_ms: i64) -> Result<(), StoreError> {
    if let Some(source) = SnapshotRow::get(t, run.snapshot_id.as_str())? {
        notices::copy_refused(t, &source, &run.copy_region, why, now_ms)?;
    }
    settle(t, run)
}

/// Nothing is owed any more.
fn settle(t: &mut dyn Transaction, run: RunRow) -> Result<(), StoreError> {
    RunRow {
        copy_region: String::new(),
        ..run
    }
    .save(t)
}
