//! What snapshots take and took: the rows that every figure of space and every metered hour comes from.
//!
//! A row is a stretch of time in which a snapshot took so many bytes; the open one says what it takes now. A sum over
//! open rows is what a chain or a region takes, a sum over stretches is what was metered: so they agree, and hours in which
//! no service ran are in them like any others.
//!
//! **Hours.** Any started hour counts whole, once, with what the snapshot took when the hour began, or when it
//! came into being within it. What changes within an hour therefore counts from the next one on. So a row counts for
//! the hours from `first_hour` to the one that its end lies in.
//!
//! **Figures.** A snapshot's bytes are the stored copies that count for it: each copy for the oldest snapshot that holds it
//! (`tidemark_vault`'s `space`). Only the vault knows; until it has been asked, a new snapshot's are what its capture
//! stored, and those of a deleted one go over to the next in its chain, which takes over what it still needs. The vault's
//! answer corrects such an estimate from its beginning. Not here: asking the vault (`space`), money (`metering`).

use super::{next_number, record};
use crate::catalogue::snapshots::SnapshotRow;
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction, Value};
use std::collections::BTreeMap;

/// Counts the changes that the vault has to be asked about.
const WANTED: &str = "space_wanted";
/// The last of them that it has been asked about.
const KNOWN: &str = "space_known";

record! {
    /// A stretch of time.
    UsageRow = "snapshot_usage" {
        id: i64,
        account: String,
        region: String,
        snapshot_id: String,
        link_id: String,
        source_disk_id: String,
        category: String,
        bytes: i64,
        /// The vault has been asked; otherwise an estimate.
        exact: bool,
        /// The first hour that it counts for.
        first_hour: i64,
        from_ms: i64,
        /// `None`: until now.
        until_ms: Option<i64>,
    }
}

/// The hour that a time lies in.
pub(crate) fn hour_of(ms: i64) -> i64 {
    ms.div_euclid(HOUR_MS)
}

/// The first hour that begins at a time or later.
pub(crate) fn next_hour(ms: i64) -> i64 {
    hour_of(ms.saturating_add(HOUR_MS - 1))
}

impl UsageRow {
    /// The hours that it counts for, as far as they have begun.
    pub(crate) fn hours(&self, now_ms: i64) -> std::ops::Range<i64> {
        // What is open counts for the hour that has begun.
        let end = self
            .until_ms
            .unwrap_or(now_ms)
            .max(self.from_ms.saturating_add(1));
        self.first_hour..next_hour(end).max(self.first_hour)
    }

    /// From `now_ms` on it is so many bytes.
    fn change(
        &mut self,
        t: &mut dyn Transaction,
        bytes: i64,
        exact: bool,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if self.bytes == bytes {
            if exact && !self.exact {
                self.exact = true;
                self.save(t)?;
            }
            return Ok(());
        }
        // An estimate was never true; and what follows within a minute is one change, unless an hour that this row counts
        // for has begun: what is taken over from another snapshot counts there for that hour already.
        let corrects = exact && !self.exact;
        let is_one = now_ms < self.from_ms.saturating_add(MINUTE_MS) && self.first_hour > hour_of(now_ms);
        if corrects || is_one {
            (self.bytes, self.exact) = (bytes, exact);
            return self.save(t);
        }
        self.end(t, now_ms)?;
        let next = UsageRow {
            id: next_number(t, "snapshot_usage")?,
            bytes,
            exact,
            first_hour: next_hour(now_ms).max(self.first_hour),
            from_ms: now_ms,
            until_ms: None,
            ..self.clone()
        };
        next.insert(t)
    }

    fn end(&mut self, t: &mut dyn Transaction, now_ms: i64) -> Result<(), StoreError> {
        self.until_ms = Some(now_ms.max(self.from_ms));
        self.save(t)
    }
}

/// The row that says what a snapshot takes now.
pub(crate) fn open(t: &mut dyn Transaction, snapshot: &str) -> Result<Option<UsageRow>, StoreError> {
    let rest = "WHERE snapshot_id = $1 AND until_ms IS NULL";
    Ok(UsageRow::select(t, rest, &[snapshot.into()])?.pop())
}

/// A snapshot is there from now on, with what its capture stored.
pub(crate) fn begin(t: &mut dyn Transaction, snapshot: &SnapshotRow, now_ms: i64) -> Result<(), StoreError> {
    if open(t, &snapshot.id)?.is_some() {
        return Ok(());
    }
    // One that is back within the hour in which it was deleted has that hour already.
    let last = "SELECT COALESCE(MAX(until_ms), 0) FROM snapshot_usage WHERE snapshot_id = $1";
    let last = t
        .query_one(last, &[(&snapshot.id).into()])?
        .map_or(Ok(0), |row| row.integer(0))?;
    let row = UsageRow {
        id: next_number(t, "snapshot_usage")?,
        account: snapshot.account.clone(),
        region: snapshot.region.clone(),
        snapshot_id: snapshot.id.clone(),
        link_id: snapshot.link_id.clone(),
        source_disk_id: snapshot.source_disk_id.clone(),
        category: snapshot.category.clone(),
        bytes: snapshot.stored_bytes,
        exact: false,
        first_hour: hour_of(now_ms).max(next_hour(last)),
        from_ms: now_ms,
        until_ms: None,
    };
    row.insert(t)?;
    want(t)
}

