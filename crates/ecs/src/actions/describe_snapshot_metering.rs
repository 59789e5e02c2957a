//! DescribeSnapshotMetering: what has been stored for how long, in started hours.
//!
//! An extension of ours: the service that we follow has bills instead.

use crate::model::list;
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params, time};
use serde::Serialize;

/// What one row of the answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// A snapshot.
    Snapshot,
    /// A disk's chain.
    Link,
    /// All of a region.
    Region,
    /// All snapshots of a region whose tag of some key has the same value.
    Tag,
}

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// Milliseconds since 1970-01-01 UTC; `None`: the beginning of the month.
    pub start_ms: Option<i64>,
    /// `None`: now.
    pub end_ms: Option<i64>,
    pub group_by: GroupBy,
    /// Never absent where rows are about tags.
    pub tag_key: Option<String>,
    pub disk_id: Option<String>,
    pub snapshot_id: Option<String>,
    pub snapshot_link_id: Option<String>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let start_ms = at(params, "StartTime", "InvalidStartTime.Malformed")?;
        let end_ms = at(params, "EndTime", "InvalidEndTime.Malformed")?;
        if let (Some(start), Some(end)) = (start_ms, end_ms)
            && end <= start
        {
            let message = "The parameter \"EndTime\" is not valid: it is not later than \"StartTime\".";
            return Err(ApiError::new(400, "InvalidEndTime.Malformed", message));
        }
        let words = ["Snapshot", "Link", "Region", "Tag"];
        let group_by = match params
            .word_any_case("GroupBy", &words, 400, "InvalidParameter")?
            .as_deref()
        {
            Some("Link") => GroupBy::Link,
            Some("Region") => GroupBy::Region,
            Some("Tag") => GroupBy::Tag,
            _ => GroupBy::Snapshot,
        };
        let tag_key = match group_by {
            GroupBy::Tag => Some(params.required("TagKey")?),
            _ => params.text("TagKey"),
        };
        Ok(Self {
            region_id,
            start_ms,
            end_ms,
            group_by,
            tag_key,
            disk_id: params.text("DiskId"),
            snapshot_id: params.text("SnapshotId"),
            snapshot_link_id: params.text("SnapshotLinkId"),
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

fn at(params: &Params, name: &str, code: &'static str) -> Result<Option<i64>, ApiError> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    match time::parse_minutes_or_seconds(text) {
        Some(at) => Ok(Some(at.as_millisecond())),
        None => Err(ApiError::new(
            400,
            code,
            format!(
                "The parameter \"{name}\" is not valid: {text:?} is not a time in the format yyyy-MM-ddTHH:mm:ssZ."
            ),
        )),
    }
}

/// What was metered for one snapshot, chain, region or tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct MeterItem {
    pub region_id: String,
    /// `""` but for a snapshot's row.
    pub snapshot_id: String,
    /// `""` for a region's or a tag's row.
    pub snapshot_link_id: String,
    /// `""` for a region's or a tag's row.
    pub source_disk_id: String,
    /// `""` but for a tag's row.
    pub tag_key: String,
    /// As the snapshots are tagged now; `""` for those that have no such tag, or that are gone.
    pub tag_value: String,
    /// Started hours in which there was something of it.
    pub hours: u64,
    /// Sum over those hours of the bytes stored; text, because it may be more than clients' integers hold.
    pub byte_hours: String,
    /// The same in GiB, with six decimals.
    #[serde(rename = "GiBHours")]
    pub gib_hours: String,
    /// Bytes that are stored now.
    pub size: u64,
    /// With six decimals; left out without a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::meter_item")]
    pub meter_items: Vec<MeterItem>,
    /// The hours that were looked at: from the beginning of this one
    pub start_time: String,
    /// to the beginning of this one.
    pub end_time: String,
    /// For a GiB and a month of 720 hours; left out without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("StartTime=yesterday", 400, "InvalidStartTime.Malformed"),
                ("EndTime=2026-13-01T00:00Z", 400, "InvalidEndTime.Malformed"),
                (
                    "StartTime=2026-01-01T00:00Z&EndTime=2026-01-01T00:00:00Z",
                    400,
                    "InvalidEndTime.Malformed",
                ),
                ("GroupBy=day", 400, "InvalidParameter"),
                ("GroupBy=tag", 400, "MissingParameter"),
            ],
        );
        let request = Request::parse(&check::params("RegionId=r&GroupBy=link")).expect("valid");
        assert_eq!(request.group_by, GroupBy::Link);
        let request = Request::parse(&check::params("RegionId=r&GroupBy=Tag&TagKey=team")).expect("valid");
        assert_eq!(
            (request.group_by, request.tag_key.as_deref()),
            (GroupBy::Tag, Some("team"))
        );
    }
}
