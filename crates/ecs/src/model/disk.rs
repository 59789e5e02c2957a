//! The disk (ecs-api.md 3.4).

use super::{Tag, list};
use serde::Serialize;

/// One row of DescribeDisks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Disk {
    pub disk_id: String,
    pub disk_name: String,
    pub description: String,
    pub region_id: String,
    pub zone_id: String,
    pub resource_group_id: String,
    /// `system` or `data`.
    #[serde(rename = "Type")]
    pub disk_type: String,
    pub category: String,
    /// Only for cloud_essd, else empty.
    pub performance_level: String,
    /// GiB.
    pub size: u64,
    /// `Creating`, `Available`, `Attaching`, `In_use`, `Detaching`, `ReIniting`.
    pub status: String,
    /// Set in In_use and Detaching only.
    pub instance_id: String,
    /// `/dev/xvd?`, set together with the instance.
    pub device: String,
    #[serde(with = "list::attachment")]
    pub attachments: Vec<Attachment>,
    #[serde(with = "list::mount_instance")]
    pub mount_instances: Vec<Attachment>,
    pub mount_instance_num: i64,
    /// Seconds format, set while attached.
    pub attached_time: String,
    pub detached_time: String,
    pub creation_time: String,
    /// Minutes format; [`crate::time::NEVER_EXPIRES`].
    pub expired_time: String,
    pub delete_with_instance: bool,
    pub delete_auto_snapshot: bool,
    pub enable_auto_snapshot: bool,
    pub enable_automated_snapshot_policy: bool,
    pub auto_snapshot_policy_id: String,
    pub portable: bool,
    /// The snapshot it was made from; kept for life.
    pub source_snapshot_id: String,
    pub source_disk_id: String,
    pub image_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_source: Option<DataSource>,
    pub encrypted: bool,
    #[serde(rename = "KMSKeyId")]
    pub kms_key_id: String,
    /// Always `PostPaid`.
    pub disk_charge_type: String,
    #[serde(with = "list::operation_lock")]
    pub operation_locks: Vec<DiskLock>,
    /// `Disabled`, `Enabled`, `LegacyShared`.
    pub multi_attach: String,
    /// Performance figures: only with AdditionalAttributes.N=IOPS.
    #[serde(rename = "IOPS", skip_serializing_if = "Option::is_none")]
    pub iops: Option<i64>,
    #[serde(rename = "IOPSRead", skip_serializing_if = "Option::is_none")]
    pub iops_read: Option<i64>,
    #[serde(rename = "IOPSWrite", skip_serializing_if = "Option::is_none")]
    pub iops_write: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_read: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_write: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned_iops: Option<i64>,
    pub bursting_enabled: bool,
    /// [`crate::id::disk_serial`].
    pub serial_number: String,
    pub storage_set_id: String,
    pub storage_set_partition_number: i64,
    pub storage_cluster_id: String,
    pub bdf_id: String,
    pub product_code: String,
    #[serde(with = "list::tag")]
    pub tags: Vec<Tag>,
}

/// Where a disk is attached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Attachment {
    pub instance_id: String,
    pub device: String,
    /// Seconds format.
    pub attached_time: String,
}

/// Why a disk is locked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskLock {
    /// `security`, …
    pub lock_reason: String,
}

/// What a disk's content came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct DataSource {
    pub id: String,
    #[serde(rename = "Type")]
    pub source_type: String,
}
