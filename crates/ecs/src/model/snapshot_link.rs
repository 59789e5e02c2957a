//! The snapshot chain (ecs-api.md 3.5), and points of the curve of all chains.

use serde::Serialize;

/// One row of DescribeSnapshotLinks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct SnapshotLink {
    pub snapshot_link_id: String,
    pub source_disk_id: String,
    /// `""` once the disk is gone.
    pub source_disk_name: String,
    /// GiB; an integer here.
    pub source_disk_size: u64,
    /// `system` or `data`.
    pub source_disk_type: String,
    /// The instance that the disk is attached to now.
    pub instance_id: String,
    pub instance_name: String,
    pub region_id: String,
    pub category: String,
    /// Whether any of its snapshots was asked to have it.
    pub instant_access: bool,
    /// Snapshots.
    pub total_count: u64,
    /// Bytes that are stored for the chain.
    pub total_size: u64,
}

/// One point of DescribeSnapshotMonitorData.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct DataPoint {
    pub time_stamp: String,
    /// Bytes of all snapshots of the region.
    pub size: u64,
}
