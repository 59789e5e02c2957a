//! DescribeImageSupportInstanceTypes: on which types instances of an image can run.

use crate::model::{InstanceType, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub image_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            region_id: params.required("RegionId")?,
            image_id: params.required("ImageId")?,
        };
        params.word("ActionType", &["CreateEcs", "ChangeOS"], 400, "InvalidParameter")?;
        Ok(request)
    }
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub region_id: String,
    pub image_id: String,
    #[serde(with = "list::instance_type")]
    pub instance_types: Vec<InstanceType>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&ImageId=m-1";
        check::required(Request::parse, base, &["RegionId", "ImageId"]);
        check::refusals(Request::parse, base, &[("ActionType=x", 400, "InvalidParameter")]);
    }
}
