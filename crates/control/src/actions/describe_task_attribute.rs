//! DescribeTaskAttribute: one task in detail. Each has one part: the resource that it is about.

use super::describe_tasks::show;
use crate::catalogue::tasks::{TaskRow, TaskStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_task_attribute::{Request, Response};
use tidemark_ecs::model::{OperationProgress, RelatedItem};

impl Control {
    /// As it is now.
    pub async fn describe_task_attribute(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.task_region(&request.region_id)?;
        let (account, region_id) = (caller.account.clone(), request.region_id.clone());
        let find = move |t: &mut dyn Transaction| find(t, &account, &request.region_id, &request.task_id);
        let row = self.store().read(find).await?;
        let is = |status| i64::from(row.status == status);
        let (success_count, failed_count) = (is(TaskStatus::Finished), is(TaskStatus::Failed));
        let part = OperationProgress {
            operation_status: match row.status {
                TaskStatus::Finished => "Success".into(),
                other => other.word().into(),
            },
            error_code: if failed_count > 0 { "TaskFailed" } else { "" }.into(),
            error_msg: row.failure.clone(),
            related_item_set: vec![RelatedItem {
                name: "ResourceId".into(),
                value: row.resource_id.clone(),
            }],
        };
        Ok(Response {
            region_id,
            task_process: format!("{}%", row.percent),
            task: show(row),
            total_count: 1,
            success_count,
            failed_count,
            operation_progress_set: vec![part],
        })
    }
}

/// The caller's task; somebody else's does not exist, nor one in another region. 400, as these actions have it.
pub(super) fn find(
    t: &mut dyn Transaction,
    account: &str,
    region: &str,
    id: &str,
) -> Result<TaskRow, ApiError> {
    TaskRow::get(t, id)?
        .filter(|row| row.account == account && row.region == region)
        .ok_or_else(|| {
            let message = format!("The specified TaskId {id:?} does not exist.");
            ApiError::new(400, "InvalidTaskId.NotFound", message)
        })
}
