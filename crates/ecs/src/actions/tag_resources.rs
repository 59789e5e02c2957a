//! TagResources: puts tags on up to 50 resources; an existing key gets the new value.

use crate::model::Tag;
use crate::rules::tags;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// One of [`RESOURCE_TYPES`].
    pub resource_type: String,
    /// 1 to 50.
    pub resource_ids: Vec<String>,
    /// 1 to 20.
    pub tags: Vec<Tag>,
}

/// Every documented resource type, and snapshot groups.
pub const RESOURCE_TYPES: &[&str] = &[
    "instance",
    "disk",
    "snapshot",
    "image",
    "snapshotpolicy",
    "snapshotgroup",
    "securitygroup",
    "eni",
    "keypair",
    "volume",
    "ddh",
    "ddhcluster",
    "launchtemplate",
    "reservedinstance",
    "elasticityassurance",
    "capacityreservation",
    "command",
    "invocation",
    "activation",
    "managedinstance",
];

impl Request {
    /// Reads and checks the parameters. Missing ones are 404 in tag actions.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = required(params, "RegionId")?;
        let resource_type = resource_type(params)?;
        let resource_ids = resource_ids(params)?;
        if resource_ids.is_empty() {
            return Err(missing("ResourceIds"));
        }
        let tags = tags::new_tags(params, (400, "NumberExceed.Tags"))?;
        if tags.is_empty() {
            return Err(missing("Tags"));
        }
        Ok(Self {
            region_id,
            resource_type,
            resource_ids,
            tags,
        })
    }
}

/// 404 `MissingParameter.<what>`, the tag actions' own spelling.
pub(super) fn missing(what: &str) -> ApiError {
    ApiError {
        status: 404,
        code: format!("MissingParameter.{what}").into(),
        ..ApiError::missing_parameter(what)
    }
}

pub(super) fn required(params: &Params, name: &str) -> Result<String, ApiError> {
    params.text(name).ok_or_else(|| missing(name))
}

pub(super) fn resource_type(params: &Params) -> Result<String, ApiError> {
    required(params, "ResourceType")?;
    params
        .word_any_case(
            "ResourceType",
            RESOURCE_TYPES,
            404,
            "InvalidResourceType.NotFound",
        )?
        .ok_or_else(|| missing("ResourceType"))
}

/// `ResourceId.N`, at most 50, each once.
pub(super) fn resource_ids(params: &Params) -> Result<Vec<String>, ApiError> {
    let mut ids = params.list("ResourceId")?;
    if ids.len() > 50 {
        return Err(ApiError::new(
            400,
            "NumberExceed.ResourceIds",
            format!("{} resources are given, where 50 are allowed.", ids.len()),
        ));
    }
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "RegionId=r&ResourceType=Disk&ResourceId.1=d-1&Tag.1.Key=k";

    #[test]
    fn values_may_be_empty_and_ids_repeat() {
        let request = Request::parse(&check::params(&format!("{BASE}&ResourceId.7=d-1"))).expect("valid");
        assert_eq!(
            (request.resource_type.as_str(), request.resource_ids.len()),
            ("disk", 1)
        );
        assert_eq!(request.tags[0].value, "");
    }

    #[test]
    fn missing_parameters_are_404() {
        for (name, code) in [
            ("RegionId", "MissingParameter.RegionId"),
            ("ResourceType", "MissingParameter.ResourceType"),
            ("ResourceId.1", "MissingParameter.ResourceIds"),
            ("Tag.1.Key", "MissingParameter.Tags"),
        ] {
            let rest: Vec<_> = BASE.split('&').filter(|pair| !pair.starts_with(name)).collect();
            check::refusals(Request::parse, &rest.join("&"), &[("", 404, code)]);
        }
    }

    #[test]
    fn refusals() {
        let ids: Vec<_> = (1..=51).map(|n| format!("ResourceId.{n}=d-{n}")).collect();
        let tags: Vec<_> = (1..=21).map(|n| format!("Tag.{n}.Key=k{n}")).collect();
        let no_ids = "RegionId=r&ResourceType=disk";
        check::refusals(
            Request::parse,
            no_ids,
            &[
                (
                    &format!("{}&Tag.1.Key=k", ids.join("&")),
                    400,
                    "NumberExceed.ResourceIds",
                ),
                (
                    &format!("{}&ResourceId.1=d", tags.join("&")),
                    400,
                    "NumberExceed.Tags",
                ),
                ("ResourceId.1=d&Tag.1.Key=k&Tag.2.Key=k", 400, "Duplicate.TagKey"),
                ("ResourceId.1=d&Tag.1.Key=aliyun", 400, "InvalidTagKey.Malformed"),
            ],
        );
        check::refusals(
            Request::parse,
            "RegionId=r&ResourceId.1=d&Tag.1.Key=k",
            &[("ResourceType=shoe", 404, "InvalidResourceType.NotFound")],
        );
    }
}
