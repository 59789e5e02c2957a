//! ModifyImageSharePermission: who else may use an image.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub image_id: String,
    /// At most 10 of each in one call.
    pub add_accounts: Vec<String>,
    pub remove_accounts: Vec<String>,
}

const MOST: usize = 10;

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            region_id: params.required("RegionId")?,
            image_id: params.required("ImageId")?,
            add_accounts: accounts(params, "AddAccount")?,
            remove_accounts: accounts(params, "RemoveAccount")?,
        };
        if params.flag("IsPublic")? {
            return Err(ApiError::new(
                403,
                "InvalidParameter.IsPublic",
                "The parameter \"IsPublic\" is not valid: images for everybody are not offered; share with accounts.",
            ));
        }
        Ok(request)
    }
}

fn accounts(params: &Params, name: &str) -> Result<Vec<String>, ApiError> {
    let ids = params.list(name)?;
    if ids.len() > MOST {
        return Err(ApiError::invalid_parameter(
            name,
            format!("{} accounts, where {MOST} are allowed", ids.len()),
        ));
    }
    let is_account = |id: &String| !id.is_empty() && id.len() <= 32 && id.bytes().all(|b| b.is_ascii_digit());
    match ids.iter().find(|id| !is_account(id)) {
        Some(odd) => Err(ApiError::new(
            404,
            "InvalidAccount.NotFound",
            format!("{odd:?} is no account."),
        )),
        None => Ok(ids),
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&ImageId=m-1";
        check::required(Request::parse, base, &["RegionId", "ImageId"]);
        let many: Vec<_> = (1..=11).map(|n| format!("AddAccount.{n}={n}")).collect();
        check::refusals(
            Request::parse,
            base,
            &[
                ("IsPublic=true", 403, "InvalidParameter.IsPublic"),
                ("AddAccount.1=bob", 404, "InvalidAccount.NotFound"),
                (&many.join("&"), 400, "InvalidParameter"),
            ],
        );
    }
}
