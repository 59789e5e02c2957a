//! Snapshots, and the chains (links) that they form.

use super::{groups, locks, next_number, record};
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
        /// Never changes.
        region: String,
        /// Of a copy: what it is a copy of, which may be gone; else `""`.
        source_snapshot_id: String,
        /// Of a copy: where that was; else `""`.
        source_region_id: String,
    }
}

impl SnapshotRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "snapshot")
    }

    /// Whether it is a copy: then no disk was marked for it, and it rolls none back.
    pub(crate) fn is_copy(&self) -> bool {
        !self.source_snapshot_id.is_empty()
    }

    /// Does one transition of the table and writes the row; `false`: the snapshot is gone now.
    pub(crate) fn step(&mut self, t: &mut dyn Transaction, by: SnapshotCause) -> Result<bool, StoreError> {
        let next = SNAPSHOT.next(self.status, by)?;
        if next.is_none_or(|status| status == SnapshotStatus::Deleting) {
            groups::leave(t, &self.id)?;
            locks::forget(t, &self.id)?;
        }
        // What failed has nothing that a lock could keep, and must not stay for its sake.
        if next == Some(SnapshotStatus::Failed) {
            locks::forget(t, &self.id)?;
        }
        match next {
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

/// How many of a disk's snapshots in a region, copies of some among them, are of a type and listed.
pub(crate) fn count(
    t: &mut dyn Transaction,
    disk_id: &str,
    region: &str,
    kind: SnapshotType,
) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM snapshots \
               WHERE source_disk_id = $1 AND region = $2 AND snapshot_type = $3 AND status <> $4";
    let deleting = SnapshotStatus::Deleting.word().into();
    let row = t.query_one(
        sql,
        &[disk_id.into(), region.into(), kind.word().into(), deleting],
    )?;
    Ok(row.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs())
}

/// A disk's snapshots in creation; copies take nothing from the disk and do not count.
pub(crate) fn progressing(t: &mut dyn Transaction, disk_id: &str) -> Result<Vec<SnapshotRow>, StoreError> {
    let state = SnapshotStatus::Progressing.word().into();
    SnapshotRow::select(
        t,
        "WHERE source_disk_id = $1 AND status = $2 AND source_region_id = '' ORDER BY ordinal",
        &[disk_id.into(), state],
    )
}

/// A copy of the snapshot into the region that is not done.
pub(crate) fn unfinished_copy(
    t: &mut dyn Transaction,
    source: &str,
    region: &str,
) -> Result<Option<String>, StoreError> {
    let sql =
        "SELECT id FROM snapshots WHERE source_snapshot_id = $1 AND region = $2 AND status = $3 LIMIT 1";
    let state = SnapshotStatus::Progressing.word().into();
    let row = t.query_one(sql, &[source.into(), region.into(), state])?;
    row.map(|row| row.text(0)).transpose()
}

/// How many copies of the snapshot into the region have failed, as far as they are still listed, and when the last one did.
pub(crate) fn failed_copies(
    t: &mut dyn Transaction,
    source: &str,
    region: &str,
) -> Result<(i64, i64), StoreError> {
    let sql = "SELECT COUNT(*), COALESCE(MAX(modified_ms), 0) FROM snapshots \
               WHERE source_snapshot_id = $1 AND region = $2 AND status = $3";
    let state = SnapshotStatus::Failed.word().into();
    let row = t.query_one(sql, &[source.into(), region.into(), state])?;
    row.map_or(Ok((0, 0)), |row| Ok((row.integer(0)?, row.integer(1)?)))
}

/// The id of a disk's chain in a region, which begins now if there is none.
pub(crate) fn link(
    t: &mut dyn Transaction,
    disk_id: &str,
    region: &str,
    fresh: &str,
) -> Result<String, StoreError> {
    let sql = "INSERT INTO links (id, source_disk_id, region) VALUES ($1, $2, $3) \
               ON CONFLICT (source_disk_id, region) DO NOTHING";
    t.execute(sql, &[fresh.into(), disk_id.into(), region.into()])?;
    let row = t.query_one(
        "SELECT id FROM links WHERE source_disk_id = $1 AND region = $2",
        &[disk_id.into(), region.into()],
    )?;
    row.map_or(Ok(fresh.to_owned()), |row| row.text(0))
}
