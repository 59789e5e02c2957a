//! AddTags: the tag action before TagResources, for one resource; old tools still use it.

use super::tag_resources;
use crate::model::Tag;
use crate::rules::tags;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub resource_type: String,
    pub resource_id: String,
    /// 1 to 20.
    pub tags: Vec<Tag>,
}

impl Request {
    /// Reads and checks the parameters. Unlike in the newer actions, missing ones are 400.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            region_id: params.required("RegionId")?,
            resource_type: resource_type(params)?,
            resource_id: params.required("ResourceId")?,
            tags: tags::new_tags(params, (400, "InvalidTagCount"))?,
        };
        match request.tags.is_empty() {
            true => Err(ApiError::missing_parameter("Tag.N.Key")),
            false => Ok(request),
        }
    }
}

/// `ResourceType`, in any case.
pub(super) fn resource_type(params: &Params) -> Result<String, ApiError> {
    params.required("ResourceType")?;
    tag_resources::resource_type(params)
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&ResourceType=disk&ResourceId=d-1&Tag.1.Key=k";
        check::required(Request::parse, base, &["RegionId", "ResourceType", "ResourceId"]);
        let many: Vec<_> = (2..=22).map(|n| format!("Tag.{n}.Key=k{n}")).collect();
        check::refusals(
            Request::parse,
            base,
            &[
                (&many.join("&"), 400, "InvalidTagCount"),
                ("Tag.2.Key=k", 400, "Duplicate.TagKey"),
            ],
        );
        check::refusals(
            Request::parse,
            "RegionId=r&ResourceId=x",
            &[
                (
                    "ResourceType=moon&Tag.1.Key=k",
                    404,
                    "InvalidResourceType.NotFound",
                ),
                ("ResourceType=disk", 400, "MissingParameter"),
            ],
        );
    }
}
