//! DescribeTasks: the caller's tasks in a region, newest first.

use crate::catalogue::Conditions;
use crate::catalogue::tasks::{TaskRow, TaskStatus};
use crate::store::{StoreError, Transaction};
use crate::views::at;
use crate::{Caller, Control, RegionConfig};
use tidemark_ecs::actions::describe_tasks::{Request, Response};
use tidemark_ecs::model::Task;
use tidemark_ecs::{ApiError, time};

impl Control {
    /// One page.
    pub async fn describe_tasks(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.task_region(&request.region_id)?;
        let mut all = Conditions::of_account(TaskRow::TABLE, &caller.account);
        all.equals("region", &request.region_id);
        if let Some(ids) = &request.task_ids {
            all.one_of("id", ids);
        }
        if !request.resource_ids.is_empty() {
            all.one_of("resource_id", &request.resource_ids);
        }
        all.equals_if("action", request.task_action.as_ref());
        all.equals_if("status", request.task_status.as_ref());
        all.equals_if("group_id", request.task_group_id.as_ref());
        all.within("created_ms", &request.created);
        let page = request.page;
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            all.page(t, &page, TaskRow::select, |row| (row.ordinal, &row.id))
        };
        let (rows, page) = self.store().read(read).await?;
        Ok(Response {
            region_id: request.region_id,
            task_set: rows.into_iter().map(show).collect(),
            page,
        })
    }

    /// The region of a request about tasks: they have a status of their own for one that is not served.
    pub(super) fn task_region(&self, id: &str) -> Result<&RegionConfig, ApiError> {
        self.region(Some(id))
            .map_err(|error| ApiError { status: 400, ..error })
    }
}

/// A task as answers show it.
pub(super) fn show(row: TaskRow) -> Task {
    Task {
        task_id: row.id,
        task_action: row.action,
        task_status: row.status.word().into(),
        resource_id: row.resource_id,
        task_group_id: row.group_id,
        support_cancel: row.cancellable && row.status == TaskStatus::Processing,
        creation_time: time::minutes(at(row.created_ms)),
        finished_time: row.ended_ms.map_or_else(String::new, |ms| time::minutes(at(ms))),
    }
}
