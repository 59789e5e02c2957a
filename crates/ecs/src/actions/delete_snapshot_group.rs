//! DeleteSnapshotGroup: deletes a snapshot-consistent group with its snapshots.

use crate::model::{OperationProgress, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub snapshot_group_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            snapshot_group_id: params.required("SnapshotGroupId")?,
        })
    }
}

/// What became of each snapshot. One that must stay is a single one from then on.
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
    use crate::render::{Format, success};

    #[test]
    fn required() {
        let base = "RegionId=r&SnapshotGroupId=ssg-1";
        check::required(Request::parse, base, &["RegionId", "SnapshotGroupId"]);
    }

    #[test]
    fn each_item_says_what_became_of_it() {
        let refusal = ApiError::new(403, "X.Y", "why");
        let response = Response {
            operation_progress_set: vec![
                OperationProgress::new(Ok(()), &[("SnapshotId", "s-1")]),
                OperationProgress::new(Err(&refusal), &[("SnapshotId", "s-2")]),
            ],
        };
        let text = success(Format::Json, "DeleteSnapshotGroup", "ID", &response).expect("renders");
        let tree: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let items = &tree["OperationProgressSet"]["OperationProgress"];
        assert_eq!(
            (&items[0]["OperationStatus"], &items[0]["ErrorCode"]),
            (&"Success".into(), &"".into())
        );
        assert_eq!(
            (&items[1]["OperationStatus"], &items[1]["ErrorCode"]),
            (&"Failed".into(), &"X.Y".into())
        );
        assert_eq!(items[1]["RelatedItemSet"]["RelatedItem"][0]["Value"], "s-2");
    }
}
