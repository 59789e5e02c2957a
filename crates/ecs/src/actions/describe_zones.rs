//! DescribeZones: zones of a region and what can be made there.

use super::describe_regions::Language;
use crate::model::{Zone, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub instance_charge_type: Option<String>,
    pub spot_strategy: Option<String>,
    /// With details; default true.
    pub verbose: bool,
    pub accept_language: Language,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            instance_charge_type: params.word(
                "InstanceChargeType",
                &["PostPaid", "PrePaid"],
                404,
                "InvalidInstanceChargeType.NotFound",
            )?,
            spot_strategy: params.word(
                "SpotStrategy",
                &["NoSpot", "SpotWithPriceLimit", "SpotAsPriceGo"],
                400,
                "InvalidSpotStrategy",
            )?,
            verbose: params.boolean("Verbose")?.unwrap_or(true),
            accept_language: Language::parse(params)?,
        })
    }
}

/// All zones; not paged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::zone")]
    pub zones: Vec<Zone>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("SpotStrategy=x", 400, "InvalidSpotStrategy"),
                ("InstanceChargeType=x", 404, "InvalidInstanceChargeType.NotFound"),
                ("AcceptLanguage=x", 404, "InvalidAcceptLanguage.NotFound"),
            ],
        );
    }
}
