//! Syntax rules that several actions share: names, descriptions, tags, tokens, disk sizes
//! (ecs-api.md 2.3, 2.4). The rule is one; its status and code differ by action, so the caller
//! passes them in.

pub mod consistency;
pub mod disk;
pub mod policy;
pub mod tags;
pub mod text;

pub use disk::{Category, category};
pub use tags::TagFilter;

use crate::{ApiError, Params};

/// `ClientToken`: at most 64 ASCII characters, else the action's status and code.
pub fn client_token(params: &Params, status: u16, code: &'static str) -> Result<Option<String>, ApiError> {
    match params.get("ClientToken") {
        Some(token) if token.len() > 64 || !token.is_ascii() => Err(ApiError::new(
            status,
            code,
            "The parameter \"ClientToken\" is not valid: it must be at most 64 ASCII characters.",
        )),
        token => Ok(token.map(str::to_owned)),
    }
}
