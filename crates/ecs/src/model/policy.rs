//! Automatic snapshot policies (ecs-api.md 3.3), and where they are applied.

use super::{Tag, list};
use serde::Serialize;

/// One row of DescribeAutoSnapshotPolicyEx. Its three lists are texts that hold JSON arrays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AutoSnapshotPolicy {
    pub auto_snapshot_policy_id: String,
    pub auto_snapshot_policy_name: String,
    pub region_id: String,
    pub resource_group_id: String,
    /// Hours in UTC+8, `["0","12"]`.
    pub time_points: String,
    /// 1 is Monday, `["1","7"]`.
    pub repeat_weekdays: String,
    /// -1: for ever.
    pub retention_days: i64,
    /// Always `Normal`: nothing is unpaid here.
    pub status: String,
    /// Always `Custom`.
    #[serde(rename = "Type")]
    pub policy_type: String,
    /// How many disks it is applied to.
    pub disk_nums: u64,
    pub volume_nums: u64,
    /// Seconds format.
    pub creation_time: String,
    pub enable_cross_region_copy: bool,
    /// `["cn-beijing"]`, or empty.
    pub target_copy_regions: String,
    /// -1: for ever.
    pub copied_snapshots_retention_days: i64,
    pub copy_encryption_configuration: CopyEncryption,
    /// Always `AssociatedWithDisk`.
    pub association_type: String,
    #[serde(with = "list::target_tag")]
    pub target_tags: Vec<Tag>,
    #[serde(with = "list::tag")]
    pub tags: Vec<Tag>,
}

/// What a policy's copies are encrypted with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CopyEncryption {
    /// Whether they are.
    pub encrypted: bool,
    /// Always empty: there is no key service.
    #[serde(rename = "KMSKeyId")]
    pub kms_key_id: String,
}

/// One row of DescribeAutoSnapshotPolicyAssociations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AutoSnapshotPolicyAssociation {
    pub auto_snapshot_policy_id: String,
    pub disk_id: String,
}
