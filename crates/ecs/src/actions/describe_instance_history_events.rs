//! DescribeInstanceHistoryEvents: what the vendor has done to machines and disks, which here is nothing. What happens here is in
//! DescribeEvents.

use crate::model::list;
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub instance_id: Option<String>,
    pub resource_ids: Vec<String>,
    pub event_ids: Vec<String>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            instance_id: params.text("InstanceId"),
            resource_ids: params.list("ResourceId")?,
            event_ids: params.list("EventId")?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// An event that never comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum SystemEvent {}

/// One page, and empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::instance_system_event_type")]
    pub instance_system_event_set: Vec<SystemEvent>,
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
            &[("PageSize=101", 400, "InvalidParameter")],
        );
    }
}
