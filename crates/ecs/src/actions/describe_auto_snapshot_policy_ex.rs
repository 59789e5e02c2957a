//! DescribeAutoSnapshotPolicyEx: the caller's policies in a region, newest first.

use crate::model::{AutoSnapshotPolicy, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub policy_id: Option<String>,
    pub name: Option<String>,
    pub resource_group_id: Option<String>,
    pub tags: Vec<TagFilter>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            policy_id: params.text("AutoSnapshotPolicyId"),
            name: params.text("AutoSnapshotPolicyName"),
            resource_group_id: params.text("ResourceGroupId"),
            tags: tags::filters(params)?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::auto_snapshot_policy")]
    pub auto_snapshot_policies: Vec<AutoSnapshotPolicy>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;
    use crate::render::{self, Format};

    #[test]
    fn refusals() {
        check::required(Request::parse, "RegionId=r&PageSize=100", &["RegionId"]);
        let many: Vec<_> = (1..=21).map(|n| format!("Tag.{n}.Key=k{n}")).collect();
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("Tag.1.Value=x", 400, "InvalidTag.Mismatch"),
                (&many.join("&"), 400, "InvalidTagCount"),
                ("PageSize=101", 400, "InvalidParameter"),
                ("PageNumber=0", 400, "InvalidParameter"),
            ],
        );
    }

    /// Three lists are texts, and stay texts in both formats.
    #[test]
    fn lists_that_are_texts() {
        let policy = AutoSnapshotPolicy {
            time_points: "[\"0\",\"12\"]".into(),
            policy_type: "Custom".into(),
            ..AutoSnapshotPolicy::default()
        };
        let response = Response {
            auto_snapshot_policies: vec![policy],
            page: PageInfo::default(),
        };
        let json =
            render::success(Format::Json, "DescribeAutoSnapshotPolicyEx", "R", &response).expect("rendered");
        assert!(
            json.contains(r#""AutoSnapshotPolicies":{"AutoSnapshotPolicy":[{"#),
            "{json}"
        );
        assert!(
            json.contains(r#""TimePoints":"[\"0\",\"12\"]""#) && json.contains(r#""Type":"Custom""#),
            "{json}"
        );
        assert!(json.contains(r#""TargetTags":{"TargetTag":[]}"#), "{json}");
        let xml =
            render::success(Format::Xml, "DescribeAutoSnapshotPolicyEx", "R", &response).expect("rendered");
        assert!(
            xml.contains("<TimePoints>[&quot;0&quot;,&quot;12&quot;]</TimePoints>"),
            "{xml}"
        );
    }
}
