//! DescribeImages: images in a region, newest first: the system's, the caller's own, and those shared with the caller.

use super::describe_instances;
use crate::filter::{self, Filters};
use crate::model::{Image, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// Empty: all. A list with commas on the wire.
    pub image_ids: Vec<String>,
    /// `Available` unless asked otherwise; empty: all.
    pub statuses: Vec<String>,
    /// `system`, `self`, `others`, `marketplace`.
    pub image_owner_alias: Option<String>,
    /// See [`name_matches`].
    pub image_name: Option<String>,
    pub image_family: Option<String>,
    pub snapshot_id: Option<String>,
    pub os_type: Option<String>,
    pub architecture: Option<String>,
    pub instance_type: Option<String>,
    pub resource_group_id: Option<String>,
    /// `instance`, `none`.
    pub usage: Option<String>,
    pub is_support_io_optimized: Option<bool>,
    pub is_support_cloudinit: Option<bool>,
    pub is_public: Option<bool>,
    pub usable: Option<bool>,
    pub image_owner_id: Option<i64>,
    pub tags: Vec<TagFilter>,
    pub filters: Filters,
    pub page: PageRequest,
    pub dry_run: bool,
}

/// Most ids of one call.
const MOST: usize = 100;

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let image_ids = commas(params.get("ImageId").unwrap_or_default());
        if image_ids.len() > MOST {
            return Err(ApiError::invalid_parameter(
                "ImageId",
                format!("{} ids, where {MOST} are allowed", image_ids.len()),
            ));
        }
        let statuses = commas(params.get("Status").unwrap_or("Available"));
        let all = statuses.iter().any(|status| status.eq_ignore_ascii_case("ALL"));
        let owner = params.word(
            "ImageOwnerAlias",
            &["system", "self", "others", "marketplace"],
            400,
            "InvalidImageOwnerAlias.ValueNotSupported",
        )?;
        let is_public = params.boolean("IsPublic")?;
        if is_public == Some(true) && owner.as_deref() != Some("others") {
            return Err(ApiError::new(
                400,
                "InvalidImageOwnerAlias.PublicImageUnsupported",
                "\"IsPublic\" can only be true with \"ImageOwnerAlias\" others.",
            ));
        }
        params.word("ActionType", &["CreateEcs", "ChangeOS"], 400, "InvalidParamter")?;
        Ok(Self {
            region_id,
            image_ids,
            statuses: if all { Vec::new() } else { statuses },
            image_owner_alias: owner,
            image_name: params.text("ImageName"),
            image_family: params.text("ImageFamily"),
            snapshot_id: params.text("SnapshotId"),
            os_type: params.word("OSType", &["linux", "windows"], 404, "InvalidOSType")?,
            architecture: params.word(
                "Architecture",
                &["x86_64", "i386", "arm64"],
                404,
                "InvalidArchitecture",
            )?,
            instance_type: params.text("InstanceType"),
            resource_group_id: params.text("ResourceGroupId"),
            usage: params.word("Usage", &["instance", "none"], 404, "InvalidUsage")?,
            is_support_io_optimized: params.boolean("IsSupportIoOptimized")?,
            is_support_cloudinit: params.boolean("IsSupportCloudinit")?,
            is_public,
            usable: params.boolean("Usable")?,
            image_owner_id: params.integer("ImageOwnerId")?,
            tags: tags::filters(params)?,
            filters: Filters::parse(params, filter::OF_IMAGES)?,
            page: PageRequest::parse(params, 100, 100)?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

fn commas(text: &str) -> Vec<String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

/// Whether a name fits what was asked: any part of it, or the whole where `*` stands for any text.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.contains('*') {
        true => describe_instances::name_matches(pattern, name),
        false => name.contains(pattern),
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub region_id: String,
    #[serde(with = "list::image")]
    pub images: Vec<Image>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        let many = vec!["m-1"; 101].join(",");
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                (
                    "ImageOwnerAlias=me",
                    400,
                    "InvalidImageOwnerAlias.ValueNotSupported",
                ),
                (
                    "ImageOwnerAlias=self&IsPublic=true",
                    400,
                    "InvalidImageOwnerAlias.PublicImageUnsupported",
                ),
                ("ActionType=x", 400, "InvalidParamter"),
                ("Tag.1.Value=x", 400, "InvalidTag.Mismatch"),
                (
                    "Filter.1.Key=NetworkType&Filter.1.Value=x",
                    400,
                    "InvalidFilterValue.NetworkType",
                ),
                (
                    "Filter.1.Key=x&Filter.1.Value=x",
                    404,
                    "InvalidFilterKey.NotFound",
                ),
                (
                    "Filter.1.Key=CreationStartTime&Filter.1.Value=x",
                    404,
                    "InvalidFilterValue",
                ),
                ("Usage=x", 404, "InvalidUsage"),
                ("OSType=x", 404, "InvalidOSType"),
                ("Architecture=x", 404, "InvalidArchitecture"),
                (&format!("ImageId={many}"), 400, "InvalidParameter"),
                ("PageSize=101", 400, "InvalidParameter"),
            ],
        );
    }

    #[test]
    fn lists_with_commas_and_the_default_state() {
        let parse =
            |query: &str| Request::parse(&check::params(&format!("RegionId=r&{query}"))).expect("valid");
        assert_eq!(parse("").statuses, ["Available"]);
        assert_eq!(
            parse("Status=Creating,Available").statuses,
            ["Creating", "Available"]
        );
        assert!(parse("Status=ALL").statuses.is_empty());
        assert_eq!(parse("ImageId=m-1,%20m-2").image_ids, ["m-1", "m-2"]);
    }

    #[test]
    fn names_are_found_by_a_part() {
        assert!(name_matches("web", "my-web-1") && !name_matches("web", "db"));
        assert!(name_matches("my*", "my-web") && !name_matches("web*", "my-web"));
    }
}
