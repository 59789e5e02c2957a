//! DescribeResourceByTags: which resources carry tags; old tools still use it.

use super::tag_resources;
use crate::model::{TaggedResource, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// `None`: of every type.
    pub resource_type: Option<String>,
    /// All must match.
    pub tags: Vec<TagFilter>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            resource_type: match params.get("ResourceType") {
                Some(_) => Some(tag_resources::resource_type(params)?),
                None => None,
            },
            tags: tags::filters(params)?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::resource")]
    pub resources: Vec<TaggedResource>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "RegionId=r&Tag.1.Key=k", &["RegionId"]);
    }
}
