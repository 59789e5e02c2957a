//! The token service: AssumeRole. (GetCallerIdentity takes nothing.)

use super::checked_name;
use super::policies::checked_document;
use crate::{ApiError, Params};
use serde::Serialize;

/// Shortest life of temporary keys, in seconds.
const SHORTEST_S: i64 = 900;
/// Longest life that any role allows.
const LONGEST_S: i64 = 43200;

/// AssumeRole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AssumeRole {
    /// Its account and its name.
    pub role: (String, String),
    pub role_session_name: String,
    /// Seconds; 3600 when absent.
    pub duration_seconds: i64,
    /// Keeps the temporary keys from some of what the role may do.
    pub policy: Option<String>,
}

impl AssumeRole {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let arn = params.required("RoleArn")?;
        let role_session_name = params.required("RoleSessionName")?;
        let wrong = || {
            let message = format!(
                "The parameter \"RoleArn\" is not valid: {arn:?} has not the form acs:ram::account:role/name."
            );
            ApiError::new(400, "InvalidParameter.RoleArn", message)
        };
        let (account, name) = arn
            .strip_prefix("acs:ram::")
            .and_then(|rest| rest.split_once(":role/"))
            .ok_or_else(wrong)?;
        if !(2..=64).contains(&role_session_name.len()) {
            let message = "The parameter \"RoleSessionName\" is not valid: it must have 2 to 64 characters.";
            return Err(ApiError::new(400, "InvalidParameter.RoleSessionName", message));
        }
        checked_name("RoleSessionName", &role_session_name, 64, ".-_@=")?;
        let code = "InvalidParameter.DurationSeconds";
        let seconds = params.integer_in("DurationSeconds", SHORTEST_S..=LONGEST_S, 400, code)?;
        let policy = params.text("Policy");
        if let Some(text) = &policy {
            checked_document("Policy", text)?;
        }
        Ok(Self {
            role: (account.to_owned(), name.to_owned()),
            role_session_name,
            duration_seconds: seconds.unwrap_or(3600),
            policy,
        })
    }
}

/// Temporary keys.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct TemporaryKeys {
    pub access_key_id: String,
    pub access_key_secret: String,
    pub security_token: String,
    pub expiration: String,
}

impl std::fmt::Debug for TemporaryKeys {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TemporaryKeys")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Who holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AssumedRoleUser {
    pub arn: String,
    pub assumed_role_id: String,
}

/// The answer of AssumeRole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AssumeRoleAnswer {
    pub credentials: TemporaryKeys,
    pub assumed_role_user: AssumedRoleUser,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "RoleArn=acs:ram::1:role/backup&RoleSessionName=night";

    #[test]
    fn required() {
        check::required(AssumeRole::parse, BASE, &["RoleArn", "RoleSessionName"]);
        let request = AssumeRole::parse(&check::params(BASE)).expect("valid");
        assert_eq!(request.role, ("1".to_owned(), "backup".to_owned()));
        assert_eq!(request.duration_seconds, 3600);
    }

    #[test]
    fn refusals() {
        check::refusals(
            AssumeRole::parse,
            BASE,
            &[
                ("DurationSeconds=899", 400, "InvalidParameter.DurationSeconds"),
                ("DurationSeconds=43201", 400, "InvalidParameter.DurationSeconds"),
                ("Policy=%7B%7D", 400, "InvalidParameter.Policy"),
            ],
        );
        check::refusals(
            AssumeRole::parse,
            "X=",
            &[
                (
                    "RoleArn=backup&RoleSessionName=night",
                    400,
                    "InvalidParameter.RoleArn",
                ),
                (
                    "RoleArn=acs:ram::1:role/b&RoleSessionName=n",
                    400,
                    "InvalidParameter.RoleSessionName",
                ),
                (
                    "RoleArn=acs:ram::1:role/b&RoleSessionName=n%2Fo",
                    400,
                    "InvalidParameter.RoleSessionName.InvalidChars",
                ),
            ],
        );
    }
}
