//! ModifyDiskAttribute: names and switches of one disk, or of many at once. What is not given stays.

use crate::rules::text;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    /// 1 to 100.
    pub disk_ids: Vec<String>,
    pub disk_name: Option<String>,
    pub description: Option<String>,
    pub delete_with_instance: Option<bool>,
    pub delete_auto_snapshot: Option<bool>,
    pub enable_auto_snapshot: Option<bool>,
    /// cloud_auto only.
    pub bursting_enabled: Option<bool>,
}

const MOST: usize = 100;

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            region_id: params.text("RegionId"),
            disk_ids: disk_ids(params)?,
            disk_name: text::name_of_any_start(params, "DiskName", (400, "InvalidDiskName.Malformed"))?,
            description: text::description(params, "Description", (404, "InvalidDescription.Malformed"))?,
            delete_with_instance: params.boolean("DeleteWithInstance")?,
            delete_auto_snapshot: params.boolean("DeleteAutoSnapshot")?,
            enable_auto_snapshot: params.boolean("EnableAutoSnapshot")?,
            bursting_enabled: params.boolean("BurstingEnabled")?,
        };
        let switches = [
            request.delete_with_instance,
            request.delete_auto_snapshot,
            request.enable_auto_snapshot,
            request.bursting_enabled,
        ];
        let texts = [&request.disk_name, &request.description];
        if texts.iter().all(|text| text.is_none()) && switches.iter().all(Option::is_none) {
            return Err(ApiError::new(
                400,
                "NoAttributeToModify",
                "No attribute is given that could be modified.",
            ));
        }
        Ok(request)
    }
}

fn disk_ids(params: &Params) -> Result<Vec<String>, ApiError> {
    match (params.text("DiskId"), params.list("DiskIds")?) {
        (Some(_), many) if !many.is_empty() => Err(ApiError::new(
            400,
            "ParameterConflict.DiskIdAndDiskIds",
            "The parameters \"DiskId\" and \"DiskIds\" cannot be given together.",
        )),
        (Some(one), _) => Ok(vec![one]),
        (None, many) if many.is_empty() => Err(ApiError::new(
            400,
            "MissingParameter.DiskIdOrDiskIds",
            "One of the parameters \"DiskId\" and \"DiskIds\" must be given.",
        )),
        (None, many) if many.len() > MOST => Err(ApiError::invalid_parameter(
            "DiskIds",
            format!("{} ids, where {MOST} are allowed", many.len()),
        )),
        (None, many) => Ok(many),
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
        let many: Vec<_> = (1..=101).map(|n| format!("DiskIds.{n}=d-{n}")).collect();
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("DiskName=ab", 400, "MissingParameter.DiskIdOrDiskIds"),
                (
                    "DiskId=d-1&DiskIds.1=d-2&DiskName=ab",
                    400,
                    "ParameterConflict.DiskIdAndDiskIds",
                ),
                ("DiskId=d-1", 400, "NoAttributeToModify"),
                ("DiskId=d-1&DiskName=a", 400, "InvalidDiskName.Malformed"),
                ("DiskId=d-1&Description=x", 404, "InvalidDescription.Malformed"),
                ("DiskId=d-1&DeleteWithInstance=1", 400, "InvalidParameter"),
                (
                    &format!("DiskName=ab&{}", many.join("&")),
                    400,
                    "InvalidParameter",
                ),
            ],
        );
    }

    #[test]
    fn one_or_many_and_names_of_any_start() {
        let parse = |query: &str| Request::parse(&check::params(query)).expect(query);
        let request = parse("DiskIds.1=d-1&DiskIds.3=d-3&DiskName=1-data&EnableAutoSnapshot=False");
        assert_eq!(request.disk_ids, ["d-1", "d-3"]);
        assert_eq!(request.disk_name.as_deref(), Some("1-data"));
        assert_eq!(
            (request.enable_auto_snapshot, request.delete_auto_snapshot),
            (Some(false), None)
        );
    }
}
