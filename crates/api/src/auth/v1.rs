//! Version 1: everything in the parameters.

use super::{Claim, Keys, Verified, check_token, known_and_fresh, mismatch, read_timestamp, use_up};
use crate::request::Incoming;
use jiff::Timestamp;
use tidemark_ecs::{ApiError, sign::v1};

pub(super) async fn check(
    keys: &impl Keys,
    now: Timestamp,
    request: &Incoming,
) -> Result<Verified, ApiError> {
    let params = &request.params;
    let signature = params.required("Signature")?;
    let access_key_id = params.required("AccessKeyId")?;
    fixed(request, "SignatureMethod", "HMAC-SHA1")?;
    fixed(request, "SignatureVersion", "1.0")?;
    if let Some(kind) = params.get("SignatureType") {
        return Err(unusable("SignatureType", kind, "empty"));
    }
    let claim = Claim {
        access_key_id,
        nonce: params.required("SignatureNonce")?,
        timestamp: read_timestamp(params.get("Timestamp"))?,
    };
    let key = known_and_fresh(keys, now, &claim).await?;
    let string_to_sign = v1::string_to_sign(request.method, params.iter());
    if !v1::verify(&key.secret, &string_to_sign, &signature) {
        return Err(mismatch(&string_to_sign));
    }
    use_up(keys, &claim, params.get("Action")).await?;
    check_token(&key, now, params.get("SecurityToken"))?;
    Ok(Verified {
        key,
        action: params.text("Action"),
        version: params.text("Version"),
    })
}

/// A parameter that has one legal value. The code is spelt as the contract spells it.
fn fixed(request: &Incoming, name: &str, value: &str) -> Result<(), ApiError> {
    match request.params.required(name)? {
        given if given == value => Ok(()),
        given => Err(unusable(name, &given, value)),
    }
}

fn unusable(name: &str, given: &str, value: &str) -> ApiError {
    ApiError::new(
        400,
        "InvalidParamater",
        format!("The parameter \"{name}\" is not valid: {given:?} is not supported, use {value}."),
    )
}
