//! The retention lock of a snapshot (ecs-api.md 3.1, Lock).

use serde::{Deserialize, Serialize};

/// A lock as LockSnapshot and DescribeLockedSnapshots show it. Times in seconds format; `""`: not yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct LockedSnapshot {
    pub snapshot_id: String,
    /// Always `compliance`.
    pub lock_mode: String,
    /// `compliance-cooloff`, `compliance`, `expired`.
    pub lock_status: String,
    /// Days.
    pub lock_duration: i64,
    pub lock_creation_time: String,
    /// When the days begin to count; `""` while the snapshot is in creation.
    pub lock_duration_start_time: String,
    pub lock_expired_time: String,
    /// Hours.
    pub cool_off_period: i64,
    /// `""` without a cool-off period.
    pub cool_off_period_expired_time: String,
}
