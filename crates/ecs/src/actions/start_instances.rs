//! StartInstances, StopInstances and RebootInstances: up to 100 at once, with an answer for each.
//!
//! All three take the same and answer the same, so the types are here once.

use crate::model::{InstanceResponse, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// 1 to 100, each once.
    pub instance_ids: Vec<String>,
    /// All or none; else each for itself.
    pub all_together: bool,
    /// `ForceStop`, of RebootInstances `ForceReboot`.
    pub force: bool,
    pub dry_run: bool,
}

/// Most instances of one call.
const MOST: usize = 100;

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let instance_ids = instance_ids(params)?;
        let way = params.word(
            "BatchOptimization",
            &["AllTogether", "SuccessFirst"],
            400,
            "InvalidParameter",
        )?;
        Ok(Self {
            region_id,
            instance_ids,
            all_together: way.as_deref() != Some("SuccessFirst"),
            force: params.flag("ForceStop")? || params.flag("ForceReboot")?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// `InstanceId.N`, 1 to 100, each once.
pub(super) fn instance_ids(params: &Params) -> Result<Vec<String>, ApiError> {
    let mut ids = params.list("InstanceId")?;
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    match ids.len() {
        0 => Err(ApiError::missing_parameter("InstanceId.N")),
        1..=MOST => Ok(ids),
        count => Err(ApiError::invalid_parameter(
            "InstanceId",
            format!("{count} ids, where {MOST} are allowed"),
        )),
    }
}

/// What became of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::instance_response")]
    pub instance_responses: Vec<InstanceResponse>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        check::required(Request::parse, "RegionId=r&InstanceId.1=i-1", &["RegionId"]);
        let many: Vec<_> = (1..=101).map(|n| format!("InstanceId.{n}=i-{n}")).collect();
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("InstanceId=i-1", 400, "MissingParameter"),
                ("InstanceId.1=i-1&BatchOptimization=x", 400, "InvalidParameter"),
                (&many.join("&"), 400, "InvalidParameter"),
            ],
        );
        let query = "RegionId=r&InstanceId.1=i-1&InstanceId.2=i-1&ForceReboot=true";
        let request = Request::parse(&check::params(query)).expect("valid");
        assert_eq!(request.instance_ids, ["i-1"]);
        assert!(request.all_together && request.force);
    }
}
