//! The SSH key pair, and what became of an instance that one was bound to.

use super::{Tag, list};
use serde::Serialize;

/// One row of DescribeKeyPairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct KeyPair {
    pub key_pair_id: String,
    pub key_pair_name: String,
    /// MD5 of the public key (RFC 4716): 16 pairs of hex digits with colons between.
    pub key_pair_finger_print: String,
    pub creation_time: String,
    pub resource_group_id: String,
    /// Only if the caller asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    #[serde(with = "list::tag")]
    pub tags: Vec<Tag>,
}

/// One instance of AttachKeyPair or DetachKeyPair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct KeyPairResult {
    pub instance_id: String,
    /// `true` or `false`: texts, as the SDKs' models have it.
    pub success: String,
    /// `200`, or the code of the refusal.
    pub code: String,
    pub message: String,
}
