//! ApplyAutoSnapshotPolicy: has a policy run for disks; for all of them, or none.

use crate::rules::policy;
use crate::{ApiError, Params};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub policy_id: String,
    /// 1 to 100, each once.
    pub disk_ids: Vec<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("regionId")?;
        params.required("autoSnapshotPolicyId")?;
        params.required("diskIds")?;
        Ok(Self {
            region_id,
            policy_id: policy::policy_id(params)?,
            disk_ids: policy::disk_ids(params)?,
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
    fn disks_are_a_json_array_and_count_once() {
        let base = "regionId=r&autoSnapshotPolicyId=sp-1&diskIds=[\"d-1\",\"d-2\",\"d-1\"]";
        check::required(
            Request::parse,
            base,
            &["regionId", "autoSnapshotPolicyId", "diskIds"],
        );
        let request = Request::parse(&check::params(base)).expect("valid");
        assert_eq!(request.disk_ids, ["d-1", "d-2"]);
        let capitals = base.replace("diskIds", "DiskIds").replace("regionId", "RegionId");
        assert_eq!(Request::parse(&check::params(&capitals)), Ok(request));
    }

    #[test]
    fn refusals() {
        let many: Vec<String> = (0..101).map(|n| format!("\"d-{n}\"")).collect();
        check::refusals(
            Request::parse,
            "regionId=r&autoSnapshotPolicyId=sp-1",
            &[
                ("diskIds=d-1", 403, "ParameterInvalid"),
                ("diskIds=[]", 403, "ParameterInvalid"),
                ("diskIds=[{}]", 403, "ParameterInvalid"),
                (&format!("diskIds=[{}]", many.join(",")), 403, "ParameterInvalid"),
            ],
        );
        check::refusals(
            Request::parse,
            "regionId=r&diskIds=[\"d-1\"]",
            &[("autoSnapshotPolicyId=a/b", 403, "ParameterInvalid")],
        );
    }
}
