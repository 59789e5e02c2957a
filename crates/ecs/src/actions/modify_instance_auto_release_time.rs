//! ModifyInstanceAutoReleaseTime: when an instance is released by itself, or that it is not.

use super::run_instances;
use crate::{ApiError, Params};
use jiff::Timestamp;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    /// `None`: never.
    pub auto_release_time: Option<Timestamp>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            instance_id: params.required("InstanceId")?,
            auto_release_time: run_instances::auto_release(params)?,
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
        check::required(Request::parse, "InstanceId=i-1", &["InstanceId"]);
        check::refusals(
            Request::parse,
            "InstanceId=i-1",
            &[("AutoReleaseTime=soon", 400, "InvalidAutoReleaseTime.Malformed")],
        );
    }
}
