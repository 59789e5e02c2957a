//! StartVaultScrub: verifies snapshots in the vault now, and repairs what a disk still has. Not an action of the service that
//! we follow.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    /// None: all.
    pub snapshot_ids: Vec<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            snapshot_ids: params.list("SnapshotId")?,
        })
    }
}

/// What was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// It is done when the scrub's state says that it has come to this number.
    pub scrub_number: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn snapshots_are_a_list() {
        let request = Request::parse(&check::params("SnapshotId.1=s-1&SnapshotId.2=s-2")).expect("valid");
        assert_eq!(request.snapshot_ids, ["s-1", "s-2"]);
        assert!(
            Request::parse(&check::params(""))
                .expect("valid")
                .snapshot_ids
                .is_empty()
        );
    }
}
