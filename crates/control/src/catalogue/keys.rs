//! Access keys.

use super::record;
use crate::store::{StoreError, Transaction};

record! {
    /// A key that requests are signed with.
    KeyRow = "access_keys" {
        id: String,
        secret: String,
        account: String,
        active: bool,
        /// The key made at first start.
        root: bool,
        created_ms: i64,
    }
}

/// The root key, once there is one.
pub(crate) fn root(t: &mut dyn Transaction) -> Result<Option<KeyRow>, StoreError> {
    Ok(KeyRow::select(t, "WHERE root = 1 ORDER BY created_ms LIMIT 1", &[])?.pop())
}
