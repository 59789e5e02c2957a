//! ImportKeyPair: a public key that somebody has the private half of.

use super::create_key_pair::new_name;
use crate::model::Tag;
use crate::rules::tags;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub key_pair_name: String,
    /// One line, as in `id_ed25519.pub`. Whether it is a key is found out by who can read keys.
    pub public_key_body: String,
    pub resource_group_id: Option<String>,
    pub tags: Vec<Tag>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            key_pair_name: new_name(params)?,
            public_key_body: params.required("PublicKeyBody")?,
            resource_group_id: params.text("ResourceGroupId"),
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
        })
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub key_pair_name: String,
    pub key_pair_finger_print: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        let base = "RegionId=r&KeyPairName=k1&PublicKeyBody=ssh-rsa%20AAAA";
        check::required(
            Request::parse,
            base,
            &["RegionId", "KeyPairName", "PublicKeyBody"],
        );
    }
}
