//! CreateDisk: a data disk, empty or from a snapshot.
//!
//! The final size is known only once the snapshot is: `size` is what was asked, and `control`
//! takes the larger of it and the snapshot's, then checks [`Request::check_size`] again.

use crate::model::Tag;
use crate::rules::{Category, category, client_token, disk, tags, text};
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub zone_id: String,
    /// GiB; may only be absent when there is a snapshot.
    pub size: Option<u64>,
    pub snapshot_id: Option<String>,
    /// One of [`disk::CATEGORIES`].
    pub disk_category: String,
    /// `PL0` to `PL3`, given or default; `None` for categories without levels.
    pub performance_level: Option<String>,
    pub disk_name: Option<String>,
    pub description: Option<String>,
    /// cloud_auto only.
    pub provisioned_iops: Option<i64>,
    /// cloud_auto only.
    pub bursting_enabled: bool,
    /// `None`: as the snapshot is. Left out then, so that a token from before there was a choice still fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    pub tags: Vec<Tag>,
    pub resource_group_id: Option<String>,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let zone_id = zone(params)?;
        let snapshot_id = params.text("SnapshotId");
        let size = match params.integer_or("Size", 400, "InvalidSize.ValueNotSupported")? {
            None if snapshot_id.is_none() => return Err(ApiError::missing_parameter("Size")),
            None => None,
            Some(size) => Some(u64::try_from(size).map_err(|_| size_refused(size, &(1..=65536)))?),
        };
        let category = wanted_category(params)?;
        let given_level = params.word(
            "PerformanceLevel",
            &disk::PERFORMANCE_LEVELS.map(|(level, _)| level),
            400,
            "InvalidPerformanceLevel.Malformed",
        )?;
        if given_level.is_some() && !category.has_performance_levels() {
            return Err(ApiError::new(
                400,
                "InvalidParameter.Conflict",
                format!("Disks of category {} take no PerformanceLevel.", category.name),
            ));
        }
        refuse_what_is_not_offered(params)?;
        let request = Self {
            region_id,
            zone_id,
            size,
            snapshot_id,
            disk_category: category.name.to_owned(),
            performance_level: category
                .has_performance_levels()
                .then(|| given_level.clone().unwrap_or_else(|| "PL1".to_owned())),
            disk_name: text::name(params, "DiskName", (400, "InvalidDiskName.Malformed"))?,
            description: text::description(params, "Description", (400, "InvalidDescription.Malformed"))?,
            provisioned_iops: provisioned_iops(params, &category)?,
            bursting_enabled: bursting(params, &category)?,
            encrypted: disk::encrypted(params)?,
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
            resource_group_id: params.text("ResourceGroupId"),
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
        };
        match request.size {
            // With a snapshot the size may still grow, so only the ceiling is certain here.
            Some(size) if request.snapshot_id.is_some() => {
                let ceiling = 1..=*request.sizes().end();
                if !ceiling.contains(&size) {
                    return Err(size_refused(size, &ceiling));
                }
            }
            Some(size) if given_level.is_some() => request.check_size_against_level(size)?,
            Some(size) => request.check_size(size)?,
            None => {}
        }
        Ok(request)
    }

    /// Whether a disk of this category and level may have that many GiB; 400
    /// `InvalidSize.ValueNotSupported`.
    pub fn check_size(&self, size: u64) -> Result<(), ApiError> {
        let allowed = self.sizes();
        if allowed.contains(&size) {
            Ok(())
        } else {
            Err(size_refused(size, &allowed))
        }
    }

    /// Sizes of the category and level, in GiB.
    fn sizes(&self) -> std::ops::RangeInclusive<u64> {
        category(&self.disk_category).map_or(1..=65536, |category| {
            category.data_sizes(self.performance_level.as_deref())
        })
    }

    /// As [`check_size`](Self::check_size), but a size that only the asked level forbids is a
    /// disagreement of the two: 403 `OperationDenied.PerformanceLevelNotMatch`.
    fn check_size_against_level(&self, size: u64) -> Result<(), ApiError> {
        self.check_size(size).map_err(|error| {
            let fits_another = category(&self.disk_category).is_some_and(|category| {
                category.has_performance_levels() && category.data_sizes(Some("PL0")).contains(&size)
            });
            if !fits_another {
                return error;
            }
            let level = self.performance_level.as_deref().unwrap_or_default();
            ApiError::new(
                403,
                "OperationDenied.PerformanceLevelNotMatch",
                format!("A disk of performance level {level} cannot have {size} GiB."),
            )
        })
    }
}

