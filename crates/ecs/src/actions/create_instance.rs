//! CreateInstance: one instance, not started. Its parameters are those of RunInstances.

use super::run_instances;
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for: one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Request(pub run_instances::Request);

impl Request {
    /// Reads and checks the parameters. Numbers of instances are none of this action's.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let own = params.without(&["Amount", "MinAmount", "amount", "minAmount"]);
        run_instances::Request::parse(&own).map(Self)
    }
}

/// The instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `i-…`
    pub instance_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&InstanceType=ecs.g6.large&ImageId=m-1";
        check::required(Request::parse, base, &["RegionId", "InstanceType", "ImageId"]);
        check::refusals(
            Request::parse,
            base,
            &[
                ("InstanceName=1", 400, "InvalidInstanceName.Malformed"),
                ("DataDisk.1.Size=1", 400, "InvalidDataDiskSize.ValueNotSupported"),
            ],
        );
        let request = Request::parse(&check::params(&format!("{base}&Amount=500"))).expect("valid");
        assert_eq!((request.0.amount, request.0.min_amount), (1, 1));
    }
}
