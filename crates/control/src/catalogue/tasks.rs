//! Tasks (ecs-api.md 3.8): work that takes time and is no resource of its own, for people to follow.
//!
//! A task is a row beside the work, not the work: that is a job, or done at once. What must stay true: a task is begun in the
//! transaction that promises its work, and ended in the one that concludes it; it ends once, and whoever works for it looks
//! at its row before that: a task that is not `Processing` any more is not wanted any more (CancelTask ends it so).

use super::{next_number, record};
use crate::store::{StoreError, Transaction};
use crate::words::words;

words! {
    /// How a task stands.
    TaskStatus {
        /// Under way.
        Processing = "Processing",
        /// Done.
        Finished = "Finished",
        /// Not done, and never to be.
        Failed = "Failed",
    }
}

record! {
    /// A task.
    TaskRow = "tasks" {
        id: String,
        ordinal: i64,
        account: String,
        region: String,
        /// As people know it: `ModifyDiskSpec`.
        action: String,
        status: TaskStatus,
        resource_id: String,
        /// What was begun together; `""`: nothing else.
        group_id: String,
        /// Whether CancelTask may end it while it is under way.
        cancellable: bool,
        percent: i64,
        /// Why it failed.
        failure: String,
        created_ms: i64,
        ended_ms: Option<i64>,
    }
}

/// A task to begin.
pub(crate) struct NewTask<'a> {
    pub(crate) id: String,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) action: &'a str,
    pub(crate) resource_id: &'a str,
    pub(crate) group_id: &'a str,
    pub(crate) cancellable: bool,
}

/// Begins a task.
pub(crate) fn begin(t: &mut dyn Transaction, new: NewTask<'_>, now_ms: i64) -> Result<TaskRow, StoreError> {
    let row = TaskRow {
        id: new.id,
        ordinal: next_number(t, "task")?,
        account: new.account.into(),
        region: new.region.into(),
        action: new.action.into(),
        status: TaskStatus::Processing,
        resource_id: new.resource_id.into(),
        group_id: new.group_id.into(),
        cancellable: new.cancellable,
        percent: 0,
        failure: String::new(),
        created_ms: now_ms,
        ended_ms: None,
    };
    row.insert(t)?;
    Ok(row)
}

impl TaskRow {
    /// Ends a task that is under way, well or for a reason; one that has ended stays as it is.
    pub(crate) fn end(
        &mut self,
        t: &mut dyn Transaction,
        outcome: Result<(), String>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if self.status != TaskStatus::Processing {
            return Ok(());
        }
        match outcome {
            Ok(()) => {
                self.status = TaskStatus::Finished;
                self.percent = 100;
            }
            Err(why) => {
                self.status = TaskStatus::Failed;
                self.failure = why;
            }
        }
        self.ended_ms = Some(now_ms);
        self.save(t)
    }
}

/// Forgets tasks that ended before this time.
pub(crate) fn sweep(t: &mut dyn Transaction, before_ms: i64) -> Result<u64, StoreError> {
    t.execute("DELETE FROM tasks WHERE ended_ms < $1", &[before_ms.into()])
}
