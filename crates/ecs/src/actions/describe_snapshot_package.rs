//! DescribeSnapshotPackage: prepaid storage plans. Nothing is sold here, so there are none.

use crate::model::list;
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct SnapshotPackage {
    pub display_name: String,
    pub start_time: String,
    pub end_time: String,
    pub init_capacity: u64,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::snapshot_package")]
    pub snapshot_packages: Vec<SnapshotPackage>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[("PageSize=101", 400, "InvalidParameter")],
        );
    }
}
