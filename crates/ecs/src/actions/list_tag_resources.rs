//! ListTagResources: which resources have which tags.

use super::tag_resources::{missing, required, resource_ids, resource_type};
use crate::model::{TagResource, list};
use crate::page::PageRequest;
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub resource_type: String,
    /// Empty: any resource.
    pub resource_ids: Vec<String>,
    /// Exact; all must match.
    pub tags: Vec<TagFilter>,
    /// By substring; all must match.
    pub tag_filters: Vec<FuzzyTag>,
    pub page: PageRequest,
}

/// A key and values of which parts are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FuzzyTag {
    /// Substring of the key.
    pub key: String,
    /// Substrings, one of which the value must contain; empty: any value.
    pub values: Vec<String>,
}

impl FuzzyTag {
    /// Whether a tag passes.
    pub fn matches(&self, key: &str, value: &str) -> bool {
        key.contains(&self.key)
            && (self.values.is_empty() || self.values.iter().any(|part| value.contains(part.as_str())))
    }
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = required(params, "RegionId")?;
        let resource_type = resource_type(params)?;
        let resource_ids = resource_ids(params)?;
        let tags = tags::filters(params)?;
        let tag_filters: Vec<FuzzyTag> = params
            .structs("TagFilter")?
            .into_iter()
            .map(|item| {
                let key = item.get("TagKey").unwrap_or_default().to_owned();
                Ok(FuzzyTag {
                    key,
                    values: item.list("TagValues")?,
                })
            })
            .collect::<Result<_, ApiError>>()?;
        if resource_ids.is_empty() && tags.is_empty() && tag_filters.is_empty() {
            return Err(missing("ResourceIds"));
        }
        if !tags.is_empty() && !tag_filters.is_empty() {
            return Err(ApiError::new(
                400,
                "InvalidTag.Mismatch",
                "The parameters \"Tag\" and \"TagFilter\" cannot be given together.",
            ));
        }
        let page = PageRequest::parse(params, 100, 100)?;
        Ok(Self {
            region_id,
            resource_type,
            resource_ids,
            tags,
            tag_filters,
            page,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::tag_resource")]
    pub tag_resources: Vec<TagResource>,
    /// Empty: no more rows.
    pub next_token: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn something_must_be_asked_for() {
        check::refusals(
            Request::parse,
            "RegionId=r&ResourceType=disk",
            &[
                ("", 404, "MissingParameter.ResourceIds"),
                ("Tag.1.Key=a&TagFilter.1.TagKey=a", 400, "InvalidTag.Mismatch"),
            ],
        );
        let request = Request::parse(&check::params(
            "RegionId=r&ResourceType=disk&TagFilter.1.TagKey=na&TagFilter.1.TagValues.1=v",
        ))
        .expect("valid");
        assert!(
            request.tag_filters[0].matches("name", "-v-") && !request.tag_filters[0].matches("name", "x")
        );
    }
}
