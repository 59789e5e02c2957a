//! DescribeSnapshotGroups: the caller's snapshot-consistent groups, newest first.

use crate::model::{SnapshotGroup, list};
use crate::page::PageRequest;
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; empty means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub instance_id: Option<String>,
    /// At most 10.
    pub snapshot_group_ids: Vec<String>,
    /// Exact.
    pub name: Option<String>,
    /// `progressing`, `accomplished`, `failed`.
    pub statuses: Vec<String>,
    pub resource_group_id: Option<String>,
    pub tags: Vec<TagFilter>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let snapshot_group_ids = params.list("SnapshotGroupId")?;
        if snapshot_group_ids.len() > 10 {
            return Err(ApiError::new(
                403,
                "InvalidSnapshotGroupId.MustBeOne",
                format!(
                    "{} groups are named with \"SnapshotGroupId.N\", where 10 are allowed.",
                    snapshot_group_ids.len()
                ),
            ));
        }
        let statuses = params.list("Status")?;
        let known = ["progressing", "accomplished", "failed"];
        if let Some(odd) = statuses.iter().find(|status| !known.contains(&status.as_str())) {
            return Err(ApiError::new(
                403,
                "InvalidStatus.ValueNotSupported",
                format!(
                    "The parameter \"Status.N\" is not valid: {odd:?} is none of {}.",
                    known.join(", ")
                ),
            ));
        }
        let tags = tags::filters(params)?;
        for (at, tag) in tags.iter().enumerate() {
            if tags[..at].iter().any(|before| before.key == tag.key) {
                return Err(ApiError::new(
                    400,
                    "Duplicate.TagKey",
                    format!("The tag key {:?} is given twice.", tag.key),
                ));
            }
        }
        Ok(Self {
            region_id,
            instance_id: params.text("InstanceId"),
            snapshot_group_ids,
            name: params.text("Name"),
            statuses,
            resource_group_id: params.text("ResourceGroupId"),
            tags,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page; this list has no count.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::snapshot_group")]
    pub snapshot_groups: Vec<SnapshotGroup>,
    pub next_token: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;
    use crate::model::{GroupMember, GroupTag};
    use crate::render::{Format, success};

    #[test]
    fn refusals() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        let many: Vec<_> = (1..=11).map(|n| format!("SnapshotGroupId.{n}=ssg-{n}")).collect();
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                (&many.join("&"), 403, "InvalidSnapshotGroupId.MustBeOne"),
                ("Status.1=all", 403, "InvalidStatus.ValueNotSupported"),
                ("Tag.1.Key=a&Tag.2.Key=a", 400, "Duplicate.TagKey"),
                ("Tag.1.Value=a", 400, "InvalidTag.Mismatch"),
                ("NextToken=%21", 400, "InvalidParameter"),
            ],
        );
    }

    #[test]
    fn tags_have_other_names_here() {
        let tag = GroupTag {
            key: "k".into(),
            value: "v".into(),
        };
        let group = SnapshotGroup {
            snapshots: vec![GroupMember {
                tags: vec![tag.clone()],
                ..GroupMember::default()
            }],
            tags: vec![tag],
            ..SnapshotGroup::default()
        };
        let response = Response {
            snapshot_groups: vec![group],
            next_token: String::new(),
        };
        let text = success(Format::Json, "DescribeSnapshotGroups", "ID", &response).expect("renders");
        let tree: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let group = &tree["SnapshotGroups"]["SnapshotGroup"][0];
        assert_eq!(group["Tags"]["Tag"][0]["Key"], "k");
        assert_eq!(group["Snapshots"]["Snapshot"][0]["Tags"]["Tag"][0]["Value"], "v");
        assert_eq!(tree.get("TotalCount"), None);
    }
}
