//! ModifyInstanceMetadataOptions: the switches of the metadata service of one instance.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` leaves a switch as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub instance_id: String,
    /// `enabled` or `disabled`.
    pub http_endpoint: String,
    /// `optional` or `required`.
    pub http_tokens: Option<String>,
    /// 1 to 64.
    pub http_put_response_hop_limit: Option<i64>,
    /// `enabled` or `disabled`.
    pub instance_metadata_tags: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let instance_id = params.required("InstanceId")?;
        let switch = ["enabled", "disabled"];
        let http_endpoint = params.word("HttpEndpoint", &switch, 400, "InvalidHttpEndpoint.NotSupported")?;
        Ok(Self {
            region_id,
            instance_id,
            http_endpoint: http_endpoint.ok_or_else(|| ApiError::missing_parameter("HttpEndpoint"))?,
            http_tokens: params.word(
                "HttpTokens",
                &["optional", "required"],
                400,
                "InvalidHttpTokens.NotSupported",
            )?,
            http_put_response_hop_limit: params.integer_in(
                "HttpPutResponseHopLimit",
                1..=64,
                400,
                "InvalidHttpPutResponseHopLimit.NotSupported",
            )?,
            instance_metadata_tags: params.word("InstanceMetadataTags", &switch, 400, "InvalidParameter")?,
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
            "RegionId=r&InstanceId=i-1&HttpEndpoint=enabled",
            &["RegionId", "InstanceId", "HttpEndpoint"],
        );
        check::refusals(
            Request::parse,
            "RegionId=r&InstanceId=i-1",
            &[
                ("HttpEndpoint=on", 400, "InvalidHttpEndpoint.NotSupported"),
                (
                    "HttpEndpoint=enabled&HttpTokens=on",
                    400,
                    "InvalidHttpTokens.NotSupported",
                ),
                (
                    "HttpEndpoint=enabled&HttpPutResponseHopLimit=0",
                    400,
                    "InvalidHttpPutResponseHopLimit.NotSupported",
                ),
                (
                    "HttpEndpoint=enabled&InstanceMetadataTags=on",
                    400,
                    "InvalidParameter",
                ),
            ],
        );
    }
}
