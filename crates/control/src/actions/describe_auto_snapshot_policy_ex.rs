//! DescribeAutoSnapshotPolicyEx: the caller's policies in a region, newest first.

use crate::catalogue::Conditions;
use crate::catalogue::policies::PolicyRow;
use crate::catalogue::tags::ResourceType;
use crate::store::{StoreError, Transaction};
use crate::views::show_policy;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_auto_snapshot_policy_ex::{Request, Response};

impl Control {
    /// One page.
    pub async fn describe_auto_snapshot_policy_ex(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        // 400 in this action, 404 elsewhere.
        self.check_region(Some(&request.region_id))
            .map_err(|unknown| ApiError {
                status: 400,
                ..unknown
            })?;
        let mut all = Conditions::of_account(PolicyRow::TABLE, &caller.account);
        all.equals("region", &request.region_id);
        all.equals_if("id", request.policy_id.as_ref());
        all.equals_if("name", request.name.as_ref());
        all.equals_if("resource_group", request.resource_group_id.as_ref());
        all.tagged(ResourceType::Policy, &request.tags);
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            let (rows, page) = all.page(t, &request.page, PolicyRow::select, |row| (row.ordinal, &row.id))?;
            let shown = rows
                .into_iter()
                .map(|row| show_policy(t, row))
                .collect::<Result<Vec<_>, _>>()?;
            Ok((shown, page))
        };
        let (auto_snapshot_policies, page) = self.store().read(read).await?;
        Ok(Response {
            auto_snapshot_policies,
            page,
        })
    }
}
