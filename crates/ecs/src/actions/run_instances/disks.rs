//! The disks of new instances: `SystemDisk.*` and `DataDisk.N.*`, with RunInstances' own codes.

use crate::actions::{attach_disk, create_disk};
use crate::rules::{Category, category, disk, text};
use crate::{ApiError, Params};
use serde::Serialize;

/// The disk an instance boots from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct SystemDisk {
    /// GiB; default: the larger of 40 and the image.
    pub size: Option<u64>,
    pub category: String,
    pub performance_level: Option<String>,
    pub disk_name: Option<String>,
    pub description: Option<String>,
    pub auto_snapshot_policy_id: Option<String>,
    /// `None`: as the snapshot is, if there is one. Left out then, so that a token from before there was a choice fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Of cloud_auto only. Left out when absent, so that an older token fits, as the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned_iops: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bursting_enabled: bool,
}

/// A further disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct DataDisk {
    /// GiB; may only be absent when there is a snapshot, or a device that the image may have a disk for.
    pub size: Option<u64>,
    pub snapshot_id: Option<String>,
    pub category: String,
    pub performance_level: Option<String>,
    pub disk_name: Option<String>,
    pub description: Option<String>,
    /// `/dev/xvdb` to `/dev/xvdz`.
    pub device: Option<String>,
    pub delete_with_instance: bool,
    pub auto_snapshot_policy_id: Option<String>,
    /// `None`: as the snapshot is, if there is one. Left out then, so that a token from before there was a choice fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Of cloud_auto only. Left out when absent, so that an older token fits, as the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned_iops: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bursting_enabled: bool,
}

/// Most data disks of one instance.
const MOST: usize = 16;

impl SystemDisk {
    /// `params` are the members of `SystemDisk`.
    pub(super) fn parse(params: &Params) -> Result<Self, ApiError> {
        let category = wanted(params, "InvalidSystemDiskCategory.ValueNotSupported")?;
        let performance_level = level(params, &category)?;
        let code = "InvalidSystemDiskSize.ValueNotSupported";
        let allowed = category.system_sizes(performance_level.as_deref());
        let size = match params.integer_or("Size", 400, code)? {
            None => None,
            Some(size) => match u64::try_from(size) {
                Ok(size) if allowed.contains(&size) => Some(size),
                Ok(size) if size < *allowed.start() => {
                    return Err(refused(
                        params,
                        404,
                        "InvalidSystemDiskSize.LessThanMinSize",
                        size,
                        &allowed,
                    ));
                }
                _ => return Err(refused(params, 400, code, size, &allowed)),
            },
        };
        Ok(Self {
            size,
            category: category.name.to_owned(),
            performance_level,
            disk_name: text::name(params, "DiskName", (400, "InvalidDiskName.Malformed"))?,
            description: text::description(params, "Description", (400, "InvalidDiskDescription.Malformed"))?,
            auto_snapshot_policy_id: params.text("AutoSnapshotPolicyId"),
            encrypted: disk::encrypted(params)?,
            provisioned_iops: create_disk::provisioned_iops(params, &category)?,
            bursting_enabled: create_disk::bursting(params, &category)?,
        })
    }
}

/// All `DataDisk.N`, in order.
pub(super) fn data_disks(params: &Params) -> Result<Vec<DataDisk>, ApiError> {
    let items = params.structs("DataDisk")?;
    if items.len() > MOST {
        return Err(ApiError::new(
            400,
            "InstanceDiskNumber.LimitExceed",
            format!("{} data disks are given, where {MOST} are allowed.", items.len()),
        ));
    }
    let mut disks: Vec<DataDisk> = Vec::with_capacity(items.len());
    for item in &items {
        let disk = DataDisk::parse(item)?;
        if let Some(device) = &disk.device
            && disks.iter().any(|other| other.device.as_ref() == Some(device))
        {
            return Err(ApiError::new(
                403,
                "InvalidDevice.InUse",
                format!("The device {device} is given twice."),
            ));
        }
        disks.push(disk);
    }
    Ok(disks)
}

