//! UntagResources: takes tags off up to 50 resources.

use super::tag_resources::{missing, required, resource_ids, resource_type};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub resource_type: String,
    /// 1 to 50.
    pub resource_ids: Vec<String>,
    pub keys: Keys,
}

/// Which tags go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Keys {
    /// These; 1 to 20.
    Named(Vec<String>),
    /// Every one.
    All,
}

impl Request {
    /// Reads and checks the parameters. `All` counts only when no key is given.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = required(params, "RegionId")?;
        let resource_type = resource_type(params)?;
        let resource_ids = resource_ids(params)?;
        if resource_ids.is_empty() {
            return Err(missing("ResourceIds"));
        }
        let named = params.list("TagKey")?;
        let keys = match named.len() {
            0 if params.flag("All")? => Keys::All,
            0 => return Err(missing("Tags")),
            1..=20 => Keys::Named(named),
            count => {
                return Err(ApiError::new(
                    400,
                    "NumberExceed.Tags",
                    format!("{count} tag keys are given, where 20 are allowed."),
                ));
            }
        };
        Ok(Self {
            region_id,
            resource_type,
            resource_ids,
            keys,
        })
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "RegionId=r&ResourceType=disk&ResourceId.1=d-1";

    #[test]
    fn all_counts_only_without_keys() {
        let keys = |query: &str| {
            Request::parse(&check::params(&format!("{BASE}&{query}")))
                .expect(query)
                .keys
        };
        assert_eq!(keys("All=true"), Keys::All);
        assert_eq!(keys("All=true&TagKey.2=k"), Keys::Named(vec!["k".into()]));
    }

    #[test]
    fn refusals() {
        let keys: Vec<_> = (1..=21).map(|n| format!("TagKey.{n}=k{n}")).collect();
        check::refusals(
            Request::parse,
            BASE,
            &[
                ("", 404, "MissingParameter.Tags"),
                ("All=false", 404, "MissingParameter.Tags"),
                (&keys.join("&"), 400, "NumberExceed.Tags"),
            ],
        );
    }
}
