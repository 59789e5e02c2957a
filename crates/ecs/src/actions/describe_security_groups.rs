//! DescribeSecurityGroups: the one group that instances are in unless they name another.

use crate::model::{SecurityGroup, list};
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
            ids: group_ids(params)?,
            vpc_id: params.text("VpcId"),
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
    #[serde(with = "list::security_group")]
    pub security_groups: Vec<SecurityGroup>,
    #[serde(flatten)]
    pub page: PageInfo,
}

/// `SecurityGroupIds` as a JSON array, or one `SecurityGroupId`.
fn group_ids(params: &Params) -> Result<Vec<String>, ApiError> {
    let malformed = (400, "InvalidParameter");
    let many = params.json_list("SecurityGroupIds", 100, malformed, malformed)?;
    Ok(many.unwrap_or_else(|| params.text("SecurityGroupId").into_iter().collect()))
}
