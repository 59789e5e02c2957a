//! ModifyInstanceSpec: another type for an instance that is stopped.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    pub instance_type: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            instance_id: params.required("InstanceId")?,
            instance_type: params.required("InstanceType")?,
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
    fn both_are_required() {
        check::required(
            Request::parse,
            "InstanceId=i-1&InstanceType=ecs.g6.large",
            &["InstanceId", "InstanceType"],
        );
    }
}
