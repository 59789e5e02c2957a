//! DeleteAutoSnapshotPolicy: takes a policy off all disks and deletes it. Its snapshots stay.

use crate::rules::policy;
use crate::{ApiError, Params};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub policy_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("regionId")?,
            policy_id: policy::policy_id(params)?,
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
        check::required(
            Request::parse,
            "regionId=r&autoSnapshotPolicyId=sp-1",
            &["regionId", "autoSnapshotPolicyId"],
        );
        check::refusals(
            Request::parse,
            "regionId=r",
            &[("autoSnapshotPolicyId=a b", 403, "ParameterInvalid")],
        );
    }
}
