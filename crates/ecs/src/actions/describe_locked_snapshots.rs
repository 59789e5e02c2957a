//! DescribeLockedSnapshots: the caller's snapshots that have a retention lock, newest first.

use crate::model::LockedSnapshot;
use crate::page::PageRequest;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; empty means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// At most 100; a repeat list here.
    pub snapshot_ids: Vec<String>,
    /// `compliance-cooloff`, `compliance`, `expired`.
    pub lock_status: Option<String>,
    pub page: PageRequest,
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let snapshot_ids = params.list("SnapshotIds")?;
        if snapshot_ids.len() > 100 {
            return Err(ApiError::invalid_parameter(
                "SnapshotIds.N",
                format!("{} snapshots, where 100 are allowed", snapshot_ids.len()),
            ));
        }
        Ok(Self {
            region_id,
            snapshot_ids,
            lock_status: params.word(
                "LockStatus",
                &["compliance-cooloff", "compliance", "expired"],
                400,
                "InvalidLockStatus.Malformed",
            )?,
            page: PageRequest::parse(params, 100, 100)?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// One page. The list is a bare array, unlike every other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub locked_snapshots_info: Vec<LockedSnapshot>,
    pub next_token: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;
    use crate::render::{Format, success};

    #[test]
    fn refusals() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        let many: Vec<_> = (1..=101).map(|n| format!("SnapshotIds.{n}=s-{n}")).collect();
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("LockStatus=locked", 400, "InvalidLockStatus.Malformed"),
                (&many.join("&"), 400, "InvalidParameter"),
            ],
        );
    }

    #[test]
    fn the_list_is_a_bare_array() {
        let one = LockedSnapshot {
            snapshot_id: "s-1".into(),
            ..LockedSnapshot::default()
        };
        let response = Response {
            locked_snapshots_info: vec![one],
            next_token: String::new(),
        };
        let json = success(Format::Json, "X", "ID", &response).expect("renders");
        assert!(
            json.contains(r#""LockedSnapshotsInfo":[{"SnapshotId":"s-1""#),
            "{json}"
        );
        let xml = success(Format::Xml, "X", "ID", &response).expect("renders");
        assert!(
            xml.contains("<LockedSnapshotsInfo><SnapshotId>s-1</SnapshotId>"),
            "{xml}"
        );
    }
}