fn size_refused(size: impl std::fmt::Display, allowed: &std::ops::RangeInclusive<u64>) -> ApiError {
    ApiError::new(
        400,
        "InvalidSize.ValueNotSupported",
        format!(
            "The parameter \"Size\" is not valid: {size} GiB is not within {} to {} GiB.",
            allowed.start(),
            allowed.end()
        ),
    )
}

fn zone(params: &Params) -> Result<String, ApiError> {
    match (params.text("ZoneId"), params.get("InstanceId")) {
        (Some(_), Some(_)) => Err(ApiError::new(
            403,
            "InvalidParam.ZoneIdAndInstanceId.Conflict",
            "The parameters \"ZoneId\" and \"InstanceId\" cannot be given together.",
        )),
        (None, Some(_)) => Err(ApiError::new(
            403,
            "InvalidPayMethod",
            "Disks for prepaid instances are not offered: give ZoneId, then attach the disk.",
        )),
        (Some(zone), None) => Ok(zone),
        (None, None) => Err(ApiError::missing_parameter("ZoneId")),
    }
}

fn wanted_category(params: &Params) -> Result<Category, ApiError> {
    let name = params.get("DiskCategory").unwrap_or("cloud");
    category(name).ok_or_else(|| {
        ApiError::new(
            400,
            "InvalidDiskCategory.ValueNotSupported",
            format!(
                "The parameter \"DiskCategory\" is not valid: {name:?} is none of {}.",
                disk::CATEGORIES.map(|category| category.name).join(", ")
            ),
        )
    })
}

pub(super) fn provisioned_iops(params: &Params, category: &Category) -> Result<Option<i64>, ApiError> {
    let iops = params.integer_in(
        "ProvisionedIops",
        0..=50_000,
        400,
        "InvalidProvisionedIops.LimitExceed",
    )?;
    if iops.is_some() && !category.is_auto() {
        return Err(ApiError::new(
            400,
            "ProvisionedIopsForDiskCategoryUnsupported",
            format!("Disks of category {} take no ProvisionedIops.", category.name),
        ));
    }
    Ok(iops)
}

pub(super) fn bursting(params: &Params, category: &Category) -> Result<bool, ApiError> {
    let bursting = params.flag("BurstingEnabled")?;
    if bursting && !category.is_auto() {
        return Err(ApiError::new(
            400,
            "BurstingEnabledForDiskCategoryUnsupported",
            format!("Disks of category {} take no BurstingEnabled.", category.name),
        ));
    }
    Ok(bursting)
}

/// Options that would change what the disk is must not be dropped silently.
fn refuse_what_is_not_offered(params: &Params) -> Result<(), ApiError> {
    let multi_attach = params.word(
        "MultiAttach",
        &["Disabled", "Enabled"],
        403,
        "InvalidParameter.MultiAttach",
    )?;
    if multi_attach.as_deref() == Some("Enabled") {
        return Err(ApiError::new(
            403,
            "InvalidParameter.MultiAttach",
            "The parameter \"MultiAttach\" is not valid: shared disks are not offered.",
        ));
    }
    if let Some(id) = params.get("StorageSetId") {
        return Err(ApiError::new(
            400,
            "InvalidStorageSetId.NotFound",
            format!("The specified StorageSetId {id:?} does not exist."),
        ));
    }
    match params.get("StorageClusterId") {
        Some(id) => Err(ApiError::new(
            404,
            "InvalidStorageClusterId.NotExist",
            format!("The specified StorageClusterId {id:?} does not exist."),
        )),
        None => Ok(()),
    }
}

