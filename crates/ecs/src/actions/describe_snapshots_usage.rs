//! DescribeSnapshotsUsage: how many snapshots a region has, and what they take together.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
        })
    }
}

/// Integers, both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// Snapshots that are listed.
    pub snapshot_count: u64,
    /// Bytes that are stored for them.
    pub snapshot_size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
    }
}
