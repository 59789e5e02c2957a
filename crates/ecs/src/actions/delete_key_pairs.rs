//! DeleteKeyPairs: up to 100 at once; all of them, or none.

use crate::{ApiError, Params};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// 1 to 100. A JSON array on the wire.
    pub key_pair_names: Vec<String>,
}

/// Most names of one call.
const MOST: usize = 100;

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        params.required("KeyPairNames")?;
        let odd = (400, "InvalidKeyPairNames.ValueNotSupported");
        let names = params.json_list("KeyPairNames", MOST, odd, odd)?;
        let names = names.unwrap_or_default();
        if names.is_empty() {
            let message = "The parameter \"KeyPairNames\" is not valid: it names none.";
            return Err(ApiError::new(odd.0, odd.1, message));
        }
        Ok(Self {
            region_id,
            key_pair_names: names,
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
        let base = "RegionId=r&KeyPairNames=[\"k1\"]";
        check::required(Request::parse, base, &["RegionId", "KeyPairNames"]);
        let many = format!("KeyPairNames=[{}]", vec!["\"k\""; 101].join(","));
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("KeyPairNames=k1", 400, "InvalidKeyPairNames.ValueNotSupported"),
                ("KeyPairNames=[]", 400, "InvalidKeyPairNames.ValueNotSupported"),
                (&many, 400, "InvalidKeyPairNames.ValueNotSupported"),
            ],
        );
    }
}
