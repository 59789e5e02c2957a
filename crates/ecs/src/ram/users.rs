//! Users: CreateUser, GetUser, ListUsers, DeleteUser.

use super::{NamePage, NamePageInfo, user_name, words};
use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// CreateUser.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct CreateUser {
    pub user_name: String,
    pub display_name: String,
    pub comments: String,
}

impl CreateUser {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            user_name: user_name(params)?,
            display_name: words(params, "DisplayName", 128)?,
            comments: words(params, "Comments", 128)?,
        })
    }
}

/// GetUser, DeleteUser, ListPoliciesForUser.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct OneUser {
    pub user_name: String,
}

impl OneUser {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            user_name: user_name(params)?,
        })
    }
}

/// ListUsers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct ListUsers {
    pub page: NamePage,
}

impl ListUsers {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            page: NamePage::parse(params)?,
        })
    }
}

/// A user as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct User {
    pub user_id: String,
    pub user_name: String,
    pub display_name: String,
    pub comments: String,
    pub create_date: String,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct UserAnswer {
    pub user: User,
}

/// Users by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct UsersAnswer {
    #[serde(with = "list::user")]
    pub users: Vec<User>,
    #[serde(flatten)]
    pub page: NamePageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(CreateUser::parse, "UserName=a", &["UserName"]);
        check::required(OneUser::parse, "UserName=a", &["UserName"]);
    }

    #[test]
    fn refusals() {
        let long = format!("UserName={}", "a".repeat(65));
        let words = format!("UserName=a&Comments={}", "a".repeat(129));
        check::refusals(
            CreateUser::parse,
            "X=",
            &[
                ("UserName=a/b", 400, "InvalidParameter.UserName.InvalidChars"),
                ("UserName=*", 400, "InvalidParameter.UserName.InvalidChars"),
                (&long, 400, "InvalidParameter.UserName.Length"),
                (&words, 400, "InvalidParameter.Comments.Length"),
            ],
        );
        let most = [
            ("MaxItems=0", 400, "InvalidParameter.MaxItems"),
            ("MaxItems=1001", 400, "InvalidParameter.MaxItems"),
        ];
        check::refusals(ListUsers::parse, "X=", &most);
    }
}
