//! Parameters of automatic snapshot policies (ecs-api.md 4.3), which several actions share.
//!
//! Nearly every refusal has one code, `ParameterInvalid`: 403 for what cannot be a value, 404 for a policy that does not
//! exist. The message names the parameter.

use super::{disk, text};
use crate::schedule::Schedule;
use crate::{ApiError, Params, id};

/// Retention that means "for ever".
pub const FOR_EVER: i64 = -1;
/// Most disks in one call.
const DISKS_MOST: usize = 100;

/// 403 `ParameterInvalid`: the value cannot be used.
pub fn unusable(name: &str, why: impl std::fmt::Display) -> ApiError {
    invalid(403, name, why)
}

/// 404 `ParameterInvalid`: there is no such policy in this region.
pub fn not_found(id: &str) -> ApiError {
    invalid(
        404,
        "AutoSnapshotPolicyId",
        format!("there is no policy {id:?} in this region"),
    )
}

fn invalid(status: u16, name: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        status,
        "ParameterInvalid",
        format!("The parameter \"{name}\" is not valid: {why}."),
    )
}

const UNUSABLE: (u16, &str) = (403, "ParameterInvalid");

/// The policy's id, which must be given and be able to be one.
pub fn policy_id(params: &Params) -> Result<String, ApiError> {
    let id = params.required("autoSnapshotPolicyId")?;
    check_id(id)
}

/// An id that was given must be able to be one.
pub fn check_id(id: String) -> Result<String, ApiError> {
    match id::is_plausible(&id) {
        true => Ok(id),
        false => Err(unusable(
            "AutoSnapshotPolicyId",
            format!("{id:?} cannot be an id"),
        )),
    }
}

/// The name, 2 to 128 letters, digits, `:`, `_`, `-`.
pub fn policy_name(params: &Params) -> Result<Option<String>, ApiError> {
    let refusal = (400, "InvalidSnapshotPolicyName.Malformed");
    let name = text::name(params, "autoSnapshotPolicyName", refusal)?;
    if name.as_deref().is_some_and(|name| name.contains('.')) {
        let why = "The parameter \"autoSnapshotPolicyName\" is not valid: '.' is not allowed.";
        return Err(ApiError::new(refusal.0, refusal.1, why));
    }
    Ok(name)
}

/// The hours, 0 to 23; at least one if there is the parameter.
pub fn time_points(params: &Params) -> Result<Option<Vec<u8>>, ApiError> {
    let any_day = |hours: &[u8]| Schedule::new(hours.iter().copied(), [1]).is_some();
    numbers(params, "timePoints", 24, "\"0\" to \"23\"", any_day)
}

/// The weekdays, 1 (Monday) to 7; at least one if there is the parameter.
pub fn repeat_weekdays(params: &Params) -> Result<Option<Vec<u8>>, ApiError> {
    let any_hour = |days: &[u8]| Schedule::new([0], days.iter().copied()).is_some();
    numbers(params, "repeatWeekdays", 7, "\"1\" to \"7\"", any_hour)
}

fn numbers(
    params: &Params,
    name: &str,
    most: usize,
    allowed: &str,
    fit: impl Fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(texts) = params.json_list(name, most, UNUSABLE, UNUSABLE)? else {
        return Ok(None);
    };
    // "07" and "+7" are no way to write a number.
    let number = |text: &String| text.parse().ok().filter(|n: &u8| n.to_string() == *text);
    let read: Option<Vec<u8>> = texts.iter().map(number).collect();
    match read.filter(|numbers| fit(numbers)) {
        Some(numbers) => Ok(Some(numbers)),
        None => Err(unusable(
            name,
            format!("it must be a JSON array of at least one of {allowed}"),
        )),
    }
}

/// Days, or -1 for ever.
pub fn retention_days(params: &Params, longest: i64) -> Result<Option<i64>, ApiError> {
    days(params, "retentionDays", longest, UNUSABLE)
}

fn days(
    params: &Params,
    name: &str,
    longest: i64,
    refusal: (u16, &'static str),
) -> Result<Option<i64>, ApiError> {
    let (status, code) = refusal;
    let days = params.integer_in(name, FOR_EVER..=longest, status, code)?;
    match days {
        Some(0) => Err(ApiError::new(
            status,
            code,
            format!("The parameter \"{name}\" is not valid: 0 days are no retention; -1 keeps for ever."),
        )),
        days => Ok(days),
    }
}

/// What is asked for of copies to another region; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopySettings {
    /// Whether there are copies.
    pub enabled: Option<bool>,
    /// The one region that they go to.
    pub region: Option<String>,
    /// Days, or -1 for ever.
    pub retention_days: Option<i64>,
    /// Whether they are encrypted.
    pub encrypted: Option<bool>,
}

/// Reads `EnableCrossRegionCopy` and what belongs to it.
pub fn copy_settings(params: &Params) -> Result<CopySettings, ApiError> {
    let refusal = (403, "InvalidParameter.TargetCopyRegions");
    let region = match params.json_list("TargetCopyRegions", 1, refusal, refusal)? {
        None => None,
        Some(mut regions) => match regions.pop().filter(|region| !region.is_empty()) {
            Some(region) => Some(region),
            None => return Err(bad_copy_region("it must name one region")),
        },
    };
    Ok(CopySettings {
        enabled: params.boolean("EnableCrossRegionCopy")?,
        region,
        retention_days: days(
            params,
            "CopiedSnapshotsRetentionDays",
            65_535,
            (403, "InvalidParameter.CopiedSnapshotsRetentionDays"),
        )?,
        encrypted: disk::encrypted(&params.fields("CopyEncryptionConfiguration"))?,
    })
}

/// 403 `InvalidParameter.TargetCopyRegions`.
pub fn bad_copy_region(why: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        403,
        "InvalidParameter.TargetCopyRegions",
        format!("The parameter \"TargetCopyRegions\" is not valid: {why}."),
    )
}

/// The disks of a call, each once; 1 to 100.
pub fn disk_ids(params: &Params) -> Result<Vec<String>, ApiError> {
    params.required("diskIds")?;
    let mut ids = params
        .json_list("diskIds", DISKS_MOST, UNUSABLE, UNUSABLE)?
        .unwrap_or_default();
    if ids.is_empty() {
        return Err(unusable("diskIds", "it must name at least one disk"));
    }
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}
