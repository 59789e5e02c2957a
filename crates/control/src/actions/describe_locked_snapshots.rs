//! DescribeLockedSnapshots: the caller's snapshots that have a lock, also an ended one, newest first.

use super::lock_snapshot::show;
use crate::catalogue::Conditions;
use crate::catalogue::locks::{LockRow, LockStatus};
use crate::catalogue::snapshots::SnapshotRow;
use crate::states::SnapshotStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_locked_snapshots::{Request, Response};

impl Control {
    /// One page.
    pub async fn describe_locked_snapshots(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (account, now) = (caller.account.clone(), self.now_ms());
        let read = move |t: &mut dyn Transaction| -> Result<Response, ApiError> {
            let mut all = Conditions::of_account(SnapshotRow::TABLE, &account);
            all.equals("region", &request.region_id);
            all.term("snapshots.status <> ?", [SnapshotStatus::Deleting.word().into()]);
            if !request.snapshot_ids.is_empty() {
                all.one_of("id", &request.snapshot_ids);
            }
            let status = request.lock_status.as_deref().map(str::parse::<LockStatus>);
            match status {
                Some(Ok(status)) => all.term(LockRow::condition(status), [now.into(), now.into()]),
                _ => all.term("snapshots.id IN (SELECT snapshot_id FROM snapshot_locks)", []),
            }
            let (rows, page) = all.page(t, &request.page, SnapshotRow::select, |row| {
                (row.ordinal, &row.id)
            })?;
            let mut locked = Vec::new();
            for row in rows {
                locked.extend(LockRow::get(t, row.id)?.map(|lock| show(&lock, now)));
            }
            Ok(Response {
                locked_snapshots_info: locked,
                next_token: page.next_token,
            })
        };
        self.store().read(read).await
    }
}
