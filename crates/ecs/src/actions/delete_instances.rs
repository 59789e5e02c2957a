//! DeleteInstances: up to 100 at once; all of them, or none.

use super::start_instances::instance_ids;
use crate::rules::client_token;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// 1 to 100, each once.
    pub instance_ids: Vec<String>,
    /// Although they are Running.
    pub force: bool,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
    #[serde(skip)]
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            instance_ids: instance_ids(params)?,
            force: params.flag("Force")?,
            client_token: client_token(params, 400, "InvalidParameter")?,
            dry_run: params.flag("DryRun")?,
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
        check::required(Request::parse, "RegionId=r&InstanceId.1=i-1", &["RegionId"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[("Force=true", 400, "MissingParameter")],
        );
    }
}
