//! UndeleteSnapshot: brings a deleted snapshot back. Not an action of the service that we follow.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub snapshot_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            snapshot_id: params.required("SnapshotId")?,
        })
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn a_snapshot_is_named() {
        check::required(Request::parse, "SnapshotId=s-1", &["SnapshotId"]);
    }
}
