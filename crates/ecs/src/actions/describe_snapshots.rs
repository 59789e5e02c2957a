//! DescribeSnapshots: the caller's snapshots in a region, newest first.

use crate::filter::{self, Filters};
use crate::model::{Snapshot, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// Snapshots of disks that are attached to it now.
    pub instance_id: Option<String>,
    /// The source disk, which may be gone.
    pub disk_id: Option<String>,
    pub snapshot_link_ids: Option<Vec<String>>,
    /// `Some([])` matches nothing.
    pub snapshot_ids: Option<Vec<String>>,
    /// Exact.
    pub snapshot_name: Option<String>,
    /// `progressing`, `accomplished`, `failed`.
    pub status: Option<String>,
    /// `auto` or `user`.
    pub snapshot_type: Option<String>,
    /// `system` or `data`.
    pub source_disk_type: Option<String>,
    /// `image`, `disk`, `image_disk`, `none`.
    pub usage: Option<String>,
    /// Lower case: `standard`, `flash`, `archive`.
    pub category: Option<String>,
    /// Only encrypted ones.
    pub encrypted: bool,
    pub kms_key_id: Option<String>,
    pub resource_group_id: Option<String>,
    pub tags: Vec<TagFilter>,
    pub filters: Filters,
    pub page: PageRequest,
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let malformed = (403, "InvalidSnapshotIds.Malformed");
        let link = (404, "InvalidSnapshotLinkId.NotFound");
        let all = |word: &String| word != "all";
        Ok(Self {
            region_id: params.required("RegionId")?,
            instance_id: params.text("InstanceId"),
            disk_id: params.text("DiskId"),
            snapshot_link_ids: match params.get("SnapshotLinkId") {
                Some(text) if text.starts_with('[') => params.json_list("SnapshotLinkId", 100, link, link)?,
                id => id.map(|id| vec![id.to_owned()]),
            },
            snapshot_ids: params.json_list("SnapshotIds", 100, malformed, malformed)?,
            snapshot_name: params.text("SnapshotName"),
            status: params
                .word(
                    "Status",
                    &["progressing", "accomplished", "failed", "all"],
                    404,
                    "InvalidStatus.NotFound",
                )?
                .filter(all),
            snapshot_type: params
                .word(
                    "SnapshotType",
                    &["auto", "user", "all"],
                    404,
                    "InvalidSnapshotType.NotFound",
                )?
                .filter(all),
            source_disk_type: params.word_any_case(
                "SourceDiskType",
                &["system", "data"],
                404,
                "InvalidSourceDiskType",
            )?,
            usage: params.word(
                "Usage",
                &["image", "disk", "image_disk", "none"],
                404,
                "InvalidUsage",
            )?,
            category: params.word_any_case(
                "Category",
                &["standard", "flash", "archive"],
                403,
                "InvalidSnapshotCategory.Malformed",
            )?,
            encrypted: params.flag("Encrypted")?,
            kms_key_id: params.text("KMSKeyId"),
            resource_group_id: params.text("ResourceGroupId"),
            tags: tags::filters(params)?,
            filters: Filters::parse(params, filter::CREATION)?,
            page: PageRequest::parse(params, 100, 100)?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::snapshot")]
    pub snapshots: Vec<Snapshot>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn all_is_no_filter_and_an_empty_id_list_is_one() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        let request = Request::parse(&check::params(
            "RegionId=r&Status=all&SnapshotType=all&SnapshotIds=[]",
        ))
        .expect("valid");
        assert_eq!(
            (request.status, request.snapshot_type, request.snapshot_ids),
            (None, None, Some(vec![]))
        );
        let request = Request::parse(&check::params(
            "RegionId=r&Status=&SnapshotIds=&SnapshotLinkId=sl-1&SourceDiskType=System&Category=Standard",
        ))
        .expect("valid");
        assert_eq!((request.status, request.snapshot_ids), (None, None));
        assert_eq!(request.snapshot_link_ids, Some(vec!["sl-1".into()]));
        assert_eq!(
            (request.source_disk_type.as_deref(), request.category.as_deref()),
            (Some("system"), Some("standard"))
        );
    }

    #[test]
    fn refusals() {
        let many: Vec<String> = (0..101).map(|n| format!("\"s-{n}\"")).collect();
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("SnapshotIds=s-1", 403, "InvalidSnapshotIds.Malformed"),
                (
                    &format!("SnapshotIds=[{}]", many.join(",")),
                    403,
                    "InvalidSnapshotIds.Malformed",
                ),
                ("Status=done", 404, "InvalidStatus.NotFound"),
                ("SnapshotType=timer", 404, "InvalidSnapshotType.NotFound"),
                ("SourceDiskType=boot", 404, "InvalidSourceDiskType"),
                ("Usage=all", 404, "InvalidUsage"),
                ("Category=x", 403, "InvalidSnapshotCategory.Malformed"),
                (
                    "Filter.1.Key=X&Filter.1.Value=2026-01-01T00:00Z",
                    404,
                    "InvalidFilterKey.NotFound",
                ),
                (
                    "Filter.1.Key=CreationStartTime&Filter.1.Value=x",
                    404,
                    "InvalidFilterValue",
                ),
                ("Tag.1.Value=x", 400, "InvalidTag.Mismatch"),
                ("PageSize=101", 400, "InvalidParameter"),
                ("PageNumber=0", 400, "InvalidParameter"),
            ],
        );
    }

    #[test]
    fn page_members_stand_beside_the_list() {
        let response = Response {
            snapshots: vec![],
            page: PageInfo {
                page_number: 1,
                page_size: 10,
                ..PageInfo::default()
            },
        };
        assert_eq!(
            serde_json::to_string(&response).expect("json"),
            r#"{"Snapshots":{"Snapshot":[]},"PageNumber":1,"PageSize":10,"TotalCount":0,"NextToken":""}"#
        );
    }
}