impl DataDisk {
    fn parse(params: &Params) -> Result<Self, ApiError> {
        let category = wanted(params, "InvalidDataDiskCategory.ValueNotSupported")?;
        let performance_level = level(params, &category)?;
        let snapshot_id = params.text("SnapshotId");
        let device = attach_disk::device(params, "Device", "InvalidDataDevice.Malformed")?;
        let code = "InvalidDataDiskSize.ValueNotSupported";
        let sizes = category.data_sizes(performance_level.as_deref());
        // With a snapshot the size may still grow, so only the ceiling is certain here.
        let allowed = if snapshot_id.is_some() {
            1..=*sizes.end()
        } else {
            sizes
        };
        let size = match params.integer_or("Size", 400, code)? {
            None if snapshot_id.is_none() && device.is_none() => {
                return Err(ApiError::missing_parameter(&params.full_name("Size")));
            }
            None => None,
            Some(size) => match u64::try_from(size) {
                Ok(size) if allowed.contains(&size) => Some(size),
                _ => return Err(refused(params, 400, code, size, &allowed)),
            },
        };
        Ok(Self {
            size,
            snapshot_id,
            category: category.name.to_owned(),
            performance_level,
            disk_name: text::name(params, "DiskName", (400, "InvalidDiskName.Malformed"))?,
            description: text::description(params, "Description", (400, "InvalidDiskDescription.Malformed"))?,
            device,
            delete_with_instance: params.boolean("DeleteWithInstance")?.unwrap_or(true),
            auto_snapshot_policy_id: params.text("AutoSnapshotPolicyId"),
            encrypted: disk::encrypted(params)?,
            provisioned_iops: create_disk::provisioned_iops(params, &category)?,
            bursting_enabled: create_disk::bursting(params, &category)?,
        })
    }
}

fn refused(
    params: &Params,
    status: u16,
    code: &'static str,
    size: impl std::fmt::Display,
    allowed: &std::ops::RangeInclusive<u64>,
) -> ApiError {
    ApiError::new(
        status,
        code,
        format!(
            "The parameter \"{}\" is not valid: {size} GiB is not within {} to {} GiB.",
            params.full_name("Size"),
            allowed.start(),
            allowed.end()
        ),
    )
}

fn wanted(params: &Params, code: &'static str) -> Result<Category, ApiError> {
    let name = params.get("Category").unwrap_or("cloud_efficiency");
    category(name).ok_or_else(|| {
        ApiError::new(
            400,
            code,
            format!(
                "The parameter \"{}\" is not valid: {name:?} is not offered.",
                params.full_name("Category")
            ),
        )
    })
}

fn level(params: &Params, category: &Category) -> Result<Option<String>, ApiError> {
    let given = params.word(
        "PerformanceLevel",
        &disk::PERFORMANCE_LEVELS.map(|(level, _)| level),
        400,
        "InvalidPerformanceLevel.Malformed",
    )?;
    Ok(category
        .has_performance_levels()
        .then(|| given.unwrap_or_else(|| "PL1".to_owned())))
}

#[cfg(test)]
mod tests {
    use crate::actions::{check, run_instances::Request};

    const BASE: &str = "RegionId=r&ImageId=m-1&InstanceType=ecs.g6.large";

    #[test]
    fn sizes_defaults_and_devices() {
        let query = format!(
            "{BASE}&SystemDisk.Size=40&SystemDisk.Category=cloud_essd&DataDisk.1.Size=20&DataDisk.1.Device=/dev/xvdb&DataDisk.1.Encrypted=true&DataDisk.3.SnapshotId=s-1&DataDisk.3.DeleteWithInstance=false"
        );
        let request = Request::parse(&check::params(&query)).expect("valid");
        assert_eq!(
            (
                request.system_disk.size,
                request.system_disk.performance_level.as_deref()
            ),
            (Some(40), Some("PL1"))
        );
        assert_eq!(request.data_disks.len(), 2);
        let encrypted: Vec<_> = request.data_disks.iter().map(|disk| disk.encrypted).collect();
        assert_eq!(
            (request.system_disk.encrypted, encrypted),
            (None, vec![Some(true), None])
        );
        assert!(request.data_disks[0].delete_with_instance && !request.data_disks[1].delete_with_instance);
        assert_eq!(
            (
                request.data_disks[1].size,
                request.data_disks[1].snapshot_id.as_deref()
            ),
            (None, Some("s-1"))
        );
    }

