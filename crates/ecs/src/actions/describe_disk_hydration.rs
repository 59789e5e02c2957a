//! DescribeDiskHydration: how a disk is being filled from the snapshot that it was made from or rolled back to.
//!
//! An extension of ours: the service that we follow has no such action.

use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// Most parts of the picture.
const PARTS_MOST: i64 = 4096;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub disk_id: String,
    /// Into how many equal parts of the disk what is absent is counted; 0: it is not.
    pub parts: u32,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let parts = params.integer_in("Parts", 0..=PARTS_MOST, 400, "InvalidParameter")?;
        Ok(Self {
            region_id: params.text("RegionId"),
            disk_id: params.required("DiskId")?,
            parts: parts.and_then(|parts| u32::try_from(parts).ok()).unwrap_or(0),
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
    /// Of each part of the disk, how much of it is not local yet; left out unless it was asked for.
    #[serde(with = "list::absent_part", skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "DiskId=d-1", &["DiskId"]);
    }

    #[test]
    fn the_picture_is_bounded() {
        check::refusals(
            Request::parse,
            "DiskId=d-1",
            &[
                ("Parts=4097", 400, "InvalidParameter"),
                ("Parts=-1", 400, "InvalidParameter"),
            ],
        );
    }
}
