//! DescribeDiskMonitorData: what a disk's clients asked for and how long they waited for it, over time.
//!
//! Beyond the contract there are the slowest hundredths, `LatencyReadP99` and `LatencyWriteP99`, as means hide those who wait; and the period may be 10 seconds: snapshots of disks that changed little are over in less than a minute.

use super::describe_snapshot_monitor_data::minute;
use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// Most points of one answer.
const POINTS_MAX: i64 = 400;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub disk_id: String,
    /// Full minutes, in milliseconds since 1970-01-01 UTC; where the first point begins.
    pub start_ms: i64,
    /// The last point ends no later.
    pub end_ms: i64,
    /// 10000, 60000, 600000 or 3600000.
    pub period_ms: i64,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let disk_id = params.required("DiskId")?;
        let (start, end) = (params.required("StartTime")?, params.required("EndTime")?);
        let start_ms = minute("StartTime", &start, "InvalidStartTime.Malformed")?;
        let end_ms = minute("EndTime", &end, "InvalidEndTime.Malformed")?;
        if end_ms < start_ms {
            let message = format!("The parameter \"EndTime\" is not valid: {end} is before {start}.");
            return Err(ApiError::new(400, "InvalidEndTime.Malformed", message));
        }
        let periods = ["10", "60", "600", "3600"];
        let period = params.word("Period", &periods, 400, "InvalidPeriod.ValueNotSupported")?;
        let period_ms = match period.as_deref() {
            Some("10") => 10_000,
            Some("600") => 600_000,
            Some("3600") => 3_600_000,
            _ => 60_000,
        };
        let points = (end_ms - start_ms) / period_ms;
        if points > POINTS_MAX {
            let message = format!("The times and the period make {points} points; {POINTS_MAX} are allowed.");
            return Err(ApiError::new(400, "InvalidParameter.TooManyDataQueried", message));
        }
        Ok(Self {
            region_id: params.text("RegionId"),
            disk_id,
            start_ms,
            end_ms,
            period_ms,
        })
    }
}

/// One period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Point {
    pub disk_id: String,
    /// When it begins.
    pub time_stamp: String,
    /// In a second.
    #[serde(rename = "IOPSRead")]
    pub iops_read: u64,
    #[serde(rename = "IOPSWrite")]
    pub iops_write: u64,
    #[serde(rename = "IOPSTotal")]
    pub iops_total: u64,
    /// Bytes in a second.
    #[serde(rename = "BPSRead")]
    pub bps_read: u64,
    #[serde(rename = "BPSWrite")]
    pub bps_write: u64,
    #[serde(rename = "BPSTotal")]
    pub bps_total: u64,
    /// The mean, in microseconds; 0: nothing was read.
    pub latency_read: u64,
    /// 0: nothing was written.
    pub latency_write: u64,
    /// Ours: what ninety-nine of a hundred reads did not exceed, in microseconds, an eighth too much at most; of the worst piece of the period
    /// (ten seconds within the last hour, a minute before). 0: nothing was read.
    #[serde(rename = "LatencyReadP99")]
    pub latency_read_p99: u64,
    /// The same of writes.
    #[serde(rename = "LatencyWriteP99")]
    pub latency_write_p99: u64,
}

/// Oldest first. Periods of which nothing is known are missing; the present one is not over, and is missing, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub total_count: usize,
    #[serde(with = "list::disk_monitor_data")]
    pub monitor_data: Vec<Point>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        let base = "DiskId=d-1&StartTime=2026-01-01T00:00:01Z&EndTime=2026-01-01T01:00:00Z";
        check::required(Request::parse, base, &["DiskId", "StartTime", "EndTime"]);
        let request = Request::parse(&check::params(base)).expect("valid");
        assert_eq!(request.end_ms - request.start_ms, 59 * 60_000);
        assert_eq!(request.period_ms, 60_000);
    }

    #[test]
    fn answers_are_bounded() {
        let at = |start: &str, end: &str| format!("StartTime={start}&EndTime={end}");
        let good = at("2026-01-01T00:00:00Z", "2026-01-01T06:40:00Z");
        let code = "InvalidParameter.TooManyDataQueried";
        check::refusals(
            Request::parse,
            "DiskId=d-1",
            &[
                (&at("2026-01-01T00:00:00Z", "2026-01-01T06:41:00Z"), 400, code),
                (&format!("{good}&Period=10"), 400, code),
                (
                    &format!("{good}&Period=61"),
                    400,
                    "InvalidPeriod.ValueNotSupported",
                ),
                (
                    &at("2026-01-01T00:01:00Z", "2026-01-01T00:00:00Z"),
                    400,
                    "InvalidEndTime.Malformed",
                ),
            ],
        );
        Request::parse(&check::params(&format!("DiskId=d-1&{good}"))).expect("400 points");
    }

    #[test]
    fn members_are_named_as_clients_know_them() {
        let response = Response {
            total_count: 1,
            monitor_data: vec![Point::default()],
        };
        let json = serde_json::to_value(response).expect("JSON");
        let point = json.pointer("/MonitorData/DiskMonitorData/0").expect("a point");
        let mut names: Vec<&str> = point
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "BPSRead",
                "BPSTotal",
                "BPSWrite",
                "DiskId",
                "IOPSRead",
                "IOPSTotal",
                "IOPSWrite",
                "LatencyRead",
                "LatencyReadP99",
                "LatencyWrite",
                "LatencyWriteP99",
                "TimeStamp"
            ]
        );
    }
}
