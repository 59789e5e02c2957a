//! SSH key pairs.

use super::{next_number, record};
use crate::store::{StoreError, Transaction};

record! {
    /// A key pair: its public half, and a name for it.
    KeyPairRow = "key_pairs" {
        id: String,
        ordinal: i64,
        account: String,
        region: String,
        /// One of its kind in the account's region. An instance has it by this name.
        name: String,
        /// One line, as in `authorized_keys`.
        public_key: String,
        /// MD5 of the key.
        finger_print: String,
        resource_group: String,
        created_ms: i64,
    }
}

impl KeyPairRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "key_pair")
    }

    /// The account's key pair of that name in a region.
    pub(crate) fn named(
        t: &mut dyn Transaction,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Option<Self>, StoreError> {
        let rest = "WHERE account = $1 AND region = $2 AND name = $3";
        Ok(Self::select(t, rest, &[account.into(), region.into(), name.into()])?.pop())
    }

    /// How many the account has in a region.
    pub(crate) fn count(t: &mut dyn Transaction, account: &str, region: &str) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM key_pairs WHERE account = $1 AND region = $2";
        let row = t.query_one(sql, &[account.into(), region.into()])?;
        row.map_or(Ok(0), |row| row.integer(0))
    }

    /// An instance that has it, if there is one.
    pub(crate) fn holder(&self, t: &mut dyn Transaction) -> Result<Option<String>, StoreError> {
        let sql = "SELECT id FROM instances WHERE account = $1 AND region = $2 AND key_pair = $3 LIMIT 1";
        let values = [(&self.account).into(), (&self.region).into(), (&self.name).into()];
        t.query_one(sql, &values)?.map(|row| row.text(0)).transpose()
    }
}
