//! ModifySnapshotGroup: name and description of a snapshot-consistent group.

use crate::rules::text;
use crate::{ApiError, Params};

/// What is asked for; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub snapshot_group_id: String,
    pub name: Option<String>,
    pub description: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            snapshot_group_id: params.required("SnapshotGroupId")?,
            name: text::group_name(params, "Name", (400, "InvalidParameter.Name"))?,
            description: text::description(params, "Description", (400, "InvalidParameter.Description"))?,
        })
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        let base = "RegionId=r&SnapshotGroupId=ssg-1";
        check::required(Request::parse, base, &["RegionId", "SnapshotGroupId"]);
        check::refusals(
            Request::parse,
            base,
            &[
                ("Name=x", 400, "InvalidParameter.Name"),
                ("Name=a%20b", 400, "InvalidParameter.Name"),
                ("Description=https://x", 400, "InvalidParameter.Description"),
            ],
        );
    }
}
