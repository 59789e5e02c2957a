//! RemoveTags: takes tags off one resource; old tools still use it.

use super::add_tags::resource_type;
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub resource_type: String,
    pub resource_id: String,
    /// Those that go, each only with its value if one is given; empty: all.
    pub tags: Vec<TagFilter>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            resource_type: resource_type(params)?,
            resource_id: params.required("ResourceId")?,
            tags: tags::filters(params)?,
        })
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&ResourceType=disk&ResourceId=d-1";
        check::required(Request::parse, base, &["RegionId", "ResourceType", "ResourceId"]);
        check::refusals(
            Request::parse,
            base,
            &[("Tag.1.Value=v", 400, "InvalidTag.Mismatch")],
        );
    }
}
