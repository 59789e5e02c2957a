//! DeleteImage: the image goes, its snapshots stay.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub image_id: String,
    /// Although instances of it exist.
    pub force: bool,
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            image_id: params.required("ImageId")?,
            force: params.flag("Force")?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(
            Request::parse,
            "RegionId=r&ImageId=m-1&Force=True",
            &["RegionId", "ImageId"],
        );
    }
}
