//! GetInstanceConsoleOutput: what an instance has last written to its serial console.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        // Says only how the answer is to be cut, which ours is not.
        params.flag("RemoveSymbols")?;
        Ok(Self {
            region_id: params.text("RegionId"),
            instance_id: params.required("InstanceId")?,
        })
    }
}

/// Base64; `""` if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub instance_id: String,
    pub console_output: String,
    /// `yyyy-MM-ddTHH:mm:ssZ`, or `""`.
    pub last_update_time: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "InstanceId=i-1", &["InstanceId"]);
    }
}
