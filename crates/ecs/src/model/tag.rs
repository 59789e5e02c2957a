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

/// One row of DescribeTags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct CountedTag {
    pub tag_key: String,
    pub tag_value: String,
    pub resource_type_count: TagCounts,
}

/// How many resources of each type carry a tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct TagCounts {
    pub instance: i64,
    pub disk: i64,
    pub snapshot: i64,
    pub image: i64,
    pub snapshot_policy: i64,
    #[serde(rename = "Securitygroup")]
    pub security_group: i64,
}

/// One row of DescribeResourceByTags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct TaggedResource {
    pub resource_id: String,
    pub resource_type: String,
    pub region_id: String,
}
