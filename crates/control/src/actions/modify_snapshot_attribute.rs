//! ModifySnapshotAttribute: name, description, retention.

use crate::notices::{self, By};
use crate::rules;
use crate::states::SnapshotStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_snapshot_attribute::{Request, Response};

impl Control {
    /// All of it, or nothing.
    pub async fn modify_snapshot_attribute(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| modify(t, &control, &caller, request);
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(Response {})
    }
}

fn modify(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: Request,
) -> Result<(), ApiError> {
    control.check_region(request.region_id.as_deref())?;
    let mut row = rules::snapshot(t, caller, &request.snapshot_id)?;
    let before = row.clone();
    if let Some(days) = request.retention_days {
        if row.status == SnapshotStatus::Progressing {
            let message = format!(
                "The snapshot {} is still being created; its retention is fixed until then.",
                row.id
            );
            return Err(ApiError::new(400, "InvalidSnapshotId.NotReady", message));
        }
        let now = row.retention_days;
        if now.is_none_or(|now| days < now) {
            let kept = now.map_or_else(|| "for ever".into(), |now| format!("{now} days"));
            let message = format!(
                "The snapshot {} is kept {kept}; that can only be extended.",
                row.id
            );
            return Err(ApiError::new(
                400,
                "InvalidOperation.DecreaseRetentionDaysUnsupported",
                message,
            ));
        }
        row.retention_days = Some(days);
        row.expires_ms = rules::expiry(row.created_ms, row.retention_days);
    }
    if let Some(name) = request.snapshot_name {
        row.name = name;
    }
    if let Some(description) = request.description {
        row.description = description;
    }
    row.modified_ms = control.now_ms();
    row.save(t)?;
    let by = By::caller(caller, "ModifySnapshotAttribute");
    notices::snapshot_modified(t, (&before, &row), &by, row.modified_ms)?;
    Ok(rules::update_record(t, &row.id, row.modified_ms)?)
}
