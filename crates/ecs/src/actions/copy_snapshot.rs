//! CopySnapshot: a full, independent snapshot of the same content in another region. Answers an id at once.

use crate::model::Tag;
use crate::rules::{client_token, disk, tags, text};
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    /// Where the snapshot is.
    pub region_id: String,
    pub snapshot_id: String,
    pub destination_region_id: String,
    pub destination_snapshot_name: Option<String>,
    pub destination_snapshot_description: Option<String>,
    /// 1 to 65536, from the copy's creation; `None` for ever.
    pub retention_days: Option<i64>,
    /// The copy's; the source's are not copied.
    pub tags: Vec<Tag>,
    /// `None`: as the source.
    pub encrypted: Option<bool>,
    pub resource_group_id: Option<String>,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            snapshot_id: params.required("SnapshotId")?,
            destination_region_id: params.required("DestinationRegionId")?,
            destination_snapshot_name: text::snapshot_name_in(
                params,
                "DestinationSnapshotName",
                (403, "InvalidSnapshotName.Malformed"),
            )?,
            destination_snapshot_description: text::description(
                params,
                "DestinationSnapshotDescription",
                (403, "InvalidDescription.Malformed"),
            )?,
            retention_days: params.integer_in(
                "RetentionDays",
                1..=65536,
                403,
                "InvalidRetentionDays.Malformed",
            )?,
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
            encrypted: disk::encrypted(params)?,
            resource_group_id: params.text("ResourceGroupId"),
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
        })
    }
}

/// The copy, in progress.
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

    const BASE: &str = "RegionId=a&SnapshotId=s-1&DestinationRegionId=b";

    #[test]
    fn required_and_optional() {
        check::required(
            Request::parse,
            BASE,
            &["RegionId", "SnapshotId", "DestinationRegionId"],
        );
        let request = Request::parse(&check::params(BASE)).expect("the name is optional here");
        assert_eq!((request.encrypted, request.retention_days), (None, None));
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            BASE,
            &[
                (
                    "DestinationSnapshotName=autofoo",
                    403,
                    "InvalidSnapshotName.Malformed",
                ),
                ("DestinationSnapshotName=1x", 403, "InvalidSnapshotName.Malformed"),
                (
                    "DestinationSnapshotDescription=x",
                    403,
                    "InvalidDescription.Malformed",
                ),
                (
                    "DestinationSnapshotDescription=http://x",
                    403,
                    "InvalidDescription.Malformed",
                ),
                ("RetentionDays=0", 403, "InvalidRetentionDays.Malformed"),
                ("RetentionDays=65537", 403, "InvalidRetentionDays.Malformed"),
                ("RetentionDays=soon", 403, "InvalidRetentionDays.Malformed"),
                ("Encrypted=maybe", 400, "InvalidParameter"),
                ("KMSKeyId=k", 400, "InvalidParameter.EncryptedIllegal"),
                (
                    "Encrypted=true&KMSKeyId=k",
                    404,
                    "InvalidParameter.KMSKeyId.NotFound",
                ),
                ("Tag.1.Key=a&Tag.2.Key=a", 400, "Duplicate.TagKey"),
                ("ClientToken=%E4%B8%AD", 403, "InvalidClientToken.Malformed"),
            ],
        );
    }
}
