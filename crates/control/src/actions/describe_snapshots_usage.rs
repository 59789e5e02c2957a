//! DescribeSnapshotsUsage: how many snapshots there are, and what they take together.

use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshots_usage::{Request, Response};

impl Control {
    /// The sum of what the chains take (DescribeSnapshotLinks), and the last point of the curve
    /// (DescribeSnapshotMonitorData).
    pub async fn describe_snapshots_usage(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let region = Some(request.region_id.as_str());
        self.check_region(region).map_err(|error| ApiError {
            status: 403,
            code: "InvalidParam.RegionId".into(),
            ..error
        })?;
        let account = caller.account.clone();
        let read = move |t: &mut dyn Transaction| -> Result<Response, StoreError> {
            let count = "SELECT COUNT(*) FROM snapshots WHERE account = $1 AND status <> $2 AND region = $3";
            let deleting = SnapshotStatus::Deleting.word().into();
            let count = t.query_one(count, &[(&account).into(), deleting, (&request.region_id).into()])?;
            let size = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM snapshot_usage WHERE account = $1 AND region = $2 \
                        AND until_ms IS NULL";
            let size = t.query_one(size, &[account.into(), request.region_id.into()])?;
            let number = |row: Option<crate::store::Row>| row.map_or(Ok(0), |row| row.integer(0));
            Ok(Response {
                snapshot_count: number(count)?.unsigned_abs(),
                snapshot_size: number(size)?.unsigned_abs(),
            })
        };
        Ok(self.store().read(read).await?)
    }
}
