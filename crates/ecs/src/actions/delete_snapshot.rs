//! DeleteSnapshot: deletes a snapshot; cancels one in creation.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub snapshot_id: String,
    /// Even though disks were made from it.
    pub force: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            snapshot_id: params.required("SnapshotId")?,
            force: params.flag("Force")?,
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
    fn required_and_refused() {
        check::required(Request::parse, "SnapshotId=s-1", &["SnapshotId"]);
        check::refusals(
            Request::parse,
            "SnapshotId=s-1",
            &[("Force=1", 400, "InvalidParameter")],
        );
    }
}
