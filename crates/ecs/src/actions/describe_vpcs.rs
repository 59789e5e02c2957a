//! DescribeVpcs: the one network that instances are taken to be in.

use crate::model::{Vpc, list};
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    /// Empty: all.
    pub ids: Vec<String>,
    pub vpc_id: Option<String>,
    pub zone_id: Option<String>,
    pub is_default: Option<bool>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            ids: commas(params.get("VpcId")),
            vpc_id: None,
            zone_id: params.text("ZoneId"),
            is_default: params.boolean("IsDefault")?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::vpc")]
    pub vpcs: Vec<Vpc>,
    #[serde(flatten)]
    pub page: PageInfo,
}

/// A list with commas.
fn commas(text: Option<&str>) -> Vec<String> {
    let items = text.unwrap_or_default().split(',').map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
