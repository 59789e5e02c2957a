//! Maintenance & Monitoring > Tasks: what the API calls tasks. Of what Tidemark does that is a change of a disk's category alone: what takes
//! long here is a state of its resource.

use super::listing;
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::html;
use tidemark_ecs::ApiError;

const STATUSES: &[(&str, &str)] = &[
    ("Processing", "Processing"),
    ("Finished", "Finished"),
    ("Failed", "Failed"),
];

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let asked = listing(ctx, &["TaskAction", "TaskStatus"]);
    let found = ask!(ctx, "DescribeTasks", describe_tasks, &asked);
    let mut rows = Vec::new();
    for task in &found.task_set {
        let may = task.support_cancel
            && task.task_status == "Processing"
            && ctx.may("CancelTask", &[("TaskId", &task.task_id)]).await;
        let whole = detail(ctx, &task.task_id).await;
        rows.push((task, may, whole));
    }
    let body = html! {
        div class="title" { h1 { "Tasks" } }
        (parts::filters(ctx, "TaskAction", "Action", false))
        @if rows.is_empty() && asked.len() == 1 {
            (parts::empty(
                "No task",
                "A change of a disk's category or performance level is listed here, for 30 days. Snapshots, copies, images and rollbacks are no tasks: \
                 the snapshot, image or disk itself shows how far they are.",
                &html! {},
            ))
        } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr {
                        th { "Task ID" } th { "Action" } th { "Resource" } th { (parts::column_filter(ctx, "Status", "TaskStatus", STATUSES)) }
                        th { "Progress" } th { "Began" } th { "Ended" } th class="actions" { "Actions" }
                    } }
                    tbody {
                        @if rows.is_empty() { tr { td class="none" colspan="8" { "No task fits these filters." } } }
                        @for (task, may, progress) in &rows {
                            tr {
                                td data-label="Task ID" { span class="id" { (task.task_id) } }
                                td data-label="Action" { (task.task_action) }
                                td data-label="Resource" { (text::or(&task.resource_id, "–")) }
                                td data-label="Status" { (parts::status(&task.task_status)) }
                                td data-label="Progress" { @if progress.is_empty() { span class="none" { "–" } } @else { (parts::progress(progress)) } }
                                td data-label="Began" { (text::time(&task.creation_time)) }
                                td data-label="Ended" { (text::time(&task.finished_time)) }
                                td data-label="Actions" class="actions" {
                                    (parts::opens(*may, &ctx.dialog("cancel-task", &[("TaskId", &task.task_id)]), "Cancel", &task.task_id))
                                }
                            }
                        }
                    }
                }
            }
            (parts::pager(ctx, rows.len(), found.page.total_count, &found.page.next_token))
        }
    };
    Ok(Page::new(Section::Tasks, "Tasks", body))
}

/// How far a task is; `""` when nobody may know.
async fn detail(ctx: &Ctx, id: &str) -> String {
    async fn asked(ctx: &Ctx, id: &str) -> Result<String, ApiError> {
        Ok(ask!(
            ctx,
            "DescribeTaskAttribute",
            describe_task_attribute,
            &[("TaskId", id)]
        )
        .task_process)
    }
    asked(ctx, id).await.unwrap_or_default()
}
