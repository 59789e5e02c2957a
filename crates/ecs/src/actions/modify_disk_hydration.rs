//! ModifyDiskHydration: stop, go on, or limit the filling of a disk from its snapshot.
//!
//! An extension of ours: the service that we follow has no such action.

use crate::{ApiError, Params};
use serde::Serialize;

/// The least rate that can be asked for: a chunk in a second. What is less is a pause.
pub const LIMIT_BYTES_MIN: i64 = 65_536;

/// What is asked for; `None` leaves a setting as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub disk_id: String,
    pub paused: Option<bool>,
    /// The most in a second; 0: no limit.
    pub limit_bytes: Option<u64>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let disk_id = params.required("DiskId")?;
        let limit = params.integer("LimitBytes")?;
        if let Some(limit) = limit.filter(|limit| *limit != 0 && *limit < LIMIT_BYTES_MIN) {
            let why =
                format!("{limit} is neither 0 (no limit) nor at least {LIMIT_BYTES_MIN} bytes in a second");
            return Err(ApiError::invalid_parameter("LimitBytes", why));
        }
        let request = Self {
            region_id: params.text("RegionId"),
            disk_id,
            paused: params.boolean("Paused")?,
            limit_bytes: limit.map(i64::unsigned_abs),
        };
        if request.paused.is_none() && request.limit_bytes.is_none() {
            let message = "No attribute is given; give Paused or LimitBytes.";
            return Err(ApiError::new(400, "NoAttributeToModify", message));
        }
        Ok(request)
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
        check::required(Request::parse, "DiskId=d-1&Paused=true", &["DiskId"]);
        check::refusals(
            Request::parse,
            "DiskId=d-1",
            &[
                ("", 400, "NoAttributeToModify"),
                ("Paused=x", 400, "InvalidParameter"),
                ("LimitBytes=x", 400, "InvalidParameter"),
                ("LimitBytes=-1", 400, "InvalidParameter"),
                ("LimitBytes=65535", 400, "InvalidParameter"),
            ],
        );
        let request = Request::parse(&check::params("DiskId=d-1&LimitBytes=0")).expect("valid");
        assert_eq!((request.paused, request.limit_bytes), (None, Some(0)));
    }
}
