//! StopInstance: Running to Stopped. StoppedMode is read and has no effect: everything keeps its
//! place while stopped (`KeepCharging`), which is what the contract falls back to.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    /// Power off instead of a shutdown request.
    pub force_stop: bool,
    pub stopped_mode: Option<String>,
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            instance_id: params.required("InstanceId")?,
            force_stop: params.flag("ForceStop")?,
            stopped_mode: params.text("StoppedMode"),
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
