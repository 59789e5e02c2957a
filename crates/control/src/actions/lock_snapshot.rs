//! LockSnapshot: puts a retention lock on a snapshot, or changes the one that it has (ecs-api.md 3.1).
//!
//! While the cool-off period lasts, a lock can be replaced by any other: then its days and its cool-off period count anew.
//! After that it can only be made longer, counted from where it began. An ended one is like none.

use crate::catalogue::locks::{LockRow, LockStatus};
use crate::catalogue::snapshots::SnapshotRow;
use crate::clock::{DAY_MS, HOUR_MS};
use crate::notices::{self, By};
use crate::rules::{self, Token};
use crate::states::SnapshotStatus;
use crate::store::Transaction;
use crate::{Caller, Control, views};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::lock_snapshot::{Request, Response};
use tidemark_ecs::model::LockedSnapshot;
use tidemark_ecs::time;

impl Control {
    /// The lock binds when this answers.
    pub async fn lock_snapshot(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| lock(t, &control, &caller, &request);
        let response = self.store().write(work).await?;
        self.jobs().wake();
        Ok(response)
    }
}

fn lock(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<Response, ApiError> {
    let now = control.now_ms();
    let given = rules::token_given(request.client_token.as_ref(), request.dry_run);
    let token = Token::new(caller, "LockSnapshot", given, request, "IdempotentProcessing")?;
    if let Some(response) = Token::replay(token.as_ref(), t, now)? {
        return Ok(response);
    }
    control.check_region(Some(&request.region_id))?;
    let snapshot = rules::snapshot(t, caller, &request.snapshot_id)?;
    if snapshot.status == SnapshotStatus::Failed {
        let message = format!(
            "The snapshot {} has failed; there is nothing to keep.",
            snapshot.id
        );
        return Err(ApiError::new(
            403,
            "InvalidOperation.SnapshotNotAvailable",
            message,
        ));
    }
    let before =
        LockRow::get(t, snapshot.id.as_str())?.filter(|lock| lock.status(now) != LockStatus::Expired);
    let row = match before {
        Some(lock) if lock.status(now) == LockStatus::Compliance => longer(lock, request)?,
        before => fresh(before, &snapshot, request, now),
    };
    check_retention(&row, &snapshot, now)?;
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    match LockRow::get(t, snapshot.id.as_str())? {
        Some(_) => row.save(t)?,
        None => row.insert(t)?,
    }
    let by = By::caller(caller, "LockSnapshot");
    notices::snapshot_locked(t, &snapshot, &row, &by, now)?;
    rules::update_record(t, &snapshot.id, now)?;
    let response = Response {
        locked_snapshot_info: show(&row, now),
    };
    Token::remember(token.as_ref(), t, &snapshot.id, &response, false, now)?;
    Ok(response)
}

fn fresh(before: Option<LockRow>, snapshot: &SnapshotRow, request: &Request, now: i64) -> LockRow {
    let cool_off_ms = request.cool_off_period.saturating_mul(HOUR_MS);
    let mut lock = LockRow {
        snapshot_id: snapshot.id.clone(),
        account: snapshot.account.clone(),
        duration_days: request.lock_duration,
        cool_off_hours: request.cool_off_period,
        created_ms: before.map_or(now, |lock| lock.created_ms),
        cool_off_ends_ms: now.saturating_add(cool_off_ms),
        starts_ms: None,
        expires_ms: None,
    };
    if snapshot.status == SnapshotStatus::Accomplished {
        lock.start(now);
    }
    lock
}

/// A binding lock with more days.
fn longer(mut lock: LockRow, request: &Request) -> Result<LockRow, ApiError> {
    let refuse = |why: &str| {
        let message = format!(
            "The cool-off period of the lock on {} is over: {why}.",
            lock.snapshot_id
        );
        Err(ApiError::new(
            403,
            "InvalidOperation.CoolOffPeriodExpired",
            message,
        ))
    };
    if request.cool_off_period > 0 {
        return refuse("it gets no other, so CoolOffPeriod must be 0");
    }
    if request.lock_duration < lock.duration_days {
        return refuse(&format!(
            "it cannot become shorter than {} days",
            lock.duration_days
        ));
    }
    lock.duration_days = request.lock_duration;
    if let Some(start) = lock.starts_ms {
        lock.start(start);
    }
    Ok(lock)
}

/// A snapshot that goes by itself before its lock ends would break the one or the other promise.
fn check_retention(lock: &LockRow, snapshot: &SnapshotRow, now: i64) -> Result<(), ApiError> {
    let days = lock.duration_days.saturating_mul(DAY_MS);
    let end = lock.expires_ms.unwrap_or(now.saturating_add(days));
    match snapshot.expires_ms {
        Some(expires) if end > expires => {
            let message = format!(
                "The parameter \"LockDuration\" is not valid: the snapshot {} is kept until {} only; extend its retention first.",
                snapshot.id,
                time::seconds(views::at(expires))
            );
            Err(ApiError::new(
                400,
                "InvalidLockDuration.ExceedRetentionDays",
                message,
            ))
        }
        _ => Ok(()),
    }
}

/// The lock as answers show it.
pub(super) fn show(lock: &LockRow, now: i64) -> LockedSnapshot {
    let at = |ms: Option<i64>| ms.map_or_else(String::new, |ms| time::seconds(views::at(ms)));
    LockedSnapshot {
        snapshot_id: lock.snapshot_id.clone(),
        lock_mode: "compliance".into(),
        lock_status: lock.status(now).word().into(),
        lock_duration: lock.duration_days,
        lock_creation_time: at(Some(lock.created_ms)),
        lock_duration_start_time: at(lock.starts_ms),
        lock_expired_time: at(lock.expires_ms),
        cool_off_period: lock.cool_off_hours,
        cool_off_period_expired_time: at(Some(lock.cool_off_ends_ms).filter(|_| lock.cool_off_hours > 0)),
    }
}
