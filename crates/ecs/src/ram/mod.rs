//! Users, keys, policies and roles: the wire of the RAM API (version 2015-05-01) and of the token service
//! (2015-04-01), as far as they are served, and what a policy document means.
//!
//! Another service than ECS, with its own habits: people name things, lists are paged by a marker that is the
//! last name, and one file holds one kind of thing, since its actions share nearly all of their shapes.
//! What must stay true: [`policy`] decides from what it is given, and where it is not told enough it refuses.
//! Not here: which users exist (`control`), signatures ([`crate::sign`]).

pub mod condition;
pub mod keys;
pub mod login;
pub mod pattern;
pub mod policies;
pub mod policy;
pub mod roles;
pub mod sts;
pub mod trust;
pub mod users;

use crate::{ApiError, Params};
use serde::Serialize;

/// The version of the RAM actions.
pub const RAM_VERSION: &str = "2015-05-01";

/// A part of a list whose rows are sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePage {
    /// Rows per page.
    pub size: usize,
    /// Only names after this one; empty: from the start.
    pub after: String,
}

impl NamePage {
    /// `MaxItems` (1 to 1000, 100 when absent) and `Marker`.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let size = params.integer_in("MaxItems", 1..=1000, 400, "InvalidParameter.MaxItems")?;
        Ok(Self {
            size: usize::try_from(size.unwrap_or(100)).unwrap_or(100),
            after: params.text("Marker").unwrap_or_default(),
        })
    }

    /// Keeps the page of `rows`, which may hold one more than fits, and says how to go on.
    pub fn cut<T>(&self, rows: &mut Vec<T>, name: impl Fn(&T) -> &str) -> NamePageInfo {
        let is_truncated = rows.len() > self.size;
        rows.truncate(self.size);
        let marker = rows
            .last()
            .filter(|_| is_truncated)
            .map(|row| name(row).to_owned());
        NamePageInfo { is_truncated, marker }
    }
}

/// The members that every such list answer has; flattened into it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamePageInfo {
    /// Whether there are more rows.
    pub is_truncated: bool,
    /// What to ask for next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// A name of at most `most` letters, digits and characters of `more`. `InvalidParameter.<field>.Length` and
/// `InvalidParameter.<field>.InvalidChars`.
fn checked_name(field: &str, name: &str, most: usize, more: &str) -> Result<(), ApiError> {
    let refuse = |what: &str, why: String| {
        let message = format!("The parameter \"{field}\" is not valid: {why}.");
        Err(ApiError::new(
            400,
            format!("InvalidParameter.{field}.{what}"),
            message,
        ))
    };
    if name.len() > most {
        return refuse("Length", format!("it has more than {most} characters"));
    }
    match name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !more.contains(*c))
    {
        Some(odd) => refuse("InvalidChars", format!("{odd:?} is not allowed in it")),
        None => Ok(()),
    }
}

/// The name of a user that must be given.
fn user_name(params: &Params) -> Result<String, ApiError> {
    let name = params.required("UserName")?;
    checked_name("UserName", &name, 64, ".-_@")?;
    Ok(name)
}

/// The name of a role that must be given.
fn role_name(params: &Params) -> Result<String, ApiError> {
    let name = params.required("RoleName")?;
    checked_name("RoleName", &name, 64, ".-_")?;
    Ok(name)
}

/// Words for people: at most `most` characters.
fn words(params: &Params, field: &str, most: usize) -> Result<String, ApiError> {
    let text = params.text(field).unwrap_or_default();
    if text.chars().count() > most {
        let message = format!("The parameter \"{field}\" is not valid: it has more than {most} characters.");
        return Err(ApiError::new(
            400,
            format!("InvalidParameter.{field}.Length"),
            message,
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_begins() {
        let page = NamePage {
            size: 2,
            after: String::new(),
        };
        let mut rows = vec!["a", "b", "c"];
        let info = page.cut(&mut rows, |row| row);
        assert_eq!((rows.as_slice(), info.is_truncated), (&["a", "b"][..], true));
        assert_eq!(info.marker.as_deref(), Some("b"));
        let mut rows = vec!["c"];
        assert_eq!(page.cut(&mut rows, |row| row), NamePageInfo::default());
    }
}
