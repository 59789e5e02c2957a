//! DescribeDisks: the caller's disks in a region, newest first.

use crate::filter::{self, Filters};
use crate::model::{Disk, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, disk, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub zone_id: Option<String>,
    pub instance_id: Option<String>,
    /// The snapshot it was made from.
    pub snapshot_id: Option<String>,
    pub disk_name: Option<String>,
    pub auto_snapshot_policy_id: Option<String>,
    pub resource_group_id: Option<String>,
    pub kms_key_id: Option<String>,
    /// `Some([])` matches nothing.
    pub disk_ids: Option<Vec<String>>,
    /// `system` or `data`.
    pub disk_type: Option<String>,
    pub category: Option<String>,
    /// As in the model, `In_use`.
    pub status: Option<String>,
    pub portable: Option<bool>,
    pub delete_with_instance: Option<bool>,
    pub delete_auto_snapshot: Option<bool>,
    pub enable_auto_snapshot: Option<bool>,
    pub enable_automated_snapshot_policy: Option<bool>,
    pub enable_shared: Option<bool>,
    pub encrypted: Option<bool>,
    /// `PostPaid` or `PrePaid`.
    pub disk_charge_type: Option<String>,
    pub lock_reason: Option<String>,
    pub performance_level: Option<String>,
    pub multi_attach: Option<String>,
    /// `IOPS`, `Placement`, …
    pub additional_attributes: Vec<String>,
    pub tags: Vec<TagFilter>,
    pub filters: Filters,
    pub page: PageRequest,
    pub dry_run: bool,
}

const STATUSES: &[&str] = &[
    "All",
    "In_use",
    "Available",
    "Attaching",
    "Detaching",
    "Creating",
    "ReIniting",
];

/// Categories that nobody can ask for here, but that a filter may name without being wrong.
const OTHER_CATEGORIES: &[&str] = &[
    "all",
    "cloud_regional_disk_auto",
    "elastic_ephemeral_disk_standard",
    "elastic_ephemeral_disk_premium",
    "san_efficiency",
    "san_ssd",
    "ephemeral",
    "ephemeral_ssd",
    "local_hdd_pro",
    "local_ssd_pro",
];

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId").map_err(|missing| ApiError {
            code: "MissingParamter.RegionId".into(),
            ..missing
        })?;
        let categories: Vec<&str> = disk::CATEGORIES
            .iter()
            .map(|category| category.name)
            .chain(OTHER_CATEGORIES.iter().copied())
            .collect();
        let all = |word: &String| !word.eq_ignore_ascii_case("all");
        Ok(Self {
            region_id,
            zone_id: params.text("ZoneId"),
            instance_id: params.text("InstanceId"),
            snapshot_id: params.text("SnapshotId"),
            disk_name: params.text("DiskName"),
            auto_snapshot_policy_id: params.text("AutoSnapshotPolicyId"),
            resource_group_id: params.text("ResourceGroupId"),
            kms_key_id: params.text("KMSKeyId"),
            disk_ids: params.json_list(
                "DiskIds",
                100,
                (400, "InvalidParameter.DiskIds"),
                (403, "InvalidDiskIds.Malformed"),
            )?,
            disk_type: params
                .word(
                    "DiskType",
                    &["all", "system", "data"],
                    400,
                    "InvalidDiskType.ValueNotSupported",
                )?
                .filter(all),
            category: params
                .word("Category", &categories, 400, "InvalidCategory.ValueNotSupported")?
                .filter(all),
            status: params
                .word("Status", STATUSES, 400, "InvalidStatus.ValueNotSupported")?
                .filter(all),
            portable: params.boolean("Portable")?,
            delete_with_instance: params.boolean("DeleteWithInstance")?,
            delete_auto_snapshot: params.boolean("DeleteAutoSnapshot")?,
            enable_auto_snapshot: params.boolean("EnableAutoSnapshot")?,
            enable_automated_snapshot_policy: params.boolean("EnableAutomatedSnapshotPolicy")?,
            enable_shared: params.boolean("EnableShared")?,
            encrypted: params.boolean("Encrypted")?,
            disk_charge_type: params.word(
                "DiskChargeType",
                &["PostPaid", "PrePaid"],
                404,
                "InvalidDiskChargeType.NotFound",
            )?,
            lock_reason: params.word(
                "LockReason",
                &["financial", "security", "recycling", "dedicatedhostfinancial"],
                404,
                "InvalidLockReason.NotFound",
            )?,
            performance_level: params.text("PerformanceLevel"),
            multi_attach: params.text("MultiAttach"),
            additional_attributes: params.list("AdditionalAttributes")?,
            tags: tags::filters(params)?,
            filters: Filters::parse(params, filter::CREATION)?,
            page: PageRequest::parse(params, 100, 500)?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::disk")]
    pub disks: Vec<Disk>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn absent_booleans_filter_nothing() {
        let request =
            Request::parse(&check::params("RegionId=r&Status=All&DiskType=all&Category=all")).expect("valid");
        assert_eq!(
            (
                request.status,
                request.disk_type,
                request.category,
                request.portable
            ),
            (None, None, None, None)
        );
        let request = Request::parse(&check::params(
            "RegionId=r&Portable=False&MaxResults=500&DiskIds=[]",
        ))
        .expect("valid");
        assert_eq!(
            (request.portable, request.page.size, request.disk_ids),
            (Some(false), 500, Some(vec![]))
        );
    }

    #[test]
    fn refusals() {
        let many: Vec<String> = (0..101).map(|n| format!("\"d-{n}\"")).collect();
        check::refusals(
            Request::parse,
            "Status=All",
            &[("", 400, "MissingParamter.RegionId")],
        );
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("DiskIds=d-1", 400, "InvalidParameter.DiskIds"),
                (
                    &format!("DiskIds=[{}]", many.join(",")),
                    403,
                    "InvalidDiskIds.Malformed",
                ),
                ("DiskType=boot", 400, "InvalidDiskType.ValueNotSupported"),
                ("Category=floppy", 400, "InvalidCategory.ValueNotSupported"),
                ("Status=In_Use", 400, "InvalidStatus.ValueNotSupported"),
                ("DiskChargeType=Free", 404, "InvalidDiskChargeType.NotFound"),
                ("LockReason=x", 404, "InvalidLockReason.NotFound"),
                ("Tag.1.Value=x", 400, "InvalidTag.Mismatch"),
                ("Portable=x", 400, "InvalidParameter"),
            ],
        );
    }
}
