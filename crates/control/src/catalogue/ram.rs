//! Users, roles, policies, and which policies are attached to whom.

use super::record;
use crate::store::{StoreError, Transaction};
use crate::words::words;

words! {
    /// Who can hold a policy.
    HolderKind {
        /// A user.
        User = "user",
        /// A role.
        Role = "role",
    }
}

record! {
    /// A user.
    UserRow = "ram_users" {
        id: String,
        account: String,
        name: String,
        display_name: String,
        comments: String,
        created_ms: i64,
    }
}

record! {
    /// A user's password.
    LoginProfileRow = "ram_login_profiles" {
        user_id: String,
        /// See [`crate::passwords`].
        hash: String,
        created_ms: i64,
    }
}

record! {
    /// A role.
    RoleRow = "ram_roles" {
        id: String,
        account: String,
        name: String,
        description: String,
        /// A trust policy.
        trust: String,
        /// Longest life of its temporary keys, in seconds.
        max_session_s: i64,
        created_ms: i64,
    }
}

record! {
    /// A policy that somebody made.
    PolicyRow = "ram_policies" {
        id: String,
        account: String,
        name: String,
        description: String,
        document: String,
        /// Counts its changes, from 1.
        version: i64,
        created_ms: i64,
        updated_ms: i64,
    }
}

const NAMED: &str = "WHERE account = $1 AND name = $2";
const PAGE: &str = "WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3";

/// What follows FROM for a page of names: one row more than fits.
fn page_values(account: &str, after: &str, size: usize) -> [crate::store::Value; 3] {
    let most = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
    [account.into(), after.into(), most.into()]
}

macro_rules! named {
    ($row:ident) => {
        impl $row {
            /// The one of that name.
            pub(crate) fn named(
                t: &mut dyn Transaction,
                account: &str,
                name: &str,
            ) -> Result<Option<Self>, StoreError> {
                Ok(Self::select(t, NAMED, &[account.into(), name.into()])?.pop())
            }

            /// Those whose names come after `after`, in order, and one more than `size` if there are so many.
            pub(crate) fn page(
                t: &mut dyn Transaction,
                account: &str,
                after: &str,
                size: usize,
            ) -> Result<Vec<Self>, StoreError> {
                Self::select(t, PAGE, &page_values(account, after, size))
            }
        }
    };
}
named!(UserRow);
named!(RoleRow);
named!(PolicyRow);

/// A policy by what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyName {
    /// `System` or `Custom`.
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// Who holds a policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'a> {
    pub(crate) account: &'a str,
    pub(crate) kind: HolderKind,
    pub(crate) name: &'a str,
}

impl Holder<'_> {
    fn values(&self) -> Vec<crate::store::Value> {
        vec![self.account.into(), self.kind.word().into(), self.name.into()]
    }

    /// The policies attached to it, by name.
    pub(crate) fn policies(&self, t: &mut dyn Transaction) -> Result<Vec<PolicyName>, StoreError> {
        let sql = "SELECT policy_type, policy_name FROM ram_attachments \
                   WHERE account = $1 AND holder = $2 AND holder_name = $3 ORDER BY policy_name, policy_type";
        let rows = t.query(sql, &self.values())?;
        rows.iter()
            .map(|row| {
                Ok(PolicyName {
                    kind: row.text(0)?,
                    name: row.text(1)?,
                })
            })
            .collect()
    }

    /// Attaches a policy; false: it was attached.
    pub(crate) fn attach(
        &self,
        t: &mut dyn Transaction,
        policy: &PolicyName,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO ram_attachments \
                   (account, holder, holder_name, policy_type, policy_name, attached_ms) \
                   VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT (account, holder, holder_name, policy_type, policy_name) DO NOTHING";
        let mut values = self.values();
        values.extend([(&policy.kind).into(), (&policy.name).into(), now_ms.into()]);
        Ok(t.execute(sql, &values)? == 1)
    }

    /// Detaches a policy; false: it was not attached.
    pub(crate) fn detach(&self, t: &mut dyn Transaction, policy: &PolicyName) -> Result<bool, StoreError> {
        let sql = "DELETE FROM ram_attachments WHERE account = $1 AND holder = $2 AND holder_name = $3 \
                   AND policy_type = $4 AND policy_name = $5";
        let mut values = self.values();
        values.extend([(&policy.kind).into(), (&policy.name).into()]);
        Ok(t.execute(sql, &values)? == 1)
    }
}

/// How many hold a policy.
pub(crate) fn attachments(
    t: &mut dyn Transaction,
    account: &str,
    policy: &PolicyName,
) -> Result<i64, StoreError> {
    let sql =
        "SELECT COUNT(*) FROM ram_attachments WHERE account = $1 AND policy_type = $2 AND policy_name = $3";
    let values = [account.into(), (&policy.kind).into(), (&policy.name).into()];
    t.query_one(sql, &values)?.map_or(Ok(0), |row| row.integer(0))
}
