//! UnlockSnapshot: takes a lock off while its cool-off period lasts.

use crate::catalogue::locks::{self, LockRow, LockStatus};
use crate::notices::{self, By};
use crate::rules::{self, Token};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::unlock_snapshot::{Request, Response};

impl Control {
    /// The snapshot can be deleted when this answers.
    pub async fn unlock_snapshot(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| unlock(t, &control, &caller, &request);
        let response = self.store().write(work).await?;
        self.jobs().wake();
        Ok(response)
    }
}

fn unlock(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<Response, ApiError> {
    let now = control.now_ms();
    let given = rules::token_given(request.client_token.as_ref(), request.dry_run);
    let token = Token::new(caller, "UnlockSnapshot", given, request, "IdempotentProcessing")?;
    if let Some(response) = Token::replay(token.as_ref(), t, now)? {
        return Ok(response);
    }
    control.check_region(Some(&request.region_id))?;
    let snapshot = rules::snapshot(t, caller, &request.snapshot_id)?;
    let lock = LockRow::get(t, snapshot.id.as_str())?;
    match lock.map(|lock| lock.status(now)) {
        None | Some(LockStatus::Expired) => {
            let message = format!("The snapshot {} is not locked.", snapshot.id);
            return Err(ApiError::new(404, "InvalidSnapshotLock.NotFound", message));
        }
        Some(LockStatus::Compliance) => {
            let message = format!("The cool-off period of the lock on {} is over.", snapshot.id);
            return Err(ApiError::new(
                403,
                "InvalidOperation.CoolOffPeriodExpired",
                message,
            ));
        }
        Some(LockStatus::CoolOff) => {}
    }
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    locks::forget(t, &snapshot.id)?;
    let by = By::caller(caller, "UnlockSnapshot");
    notices::snapshot_unlocked(t, &snapshot, &by, now)?;
    rules::update_record(t, &snapshot.id, now)?;
    let response = Response {};
    Token::remember(token.as_ref(), t, &snapshot.id, &response, false, now)?;
    Ok(response)
}
