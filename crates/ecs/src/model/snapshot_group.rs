//! The snapshot-consistent group (ecs-api.md 3.2), and the per-item results of what is done to many at once (4.1, 4.2).

use super::{Tag, list};
use serde::{Deserialize, Serialize};

/// A tag as snapshot groups spell it: `Key` and `Value`, where all else says `TagKey` and `TagValue`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct GroupTag {
    pub key: String,
    pub value: String,
}

impl From<Tag> for GroupTag {
    fn from(tag: Tag) -> Self {
        Self {
            key: tag.key,
            value: tag.value,
        }
    }
}

/// One row of DescribeSnapshotGroups.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct SnapshotGroup {
    pub snapshot_group_id: String,
    pub name: String,
    pub description: String,
    /// `""` when its disks were those of several instances.
    pub instance_id: String,
    /// `progressing`, `accomplished`, `failed`.
    pub status: String,
    /// Seconds format; the instant of the marks.
    pub creation_time: String,
    pub progress_status: String,
    pub resource_group_id: String,
    #[serde(with = "list::snapshot")]
    pub snapshots: Vec<GroupMember>,
    #[serde(with = "list::tag")]
    pub tags: Vec<GroupTag>,
}

/// A snapshot of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct GroupMember {
    pub snapshot_id: String,
    pub source_disk_id: String,
    /// `system` or `data`.
    pub source_disk_type: String,
    /// `0%` to `100%`.
    pub progress: String,
    pub instant_access: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instant_access_retention_days: Option<i64>,
    /// Can be used now to make or roll back a disk.
    pub available: bool,
    #[serde(with = "list::tag")]
    pub tags: Vec<GroupTag>,
}

/// What became of one item of a request about several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct OperationProgress {
    /// `Success` or `Failed`.
    pub operation_status: String,
    /// `""` on success.
    pub error_code: String,
    /// `""` on success.
    pub error_msg: String,
    #[serde(with = "list::related_item")]
    pub related_item_set: Vec<RelatedItem>,
}

/// What an [`OperationProgress`] is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct RelatedItem {
    /// `SnapshotId` or `DiskId`.
    pub name: String,
    pub value: String,
}

impl OperationProgress {
    /// It went well, or it did not and this is why; about these (name, value) pairs.
    pub fn new(outcome: Result<(), &crate::ApiError>, about: &[(&str, &str)]) -> Self {
        let (status, code, message) = match outcome {
            Ok(()) => ("Success", String::new(), String::new()),
            Err(error) => ("Failed", error.code.to_string(), error.message.clone()),
        };
        let item = |(name, value): &(&str, &str)| RelatedItem {
            name: (*name).into(),
            value: (*value).into(),
        };
        Self {
            operation_status: status.into(),
            error_code: code,
            error_msg: message,
            related_item_set: about.iter().map(item).collect(),
        }
    }
}
