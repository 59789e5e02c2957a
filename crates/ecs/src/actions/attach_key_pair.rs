//! AttachKeyPair and DetachKeyPair: which instances let the holder of a key in; up to 50 at once, with an answer for each.
//!
//! Both take the same and answer the same, so the types are here once.

use crate::model::{KeyPairResult, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub key_pair_name: String,
    /// 1 to 50, each once. A JSON array on the wire.
    pub instance_ids: Vec<String>,
}

/// Most instances of one call.
const MOST: usize = 50;

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let key_pair_name = params.required("KeyPairName")?;
        params.required("InstanceIds")?;
        let odd = (400, "InvalidInstanceIds.ValueNotSupported");
        let mut ids = params
            .json_list("InstanceIds", MOST, odd, odd)?
            .unwrap_or_default();
        let mut seen = std::collections::BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        if ids.is_empty() {
            let message = "The parameter \"InstanceIds\" is not valid: it names none.";
            return Err(ApiError::new(odd.0, odd.1, message));
        }
        Ok(Self {
            region_id,
            key_pair_name,
            instance_ids: ids,
        })
    }
}

/// What became of each. Numbers are texts, as the SDKs' models have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub key_pair_name: String,
    pub total_count: String,
    pub fail_count: String,
    #[serde(with = "list::result")]
    pub results: Vec<KeyPairResult>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&KeyPairName=k1&InstanceIds=[\"i-1\",\"i-2\",\"i-1\"]";
        check::required(Request::parse, base, &["RegionId", "KeyPairName", "InstanceIds"]);
        let request = Request::parse(&check::params(base)).expect("valid");
        assert_eq!(request.instance_ids, ["i-1", "i-2"]);
        let many = format!("InstanceIds=[{}]", vec!["\"i\""; 51].join(","));
        check::refusals(
            Request::parse,
            "RegionId=r&KeyPairName=k1",
            &[
                ("InstanceIds=i-1", 400, "InvalidInstanceIds.ValueNotSupported"),
                ("InstanceIds=[]", 400, "InvalidInstanceIds.ValueNotSupported"),
                (&many, 400, "InvalidInstanceIds.ValueNotSupported"),
            ],
        );
    }
}
