//! DescribeInstanceStatus: ids and states only.

use crate::catalogue::Conditions;
use crate::catalogue::instances::InstanceRow;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_instance_status::{Request, Response};
use tidemark_ecs::model::InstanceStatus;

impl Control {
    /// One page.
    pub async fn describe_instance_status(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let mut all = Conditions::of_account(InstanceRow::TABLE, &caller.account);
        all.equals("region", &request.region_id);
        if !request.instance_ids.is_empty() {
            all.one_of("id", &request.instance_ids);
        }
        all.equals_if("zone", request.zone_id.as_ref());
        if request.cluster_id.is_some() {
            all.nothing();
        }
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            all.page(t, &request.page, InstanceRow::select, |row| {
                (row.ordinal, &row.id)
            })
        };
        let (rows, page) = self.store().read(read).await?;
        let show = |row: InstanceRow| InstanceStatus {
            instance_id: row.id,
            status: row.status.word().into(),
        };
        Ok(Response {
            instance_statuses: rows.into_iter().map(show).collect(),
            page,
        })
    }
}
