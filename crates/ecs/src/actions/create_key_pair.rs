//! CreateKeyPair: a key pair whose private half is in this answer and nowhere else.

use crate::model::Tag;
use crate::rules::{tags, text};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub key_pair_name: String,
    pub resource_group_id: Option<String>,
    pub tags: Vec<Tag>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            key_pair_name: new_name(params)?,
            resource_group_id: params.text("ResourceGroupId"),
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
        })
    }
}

/// The name of a key pair that is to be made.
pub(super) fn new_name(params: &Params) -> Result<String, ApiError> {
    params.required("KeyPairName")?;
    let name = text::name(params, "KeyPairName", (400, "InvalidKeyPairName.Malformed"))?;
    name.ok_or_else(|| ApiError::missing_parameter("KeyPairName"))
}

/// The only answer that holds the private key.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub key_pair_id: String,
    pub key_pair_name: String,
    pub key_pair_finger_print: String,
    /// As SSH clients read it from a file.
    pub private_key_body: String,
}

impl std::fmt::Debug for Response {
    /// Without the private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("key_pair_name", &self.key_pair_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&KeyPairName=k1";
        check::required(Request::parse, base, &["RegionId", "KeyPairName"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("KeyPairName=k", 400, "InvalidKeyPairName.Malformed"),
                ("KeyPairName=1k", 400, "InvalidKeyPairName.Malformed"),
                ("KeyPairName=k%2Fk", 400, "InvalidKeyPairName.Malformed"),
                ("KeyPairName=http://k", 400, "InvalidKeyPairName.Malformed"),
                ("KeyPairName=k1&Tag.1.Key=a&Tag.2.Key=a", 400, "Duplicate.TagKey"),
            ],
        );
    }

    #[test]
    fn the_private_key_is_not_written_down() {
        let response = Response {
            key_pair_id: String::new(),
            key_pair_name: "k1".into(),
            key_pair_finger_print: String::new(),
            private_key_body: "hush".into(),
        };
        assert!(!format!("{response:?}").contains("hush"));
    }
}
