//! DescribeInstanceStatus: ids and states only. Takes a repeat list, pages of at most 50.

use crate::model::{InstanceStatus, list};
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub zone_id: Option<String>,
    /// Empty: all.
    pub instance_ids: Vec<String>,
    pub cluster_id: Option<String>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            region_id: params.required("RegionId")?,
            zone_id: params.text("ZoneId"),
            instance_ids: params.list("InstanceId")?,
            cluster_id: params.text("ClusterId"),
            page: PageRequest::parse(params, 50, 50)?,
        };
        match request.instance_ids.len() {
            0..=100 => Ok(request),
            count => Err(ApiError::invalid_parameter(
                "InstanceId",
                format!("{count} ids, where 100 are allowed"),
            )),
        }
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::instance_status")]
    pub instance_statuses: Vec<InstanceStatus>,
    #[serde(flatten)]
    pub page: PageInfo,
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
            &[("PageSize=51", 400, "InvalidParameter")],
        );
    }
}
