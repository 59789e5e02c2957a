//! DeleteAutoSnapshotPolicy: takes a policy off all disks and deletes it. Its snapshots stay, under their own retention.

use crate::catalogue::policies;
use crate::catalogue::tags::{self, ResourceType};
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_auto_snapshot_policy::{Request, Response};

impl Control {
    /// The policy is gone when this answers. A snapshot that it has begun goes on.
    pub async fn delete_auto_snapshot_policy(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| -> Result<(), ApiError> {
            control.check_policy_region(&request.region_id)?;
            let row = rules::policy(t, &caller, &request.policy_id)?;
            for applied in policies::of_policy(t, &row.id)? {
                applied.remove(t)?;
            }
            tags::clear(t, ResourceType::Policy, &row.id)?;
            Ok(row.remove(t)?)
        };
        self.store().write(work).await?;
        Ok(Response {})
    }
}
