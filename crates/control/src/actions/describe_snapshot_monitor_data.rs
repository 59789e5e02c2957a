//! DescribeSnapshotMonitorData: what all snapshots took, over time.
//!
//! A snapshot of the old category `flash` is kept as any other: here it is a `standard` one, so that the curve ends where
//! DescribeSnapshotsUsage is.

use crate::catalogue::usage::UsageRow;
use crate::clock::DAY_MS;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, views};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_monitor_data::{Request, Response};
use tidemark_ecs::model::DataPoint;
use tidemark_ecs::time;

/// How far back the curve goes.
const BACK_MS: i64 = 30 * DAY_MS;

impl Control {
    /// A point per period, until now at most: what is to come is not known.
    pub async fn describe_snapshot_monitor_data(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let now = self.now_ms();
        if request.start_ms < now - BACK_MS {
            let message = "The parameter \"StartTime\" is not valid: it is more than 30 days ago.";
            return Err(ApiError::new(400, "InvalidStartTime.TooEarly", message));
        }
        let account = caller.account.clone();
        let category = match request.category.as_str() {
            "flash" => "standard".to_owned(),
            _ => request.category,
        };
        let read = move |t: &mut dyn Transaction| -> Result<Response, StoreError> {
            let rest = "WHERE account = $1 AND region = $2 AND CASE category WHEN 'flash' THEN 'standard' ELSE category END = $3 AND from_ms <= $4 \
                        AND (until_ms IS NULL OR until_ms > $5)";
            let values = [
                account.into(),
                request.region_id.into(),
                category.into(),
                request.end_ms.into(),
                request.start_ms.into(),
            ];
            let rows = UsageRow::select(t, rest, &values)?;
            let points = (request.start_ms..=request.end_ms.min(now)).step_by(step(request.period_ms));
            Ok(Response {
                monitor_data: curve(&rows, points)
                    .map(|(at, size)| DataPoint {
                        time_stamp: time::seconds(views::at(at)),
                        size,
                    })
                    .collect(),
            })
        };
        Ok(self.store().read(read).await?)
    }
}

fn step(period_ms: i64) -> usize {
    usize::try_from(period_ms).unwrap_or(usize::MAX).max(1)
}

/// The sum at each of these moments, which grow.
fn curve(rows: &[UsageRow], at: impl Iterator<Item = i64>) -> impl Iterator<Item = (i64, u64)> {
    let mut changes: Vec<(i64, i64)> = Vec::with_capacity(rows.len() * 2);
    for row in rows {
        changes.push((row.from_ms, row.bytes));
        changes.extend(row.until_ms.map(|until| (until, -row.bytes)));
    }
    changes.sort_unstable();
    let (mut next, mut sum) = (0, 0_i64);
    at.map(move |at| {
        while let Some((_, change)) = changes.get(next).filter(|(when, _)| *when <= at) {
            sum = sum.saturating_add(*change);
            next += 1;
        }
        (at, sum.max(0).unsigned_abs())
    })
}
