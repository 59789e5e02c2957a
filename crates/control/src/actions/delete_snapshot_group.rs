//! DeleteSnapshotGroup: deletes a group with its snapshots. What must stay is a single snapshot from then on.

use crate::catalogue::groups;
use crate::notices::{self, By};
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_snapshot_group::{Request, Response};
use tidemark_ecs::model::OperationProgress;

impl Control {
    /// The group is off the lists when this answers, with the snapshots that could go. That disks were made from one keeps
    /// it no more than Force does.
    pub async fn delete_snapshot_group(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (caller, now) = (caller.clone(), self.now_ms());
        let work = move |t: &mut dyn Transaction| delete(t, &caller, &request, now);
        let (operation_progress_set, jobs) = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&jobs, self.config().linger).await;
        Ok(Response {
            operation_progress_set,
        })
    }
}

fn delete(
    t: &mut dyn Transaction,
    caller: &Caller,
    request: &Request,
    now: i64,
) -> Result<(Vec<OperationProgress>, Vec<i64>), ApiError> {
    let group = rules::snapshot_group(t, caller, &request.snapshot_group_id)?;
    let members = groups::members(t, &group.id)?;
    let by = By::caller(caller, "DeleteSnapshotGroup");
    let deleted = group.clone();
    // First, so that those who stay are members no more.
    group.dissolve(t)?;
    let (mut items, mut jobs, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for member in members {
        let id = member.id.clone();
        let about = [("SnapshotId", id.as_str())];
        match rules::kept(t, &member, true, now)? {
            Some(refusal) => {
                items.push(OperationProgress::new(Err(&refusal), &about));
                rules::update_record(t, &id, now)?;
                kept.push(id);
            }
            None => {
                jobs.push(rules::delete_snapshot(t, member, &by, now)?);
                items.push(OperationProgress::new(Ok(()), &about));
            }
        }
    }
    notices::group_deleted(t, &deleted, &kept, &by, now)?;
    Ok((items, jobs))
}
