//! OpenSnapshotService: the service is always open here.

use crate::{ApiError, Params};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
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
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
    }
}
