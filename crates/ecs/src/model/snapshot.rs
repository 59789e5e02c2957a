//! The snapshot (ecs-api.md 3.1).

use super::{Tag, list};
use serde::{Serialize, Serializer};

/// One row of DescribeSnapshots.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Snapshot {
    pub snapshot_id: String,
    pub snapshot_name: String,
    pub description: String,
    /// `progressing`, `accomplished`, `failed`.
    pub status: String,
    /// `0%` to `100%`; `100%` exactly when accomplished.
    pub progress: String,
    /// Estimated seconds left; 0 when done.
    pub remain_time: i64,
    /// Can be used now to make or roll back a disk.
    pub available: bool,
    pub source_disk_id: String,
    /// GiB at the instant of the snapshot; a string on the wire.
    #[serde(serialize_with = "as_text")]
    pub source_disk_size: u64,
    /// `system` or `data`.
    pub source_disk_type: String,
    /// Always `disk`.
    pub source_storage_type: String,
    /// `user` or `timer`.
    pub snapshot_type: String,
    /// `none`, `image`, `disk`, `image_disk`.
    pub usage: String,
    /// Seconds format; the instant of the mark.
    pub creation_time: String,
    /// Seconds format.
    pub last_modified_time: String,
    /// Counts from CreationTime; left out when kept for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<i64>,
    /// Lower case, `standard`.
    pub category: String,
    pub encrypted: bool,
    #[serde(rename = "KMSKeyId")]
    pub kms_key_id: String,
    pub instant_access: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instant_access_retention_days: Option<i64>,
    pub snapshot_link_id: String,
    /// The snapshot-consistent group that it is part of; left out otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snapshot_group_id: String,
    /// For copies: where it came from.
    pub source_snapshot_id: String,
    pub source_region_id: String,
    pub region_id: String,
    pub resource_group_id: String,
    pub product_code: String,
    #[serde(rename = "SnapshotSN")]
    pub snapshot_sn: String,
    /// What the snapshot would take if it were full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_snapshot_size_in_bytes: Option<u64>,
    #[serde(with = "list::tag")]
    pub tags: Vec<Tag>,
}

fn as_text<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}
