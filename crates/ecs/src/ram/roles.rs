//! Roles: CreateRole, GetRole, ListRoles, DeleteRole.

use super::trust::Trust;
use super::{NamePage, NamePageInfo, role_name, words};
use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// How long temporary keys of a role may live, in seconds.
const SESSION_S: std::ops::RangeInclusive<i64> = 3600..=43200;

/// CreateRole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct CreateRole {
    pub role_name: String,
    pub description: String,
    pub assume_role_policy_document: String,
    /// Seconds.
    pub max_session_duration: i64,
}

impl CreateRole {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let role_name = role_name(params)?;
        let document = params.required("AssumeRolePolicyDocument")?;
        Trust::parse(&document).map_err(|why| {
            let message = format!("The parameter \"AssumeRolePolicyDocument\" is not a trust policy: {why}.");
            ApiError::new(400, "InvalidParameter.AssumeRolePolicyDocument", message)
        })?;
        let code = "InvalidParameter.MaxSessionDuration";
        let longest = params.integer_in("MaxSessionDuration", SESSION_S, 400, code)?;
        Ok(Self {
            role_name,
            description: words(params, "Description", 1024)?,
            assume_role_policy_document: document,
            max_session_duration: longest.unwrap_or(*SESSION_S.start()),
        })
    }
}

/// GetRole, DeleteRole, ListPoliciesForRole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct OneRole {
    pub role_name: String,
}

impl OneRole {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            role_name: role_name(params)?,
        })
    }
}

/// ListRoles.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct ListRoles {
    pub page: NamePage,
}

impl ListRoles {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            page: NamePage::parse(params)?,
        })
    }
}

/// A role as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Role {
    pub role_id: String,
    pub role_name: String,
    pub arn: String,
    pub description: String,
    pub assume_role_policy_document: String,
    pub max_session_duration: i64,
    pub create_date: String,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct RoleAnswer {
    pub role: Role,
}

/// Roles by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct RolesAnswer {
    #[serde(with = "list::role")]
    pub roles: Vec<Role>,
    #[serde(flatten)]
    pub page: NamePageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const GOOD: &str = "RoleName=r&AssumeRolePolicyDocument=%7B%22Version%22:%221%22,%22Statement%22:%7B%22Effect%22:%22Allow%22,%22Action%22:%22sts:AssumeRole%22,%22Principal%22:%7B%22RAM%22:%22acs:ram::1:root%22%7D%7D%7D";

    #[test]
    fn required() {
        check::required(CreateRole::parse, GOOD, &["RoleName", "AssumeRolePolicyDocument"]);
    }

    #[test]
    fn refusals() {
        check::refusals(
            CreateRole::parse,
            GOOD,
            &[
                (
                    "MaxSessionDuration=3599",
                    400,
                    "InvalidParameter.MaxSessionDuration",
                ),
                (
                    "MaxSessionDuration=43201",
                    400,
                    "InvalidParameter.MaxSessionDuration",
                ),
            ],
        );
        check::refusals(
            CreateRole::parse,
            "RoleName=r",
            &[(
                "AssumeRolePolicyDocument=%7B%7D",
                400,
                "InvalidParameter.AssumeRolePolicyDocument",
            )],
        );
    }
}
