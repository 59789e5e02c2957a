//! DescribeTags: the tags that there are, and on how many resources; old tools still use it.

use super::tag_resources;
use crate::model::{CountedTag, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    /// Any of these; empty: all.
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
            resource_id: params.text("ResourceId"),
            tags: tags::filters(params)?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page, by key and value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::tag")]
    pub tags: Vec<CountedTag>,
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
            &[
                ("ResourceType=moon", 404, "InvalidResourceType.NotFound"),
                ("PageSize=101", 400, "InvalidParameter"),
            ],
        );
    }
}
