//! DescribeAutoSnapshotPolicyAssociations: a policy's disks, or a disk's policies; what was applied last comes first.

use crate::catalogue::Conditions;
use crate::catalogue::policies::AppliedRow;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_auto_snapshot_policy_associations::{Of, Request, Response};
use tidemark_ecs::model::AutoSnapshotPolicyAssociation;

impl Control {
    /// One page.
    pub async fn describe_auto_snapshot_policy_associations(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            let mut all = Conditions::of_account(AppliedRow::TABLE, &caller.account);
            match &request.of {
                Of::Policy(id) => {
                    // A code of its own in this action.
                    rules::policy(t, &caller, id).map_err(|error| match error.status {
                        404 => ApiError {
                            code: "InvalidAutoSnapshotPolicyId.NotFound".into(),
                            ..error
                        },
                        _ => error,
                    })?;
                    all.equals("policy_id", id);
                }
                Of::Disk(id) => {
                    rules::disk(t, &caller, id)?;
                    all.equals("disk_id", id);
                }
            }
            Ok(all.page(t, &request.page, AppliedRow::select, |row| {
                (row.ordinal, &row.disk_id)
            })?)
        };
        let (rows, page) = self.store().read(read).await?;
        let show = |row: AppliedRow| AutoSnapshotPolicyAssociation {
            auto_snapshot_policy_id: row.policy_id,
            disk_id: row.disk_id,
        };
        Ok(Response {
            auto_snapshot_policy_associations: rows.into_iter().map(show).collect(),
            next_token: page.next_token,
        })
    }
}
