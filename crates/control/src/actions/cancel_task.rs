//! CancelTask: gives up a task that is under way and can be given up.
//!
//! The task ends here; the job that works for it finds that out, and takes back what it has done. A snapshot in creation,
//! a copy among them, is no task: DeleteSnapshot cancels it.

use super::describe_task_attribute::find;
use crate::catalogue::tasks::TaskStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::cancel_task::{Request, Response};

impl Control {
    /// The task is `Failed` when this answers.
    pub async fn cancel_task(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.task_region(&request.region_id)?;
        let (account, now) = (caller.account.clone(), self.now_ms());
        let work = move |t: &mut dyn Transaction| cancel(t, &account, &request, now);
        self.store().write(work).await?;
        // Its job may be waiting for something.
        self.jobs().hurry();
        Ok(Response {})
    }
}

fn cancel(t: &mut dyn Transaction, account: &str, request: &Request, now_ms: i64) -> Result<(), ApiError> {
    let mut row = find(t, account, &request.region_id, &request.task_id)?;
    if !row.cancellable {
        let message = format!("The task {} ({}) cannot be cancelled.", row.id, row.action);
        return Err(ApiError::new(403, "InvalidTaskId.TaskActionNotSupport", message));
    }
    if row.status != TaskStatus::Processing {
        let message = format!("The task {} is {}; it must be Processing.", row.id, row.status);
        return Err(ApiError::new(403, "InvalidTaskId.IncorrectTaskStatus", message));
    }
    Ok(row.end(t, Err("it was cancelled".into()), now_ms)?)
}
