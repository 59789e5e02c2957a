//! DetachDisk: takes a disk off an instance.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    pub disk_id: String,
    /// Default: true for a system disk, false for a data disk.
    pub delete_with_instance: Option<bool>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            instance_id: params.required("InstanceId")?,
            disk_id: params.required("DiskId")?,
            region_id: params.text("RegionId"),
            delete_with_instance: params.boolean("DeleteWithInstance")?,
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
            "InstanceId=i-1&DiskId=d-1",
            &["InstanceId", "DiskId"],
        );
    }
}