    #[test]
    fn a_disk_that_the_image_may_have_needs_no_size() {
        let query = format!(
            "{BASE}&DataDisk.1.Device=/dev/xvdb&SystemDisk.Category=cloud_auto&SystemDisk.ProvisionedIops=500&SystemDisk.BurstingEnabled=true"
        );
        let request = Request::parse(&check::params(&query)).expect("valid");
        assert_eq!(request.data_disks[0].size, None);
        let system = &request.system_disk;
        assert_eq!(
            (system.provisioned_iops, system.bursting_enabled),
            (Some(500), true)
        );
        // What was not known before is not in what tokens were compared by.
        let text = serde_json::to_string(&request.data_disks).expect("json");
        assert!(!text.contains("iops") && !text.contains("bursting"), "{text}");
    }

    #[test]
    fn refusals() {
        let many: Vec<_> = (1..=17).map(|n| format!("DataDisk.{n}.Size=20")).collect();
        check::refusals(
            Request::parse,
            BASE,
            &[
                (
                    "SystemDisk.Category=floppy",
                    400,
                    "InvalidSystemDiskCategory.ValueNotSupported",
                ),
                (
                    "SystemDisk.Size=x",
                    400,
                    "InvalidSystemDiskSize.ValueNotSupported",
                ),
                ("SystemDisk.Size=19", 404, "InvalidSystemDiskSize.LessThanMinSize"),
                (
                    "SystemDisk.Size=2049",
                    400,
                    "InvalidSystemDiskSize.ValueNotSupported",
                ),
                ("SystemDisk.DiskName=1", 400, "InvalidDiskName.Malformed"),
                (
                    "SystemDisk.Description=1",
                    400,
                    "InvalidDiskDescription.Malformed",
                ),
                ("SystemDisk.Encrypted=1", 400, "InvalidParameter"),
                ("SystemDisk.KMSKeyId=k", 400, "InvalidParameter.EncryptedIllegal"),
                (
                    "DataDisk.1.Size=20&DataDisk.1.Encrypted=true&DataDisk.1.KMSKeyId=k",
                    404,
                    "InvalidParameter.KMSKeyId.NotFound",
                ),
                (
                    "SystemDisk.ProvisionedIops=500",
                    400,
                    "ProvisionedIopsForDiskCategoryUnsupported",
                ),
                (
                    "DataDisk.1.Size=20&DataDisk.1.BurstingEnabled=true",
                    400,
                    "BurstingEnabledForDiskCategoryUnsupported",
                ),
                ("DataDisk.1.Category=cloud", 400, "MissingParameter"),
                ("DataDisk.1.Size=19", 400, "InvalidDataDiskSize.ValueNotSupported"),
                ("DataDisk.1.Size=-1", 400, "InvalidDataDiskSize.ValueNotSupported"),
                (
                    "DataDisk.1.Size=20&DataDisk.1.Category=x",
                    400,
                    "InvalidDataDiskCategory.ValueNotSupported",
                ),
                (
                    "DataDisk.1.Size=20&DataDisk.1.Device=/dev/sdb",
                    400,
                    "InvalidDataDevice.Malformed",
                ),
                (
                    "DataDisk.1.Size=20&DataDisk.1.Device=/dev/xvdb&DataDisk.2.Size=20&DataDisk.2.Device=/dev/xvdb",
                    403,
                    "InvalidDevice.InUse",
                ),
                (&many.join("&"), 400, "InstanceDiskNumber.LimitExceed"),
            ],
        );
    }
}
