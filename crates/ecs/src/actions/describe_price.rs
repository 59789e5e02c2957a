//! DescribePrice: nothing costs anything here.

use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// `instance`, `disk`, …
    pub resource_type: String,
    pub instance_type: Option<String>,
    pub price_unit: Option<String>,
    pub amount: Option<i64>,
}

const RESOURCE_TYPES: &[&str] = &[
    "instance",
    "disk",
    "diskperformance",
    "bandwidth",
    "ddh",
    "ElasticityAssurance",
    "CapacityReservation",
];

impl Request {
    /// Reads and checks the parameters. What else describes the resource makes no difference to its price.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            resource_type: params
                .word("ResourceType", RESOURCE_TYPES, 400, "InvalidParameter")?
                .unwrap_or_else(|| "instance".into()),
            instance_type: params.text("InstanceType"),
            price_unit: params.word(
                "PriceUnit",
                &["Hour", "Day", "Week", "Month", "Year"],
                400,
                "InvalidParameter",
            )?,
            amount: params.integer_in("Amount", 1..=1000, 400, "InvalidParameter")?,
        })
    }
}

/// The price.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub price_info: PriceInfo,
}

/// A price and the rules that made it what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct PriceInfo {
    pub price: Price,
    #[serde(with = "list::rule")]
    pub rules: Vec<Rule>,
}

/// What is to be paid, in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Price {
    pub currency: String,
    pub original_price: f64,
    pub discount_price: f64,
    pub trade_price: f64,
    #[serde(with = "list::detail_info")]
    pub detail_infos: Vec<DetailInfo>,
}

/// What is to be paid for a part.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct DetailInfo {
    pub resource: String,
    pub original_price: f64,
    pub discount_price: f64,
    pub trade_price: f64,
    #[serde(with = "list::rule")]
    pub sub_rules: Vec<Rule>,
}

/// A promotion.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Rule {
    pub rule_id: i64,
    pub description: String,
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
                ("ResourceType=house", 400, "InvalidParameter"),
                ("PriceUnit=Aeon", 400, "InvalidParameter"),
                ("Amount=0", 400, "InvalidParameter"),
            ],
        );
        let many = "RegionId=r&DataDisk.1.Category=cloud_ssd&DataDisk.1.Size=20&PriceUnit=Hour";
        Request::parse(&check::params(many)).expect("what else there is, is not looked at");
    }

    #[test]
    fn a_price_has_the_documented_shape() {
        let text = serde_json::to_string(&Response::default()).expect("json");
        let price = r#""Price":{"Currency":"","OriginalPrice":0.0,"DiscountPrice":0.0,"TradePrice":0.0,"DetailInfos":{"DetailInfo":[]}}"#;
        assert_eq!(
            text,
            format!(r#"{{"PriceInfo":{{{price},"Rules":{{"Rule":[]}}}}}}"#)
        );
    }
}
