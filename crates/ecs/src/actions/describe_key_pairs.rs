//! DescribeKeyPairs: the caller's key pairs in a region, newest first.

use super::describe_instances;
use crate::model::{KeyPair, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// See [`name_matches`].
    pub key_pair_name: Option<String>,
    pub key_pair_finger_print: Option<String>,
    pub include_public_key: bool,
    pub resource_group_id: Option<String>,
    pub tags: Vec<TagFilter>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            key_pair_name: params.text("KeyPairName"),
            key_pair_finger_print: params.text("KeyPairFingerPrint"),
            include_public_key: params.flag("IncludePublicKey")?,
            resource_group_id: params.text("ResourceGroupId"),
            tags: tags::filters(params)?,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// Whether a name fits a pattern in which `*` stands for any text, even none.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    describe_instances::name_matches(pattern, name)
}

/// Key pairs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::key_pair")]
    pub key_pairs: Vec<KeyPair>,
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
                ("IncludePublicKey=x", 400, "InvalidParameter"),
                ("Tag.1.Value=v", 400, "InvalidTag.Mismatch"),
            ],
        );
    }
}
