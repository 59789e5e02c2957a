//! The image (ecs-api.md 3.6).

use super::{Tag, list};
use serde::Serialize;

/// One row of DescribeImages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Image {
    pub image_id: String,
    pub image_name: String,
    pub image_family: String,
    pub image_version: String,
    pub description: String,
    pub resource_group_id: String,
    /// `Creating`, `Available`, `CreateFailed`, `Deprecated`.
    pub status: String,
    /// With percent sign.
    pub progress: String,
    /// GiB of the system disk; an integer here, a string in the mappings.
    pub size: u64,
    /// `system`, `self`, `others`.
    pub image_owner_alias: String,
    pub image_owner_id: i64,
    /// `linux`, `windows`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    #[serde(rename = "OSName")]
    pub os_name: String,
    #[serde(rename = "OSNameEn")]
    pub os_name_en: String,
    pub platform: String,
    /// `x86_64`, `i386`, `arm64`.
    pub architecture: String,
    /// `BIOS`, `UEFI`, `UEFI-Preferred`.
    pub boot_mode: String,
    /// `instance`, `none`.
    pub usage: String,
    #[serde(with = "list::disk_device_mapping")]
    pub disk_device_mappings: Vec<DiskDeviceMapping>,
    pub is_support_io_optimized: bool,
    pub is_support_cloudinit: bool,
    pub is_subscribed: bool,
    pub is_copied: bool,
    pub is_public: bool,
    /// `""`, `True`, `False`.
    pub is_self_shared: String,
    pub login_as_non_root_supported: bool,
    pub features: ImageFeatures,
    pub product_code: String,
    /// An instance can be made of it now.
    pub usable: bool,
    pub license_type: String,
    pub supplier_name: String,
    /// Seconds format.
    pub creation_time: String,
    #[serde(with = "list::tag")]
    pub tags: Vec<Tag>,
}

/// A disk of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct DiskDeviceMapping {
    /// `system`, `data`.
    #[serde(rename = "Type")]
    pub disk_type: String,
    pub device: String,
    pub snapshot_id: String,
    /// GiB, as text.
    pub size: String,
    pub format: String,
    pub progress: String,
    /// Seconds.
    pub remain_time: i64,
    pub encrypted: bool,
    #[serde(rename = "ImportOSSBucket")]
    pub import_oss_bucket: String,
    #[serde(rename = "ImportOSSObject")]
    pub import_oss_object: String,
}

/// What the system of an image can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageFeatures {
    /// `supported`, `unsupported`.
    pub nvme_support: String,
    /// `v1`, `v2`.
    pub imds_support: String,
}

/// Whom an image is shared with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageShare {
    /// The account.
    pub aliyun_id: String,
    /// Seconds format.
    pub shared_time: String,
}
