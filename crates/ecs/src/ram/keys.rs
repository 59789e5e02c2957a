//! Access keys: CreateAccessKey, ListAccessKeys, UpdateAccessKey, DeleteAccessKey, GetAccessKeyLastUsed.
//!
//! `UserName` may be left out everywhere: the caller's own keys are meant then.

use super::checked_name;
use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

fn whose(params: &Params) -> Result<Option<String>, ApiError> {
    let name = params.text("UserName");
    if let Some(name) = &name {
        checked_name("UserName", name, 64, ".-_@")?;
    }
    Ok(name)
}

/// CreateAccessKey, ListAccessKeys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct KeysOf {
    pub user_name: Option<String>,
}

impl KeysOf {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            user_name: whose(params)?,
        })
    }
}

/// DeleteAccessKey, GetAccessKeyLastUsed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct OneKey {
    pub user_name: Option<String>,
    pub user_access_key_id: String,
}

impl OneKey {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            user_name: whose(params)?,
            user_access_key_id: params.required("UserAccessKeyId")?,
        })
    }
}

/// UpdateAccessKey.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct UpdateAccessKey {
    pub user_name: Option<String>,
    pub user_access_key_id: String,
    /// `Active`, not `Inactive`.
    pub active: bool,
}

impl UpdateAccessKey {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let key = OneKey::parse(params)?;
        params.required("Status")?;
        let status = params.word("Status", &["Active", "Inactive"], 400, "InvalidParameter.Status")?;
        Ok(Self {
            user_name: key.user_name,
            user_access_key_id: key.user_access_key_id,
            active: status.as_deref() == Some("Active"),
        })
    }
}

/// A key that was just made: the only time that its secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct NewAccessKey {
    pub access_key_id: String,
    pub access_key_secret: String,
    pub status: &'static str,
    pub create_date: String,
}

impl std::fmt::Debug for NewAccessKey {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccessKey")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// The answer of CreateAccessKey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct NewKeyAnswer {
    pub access_key: NewAccessKey,
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AccessKeyItem {
    pub access_key_id: String,
    pub status: &'static str,
    pub create_date: String,
    /// Not in the answer of the service that we follow: to the minute, empty if it was never used.
    pub last_used_date: String,
}

/// Keys, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct KeysAnswer {
    #[serde(with = "list::access_key")]
    pub access_keys: Vec<AccessKeyItem>,
}

/// When a key was last used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct LastUsed {
    /// To the minute; empty if never.
    pub last_used_date: String,
}

/// The answer of GetAccessKeyLastUsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct LastUsedAnswer {
    pub access_key_last_used: LastUsed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(OneKey::parse, "UserAccessKeyId=a", &["UserAccessKeyId"]);
        check::required(
            UpdateAccessKey::parse,
            "UserAccessKeyId=a&Status=Active",
            &["UserAccessKeyId", "Status"],
        );
    }

    #[test]
    fn refusals() {
        check::refusals(
            UpdateAccessKey::parse,
            "UserAccessKeyId=a",
            &[
                ("Status=active", 400, "InvalidParameter.Status"),
                (
                    "Status=Active&UserName=a/b",
                    400,
                    "InvalidParameter.UserName.InvalidChars",
                ),
            ],
        );
    }

    #[test]
    fn a_new_key_does_not_print_its_secret() {
        let key = NewAccessKey {
            access_key_id: "id".into(),
            access_key_secret: "hush".into(),
            status: "Active",
            create_date: String::new(),
        };
        assert!(!format!("{key:?}").contains("hush"));
    }
}
