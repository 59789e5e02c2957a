//! DescribeSnapshotMonitorData: what all snapshots took, over time.

use crate::model::{DataPoint, list};
use crate::{ApiError, Params, time};
use serde::Serialize;

/// Most points of one answer.
const POINTS_MAX: i64 = 400;
const MINUTE_MS: i64 = 60_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// Full minutes, in milliseconds since 1970-01-01 UTC; the first point.
    pub start_ms: i64,
    /// The last point is not later.
    pub end_ms: i64,
    /// 60000, 600000 or 3600000.
    pub period_ms: i64,
    /// `standard`, `flash`, `archive`.
    pub category: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let (start, end) = (params.required("StartTime")?, params.required("EndTime")?);
        let start_ms = minute("StartTime", &start, "InvalidStartTime.Malformed")?;
        let end_ms = minute("EndTime", &end, "InvalidEndTime.Malformed")?;
        if end_ms < start_ms {
            let message = format!("The parameter \"EndTime\" is not valid: {end} is before {start}.");
            return Err(ApiError::new(400, "InvalidEndTime.Malformed", message));
        }
        let period = params.word(
            "Period",
            &["60", "600", "3600"],
            400,
            "InvalidPeriod.ValueNotSupported",
        )?;
        let period_ms = match period.as_deref() {
            Some("600") => 10 * MINUTE_MS,
            Some("3600") => 60 * MINUTE_MS,
            _ => MINUTE_MS,
        };
        let points = (end_ms - start_ms) / period_ms + 1;
        if points > POINTS_MAX {
            let message = format!("The times and the period make {points} points; {POINTS_MAX} are allowed.");
            return Err(ApiError::new(400, "InvalidParameter.TooManyDataQueried", message));
        }
        let category = params.word_any_case(
            "Category",
            &["standard", "flash", "archive"],
            400,
            "InvalidParameter",
        )?;
        Ok(Self {
            region_id,
            start_ms,
            end_ms,
            period_ms,
            category: category.unwrap_or_else(|| "standard".into()),
        })
    }
}

/// A time in seconds, rounded up to a full minute.
pub(super) fn minute(name: &str, text: &str, code: &'static str) -> Result<i64, ApiError> {
    let at = time::parse_seconds(text).ok_or_else(|| {
        let message = format!(
            "The parameter \"{name}\" is not valid: {text:?} is not a time in the format yyyy-MM-ddTHH:mm:ssZ."
        );
        ApiError::new(400, code, message)
    })?;
    let ms = at.as_millisecond();
    Ok(ms + (MINUTE_MS - ms.rem_euclid(MINUTE_MS)) % MINUTE_MS)
}

/// The curve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::data_point")]
    pub monitor_data: Vec<DataPoint>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn a_begun_minute_is_rounded_up() {
        let base = "RegionId=r&StartTime=2026-01-01T00:00:01Z&EndTime=2026-01-01T01:00:00Z";
        check::required(Request::parse, base, &["RegionId", "StartTime", "EndTime"]);
        let request = Request::parse(&check::params(base)).expect("valid");
        assert_eq!(request.start_ms.rem_euclid(MINUTE_MS), 0);
        assert_eq!(request.end_ms - request.start_ms, 59 * MINUTE_MS);
        assert_eq!(
            (request.period_ms, request.category.as_str()),
            (MINUTE_MS, "standard")
        );
    }

    #[test]
    fn refusals() {
        let at = |start: &str, end: &str| format!("StartTime={start}&EndTime={end}");
        let good = at("2026-01-01T00:00:00Z", "2026-01-01T06:39:00Z");
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                (
                    &at("soon", "2026-01-01T00:00:00Z"),
                    400,
                    "InvalidStartTime.Malformed",
                ),
                (
                    &at("2026-01-01T00:00:00Z", "2026-01-01"),
                    400,
                    "InvalidEndTime.Malformed",
                ),
                (
                    &at("2026-01-01T00:01:00Z", "2026-01-01T00:00:00Z"),
                    400,
                    "InvalidEndTime.Malformed",
                ),
                (
                    &format!("{good}&Period=61"),
                    400,
                    "InvalidPeriod.ValueNotSupported",
                ),
                (
                    &at("2026-01-01T00:00:00Z", "2026-01-01T06:40:00Z"),
                    400,
                    "InvalidParameter.TooManyDataQueried",
                ),
                (&format!("{good}&Category=x"), 400, "InvalidParameter"),
            ],
        );
        Request::parse(&check::params(&format!("RegionId=r&{good}"))).expect("400 points");
    }
}
