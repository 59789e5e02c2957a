//! ModifyDiskSpec: another category or performance level for a disk. Answers the task that does it.

use crate::rules::disk::PERFORMANCE_LEVELS;
use crate::rules::{category, client_token};
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub disk_id: String,
    /// One that is offered.
    pub disk_category: Option<String>,
    /// `PL0` to `PL3`.
    pub performance_level: Option<String>,
    /// At least 0; cloud_auto only.
    pub provisioned_iops: Option<i64>,
    pub dry_run: bool,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let levels: Vec<&str> = PERFORMANCE_LEVELS.iter().map(|(name, _)| *name).collect();
        let request = Self {
            region_id: params.text("RegionId"),
            disk_id: params.required("DiskId")?,
            disk_category: params.text("DiskCategory"),
            performance_level: params.word(
                "PerformanceLevel",
                &levels,
                400,
                "InvalidPerformanceLevel.Malformed",
            )?,
            provisioned_iops: params.integer_in(
                "ProvisionedIops",
                0..=i64::MAX,
                400,
                "InvalidProvisionedIops.LimitExceed",
            )?,
            dry_run: params.flag("DryRun")?,
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
        };
        if let Some(name) = request
            .disk_category
            .as_deref()
            .filter(|name| category(name).is_none())
        {
            let message = format!("The disk category {name:?} is not offered.");
            return Err(ApiError::new(
                400,
                "InvalidDiskCategory.ValueNotSupported",
                message,
            ));
        }
        if request.disk_category.is_none()
            && request.performance_level.is_none()
            && request.provisioned_iops.is_none()
        {
            return Err(ApiError::missing_parameter("DiskCategory"));
        }
        Ok(request)
    }
}

/// The task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `t-…`
    pub task_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        check::required(
            Request::parse,
            "DiskId=d-1&DiskCategory=cloud_ssd",
            &["DiskId", "DiskCategory"],
        );
        check::refusals(
            Request::parse,
            "DiskId=d-1",
            &[
                ("DiskCategory=tape", 400, "InvalidDiskCategory.ValueNotSupported"),
                ("PerformanceLevel=PL9", 400, "InvalidPerformanceLevel.Malformed"),
                ("ProvisionedIops=-1", 400, "InvalidProvisionedIops.LimitExceed"),
                ("DiskCategory=cloud&DryRun=perhaps", 400, "InvalidParameter"),
            ],
        );
    }
}
