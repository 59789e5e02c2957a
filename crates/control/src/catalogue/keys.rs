//! Access keys, and temporary ones.

use super::record;
use crate::store::{StoreError, Transaction};

/// How often a key's last use is written down at most.
const USE_NOTED_MS: i64 = crate::clock::MINUTE_MS;

record! {
    /// A key that requests are signed with.
    KeyRow = "access_keys" {
        id: String,
        /// Sealed, if `sealed` says so.
        secret: String,
        account: String,
        active: bool,
        /// The account's own: it may do all.
        root: bool,
        created_ms: i64,
        sealed: bool,
        /// Whose it is; empty if the account's own.
        user_name: String,
        last_used_ms: Option<i64>,
    }
}

record! {
    /// A temporary key: somebody has taken on a role.
    SessionRow = "sessions" {
        id: String,
        account: String,
        /// Sealed.
        secret: String,
        /// SHA-256 of the token, in hex.
        token_hash: String,
        role_id: String,
        name: String,
        /// A document that narrows what the role may; empty: none.
        policy: String,
        created_ms: i64,
        expires_ms: i64,
    }
}

/// The root key, once there is one: of several, the oldest that is in use.
pub(crate) fn root(t: &mut dyn Transaction) -> Result<Option<KeyRow>, StoreError> {
    let rest = "WHERE root = 1 ORDER BY active DESC, created_ms, id LIMIT 1";
    Ok(KeyRow::select(t, rest, &[])?.pop())
}

/// The keys of a user, or with an empty name the account's own; oldest first.
pub(crate) fn of_user(
    t: &mut dyn Transaction,
    account: &str,
    user_name: &str,
) -> Result<Vec<KeyRow>, StoreError> {
    let rest = "WHERE account = $1 AND user_name = $2 ORDER BY created_ms, id";
    KeyRow::select(t, rest, &[account.into(), user_name.into()])
}

/// Notes that a key was used, to the minute.
pub(crate) fn note_use(t: &mut dyn Transaction, id: &str, now_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE access_keys SET last_used_ms = $2 \
               WHERE id = $1 AND (last_used_ms IS NULL OR last_used_ms <= $3)";
    let before = now_ms.saturating_sub(USE_NOTED_MS);
    t.execute(sql, &[id.into(), now_ms.into(), before.into()])
        .map(drop)
}

/// Forgets temporary keys that have been over since `before_ms`.
pub(crate) fn sweep_sessions(t: &mut dyn Transaction, before_ms: i64) -> Result<u64, StoreError> {
    t.execute("DELETE FROM sessions WHERE expires_ms <= $1", &[before_ms.into()])
}
