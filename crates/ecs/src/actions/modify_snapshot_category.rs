//! ModifySnapshotCategory: would move a snapshot to the archive. Its parameters are checked; then it is refused.

use crate::{ApiError, Params};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub snapshot_id: String,
    /// 74 to 65536; `None` for ever.
    pub retention_days: Option<i64>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let snapshot_id = params.required("SnapshotId")?;
        params.word_any_case("Category", &["Archive"], 400, "InvalidParameter.SnapshotCategory")?;
        Ok(Self {
            region_id: params.text("RegionId"),
            snapshot_id,
            retention_days: params.integer_in(
                "RetentionDays",
                74..=65536,
                400,
                "InvalidRetentionDays.Malformed",
            )?,
        })
    }
}

/// RequestId only; never sent.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        check::required(Request::parse, "SnapshotId=s-1", &["SnapshotId"]);
        check::refusals(
            Request::parse,
            "SnapshotId=s-1",
            &[
                ("Category=Standard", 400, "InvalidParameter.SnapshotCategory"),
                ("RetentionDays=73", 400, "InvalidRetentionDays.Malformed"),
            ],
        );
    }
}
