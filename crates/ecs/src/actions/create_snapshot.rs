//! CreateSnapshot: a snapshot of one disk, crash-consistent at least. Answers an id at once.

use crate::model::Tag;
use crate::rules::consistency::Consistency;
use crate::rules::{client_token, tags, text};
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    /// The region the client works in, if it said so; the disk's id decides.
    pub region_id: Option<String>,
    pub disk_id: String,
    pub snapshot_name: Option<String>,
    pub description: Option<String>,
    /// 1 to 65536; `None` for ever.
    pub retention_days: Option<i64>,
    pub tags: Vec<Tag>,
    pub resource_group_id: Option<String>,
    /// `Standard` or `Flash`; obsolete.
    pub category: Option<String>,
    /// Obsolete; stored and shown.
    pub instant_access: bool,
    /// 1 to 65535, only with `instant_access`.
    pub instant_access_retention_days: Option<i64>,
    /// Ours: how far the guest is told of it.
    pub consistency: Consistency,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let disk_id = params.required("DiskId")?;
        let instant_access = params.flag("InstantAccess")?;
        let category = params.word_any_case(
            "Category",
            &["Standard", "Flash"],
            403,
            "InvalidSnapshotCategory.Malformed",
        )?;
        if instant_access && category.is_some() {
            return Err(ApiError::new(
                403,
                "InvalidCategoryAndInstantAccess.Malformed",
                "The parameters \"Category\" and \"InstantAccess\" cannot be given together.",
            ));
        }
        let instant_access_retention_days = params.integer_in(
            "InstantAccessRetentionDays",
            1..=65535,
            403,
            "InvalidInstantAccessRetentionDays.Malformed",
        )?;
        Ok(Self {
            region_id: params.text("RegionId"),
            disk_id,
            snapshot_name: text::snapshot_name(params, (400, "InvalidSnapshotName.Malformed"))?,
            description: text::description(params, "Description", (404, "InvalidDescription.Malformed"))?,
            retention_days: params.integer_in(
                "RetentionDays",
                1..=65536,
                400,
                "InvalidRetentionDays.Malformed",
            )?,
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
            resource_group_id: params.text("ResourceGroupId"),
            category,
            instant_access,
            instant_access_retention_days: instant_access_retention_days.filter(|_| instant_access),
            consistency: Consistency::parse(params)?,
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
        })
    }
}

/// The snapshot, in creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `s-…`
    pub snapshot_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn a_disk_is_enough() {
        check::required(Request::parse, "DiskId=d-1", &["DiskId"]);
        let request =
            Request::parse(&check::params("DiskId=d-1&RetentionDays=65536&Tag.1.Key=k")).expect("valid");
        assert_eq!((request.retention_days, request.tags.len()), (Some(65536), 1));
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            "DiskId=d-1",
            &[
                ("SnapshotName=autofoo", 400, "InvalidSnapshotName.Malformed"),
                ("SnapshotName=1x", 400, "InvalidSnapshotName.Malformed"),
                ("Description=x", 404, "InvalidDescription.Malformed"),
                ("Description=http://x", 404, "InvalidDescription.Malformed"),
                ("Consistency=Total", 400, "InvalidConsistency.Malformed"),
                ("RetentionDays=0", 400, "InvalidRetentionDays.Malformed"),
                ("RetentionDays=65537", 400, "InvalidRetentionDays.Malformed"),
                ("RetentionDays=soon", 400, "InvalidRetentionDays.Malformed"),
                ("Category=Archive", 403, "InvalidSnapshotCategory.Malformed"),
                (
                    "Category=Flash&InstantAccess=true",
                    403,
                    "InvalidCategoryAndInstantAccess.Malformed",
                ),
                (
                    "InstantAccessRetentionDays=0",
                    403,
                    "InvalidInstantAccessRetentionDays.Malformed",
                ),
                ("InstantAccess=yes", 400, "InvalidParameter"),
                ("Tag.1.Key=a&Tag.2.Key=a", 400, "Duplicate.TagKey"),
                ("ClientToken=%E4%B8%AD", 403, "InvalidClientToken.Malformed"),
                (
                    &format!("ClientToken={}", "x".repeat(65)),
                    403,
                    "InvalidClientToken.Malformed",
                ),
            ],
        );
    }

    #[test]
    fn the_token_is_not_part_of_the_fingerprint() {
        let print = |query| {
            serde_json::to_string(&Request::parse(&check::params(query)).expect("valid")).expect("json")
        };
        assert_eq!(
            print("DiskId=d-1&ClientToken=a"),
            print("DiskId=d-1&ClientToken=b")
        );
        assert_ne!(
            print("DiskId=d-1&ClientToken=a"),
            print("DiskId=d-1&ClientToken=a&SnapshotName=other")
        );
    }
}
