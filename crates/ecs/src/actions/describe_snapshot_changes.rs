//! DescribeSnapshotChanges: which parts of a disk differ between two of its snapshots.
//!
//! An extension of ours: the service that we follow has no such action. Other clouds list changed blocks so, for backup tools.

use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// Most parts of the picture.
const PARTS_MOST: i64 = 4096;
/// Most ranges of one answer, and how many there are when nobody says.
const RANGES_MOST: i64 = 10_000;
const RANGES: i64 = 1000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub snapshot_id: String,
    /// Absent: the snapshot of the disk that was made before.
    pub base_snapshot_id: Option<String>,
    /// Into how many equal parts of the disk changes are counted.
    pub parts: u32,
    /// Where the ranges begin, in bytes.
    pub start_offset: u64,
    pub max_ranges: usize,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let number = |name, range| params.integer_in(name, range, 400, "InvalidParameter");
        let parts = number("Parts", 1..=PARTS_MOST)?.unwrap_or(1);
        let start_offset = number("StartOffset", 0..=i64::MAX)?.unwrap_or(0);
        let max_ranges = number("MaxRanges", 1..=RANGES_MOST)?.unwrap_or(RANGES);
        Ok(Self {
            region_id: params.text("RegionId"),
            snapshot_id: params.required("SnapshotId")?,
            base_snapshot_id: params.text("BaseSnapshotId"),
            parts: u32::try_from(parts).unwrap_or(1),
            start_offset: start_offset.unsigned_abs(),
            max_ranges: usize::try_from(max_ranges).unwrap_or(1),
        })
    }
}

/// A range of the disk that differs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct ChangedRange {
    pub offset: u64,
    pub length: u64,
}

/// Sizes in bytes; a chunk counts as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub snapshot_id: String,
    /// `""`: there is none before it, so it was compared with zeros.
    pub base_snapshot_id: String,
    pub source_disk_id: String,
    /// The disk's at the snapshot.
    pub size: u64,
    pub changed_size: u64,
    /// Data that the snapshot before it has not.
    pub added_size: u64,
    /// Data that neither the snapshot before it nor the one after it has at that place: no more than that is gone with it. Another one may
    /// have it all the same, made after a rollback, say.
    pub alone_size: u64,
    /// Of each part of the disk, how much of it differs.
    #[serde(with = "list::changed_part")]
    pub parts: Vec<u64>,
    #[serde(with = "list::changed_range")]
    pub changed_ranges: Vec<ChangedRange>,
    /// Where more ranges begin; absent: there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn a_snapshot_is_enough() {
        check::required(Request::parse, "SnapshotId=s-1", &["SnapshotId"]);
        let request = Request::parse(&check::params("SnapshotId=s-1")).expect("valid");
        assert_eq!(
            (request.parts, request.start_offset, request.max_ranges),
            (1, 0, 1000)
        );
        assert_eq!(request.base_snapshot_id, None);
    }

    #[test]
    fn answers_are_bounded() {
        check::refusals(
            Request::parse,
            "SnapshotId=s-1",
            &[
                ("Parts=0", 400, "InvalidParameter"),
                ("Parts=4097", 400, "InvalidParameter"),
                ("MaxRanges=10001", 400, "InvalidParameter"),
                ("StartOffset=-1", 400, "InvalidParameter"),
            ],
        );
    }
}
