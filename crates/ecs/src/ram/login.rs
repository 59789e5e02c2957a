//! Passwords of users: CreateLoginProfile, GetLoginProfile, UpdateLoginProfile, DeleteLoginProfile. With one a user signs in to
//! the console; requests are signed with keys only.

use super::user_name;
use crate::{ApiError, Params};
use serde::Serialize;

/// Characters of a password.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=128;

/// CreateLoginProfile, UpdateLoginProfile.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct SetPassword {
    pub user_name: String,
    pub password: String,
}

impl std::fmt::Debug for SetPassword {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetPassword")
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

impl SetPassword {
    /// Reads and checks the parameters. What is wrong with a password is told without it.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let user_name = user_name(params)?;
        let password = params.required("Password")?;
        if !LENGTHS.contains(&password.chars().count()) {
            let message = format!(
                "The parameter \"Password\" is not valid: it must have {} to {} characters.",
                LENGTHS.start(),
                LENGTHS.end()
            );
            return Err(ApiError::new(400, "InvalidParameter.Password.Length", message));
        }
        for name in ["PasswordResetRequired", "MFABindRequired"] {
            if params.flag(name)? {
                return Err(ApiError::invalid_parameter(name, "it is not offered"));
            }
        }
        Ok(Self { user_name, password })
    }
}

/// A password's place, without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct LoginProfile {
    pub user_name: String,
    pub create_date: String,
    pub password_reset_required: bool,
    #[serde(rename = "MFABindRequired")]
    pub mfa_bind_required: bool,
}

/// The answer of those that show one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct LoginProfileAnswer {
    pub login_profile: LoginProfile,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<SetPassword, ApiError> {
        let pairs = pairs.iter().map(|(name, value)| (*name, *value));
        SetPassword::parse(&Params::from_pairs(pairs).expect("no duplicates"))
    }

    #[test]
    fn a_password_is_never_told_again() {
        let short = parsed(&[("UserName", "alice"), ("Password", "hush")]).expect_err("too short");
        assert_eq!(short.code, "InvalidParameter.Password.Length");
        assert!(!short.message.contains("hush"));
        let fine = parsed(&[("UserName", "alice"), ("Password", "hush hush")]).expect("long enough");
        assert!(!format!("{fine:?}").contains("hush"));
    }
}
