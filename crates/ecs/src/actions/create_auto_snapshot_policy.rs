//! CreateAutoSnapshotPolicy: hours, weekdays and retention under one id, to be applied to disks.

use crate::model::Tag;
use crate::rules::policy::{self, CopySettings};
use crate::rules::tags;
use crate::schedule::Schedule;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// timePoints and repeatWeekdays.
    pub schedule: Schedule,
    /// Days, or -1 for ever.
    pub retention_days: i64,
    pub name: Option<String>,
    pub copy: CopySettings,
    pub resource_group_id: Option<String>,
    /// On the policy, and on every snapshot that it takes.
    pub tags: Vec<Tag>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("regionId")?;
        for name in ["timePoints", "repeatWeekdays", "retentionDays"] {
            params.required(name)?;
        }
        let missing = || ApiError::missing_parameter("timePoints");
        let hours = policy::time_points(params)?.ok_or_else(missing)?;
        let weekdays = policy::repeat_weekdays(params)?.ok_or_else(missing)?;
        let schedule = Schedule::new(hours, weekdays).ok_or_else(missing)?;
        let retention_days = policy::retention_days(params, 65_535)?;
        association_type(params)?;
        Ok(Self {
            region_id,
            schedule,
            retention_days: retention_days.ok_or_else(|| ApiError::missing_parameter("retentionDays"))?,
            name: policy::policy_name(params)?,
            copy: policy::copy_settings(params)?,
            resource_group_id: params.text("ResourceGroupId"),
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
        })
    }
}

/// A policy is applied to disks that are named. The other kind is refused rather than taken for this one: its disks would
/// go without snapshots.
fn association_type(params: &Params) -> Result<(), ApiError> {
    match params.get("AssociationType") {
        None | Some("AssociatedWithDisk") => Ok(()),
        Some("AssociatedWithInstanceTag") => Err(ApiError::new(
            400,
            "UnsupportedOperation",
            "AssociationType AssociatedWithInstanceTag is not offered: apply the policy to disks with ApplyAutoSnapshotPolicy.",
        )),
        Some(other) => Err(policy::unusable(
            "AssociationType",
            format!("{other:?} is not AssociatedWithDisk"),
        )),
    }
}

/// The new policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub auto_snapshot_policy_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "regionId=r&timePoints=[\"0\",\"12\"]&repeatWeekdays=[\"1\",\"7\"]&retentionDays=30";

    #[test]
    fn lists_are_texts_and_first_letters_have_any_case() {
        check::required(
            Request::parse,
            BASE,
            &["regionId", "timePoints", "repeatWeekdays", "retentionDays"],
        );
        let request = Request::parse(&check::params(BASE)).expect("valid");
        let (hours, weekdays): (Vec<_>, Vec<_>) = (
            request.schedule.hours().collect(),
            request.schedule.weekdays().collect(),
        );
        assert_eq!(
            (hours, weekdays, request.retention_days),
            (vec![0, 12], vec![1, 7], 30)
        );
        let other = "RegionId=r&TimePoints=[12,0,0]&RepeatWeekdays=[7,1]&RetentionDays=30&AutoSnapshotPolicyName=ab-1";
        let other = Request::parse(&check::params(other)).expect("numbers, any order, any first letter");
        assert_eq!(
            (other.schedule, other.name.as_deref()),
            (request.schedule, Some("ab-1"))
        );
    }

    #[test]
    fn copies_and_tags() {
        let query = format!(
            "{BASE}&EnableCrossRegionCopy=True&TargetCopyRegions=[\"cn-beijing\"]&CopiedSnapshotsRetentionDays=-1\
             &CopyEncryptionConfiguration.Encrypted=true&Tag.1.Key=k&Tag.1.Value=v&AssociationType=AssociatedWithDisk"
        );
        let request = Request::parse(&check::params(&query)).expect("valid");
        let copy = CopySettings {
            enabled: Some(true),
            region: Some("cn-beijing".into()),
            retention_days: Some(-1),
            encrypted: Some(true),
        };
        assert_eq!((request.copy, request.tags.len()), (copy, 1));
    }

    #[test]
    fn refusals() {
        let days = "regionId=r&timePoints=[1]&repeatWeekdays=[1]";
        for value in ["0", "-2", "65536", "x", "1.5"] {
            check::refusals(
                Request::parse,
                days,
                &[(&format!("retentionDays={value}"), 403, "ParameterInvalid")],
            );
        }
        let hours = "regionId=r&repeatWeekdays=[1]&retentionDays=1";
        for value in [
            "[]", "1", "[24]", "[\"x\"]", "[-1]", "[\"07\"]", "[null]", "[1.5]", "{}",
        ] {
            let query = format!("timePoints={value}");
            check::refusals(Request::parse, hours, &[(&query, 403, "ParameterInvalid")]);
        }
        let weekdays = "regionId=r&timePoints=[1]&retentionDays=1";
        for value in ["[]", "[0]", "[8]", "[\"Mon\"]", "[1,2,3,4,5,6,7,1]"] {
            let query = format!("repeatWeekdays={value}");
            check::refusals(Request::parse, weekdays, &[(&query, 403, "ParameterInvalid")]);
        }
        let regions = "InvalidParameter.TargetCopyRegions";
        let kept = "InvalidParameter.CopiedSnapshotsRetentionDays";
        let encrypted = "CopyEncryptionConfiguration.Encrypted=true&CopyEncryptionConfiguration.KMSKeyId=k";
        check::refusals(
            Request::parse,
            BASE,
            &[
                (
                    "autoSnapshotPolicyName=a",
                    400,
                    "InvalidSnapshotPolicyName.Malformed",
                ),
                (
                    "autoSnapshotPolicyName=1ab",
                    400,
                    "InvalidSnapshotPolicyName.Malformed",
                ),
                (
                    "autoSnapshotPolicyName=a.b",
                    400,
                    "InvalidSnapshotPolicyName.Malformed",
                ),
                (
                    "autoSnapshotPolicyName=http://ab",
                    400,
                    "InvalidSnapshotPolicyName.Malformed",
                ),
                ("Tag.1.Key=a&Tag.2.Key=a", 400, "Duplicate.TagKey"),
                ("Tag.1.Key=acs:a", 400, "InvalidTagKey.Malformed"),
                (
                    "Tag.1.Key=a&Tag.1.Value=http://x",
                    400,
                    "InvalidTagValue.Malformed",
                ),
                ("TargetCopyRegions=cn-beijing", 403, regions),
                ("TargetCopyRegions=[]", 403, regions),
                ("TargetCopyRegions=[\"a\",\"b\"]", 403, regions),
                ("CopiedSnapshotsRetentionDays=0", 403, kept),
                ("CopiedSnapshotsRetentionDays=65536", 403, kept),
                (encrypted, 404, "InvalidParameter.KMSKeyId.NotFound"),
                ("EnableCrossRegionCopy=maybe", 400, "InvalidParameter"),
                (
                    "AssociationType=AssociatedWithInstanceTag",
                    400,
                    "UnsupportedOperation",
                ),
                ("AssociationType=ByMagic", 403, "ParameterInvalid"),
            ],
        );
    }
}
