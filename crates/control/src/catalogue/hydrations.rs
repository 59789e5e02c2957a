//! Which disks may still need which snapshot's data: made from it, or rolled back to it, and not
//! known to be complete. A snapshot is not taken from the vault while one is here.

use super::next_number;
use crate::store::{StoreError, Transaction};

/// A disk that may still be filling from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hydration {
    pub(crate) disk_id: String,
    pub(crate) snapshot_id: String,
    /// Names this very beginning: a later one of the same pair has another.
    pub(crate) ordinal: i64,
}

/// Notes that a disk is about to be filled from a snapshot.
pub(crate) fn begin(t: &mut dyn Transaction, disk_id: &str, snapshot_id: &str) -> Result<(), StoreError> {
    let ordinal = next_number(t, "hydration")?;
    let sql = "INSERT INTO hydrations (disk_id, snapshot_id, ordinal) VALUES ($1, $2, $3) \
               ON CONFLICT (disk_id, snapshot_id) DO UPDATE SET ordinal = excluded.ordinal";
    t.execute(sql, &[disk_id.into(), snapshot_id.into(), ordinal.into()])
        .map(drop)
}

/// Those of a snapshot.
pub(crate) fn of_snapshot(t: &mut dyn Transaction, snapshot_id: &str) -> Result<Vec<Hydration>, StoreError> {
    let sql = "SELECT disk_id, snapshot_id, ordinal FROM hydrations WHERE snapshot_id = $1";
    let read = |row: &crate::store::Row| {
        Ok(Hydration {
            disk_id: row.text(0)?,
            snapshot_id: row.text(1)?,
            ordinal: row.integer(2)?,
        })
    };
    t.query(sql, &[snapshot_id.into()])?.iter().map(read).collect()
}

/// This one is complete, and nothing newer of the pair.
pub(crate) fn end(t: &mut dyn Transaction, done: &Hydration) -> Result<(), StoreError> {
    t.execute(
        "DELETE FROM hydrations WHERE ordinal = $1",
        &[done.ordinal.into()],
    )
    .map(drop)
}

/// The disk is gone.
pub(crate) fn forget_disk(t: &mut dyn Transaction, disk_id: &str) -> Result<(), StoreError> {
    t.execute("DELETE FROM hydrations WHERE disk_id = $1", &[disk_id.into()])
        .map(drop)
}
