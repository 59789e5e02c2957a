//! Nonces that were seen, so that a request is not replayed.

use crate::store::{StoreError, Transaction};

/// Remembers a nonce until `expires_ms`; false if it is remembered already.
pub(crate) fn remember(
    t: &mut dyn Transaction,
    access_key: &str,
    nonce: &str,
    now_ms: i64,
    expires_ms: i64,
) -> Result<bool, StoreError> {
    // One that has expired but was not swept yet counts as new.
    let sql = "INSERT INTO nonces (access_key, nonce, expires_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (access_key, nonce) DO UPDATE SET expires_ms = excluded.expires_ms \
               WHERE nonces.expires_ms <= $4";
    Ok(t.execute(
        sql,
        &[access_key.into(), nonce.into(), expires_ms.into(), now_ms.into()],
    )? == 1)
}

/// Most that are forgotten at once: a busy service has thousands to forget, and nobody should wait for all of them.
const SWEPT_MAX: u64 = 500;

/// Forgets some of what has expired; false: that was all.
pub(crate) fn sweep(t: &mut dyn Transaction, now_ms: i64) -> Result<bool, StoreError> {
    let sql = format!(
        "DELETE FROM nonces WHERE (access_key, nonce) IN \
         (SELECT access_key, nonce FROM nonces WHERE expires_ms <= $1 LIMIT {SWEPT_MAX})"
    );
    Ok(t.execute(&sql, &[now_ms.into()])? == SWEPT_MAX)
}