/// The disk, in creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `d-…`
    pub disk_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "RegionId=r&ZoneId=z";

    fn parse(query: &str) -> Request {
        Request::parse(&check::params(&format!("{BASE}&{query}"))).expect(query)
    }

    #[test]
    fn size_or_snapshot() {
        check::required(
            Request::parse,
            &format!("{BASE}&Size=5"),
            &["RegionId", "ZoneId", "Size"],
        );
        assert_eq!(
            (
                parse("Size=5").disk_category.as_str(),
                parse("Size=5").performance_level
            ),
            ("cloud", None)
        );
        assert_eq!(parse("SnapshotId=s-1").size, None);
        assert_eq!(
            parse("SnapshotId=s-1&Size=1").size,
            Some(1),
            "the snapshot may be larger"
        );
    }

    #[test]
    fn encryption_is_a_wish_or_left_to_the_snapshot() {
        assert_eq!(parse("Size=20&Encrypted=true").encrypted, Some(true));
        assert_eq!(parse("Size=20&Encrypted=False").encrypted, Some(false));
        assert_eq!(parse("SnapshotId=s-1&KMSKeyId=").encrypted, None);
        let before = serde_json::to_string(&parse("Size=20")).expect("serialises");
        assert!(!before.contains("encrypted"), "{before}");
    }

    #[test]
    fn levels_are_for_essd() {
        assert_eq!(
            parse("Size=20&DiskCategory=cloud_essd")
                .performance_level
                .as_deref(),
            Some("PL1")
        );
        assert_eq!(
            parse("Size=1&DiskCategory=cloud_essd&PerformanceLevel=PL0").size,
            Some(1)
        );
        assert_eq!(parse("Size=20&DiskCategory=cloud_ssd").performance_level, None);
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            "RegionId=r&Size=20",
            &[
                (
                    "ZoneId=z&InstanceId=i-1",
                    403,
                    "InvalidParam.ZoneIdAndInstanceId.Conflict",
                ),
                ("InstanceId=i-1", 403, "InvalidPayMethod"),
            ],
        );
        check::refusals(
            Request::parse,
            BASE,
            &[
                ("Size=4", 400, "InvalidSize.ValueNotSupported"),
                ("Size=2001", 400, "InvalidSize.ValueNotSupported"),
                ("Size=2001&SnapshotId=s-1", 400, "InvalidSize.ValueNotSupported"),
                ("Size=0&SnapshotId=s-1", 400, "InvalidSize.ValueNotSupported"),
                ("Size=-5", 400, "InvalidSize.ValueNotSupported"),
                ("Size=big", 400, "InvalidSize.ValueNotSupported"),
                (
                    "Size=19&DiskCategory=cloud_essd",
                    400,
                    "InvalidSize.ValueNotSupported",
                ),
                (
                    "Size=100&DiskCategory=cloud_essd&PerformanceLevel=PL2",
                    403,
                    "OperationDenied.PerformanceLevelNotMatch",
                ),
                (
                    "Size=70000&DiskCategory=cloud_essd&PerformanceLevel=PL2",
                    400,
                    "InvalidSize.ValueNotSupported",
                ),
                (
                    "Size=20&DiskCategory=cloud_essd&PerformanceLevel=PL9",
                    400,
                    "InvalidPerformanceLevel.Malformed",
                ),
                (
                    "Size=20&DiskCategory=floppy",
                    400,
                    "InvalidDiskCategory.ValueNotSupported",
                ),
                ("Size=20&DiskName=1a", 400, "InvalidDiskName.Malformed"),
                ("Size=20&Description=x", 400, "InvalidDescription.Malformed"),
                ("Size=20&Encrypted=yes", 400, "InvalidParameter"),
                ("Size=20&KMSKeyId=k-1", 400, "InvalidParameter.EncryptedIllegal"),
                (
                    "Size=20&Encrypted=true&KMSKeyId=k-1",
                    404,
                    "InvalidParameter.KMSKeyId.NotFound",
                ),
                ("Size=20&MultiAttach=Enabled", 403, "InvalidParameter.MultiAttach"),
                (
                    "Size=20&DiskCategory=cloud_ssd&PerformanceLevel=PL1",
                    400,
                    "InvalidParameter.Conflict",
                ),
                (
                    "Size=20&ProvisionedIops=100",
                    400,
                    "ProvisionedIopsForDiskCategoryUnsupported",
                ),
                (
                    "Size=20&DiskCategory=cloud_auto&ProvisionedIops=50001",
                    400,
                    "InvalidProvisionedIops.LimitExceed",
                ),
                (
                    "Size=20&BurstingEnabled=true",
                    400,
                    "BurstingEnabledForDiskCategoryUnsupported",
                ),
                ("Size=20&StorageSetId=ss-1", 400, "InvalidStorageSetId.NotFound"),
                (
                    "Size=20&StorageClusterId=dbsc-1",
                    404,
                    "InvalidStorageClusterId.NotExist",
                ),
                ("Size=20&Tag.1.Key=acs:x", 400, "InvalidTagKey.Malformed"),
            ],
        );
    }
}
