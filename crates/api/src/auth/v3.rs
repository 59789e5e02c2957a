//! Version 3: everything in headers, the body through its hash.

use super::{Claim, Keys, Verified, check_token, known_and_fresh, mismatch, read_timestamp, use_up};
use crate::request::Incoming;
use jiff::Timestamp;
use tidemark_ecs::ApiError;
use tidemark_ecs::sign::v3::{self, Authorization};

pub(super) async fn check(
    keys: &impl Keys,
    now: Timestamp,
    request: &Incoming,
) -> Result<Verified, ApiError> {
    // The very values that are signed, and no others.
    let header = |name: &str| {
        let value = request.header(name)?;
        let value = v3::header_value(&value);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let required = |name: &str| header(name).ok_or_else(|| ApiError::missing_parameter(name));
    let authorization = Authorization::parse(&required("authorization")?)?;
    let claimed_hash = required("x-acs-content-sha256")?;
    let action = required("x-acs-action")?;
    let version = required("x-acs-version")?;
    let claim = Claim {
        access_key_id: authorization.access_key_id.clone(),
        nonce: required("x-acs-signature-nonce")?,
        timestamp: read_timestamp(header("x-acs-date").as_deref())?,
    };
    // It decides whether a body holds parameters: left out of the signature, anybody on the way could hide them.
    let is_signed = |name: &str| {
        authorization
            .signed_headers
            .split(';')
            .any(|signed| signed == name)
    };
    if !request.body.is_empty() && header("content-type").is_some() && !is_signed("content-type") {
        return Err(ApiError::new(
            400,
            "IncompleteSignature",
            "The request has a body, and its content-type header is not among SignedHeaders.",
        ));
    }
    let key = known_and_fresh(keys, now, &claim).await?;
    let hash = v3::payload_hash(&request.body);
    let canonical = v3::canonical_request(
        request.method,
        request
            .query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
        |name| request.header(name),
        &authorization.signed_headers,
        &hash,
    );
    let string_to_sign = v3::string_to_sign(&canonical);
    let right = claimed_hash == hash && v3::verify(&key.secret, &string_to_sign, &authorization.signature);
    if !right {
        return Err(mismatch(&format!(
            "{string_to_sign}\nserver canonical request is:{canonical}"
        )));
    }
    use_up(keys, &claim, Some(&action)).await?;
    check_token(&key, now, header("x-acs-security-token").as_deref())?;
    Ok(Verified {
        key,
        action: Some(action),
        version: Some(version),
    })
}
