//! Retention locks of snapshots: rows, and the state that follows from their times (ecs-api.md 3.1).
//!
//! Nothing has to happen for a lock to begin to bind or to end: its status is a question of the time. Not here: who may
//! change a lock how (`actions`).

use super::record;
use crate::clock::DAY_MS;
use crate::store::{StoreError, Transaction};
use crate::words::words;

words! {
    /// Whether a lock binds.
    LockStatus {
        /// It can still be taken off or changed.
        CoolOff = "compliance-cooloff",
        /// It can only be made longer.
        Compliance = "compliance",
        /// It is over.
        Expired = "expired",
    }
}

record! {
    /// A snapshot's lock.
    LockRow = "snapshot_locks" {
        snapshot_id: String,
        account: String,
        duration_days: i64,
        cool_off_hours: i64,
        /// When it was put on first.
        created_ms: i64,
        /// From then on it can only be made longer.
        cool_off_ends_ms: i64,
        /// When its days began to count; they do once the snapshot is accomplished.
        starts_ms: Option<i64>,
        expires_ms: Option<i64>,
    }
}

impl LockRow {
    /// As it is at a time.
    pub(crate) fn status(&self, now_ms: i64) -> LockStatus {
        if self.expires_ms.is_some_and(|end| end <= now_ms) {
            LockStatus::Expired
        } else if now_ms < self.cool_off_ends_ms {
            LockStatus::CoolOff
        } else {
            LockStatus::Compliance
        }
    }

    /// The condition on a snapshot's row for a lock of this status, in which every `?` stands for the time.
    pub(crate) fn condition(status: LockStatus) -> &'static str {
        match status {
            LockStatus::CoolOff => {
                "EXISTS (SELECT 1 FROM snapshot_locks WHERE snapshot_locks.snapshot_id = snapshots.id \
                 AND (snapshot_locks.expires_ms IS NULL OR snapshot_locks.expires_ms > ?) \
                 AND snapshot_locks.cool_off_ends_ms > ?)"
            }
            LockStatus::Compliance => {
                "EXISTS (SELECT 1 FROM snapshot_locks WHERE snapshot_locks.snapshot_id = snapshots.id \
                 AND (snapshot_locks.expires_ms IS NULL OR snapshot_locks.expires_ms > ?) \
                 AND snapshot_locks.cool_off_ends_ms <= ?)"
            }
            LockStatus::Expired => {
                "EXISTS (SELECT 1 FROM snapshot_locks WHERE snapshot_locks.snapshot_id = snapshots.id \
                 AND snapshot_locks.expires_ms <= ?)"
            }
        }
    }

    /// Its days count from `now_ms` on.
    pub(crate) fn start(&mut self, now_ms: i64) {
        self.starts_ms = Some(now_ms);
        self.expires_ms = Some(now_ms.saturating_add(self.duration_days.saturating_mul(DAY_MS)));
    }
}

/// The lock that keeps a snapshot from being deleted now.
pub(crate) fn binding(
    t: &mut dyn Transaction,
    snapshot: &str,
    now_ms: i64,
) -> Result<Option<LockRow>, StoreError> {
    let found = LockRow::get(t, snapshot)?;
    Ok(found.filter(|lock| lock.status(now_ms) != LockStatus::Expired))
}

/// The snapshot is accomplished: the days of its lock begin to count. Whether it has such a lock.
pub(crate) fn accomplished(t: &mut dyn Transaction, snapshot: &str, now_ms: i64) -> Result<bool, StoreError> {
    match LockRow::get(t, snapshot)? {
        Some(mut lock) if lock.starts_ms.is_none() => {
            lock.start(now_ms);
            lock.save(t)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// The snapshot goes, and an ended lock with it.
pub(crate) fn forget(t: &mut dyn Transaction, snapshot: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM snapshot_locks WHERE snapshot_id = $1";
    t.execute(sql, &[snapshot.into()]).map(drop)
}
