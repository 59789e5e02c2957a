//! ClientTokens: what was asked under each, and what was answered (ecs-api.md 1.7).
//!
//! A token is written in the transaction that makes its resource, and removed in the one that
//! takes the resource back because the work behind it failed: then nothing was done, and the same
//! token may try again.

use crate::store::{StoreError, Transaction};

/// Whose token, for which action.
#[derive(Clone, Debug)]
pub(crate) struct TokenKey {
    pub(crate) account: String,
    pub(crate) action: &'static str,
    pub(crate) token: String,
}

/// What is known about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: go ahead.
    New,
    /// The same request was answered with this.
    Answered(String),
    /// The same request is still being worked on.
    Processing,
    /// It was used with other parameters.
    Mismatch,
}

/// Looks a token up.
pub(crate) fn look_up(
    t: &mut dyn Transaction,
    key: &TokenKey,
    fingerprint: &str,
    now_ms: i64,
) -> Result<Known, StoreError> {
    let sql = "SELECT fingerprint, processing, response FROM client_tokens \
               WHERE account = $1 AND action = $2 AND token = $3 AND expires_ms > $4";
    let parameters = [
        (&key.account).into(),
        key.action.into(),
        (&key.token).into(),
        now_ms.into(),
    ];
    let Some(row) = t.query_one(sql, &parameters)? else {
        return Ok(Known::New);
    };
    Ok(if row.text(0)? != fingerprint {
        Known::Mismatch
    } else if row.flag(1)? {
        Known::Processing
    } else {
        Known::Answered(row.text(2)?)
    })
}

/// Remembers a token and its answer. `resource`: what was made.
pub(crate) fn remember(
    t: &mut dyn Transaction,
    key: &TokenKey,
    fingerprint: &str,
    resource: &str,
    response: &str,
    processing: bool,
    expires_ms: i64,
) -> Result<(), StoreError> {
    // Only an expired one can be in the way; look_up has seen to that.
    let sql = "INSERT INTO client_tokens \
               (account, action, token, fingerprint, processing, resource, response, expires_ms) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
               ON CONFLICT (account, action, token) DO UPDATE SET fingerprint = excluded.fingerprint, \
               processing = excluded.processing, resource = excluded.resource, \
               response = excluded.response, expires_ms = excluded.expires_ms";
    let parameters = [
        (&key.account).into(),
        key.action.into(),
        (&key.token).into(),
        fingerprint.into(),
        processing.into(),
        resource.into(),
        response.into(),
        expires_ms.into(),
    ];
    t.execute(sql, &parameters).map(drop)
}

/// The request behind a resource's token is done.
pub(crate) fn answered(t: &mut dyn Transaction, resource: &str) -> Result<(), StoreError> {
    let sql = "UPDATE client_tokens SET processing = 0 WHERE resource = $1 AND processing = 1";
    t.execute(sql, &[resource.into()]).map(drop)
}

/// The request behind a resource's token was taken back.
pub(crate) fn take_back(t: &mut dyn Transaction, resource: &str) -> Result<(), StoreError> {
    t.execute(
        "DELETE FROM client_tokens WHERE resource = $1",
        &[resource.into()],
    )
    .map(drop)
}

/// One of the resources that were made together for a token was taken back. `without` takes it out of the answer; `None`: it was
/// the last one, and the token goes with it.
pub(crate) fn take_back_one(
    t: &mut dyn Transaction,
    resource: &str,
    without: impl Fn(&str) -> Option<String>,
) -> Result<(), StoreError> {
    let sql = "SELECT response FROM client_tokens WHERE resource = $1";
    let Some(row) = t.query_one(sql, &[resource.into()])? else {
        return Ok(());
    };
    let Some(rest) = without(&row.text(0)?) else {
        return take_back(t, resource);
    };
    let sql = "UPDATE client_tokens SET response = $2 WHERE resource = $1";
    t.execute(sql, &[resource.into(), rest.into()]).map(drop)
}

/// Forgets what has expired.
pub(crate) fn sweep(t: &mut dyn Transaction, now_ms: i64) -> Result<u64, StoreError> {
    t.execute(
        "DELETE FROM client_tokens WHERE expires_ms <= $1",
        &[now_ms.into()],
    )
}
