//! CancelAutoSnapshotPolicy: takes a policy off disks; off all of them, or none.

use crate::rules::policy;
use crate::{ApiError, Params};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// 1 to 100, each once.
    pub disk_ids: Vec<String>,
    /// `None`: the only one that each disk has.
    pub policy_id: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("regionId")?,
            disk_ids: policy::disk_ids(params)?,
            policy_id: params
                .text("autoSnapshotPolicyId")
                .map(policy::check_id)
                .transpose()?,
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
    fn either_spelling_and_no_policy() {
        check::required(
            Request::parse,
            "regionId=r&diskIds=[\"d-1\"]",
            &["regionId", "diskIds"],
        );
        let request = Request::parse(&check::params("RegionId=r&DiskIds=[\"d-1\"]")).expect("valid");
        assert_eq!(
            (request.disk_ids, request.policy_id),
            (vec!["d-1".to_owned()], None)
        );
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            "regionId=r",
            &[
                ("diskIds=[]", 403, "ParameterInvalid"),
                ("diskIds=x", 403, "ParameterInvalid"),
            ],
        );
        check::refusals(
            Request::parse,
            "regionId=r&diskIds=[\"d-1\"]",
            &[("autoSnapshotPolicyId=a/b", 403, "ParameterInvalid")],
        );
    }
}
