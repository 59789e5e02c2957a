//! ResetDisks: rolls several disks of one instance back, each to one of its own snapshots.

use crate::model::{OperationProgress, list};
use crate::{ApiError, Params};
use serde::Serialize;
use std::collections::BTreeSet;

/// Most disks of one request, however large snapshot groups may be: this one keeps a request readable, the configured
/// limit is checked where it is known.
const MOST: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// At least one, no disk twice: (DiskId, SnapshotId).
    pub disks: Vec<(String, String)>,
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let items = params.structs("Disk")?;
        if items.is_empty() {
            return Err(ApiError::missing_parameter("Disk.1.DiskId"));
        }
        let mut disks = Vec::new();
        let mut seen = BTreeSet::new();
        for item in &items {
            let (disk, snapshot) = (item.required("DiskId")?, item.required("SnapshotId")?);
            if !seen.insert(disk.clone()) {
                return Err(ApiError::invalid_parameter(
                    &item.full_name("DiskId"),
                    format!("the disk {disk} is named twice"),
                ));
            }
            disks.push((disk, snapshot));
        }
        if disks.len() > MOST {
            return Err(too_many(disks.len(), MOST as u64));
        }
        Ok(Self {
            region_id,
            disks,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// The refusal of more disks than are allowed.
pub fn too_many(disks: usize, most: u64) -> ApiError {
    ApiError::invalid_parameter("Disk.N", format!("{disks} disks, where {most} are allowed"))
}

/// What became of each disk, in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::operation_progress")]
    pub operation_progress_set: Vec<OperationProgress>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        let base = "RegionId=r&Disk.1.DiskId=d-1&Disk.1.SnapshotId=s-1";
        check::required(
            Request::parse,
            base,
            &["RegionId", "Disk.1.DiskId", "Disk.1.SnapshotId"],
        );
        let many: Vec<_> = (2..=1001)
            .map(|n| format!("Disk.{n}.DiskId=d-{n}&Disk.{n}.SnapshotId=s-{n}"))
            .collect();
        check::refusals(
            Request::parse,
            base,
            &[
                ("Disk.2.DiskId=d-2", 400, "MissingParameter"),
                ("Disk.2.DiskId=d-1&Disk.2.SnapshotId=s-2", 400, "InvalidParameter"),
                (&many.join("&"), 400, "InvalidParameter"),
                ("DryRun=maybe", 400, "InvalidParameter"),
            ],
        );
        assert_eq!(
            Request::parse(&check::params("RegionId=r")).expect_err("no disk"),
            ApiError::missing_parameter("Disk.1.DiskId")
        );
    }
}
