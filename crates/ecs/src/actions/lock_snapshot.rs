//! LockSnapshot: puts a retention lock on a snapshot, or changes the one that it has.

use crate::model::LockedSnapshot;
use crate::rules::client_token;
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub snapshot_id: String,
    /// Days, 1 to 36500.
    pub lock_duration: i64,
    /// Hours, 0 to 72, less than the duration.
    pub cool_off_period: i64,
    pub dry_run: bool,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let (region_id, snapshot_id) = (params.required("RegionId")?, params.required("SnapshotId")?);
        for name in ["LockMode", "LockDuration", "CoolOffPeriod"] {
            params.required(name)?;
        }
        params.word("LockMode", &["compliance"], 400, "InvalidLockMode.Malformed")?;
        let number = |name, range| params.integer_in(name, range, 400, "InvalidParameter");
        let lock_duration = number("LockDuration", 1..=36500)?.unwrap_or_default();
        let cool_off_period = number("CoolOffPeriod", 0..=72)?.unwrap_or_default();
        if cool_off_period >= lock_duration.saturating_mul(24) {
            let message = format!(
                "The parameter \"CoolOffPeriod\" is not valid: {cool_off_period} hours are no less than the lock's {lock_duration} days."
            );
            return Err(ApiError::new(
                400,
                "InvalidCoolOffPeriod.ExceedLockDuration",
                message,
            ));
        }
        Ok(Self {
            region_id,
            snapshot_id,
            lock_duration,
            cool_off_period,
            dry_run: params.flag("DryRun")?,
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
        })
    }
}

/// The lock as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub locked_snapshot_info: LockedSnapshot,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        let rest = "RegionId=r&SnapshotId=s-1";
        let base = format!("{rest}&LockMode=compliance&LockDuration=3&CoolOffPeriod=71");
        check::required(
            Request::parse,
            &base,
            &[
                "RegionId",
                "SnapshotId",
                "LockMode",
                "LockDuration",
                "CoolOffPeriod",
            ],
        );
        check::refusals(
            Request::parse,
            rest,
            &[
                (
                    "LockMode=governance&LockDuration=3&CoolOffPeriod=0",
                    400,
                    "InvalidLockMode.Malformed",
                ),
                (
                    "LockMode=compliance&LockDuration=0&CoolOffPeriod=0",
                    400,
                    "InvalidParameter",
                ),
                (
                    "LockMode=compliance&LockDuration=36501&CoolOffPeriod=0",
                    400,
                    "InvalidParameter",
                ),
                (
                    "LockMode=compliance&LockDuration=9&CoolOffPeriod=73",
                    400,
                    "InvalidParameter",
                ),
                (
                    "LockMode=compliance&LockDuration=3&CoolOffPeriod=72",
                    400,
                    "InvalidCoolOffPeriod.ExceedLockDuration",
                ),
            ],
        );
    }
}
