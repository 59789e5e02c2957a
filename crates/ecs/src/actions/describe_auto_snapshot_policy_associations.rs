//! DescribeAutoSnapshotPolicyAssociations: which disks a policy is applied to, or which policies a disk has.

use crate::model::{AutoSnapshotPolicyAssociation, list};
use crate::page::PageRequest;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub of: Of,
    pub page: PageRequest,
}

/// Whose associations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// A policy's disks.
    Policy(String),
    /// A disk's policies.
    Disk(String),
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let of = match (params.text("AutoSnapshotPolicyId"), params.text("DiskId")) {
            (Some(policy), None) => Of::Policy(policy),
            (None, Some(disk)) => Of::Disk(disk),
            (None, None) => {
                return Err(ApiError::new(
                    403,
                    "MissingParameter.AutoSnapshotPolicyIdOrDiskId",
                    "Either AutoSnapshotPolicyId or DiskId must be given.",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(ApiError::new(
                    403,
                    "ParameterConflict.AutoSnapshotPolicyIdAndDiskId",
                    "Only one of AutoSnapshotPolicyId and DiskId can be given.",
                ));
            }
        };
        Ok(Self {
            region_id,
            of,
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::auto_snapshot_policy_association")]
    pub auto_snapshot_policy_associations: Vec<AutoSnapshotPolicyAssociation>,
    /// Empty: no more rows.
    pub next_token: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn exactly_one_side() {
        check::required(Request::parse, "RegionId=r&DiskId=d-1", &["RegionId"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                (
                    "MaxResults=10",
                    403,
                    "MissingParameter.AutoSnapshotPolicyIdOrDiskId",
                ),
                (
                    "DiskId=d-1&AutoSnapshotPolicyId=sp-1",
                    403,
                    "ParameterConflict.AutoSnapshotPolicyIdAndDiskId",
                ),
                ("DiskId=d-1&NextToken=!", 400, "InvalidParameter"),
            ],
        );
    }
}
