//! Who asks: signatures, timestamps, nonces (ecs-api.md 1.9 to 1.12).
//!
//! Order: parameters of the signature present, key known, timestamp, signature, nonce, token of a
//! temporary key. A nonce is remembered only once the signature is right, so that nobody can use up
//! another's; and it is checked after it, so that a wrong signature never tells whether a nonce was seen.

mod v1;
mod v3;

#[cfg(test)]
mod tests;

use crate::actions::only_reads;
use crate::request::{self, Incoming};
use jiff::{SignedDuration, Timestamp};
use tidemark_control::{AccessKey, Control, token_hash};
use tidemark_ecs::{ApiError, sign, time};

/// How far a timestamp may be off, either side.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// Longest nonce, in bytes: clients send 32 hex digits or a UUID.
const NONCE_BYTES_MAX: usize = 128;

/// A request whose signature is right.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) key: AccessKey,
    /// Where the signing version says that action and version are.
    pub(crate) action: Option<String>,
    pub(crate) version: Option<String>,
}

/// What authentication needs to know and to remember; `control` keeps both across restarts.
pub(crate) trait Keys: Sync {
    /// The key with this id.
    fn access_key(&self, id: &str) -> impl Future<Output = Result<Option<AccessKey>, ApiError>> + Send;

    /// Remembers a nonce for as long as a timestamp can stay valid; false if it was there. With `synced` it is on the
    /// medium then; without, a power cut may lose it.
    fn use_nonce(
        &self,
        key: &str,
        nonce: &str,
        synced: bool,
    ) -> impl Future<Output = Result<bool, ApiError>> + Send;
}

impl Keys for Control {
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, ApiError> {
        Control::access_key(self, id)
            .await
            .map_err(|error| unavailable(&error))
    }

    async fn use_nonce(&self, key: &str, nonce: &str, synced: bool) -> Result<bool, ApiError> {
        Control::use_nonce(self, key, nonce, synced)
            .await
            .map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &tidemark_control::ControlError) -> ApiError {
    tracing::error!(%error, "the catalogue cannot be asked who is calling");
    ApiError::service_unavailable("access keys cannot be read")
}

/// What a request says about itself, in either signing version.
struct Claim {
    access_key_id: String,
    timestamp: Timestamp,
    nonce: String,
}

/// Checks everything; `now` is the server's time.
pub(crate) async fn check(
    keys: &impl Keys,
    now: Timestamp,
    request: &Incoming,
) -> Result<Verified, ApiError> {
    if request::is_v3(&request.headers) {
        v3::check(keys, now, request).await
    } else {
        v1::check(keys, now, request).await
    }
}

/// The key of a claim, if it exists and is in use, and if the claim is fresh.
async fn known_and_fresh(keys: &impl Keys, now: Timestamp, claim: &Claim) -> Result<AccessKey, ApiError> {
    if claim.nonce.len() > NONCE_BYTES_MAX {
        let why = format!("it has more than {NONCE_BYTES_MAX} bytes");
        return Err(ApiError::invalid_parameter("SignatureNonce", why));
    }
    let id = &claim.access_key_id;
    let key = keys.access_key(id).await?.ok_or_else(|| {
        ApiError::new(
            404,
            "InvalidAccessKeyId.NotFound",
            format!("The specified AccessKeyId {id:?} does not exist."),
        )
    })?;
    if !key.active {
        return Err(ApiError::new(
            403,
            "Forbidden.AccessKeyDisabled",
            format!("The specified AccessKeyId {id:?} is disabled."),
        ));
    }
    if now.duration_since(claim.timestamp).abs() > WINDOW {
        return Err(ApiError::new(
            400,
            "InvalidTimeStamp.Expired",
            format!(
                "The timestamp {} is more than {} minutes away from the server's time {}.",
                time::seconds(claim.timestamp),
                WINDOW.as_mins(),
                time::seconds(now)
            ),
        ));
    }
    Ok(key)
}

/// A temporary key comes with its token, and ends. A token beside a permanent key is none of our business.
fn check_token(key: &AccessKey, now: Timestamp, token: Option<&str>) -> Result<(), ApiError> {
    let Some(session) = &key.session else {
        return Ok(());
    };
    let refuse = |what: &str, message: &str| {
        Err(ApiError::new(
            400,
            format!("InvalidSecurityToken.{what}"),
            message,
        ))
    };
    match token {
        None => refuse("Malformed", "A temporary AccessKeyId needs its SecurityToken."),
        // As ours are made.
        Some(text) if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            refuse("Malformed", "The specified SecurityToken is malformed.")
        }
        Some(text) if token_hash(text) != session.token_hash => refuse(
            "MismatchWithAccessKey",
            "The specified SecurityToken does not belong to the AccessKeyId.",
        ),
        Some(_) if session.expires_ms <= now.as_millisecond() => {
            refuse("Expired", "The specified SecurityToken has expired.")
        }
        Some(_) => Ok(()),
    }
}

/// Whether it does no harm to answer it once more. What an instance is told when it starts often holds passwords.
fn may_be_said_again(action: &str) -> bool {
    only_reads(action) && action != "DescribeUserData"
}

/// A nonce of a request that changes something is synced; one that only reads can be sent again after a power cut, and
/// then says once more what it said (decision 75).
async fn use_up(keys: &impl Keys, claim: &Claim, action: Option<&str>) -> Result<(), ApiError> {
    let synced = !action.is_some_and(may_be_said_again);
    if keys.use_nonce(&claim.access_key_id, &claim.nonce, synced).await? {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        "SignatureNonceUsed",
        format!(
            "The signature nonce {:?} has been used; each request needs a new one.",
            claim.nonce
        ),
    ))
}

fn read_timestamp(text: Option<&str>) -> Result<Timestamp, ApiError> {
    text.and_then(time::parse_seconds).ok_or_else(|| {
        ApiError::new(
            400,
            "IllegalTimestamp",
            match text {
                None => "The timestamp of the request is not given.".to_owned(),
                Some(text) => format!("The timestamp {text:?} is not in the format yyyy-MM-ddTHH:mm:ssZ."),
            },
        )
    })
}

/// `strings` follow the fixed words directly: clients compare what stands there with their own.
fn mismatch(strings: &str) -> ApiError {
    ApiError::new(
        400,
        "SignatureDoesNotMatch",
        format!("{}{strings}", sign::MISMATCH),
    )
}
