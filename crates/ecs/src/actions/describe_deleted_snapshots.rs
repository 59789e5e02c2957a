//! DescribeDeletedSnapshots: what can be brought back. Not an action of the service that we follow.

use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for: all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
        })
    }
}

/// A snapshot that UndeleteSnapshot brings back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct DeletedSnapshot {
    pub snapshot_id: String,
    pub source_disk_id: String,
    pub snapshot_name: String,
    /// Seconds format: until then it can be brought back. Empty: until the vault is next collected.
    pub deleted_until: String,
}

/// All of them, those first that go first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::deleted_snapshot")]
    pub deleted_snapshots: Vec<DeletedSnapshot>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_its_wrapper() {
        let response = Response {
            deleted_snapshots: vec![DeletedSnapshot {
                snapshot_id: "s-1".into(),
                source_disk_id: "d-1".into(),
                snapshot_name: "one".into(),
                deleted_until: "2026-01-01T00:00:00Z".into(),
            }],
        };
        assert_eq!(
            serde_json::to_string(&response).expect("json"),
            r#"{"DeletedSnapshots":{"DeletedSnapshot":[{"SnapshotId":"s-1","SourceDiskId":"d-1","SnapshotName":"one","DeletedUntil":"2026-01-01T00:00:00Z"}]}}"#
        );
    }
}
