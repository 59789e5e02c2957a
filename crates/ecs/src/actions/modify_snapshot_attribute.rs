//! ModifySnapshotAttribute: name, description, retention of a snapshot.

use crate::rules::text;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub snapshot_id: String,
    pub snapshot_name: Option<String>,
    /// `Some("")` empties it.
    pub description: Option<String>,
    /// 1 to 65536, counted from CreationTime.
    pub retention_days: Option<i64>,
}

impl Request {
    /// Reads and checks the parameters. DisableInstantAccess is obsolete: checked, without effect.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let snapshot_id = params.required("SnapshotId")?;
        let request = Self {
            region_id: params.text("RegionId"),
            snapshot_id,
            snapshot_name: text::snapshot_name(params, (400, "InvalidSnapshotName.Malformed"))?,
            description: text::description_or_empty(
                params,
                "Description",
                (404, "InvalidDescription.Malformed"),
            )?,
            retention_days: params.integer_in(
                "RetentionDays",
                1..=65536,
                400,
                "InvalidRetentionDays.Malformed",
            )?,
        };
        let disable = params.boolean("DisableInstantAccess").map_err(|error| ApiError {
            status: 404,
            code: "InvalidSnapshotDisableInstantAccess.Malformed".into(),
            ..error
        })?;
        let nothing = request.snapshot_name.is_none()
            && request.description.is_none()
            && request.retention_days.is_none()
            && disable.is_none();
        if nothing {
            return Err(ApiError::new(
                400,
                "NoAttributeToModify",
                "No attribute is given; give SnapshotName, Description or RetentionDays.",
            ));
        }
        Ok(request)
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn a_description_can_be_emptied() {
        check::required(Request::parse, "SnapshotId=s-1&SnapshotName=nn", &["SnapshotId"]);
        let request = Request::parse(&check::params("SnapshotId=s-1&Description=")).expect("valid");
        assert_eq!(
            (request.description.as_deref(), request.snapshot_name),
            (Some(""), None)
        );
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            "SnapshotId=s-1",
            &[
                ("", 400, "NoAttributeToModify"),
                ("SnapshotName=autox", 400, "InvalidSnapshotName.Malformed"),
                ("Description=https://x", 404, "InvalidDescription.Malformed"),
                ("RetentionDays=0", 400, "InvalidRetentionDays.Malformed"),
                (
                    "DisableInstantAccess=x",
                    404,
                    "InvalidSnapshotDisableInstantAccess.Malformed",
                ),
            ],
        );
    }
}
