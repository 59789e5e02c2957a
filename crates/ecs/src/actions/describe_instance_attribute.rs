//! DescribeInstanceAttribute: one instance, its fields at top level.

use crate::model::Instance;
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
        Ok(Self {
            region_id: params.text("RegionId"),
            instance_id: params.required("InstanceId")?,
        })
    }
}

/// The instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response {
    /// Everything that DescribeInstances shows.
    #[serde(flatten)]
    pub instance: Instance,
    /// A text here (`optimized`, `none`), a boolean there: this one counts, because it comes last.
    #[serde(rename = "IoOptimized")]
    pub io_optimized: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "InstanceId=i-1", &["InstanceId"]);
    }

    #[test]
    fn io_optimized_is_a_text() {
        let response = Response {
            instance: Instance {
                instance_id: "i-1".into(),
                io_optimized: true,
                ..Instance::default()
            },
            io_optimized: "optimized".into(),
        };
        let tree = serde_json::to_value(&response).expect("serialises");
        assert_eq!(
            (&tree["InstanceId"], &tree["IoOptimized"]),
            (&"i-1".into(), &"optimized".into())
        );
    }
}