/// A snapshot goes now. What it took goes over to the next one of its chain, or the one before, until the vault is asked.
pub(crate) fn end(t: &mut dyn Transaction, snapshot: &SnapshotRow, now_ms: i64) -> Result<(), StoreError> {
    let Some(mut row) = open(t, &snapshot.id)? else {
        return Ok(());
    };
    row.end(t, now_ms)?;
    let neighbours = |sign: &str, order: &str| {
        format!(
            "WHERE until_ms IS NULL AND link_id = $1 AND snapshot_id = (SELECT id FROM snapshots \
             WHERE link_id = $1 AND ordinal {sign} $2 AND status = $3 ORDER BY ordinal {order} LIMIT 1)"
        )
    };
    let accomplished: Value = SnapshotStatus::Accomplished.word().into();
    for rest in [neighbours(">", "ASC"), neighbours("<", "DESC")] {
        let values = [
            (&snapshot.link_id).into(),
            snapshot.ordinal.into(),
            accomplished.clone(),
        ];
        if let Some(mut heir) = UsageRow::select(t, &rest, &values)?.pop() {
            let bytes = heir.bytes.saturating_add(row.bytes);
            heir.change(t, bytes, false, now_ms)?;
            break;
        }
    }
    want(t)
}

/// What a vault says that snapshots take, by region and id. `settled`: nothing has changed since it was asked.
pub(crate) fn correct(
    t: &mut dyn Transaction,
    bytes: &BTreeMap<(String, String), i64>,
    settled: bool,
    now_ms: i64,
) -> Result<(), StoreError> {
    for mut row in UsageRow::select(t, "WHERE until_ms IS NULL", &[])? {
        if let Some(bytes) = bytes.get(&(row.region.clone(), row.snapshot_id.clone())) {
            row.change(t, *bytes, settled, now_ms)?;
        }
    }
    Ok(())
}

/// Ids of the snapshots that came or went by another way: where rows and snapshots do not agree, in the order in which
/// they came.
pub(crate) fn astray(t: &mut dyn Transaction) -> Result<Vec<String>, StoreError> {
    let accomplished: Value = SnapshotStatus::Accomplished.word().into();
    let new = "SELECT id FROM snapshots WHERE status = $1 AND NOT EXISTS (SELECT 1 FROM snapshot_usage \
               WHERE snapshot_usage.snapshot_id = snapshots.id AND snapshot_usage.until_ms IS NULL) ORDER BY ordinal";
    let gone = "SELECT snapshot_id FROM snapshot_usage WHERE until_ms IS NULL AND NOT EXISTS (SELECT 1 FROM snapshots \
                WHERE snapshots.id = snapshot_usage.snapshot_id AND snapshots.status = $1)";
    let mut rows = t.query(new, std::slice::from_ref(&accomplished))?;
    rows.extend(t.query(gone, &[accomplished])?);
    rows.iter().map(|row| row.text(0)).collect()
}

/// Brings the row of a snapshot in line with whether there is the snapshot.
pub(crate) fn reconcile(t: &mut dyn Transaction, snapshot: &str, now_ms: i64) -> Result<(), StoreError> {
    let there = SnapshotRow::get(t, snapshot)?.filter(|row| row.status == SnapshotStatus::Accomplished);
    match (there, open(t, snapshot)?) {
        (Some(snapshot), None) => begin(t, &snapshot, now_ms),
        (None, Some(mut row)) => {
            row.end(t, now_ms)?;
            want(t)
        }
        (Some(_), Some(_)) | (None, None) => Ok(()),
    }
}

/// Forgets stretches that ended before a time.
pub(crate) fn sweep(t: &mut dyn Transaction, before_ms: i64) -> Result<u64, StoreError> {
    t.execute(
        "DELETE FROM snapshot_usage WHERE until_ms < $1",
        &[before_ms.into()],
    )
}

/// The vault has to be asked.
pub(crate) fn want(t: &mut dyn Transaction) -> Result<(), StoreError> {
    next_number(t, WANTED).map(drop)
}

/// How many changes there were, if the vault has not been asked about all of them.
pub(crate) fn wanted(t: &mut dyn Transaction) -> Result<Option<i64>, StoreError> {
    let mut number = |name: &str| -> Result<i64, StoreError> {
        let row = t.query_one("SELECT value FROM counters WHERE name = $1", &[name.into()])?;
        row.map_or(Ok(0), |row| row.integer(0))
    };
    let (wanted, known) = (number(WANTED)?, number(KNOWN)?);
    Ok((wanted > known).then_some(wanted))
}

/// The vault was asked when there had been so many changes.
pub(crate) fn known(t: &mut dyn Transaction, wanted: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO counters (name, value) VALUES ($1, $2) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    t.execute(sql, &[KNOWN.into(), wanted.into()]).map(drop)
}
