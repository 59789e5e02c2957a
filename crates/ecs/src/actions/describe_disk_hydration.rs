//! DescribeDiskHydration: how a disk is being filled from the snapshot that it was made from or rolled back to.
//!
//! An extension of ours: the service that we follow has no such action.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub disk_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            disk_id: params.required("DiskId")?,
        })
    }
}

/// Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub disk_id: String,
    /// `complete`, `running`, `paused`, or `waiting`: something is in the way, see `Trouble`.
    pub status: String,
    /// The snapshot, or "" when that is not known.
    pub snapshot_id: String,
    /// Not local yet, zeros among it.
    pub absent_bytes: u64,
    /// At most so much of it is data.
    pub data_bytes: u64,
    /// Data fetched in the background since the service was started.
    pub fetched_bytes: u64,
    /// In a second, over the last ten.
    pub rate_bytes: u64,
    /// Estimated seconds left; absent while there is no estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remain_time: Option<u64>,
    pub paused: bool,
    /// The most in a second; 0: no limit.
    pub limit_bytes: u64,
    /// Chunks of the boot trace, which come first.
    pub traced_chunks: u64,
    /// What is in the way, for people; "" if nothing is.
    pub trouble: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "DiskId=d-1", &["DiskId"]);
    }
}
