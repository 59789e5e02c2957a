//! ModifyAutoSnapshotPolicyEx: changes a policy, for later snapshots; those that exist keep what they have.

use super::create_auto_snapshot_policy::set_copy;
use crate::catalogue::policies;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_auto_snapshot_policy_ex::{Request, Response};
use tidemark_ecs::rules::policy::{self, CopySettings};
use tidemark_ecs::schedule::Schedule;

impl Control {
    /// All of it, or nothing; effective at once on all disks that have the policy.
    pub async fn modify_auto_snapshot_policy_ex(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| modify(t, &control, &caller, request);
        self.store().write(work).await?;
        Ok(Response {})
    }
}

fn modify(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: Request,
) -> Result<(), ApiError> {
    control.check_policy_region(&request.region_id)?;
    let mut row = rules::policy(t, caller, &request.policy_id)?;
    let before = row.schedule()?;
    let hours = request.time_points.unwrap_or_else(|| before.hours().collect());
    let weekdays = request
        .repeat_weekdays
        .unwrap_or_else(|| before.weekdays().collect());
    let schedule = Schedule::new(hours, weekdays)
        .ok_or_else(|| policy::unusable("timePoints", "no hour and weekday is left"))?;
    (row.hours, row.weekdays) = schedule.masks();
    row.retention_days = request.retention_days.unwrap_or(row.retention_days);
    row.name = request.name.unwrap_or(row.name);
    let is_about_copies = request.copy != CopySettings::default();
    set_copy(control, &mut row, request.copy)?;
    if is_about_copies && row.copy_enabled {
        // The request need not name where they go.
        control.may_make(caller, "ModifyAutoSnapshotPolicyEx", "snapshot", &row.copy_region)?;
    }
    row.save(t)?;
    if schedule != before {
        let now = control.now_ms();
        // A slot that is over and not served yet was promised by the schedule as it was.
        for mut applied in policies::of_policy(t, &row.id)? {
            if applied.due_ms > now {
                applied.decide(t, schedule, now)?;
            }
        }
    }
    Ok(())
}
