//! DescribeImageSharePermission: whom an image is shared with.

use crate::model::{ImageShare, list};
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub image_id: String,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            image_id: params.required("ImageId")?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page. One list at top level only: a pager picks any that it finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub region_id: String,
    pub image_id: String,
    #[serde(with = "list::account")]
    pub accounts: Vec<ImageShare>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "RegionId=r&ImageId=m-1", &["RegionId", "ImageId"]);
    }
}
