//! DescribeSnapshotLinks: the chains of snapshots, and what each takes.

use crate::model::{SnapshotLink, list};
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// Chains of disks that are attached to it now.
    pub instance_id: Option<String>,
    /// `Some([])` matches nothing.
    pub disk_ids: Option<Vec<String>>,
    /// `Some([])` matches nothing.
    pub snapshot_link_ids: Option<Vec<String>>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let ids = |name, code| params.json_list(name, 100, (400, code), (400, code));
        Ok(Self {
            region_id: params.required("RegionId")?,
            instance_id: params.text("InstanceId"),
            disk_ids: ids("DiskIds", "InvalidDiskIds")?,
            snapshot_link_ids: ids("SnapshotLinkIds", "InvalidSnapshotLinkIds")?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::snapshot_link")]
    pub snapshot_links: Vec<SnapshotLink>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        let many: Vec<String> = (0..101).map(|n| format!("\"d-{n}\"")).collect();
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("DiskIds=d-1", 400, "InvalidDiskIds"),
                (&format!("DiskIds=[{}]", many.join(",")), 400, "InvalidDiskIds"),
                ("SnapshotLinkIds=sl-1", 400, "InvalidSnapshotLinkIds"),
                ("PageSize=101", 400, "InvalidParameter"),
            ],
        );
    }
}
