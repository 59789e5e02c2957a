//! DeleteInstance: releases an instance; its disks go with it or stay, as each is marked.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    /// Although it is Running.
    pub force: bool,
    /// With `force`: power off (default) or shut down.
    pub force_stop: bool,
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            instance_id: params.required("InstanceId")?,
            force: params.flag("Force")?,
            force_stop: params.boolean("ForceStop")?.unwrap_or(true),
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
    fn required() {
        check::required(Request::parse, "InstanceId=i-1", &["InstanceId"]);
    }
}
