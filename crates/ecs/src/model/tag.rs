//! Tags, in requests and answers.

use serde::{Deserialize, Serialize};

/// A key and its value; the value may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    /// 1 to 128 characters.
    #[serde(rename = "TagKey")]
    pub key: String,
    /// Up to 128 characters.
    #[serde(rename = "TagValue")]
    pub value: String,
}

/// One row of ListTagResources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct TagResource {
    pub resource_id: String,
    /// As in the request, lower case.
    pub resource_type: String,
    pub tag_key: String,
    pub tag_value: String,
}
