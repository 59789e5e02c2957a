//! Snapshots, and the chains (links) that they form.

use super::{next_number, record};
use crate::catalogue::disks::DiskKind;
use crate::states::{SNAPSHOT, SnapshotCause, SnapshotStatus};
use crate::store::{StoreError, Transaction};
use crate::words::words;

words! {
    /// Who made a snapshot.
    SnapshotType {
        /// CreateSnapshot.
        User = "user",
        /// A policy.
        Timer = "timer",
    }
}

record! {
    /// A snapshot.
    SnapshotRow = "snapshots" {
        id: String,
        ordinal: i64,
        account: String,
        name: String,
        description: String,
        status: SnapshotStatus,
        /// The node has answered that the mark is durable.
        marked: bool,
        /// The highest progress that was seen.
        percent: i64,
        /// Why it failed.
        failure: String,
        link_id: String,
        source_disk_id: String,
        source_disk_kind: DiskKind,
        source_disk_size_gib: i64,
        snapshot_type: SnapshotType,
        category: String,
        resource_group: String,
        retention_days: Option<i64>,
        instant_access: bool,
        instant_access_days: Option<i64>,
        full_bytes: i64,
        stored_bytes: i64,
        created_ms: i64,
        modified_ms: i64,
        expires_ms: Option<i64>,
        /// As its disk.
        encrypted: bool,
    }
}

impl SnapshotRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "snapshot")
    }

    /// Does one transition of the table and writes the row; `false`: the snapshot is gone now.
    pub(crate) fn step(&mut self, t: &mut dyn Transaction, by: SnapshotCause) -> Result<bool, StoreError> {
        match SNAPSHOT.next(self.status, by)? {
            Some(status) => {
                self.status = status;
                self.save(t)?;
                Ok(true)
            }
            None => {
                self.remove(t)?;
                t.execute(
                    "DELETE FROM policy_runs WHERE snapshot_id = $1",
                    &[(&self.id).into()],
                )?;
                let sql = "DELETE FROM links WHERE id = $1 \
                           AND NOT EXISTS (SELECT 1 FROM snapshots WHERE snapshots.link_id = $1)";
                t.execute(sql, &[(&self.link_id).into()])?;
                Ok(false)
            }
        }
    }
}

/// Takes a number for a row that had it before; `false`: another row has it. Numbers made later are larger.
pub(crate) fn take_ordinal(t: &mut dyn Transaction, ordinal: i64) -> Result<bool, StoreError> {
    let taken = t.query_one("SELECT 1 FROM snapshots WHERE ordinal = $1", &[ordinal.into()])?;
    if taken.is_some() {
        return Ok(false);
    }
    let sql = "INSERT INTO counters (name, value) VALUES ('snapshot', $1) ON CONFLICT (name) DO UPDATE \
               SET value = CASE WHEN counters.value < excluded.value THEN excluded.value ELSE counters.value END";
    t.execute(sql, &[ordinal.into()]).map(|_| true)
}

/// Whether a chain has this id.
pub(crate) fn is_link(t: &mut dyn Transaction, id: &str) -> Result<bool, StoreError> {
    Ok(t.query_one("SELECT 1 FROM links WHERE id = $1", &[id.into()])?
        .is_some())
}

/// How many of a disk's snapshots are of a type and listed.
pub(crate) fn count(t: &mut dyn Transaction, disk_id: &str, kind: SnapshotType) -> Result<u64, StoreError> {
    let sql =
        "SELECT COUNT(*) FROM snapshots WHERE source_disk_id = $1 AND snapshot_type = $2 AND status <> $3";
    let deleting = SnapshotStatus::Deleting.word().into();
    let row = t.query_one(sql, &[disk_id.into(), kind.word().into(), deleting])?;
    Ok(row.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs())
}

/// A disk's snapshots in creation.
pub(crate) fn progressing(t: &mut dyn Transaction, disk_id: &str) -> Result<Vec<SnapshotRow>, StoreError> {
    let state = SnapshotStatus::Progressing.word().into();
    SnapshotRow::select(
        t,
        "WHERE source_disk_id = $1 AND status = $2 ORDER BY ordinal",
        &[disk_id.into(), state],
    )
}

/// The id of a disk's chain, which begins now if there is none.
pub(crate) fn link(t: &mut dyn Transaction, disk_id: &str, fresh: &str) -> Result<String, StoreError> {
    let sql =
        "INSERT INTO links (id, source_disk_id) VALUES ($1, $2) ON CONFLICT (source_disk_id) DO NOTHING";
    t.execute(sql, &[fresh.into(), disk_id.into()])?;
    let row = t.query_one(
        "SELECT id FROM links WHERE source_disk_id = $1",
        &[disk_id.into()],
    )?;
    row.map_or(Ok(fresh.to_owned()), |row| row.text(0))
}
