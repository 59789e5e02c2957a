//! ModifyAutoSnapshotPolicyEx: changes a policy; what is not given stays.

use crate::rules::policy::{self, CopySettings};
use crate::{ApiError, Params};

/// What is asked for; `None` leaves a setting as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub policy_id: String,
    /// 0 to 23, at least one.
    pub time_points: Option<Vec<u8>>,
    /// 1 to 7, at least one.
    pub repeat_weekdays: Option<Vec<u8>>,
    /// Days, or -1 for ever.
    pub retention_days: Option<i64>,
    pub name: Option<String>,
    pub copy: CopySettings,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("regionId")?,
            policy_id: policy::policy_id(params)?,
            time_points: policy::time_points(params)?,
            repeat_weekdays: policy::repeat_weekdays(params)?,
            retention_days: policy::retention_days(params, 65_536)?,
            name: policy::policy_name(params)?,
            copy: policy::copy_settings(params)?,
        })
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "regionId=r&autoSnapshotPolicyId=sp-1";

    #[test]
    fn absent_means_unchanged() {
        check::required(Request::parse, BASE, &["regionId", "autoSnapshotPolicyId"]);
        let request = Request::parse(&check::params(BASE)).expect("valid");
        assert_eq!(
            (
                request.time_points,
                request.repeat_weekdays,
                request.retention_days
            ),
            (None, None, None)
        );
        assert_eq!((request.name, request.copy), (None, CopySettings::default()));
        let request = Request::parse(&check::params(&format!("{BASE}&retentionDays=65536"))).expect("valid");
        assert_eq!(
            request.retention_days,
            Some(65_536),
            "a day more than CreateAutoSnapshotPolicy takes"
        );
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            "regionId=r",
            &[("autoSnapshotPolicyId=../x", 403, "ParameterInvalid")],
        );
        check::refusals(
            Request::parse,
            BASE,
            &[
                ("timePoints=[24]", 403, "ParameterInvalid"),
                ("timePoints=[]", 403, "ParameterInvalid"),
                ("repeatWeekdays=[0]", 403, "ParameterInvalid"),
                ("retentionDays=65537", 403, "ParameterInvalid"),
                ("retentionDays=0", 403, "ParameterInvalid"),
                (
                    "autoSnapshotPolicyName=-",
                    400,
                    "InvalidSnapshotPolicyName.Malformed",
                ),
                ("TargetCopyRegions=[]", 403, "InvalidParameter.TargetCopyRegions"),
                (
                    "CopiedSnapshotsRetentionDays=x",
                    403,
                    "InvalidParameter.CopiedSnapshotsRetentionDays",
                ),
            ],
        );
    }
}
