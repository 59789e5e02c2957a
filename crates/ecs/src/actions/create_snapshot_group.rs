//! CreateSnapshotGroup: one instant of several disks, crash-consistent at least. Answers an id at once.

use crate::model::Tag;
use crate::rules::consistency::Consistency;
use crate::rules::{client_token, tags, text};
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// All its disks, unless lists narrow it down. Never absent together with `disk_ids`.
    pub instance_id: Option<String>,
    /// Each named once.
    pub disk_ids: Vec<String>,
    /// Never given together with `disk_ids`.
    pub exclude_disk_ids: Vec<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub tags: Vec<Tag>,
    pub resource_group_id: Option<String>,
    /// Obsolete; stored with the members and shown.
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
        let region_id = params.required("RegionId")?;
        let (instance_id, mut disk_ids) = (params.text("InstanceId"), params.list("DiskId")?);
        let exclude_disk_ids = params.list("ExcludeDiskId")?;
        if instance_id.is_none() && disk_ids.is_empty() {
            return Err(ApiError::new(
                400,
                "MissingParamter.InstanceId",
                "The parameter \"InstanceId\" must be given where no disks are named with \"DiskId.N\".",
            ));
        }
        if !disk_ids.is_empty() && !exclude_disk_ids.is_empty() {
            return Err(ApiError::new(
                400,
                "InvalidParam.ExcludeDiskIdsAndDiskIds.Conflict",
                "The parameters \"DiskId.N\" and \"ExcludeDiskId.N\" cannot be given together.",
            ));
        }
        // Once is enough; the order is the caller's.
        let mut seen = std::collections::BTreeSet::new();
        disk_ids.retain(|id| seen.insert(id.clone()));
        let instant_access = params.flag("InstantAccess")?;
        let instant_access_retention_days = params.integer_in(
            "InstantAccessRetentionDays",
            1..=65535,
            400,
            "InvalidRetentionDays.Malformed",
        )?;
        Ok(Self {
            region_id,
            instance_id,
            disk_ids,
            exclude_disk_ids,
            name: text::group_name(params, "Name", (400, "InvalidParameter.Name"))?,
            description: text::description(params, "Description", (400, "InvalidParameter.Description"))?,
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
            resource_group_id: params.text("ResourceGroupId"),
            instant_access,
            instant_access_retention_days: instant_access_retention_days.filter(|_| instant_access),
            consistency: Consistency::parse(params)?,
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
        })
    }
}

/// The group, in creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `ssg-…`
    pub snapshot_group_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn an_instance_or_disks_are_enough() {
        check::required(Request::parse, "RegionId=r&InstanceId=i-1", &["RegionId"]);
        let request = Request::parse(&check::params(
            "RegionId=r&DiskId.1=d-2&DiskId.2=d-1&DiskId.3=d-2&Name=1st",
        ))
        .expect("valid");
        assert_eq!(request.disk_ids, ["d-2", "d-1"]);
        assert_eq!(request.name.as_deref(), Some("1st"));
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("Name=ab", 400, "MissingParamter.InstanceId"),
                ("ExcludeDiskId.1=d-1", 400, "MissingParamter.InstanceId"),
                (
                    "DiskId.1=d-1&ExcludeDiskId.1=d-2",
                    400,
                    "InvalidParam.ExcludeDiskIdsAndDiskIds.Conflict",
                ),
                ("InstanceId=i-1&Name=x", 400, "InvalidParameter.Name"),
                ("InstanceId=i-1&Name=http://x", 400, "InvalidParameter.Name"),
                ("InstanceId=i-1&Name=-x", 400, "InvalidParameter.Name"),
                (
                    "InstanceId=i-1&Description=x",
                    400,
                    "InvalidParameter.Description",
                ),
                ("InstanceId=i-1&Tag.1.Key=a&Tag.2.Key=a", 400, "Duplicate.TagKey"),
                ("InstanceId=i-1&Tag.1.Key=acs:x", 400, "InvalidTagKey.Malformed"),
                (
                    "InstanceId=i-1&Tag.1.Key=a&Tag.1.Value=http://x",
                    400,
                    "InvalidTagValue.Malformed",
                ),
                (
                    "InstanceId=i-1&InstantAccessRetentionDays=0",
                    400,
                    "InvalidRetentionDays.Malformed",
                ),
                (
                    "InstanceId=i-1&ClientToken=%E4%B8%AD",
                    403,
                    "InvalidClientToken.Malformed",
                ),
            ],
        );
    }
}
