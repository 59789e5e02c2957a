//! DescribeTaskAttribute: one task in detail.

use crate::model::{OperationProgress, Task, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub task_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            task_id: params.required("TaskId")?,
        })
    }
}

/// The task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub region_id: String,
    #[serde(flatten)]
    pub task: Task,
    /// `0%` to `100%`; `100%` exactly when it is finished.
    pub task_process: String,
    /// Parts that it has.
    pub total_count: i64,
    pub success_count: i64,
    pub failed_count: i64,
    #[serde(with = "list::operation_progress")]
    pub operation_progress_set: Vec<OperationProgress>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn both_are_required() {
        check::required(Request::parse, "RegionId=r&TaskId=t-1", &["RegionId", "TaskId"]);
    }
}
