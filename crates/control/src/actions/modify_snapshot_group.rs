//! ModifySnapshotGroup: name and description. The snapshots keep theirs.

use crate::catalogue::groups;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_snapshot_group::{Request, Response};

impl Control {
    /// All of it, or nothing.
    pub async fn modify_snapshot_group(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (caller, now) = (caller.clone(), self.now_ms());
        let work = move |t: &mut dyn Transaction| modify(t, &caller, request, now);
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(Response {})
    }
}

fn modify(t: &mut dyn Transaction, caller: &Caller, request: Request, now: i64) -> Result<(), ApiError> {
    let mut group = rules::snapshot_group(t, caller, &request.snapshot_group_id)?;
    if let Some(name) = request.name {
        group.name = name;
    }
    if let Some(description) = request.description {
        group.description = description;
    }
    group.modified_ms = now;
    group.save(t)?;
    // The members' records tell of the group.
    for member in groups::members(t, &group.id)? {
        rules::update_record(t, &member.id, now)?;
    }
    Ok(())
}
