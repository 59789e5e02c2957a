//! Asking the vaults what snapshots take.
//!
//! The answer costs a walk over the trees of all snapshots, so it is asked for in the background, after changes, one walk at
//! a time, with ten times as long a pause after it; a walk that takes more than a minute is done once a day. What must stay
//! true: figures that are shown come from the catalogue's rows (`catalogue::usage`) and from nowhere else; after the last
//! change, and a walk that nothing came between, they are the vault's own, to the byte; a vault that does not answer costs no
//! other region its figures. Whether a walk is due is in the catalogue, too: a restart does not forget it.

use crate::Control;
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::usage;
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tidemark_ecs::ApiError;
use tidemark_node::{SnapshotSpace, SpaceOptions};
use tidemark_units::{DiskId, MIB};

/// Memory for a walk; a larger vault takes several.
const TABLE_BYTES: u64 = 64 * MIB;
/// The pause after a walk, in walks.
const PAUSE: u32 = 10;
/// A longer walk reads so much that it is done once in this time: somebody may have to pay for the reads.
const LONG: Duration = Duration::from_secs(60);
const AFTER_A_LONG_ONE: Duration = Duration::from_secs(24 * 3600);
/// When a walk that failed is tried again, at the earliest; later if it read for long before it did.
const RETRY: Duration = Duration::from_secs(60);
/// Most snapshots whose rows are brought in line in one transaction, so that callers have their turns in between.
const RECONCILED_AT_ONCE: usize = 200;

/// Keeps the figures right until the control plane is shut down.
pub(crate) async fn account(control: Control) {
    let least = control.config().accounting;
    if least.is_zero() {
        return;
    }
    let mut pause = least;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = control.stopped() => return,
        }
        let started = Instant::now();
        pause = tokio::select! {
            reckoned = control.reckon_space() => match reckoned {
                Ok(_) if started.elapsed() > LONG => AFTER_A_LONG_ONE,
                Ok(_) => least.max(started.elapsed() * PAUSE),
                Err(error) => {
                    tracing::warn!(%error, "what snapshots take cannot be reckoned now; the figures are estimates until it can");
                    RETRY.max(started.elapsed() * PAUSE)
                }
            },
            () = control.stopped() => return,
        };
    }
}

/// What the catalogue says before the vault is asked.
struct Question {
    wanted: i64,
    /// Disks by their oldest snapshots, each with its region.
    first: Vec<(String, DiskId)>,
}

impl Control {
    /// Asks the vaults, if they have to be asked; also runs by itself. `false`: there was no need, or snapshots were going away
    /// meanwhile and the next try will tell. A vault that cannot be asked keeps no other's answer from being noted.
    pub async fn reckon_space(&self) -> Result<bool, ApiError> {
        let Some(Question { wanted, first }) = self.store().read_in_background(question).await? else {
            return Ok(false);
        };
        let (mut is_noted, mut failure) = (true, None);
        for region in &self.config().regions {
            let here = first.iter().filter(|(of, _)| *of == region.id);
            let options = SpaceOptions {
                table_bytes: TABLE_BYTES,
                first: here.map(|(_, disk)| disk.clone()).collect(),
                ..SpaceOptions::default()
            };
            let report = match self.node_of(&region.id)?.space(options).await {
                Ok(report) => report,
                Err(error) => {
                    tracing::debug!(region = %region.id, %error, "the vault cannot be asked");
                    failure = failure.or(Some(ApiError::service_unavailable(&error.message)));
                    continue;
                }
            };
            let of_one = |one: SnapshotSpace| {
                let bytes = i64::try_from(one.counted_bytes).unwrap_or(i64::MAX);
                ((region.id.clone(), one.snapshot.to_string()), bytes)
            };
            let bytes: BTreeMap<_, _> = report.snapshots.into_iter().map(of_one).collect();
            let now = self.now_ms();
            let note = move |t: &mut dyn Transaction| note(t, &bytes, wanted, now);
            is_noted &= self.store().write::<_, StoreError, _>(note).await?;
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if !is_noted {
            return Ok(false);
        }
        let settle = move |t: &mut dyn Transaction| -> Result<bool, StoreError> {
            let settled = usage::wanted(t)? == Some(wanted);
            usage::known(t, wanted)?;
            Ok(settled)
        };
        Ok(self.store().write(settle).await?)
    }

    /// Brings what is metered in line with the snapshots that there are.
    pub(crate) async fn reconcile_usage(&self) -> Result<(), StoreError> {
        let now = self.now_ms();
        let astray = self.store().read_in_background(usage::astray).await?;
        for some in astray.chunks(RECONCILED_AT_ONCE) {
            let some = some.to_vec();
            self.store()
                .write::<_, StoreError, _>(move |t| {
                    some.iter().try_for_each(|id| usage::reconcile(t, id, now))
                })
                .await?;
        }
        Ok(())
    }
}

fn question(t: &mut dyn Transaction) -> Result<Option<Question>, StoreError> {
    let Some(wanted) = usage::wanted(t)? else {
        return Ok(None);
    };
    let sql = "SELECT region, source_disk_id, MIN(created_ms) AS oldest FROM snapshots WHERE status = $1 \
               GROUP BY region, source_disk_id ORDER BY oldest, source_disk_id";
    let rows = t.query(sql, &[SnapshotStatus::Accomplished.word().into()])?;
    let mut first = Vec::new();
    for row in &rows {
        if let Ok(disk) = DiskId::new(row.text(1)?) {
            first.push((row.text(0)?, disk));
        }
    }
    Ok(Some(Question { wanted, first }))
}

/// Notes what one vault says; `false`: something of it is going away.
fn note(
    t: &mut dyn Transaction,
    bytes: &BTreeMap<(String, String), i64>,
    wanted: i64,
    now_ms: i64,
) -> Result<bool, StoreError> {
    // What a snapshot on its way out held will count for others; what counts for it now would be missing there.
    let leaving = SnapshotRow::select(t, "WHERE status = $1", &[SnapshotStatus::Deleting.word().into()])?;
    if leaving
        .into_iter()
        .any(|row| bytes.contains_key(&(row.region, row.id)))
    {
        return Ok(false);
    }
    let settled = usage::wanted(t)? == Some(wanted);
    usage::correct(t, bytes, settled, now_ms)?;
    Ok(true)
}
