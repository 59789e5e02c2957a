//! Asking the vault what snapshots take.
//!
//! The answer costs a walk over the trees of all snapshots, so it is asked for in the background, after changes, one walk at
//! a time, with ten times as long a pause after it; a walk that takes more than a minute is done once a day. What must stay true: figures that are shown come from the catalogue's
//! rows (`catalogue::usage`) and from nowhere else; after the last change, and a walk that nothing came between, they
//! are the vault's own, to the byte. Whether a walk is due is in the catalogue, too: a restart does not forget it.

use crate::Control;
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::usage;
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tidemark_ecs::ApiError;
use tidemark_node::SpaceOptions;
use tidemark_units::{DiskId, MIB};

/// Memory for a walk; a larger vault takes several.
const TABLE_BYTES: u64 = 64 * MIB;
/// The pause after a walk, in walks.
const PAUSE: u32 = 10;
/// A longer walk reads so much that it is done once in this time: somebody may have to pay for the reads.
const LONG: Duration = Duration::from_secs(60);
const AFTER_A_LONG_ONE: Duration = Duration::from_secs(24 * 3600);
/// When a walk that failed is tried again, at the earliest.
const RETRY: Duration = Duration::from_secs(60);

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
                    RETRY
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
    /// Asks the vault, if it has to be asked; also runs by itself. `false`: there was no need, or snapshots were going away
    /// meanwhile and the next try will tell.
    pub async fn reckon_space(&self) -> Result<bool, ApiError> {
        let Some(Question { wanted, first }) = self.store().read(question).await? else {
            return Ok(false);
        };
        let mut bytes: BTreeMap<String, i64> = BTreeMap::new();
        for region in &self.config().regions {
            let here = first.iter().filter(|(of, _)| *of == region.id);
            let options = SpaceOptions {
                table_bytes: TABLE_BYTES,
                first: here.map(|(_, disk)| disk.clone()).collect(),
                ..SpaceOptions::default()
            };
            let report = self.node_of(&region.id)?.space(options).await.map_err(|error| {
                tracing::debug!(region = %region.id, %error, "the vault cannot be asked");
                ApiError::service_unavailable(&error.message)
            })?;
            bytes.extend(report.snapshots.into_iter().map(|one| {
                let bytes = i64::try_from(one.counted_bytes).unwrap_or(i64::MAX);
                (one.snapshot.to_string(), bytes)
            }));
        }
        let now = self.now_ms();
        self.store()
            .write(move |t| note(t, &bytes, wanted, now))
            .await
            .map_err(ApiError::from)
    }

    /// Brings what is metered in line with the snapshots that there are.
    pub(crate) async fn reconcile_usage(&self) -> Result<(), StoreError> {
        let now = self.now_ms();
        self.store().write(move |t| usage::reconcile(t, now)).await
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

fn note(
    t: &mut dyn Transaction,
    bytes: &BTreeMap<String, i64>,
    wanted: i64,
    now_ms: i64,
) -> Result<bool, StoreError> {
    // What a snapshot on its way out held will count for others; what counts for it now would be missing there.
    let leaving = SnapshotRow::select(t, "WHERE status = $1", &[SnapshotStatus::Deleting.word().into()])?;
    let leaving: BTreeSet<&str> = leaving.iter().map(|row| row.id.as_str()).collect();
    if bytes.keys().any(|id| leaving.contains(id.as_str())) {
        return Ok(false);
    }
    let settled = usage::wanted(t)? == Some(wanted);
    usage::correct(t, bytes, settled, now_ms)?;
    usage::known(t, wanted)?;
    Ok(settled)
}
