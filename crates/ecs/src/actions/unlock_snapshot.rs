//! UnlockSnapshot: takes a retention lock off while its cool-off period lasts.

use crate::rules::client_token;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub snapshot_id: String,
    pub dry_run: bool,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            snapshot_id: params.required("SnapshotId")?,
            dry_run: params.flag("DryRun")?,
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
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
    fn required() {
        check::required(
            Request::parse,
            "RegionId=r&SnapshotId=s-1",
            &["RegionId", "SnapshotId"],
        );
    }
}
