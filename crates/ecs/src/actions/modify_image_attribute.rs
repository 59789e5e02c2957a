//! ModifyImageAttribute: name, description, family, and whether new instances may be made of the image.

use super::create_image;
use crate::rules::text;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub image_id: String,
    pub image_name: Option<String>,
    pub description: Option<String>,
    /// May be empty: no family any more.
    pub image_family: Option<String>,
    /// `Deprecated` or `Available`.
    pub status: Option<String>,
    pub boot_mode: Option<String>,
    pub nvme_support: Option<String>,
    pub imds_support: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let image_id = params.required("ImageId")?;
        let features = params.fields("Features");
        let family = text::image_family(params, "ImageFamily", (400, "InvalidImageFamily.Malformed"))?;
        let request = Self {
            region_id,
            image_id,
            image_name: text::image_name(params, "ImageName", (400, "InvalidImageName.Malformed"))?,
            description: text::description(params, "Description", (400, "InvalidDescription.Malformed"))?,
            image_family: family.or_else(|| params.given("ImageFamily").map(str::to_owned)),
            status: params.word(
                "Status",
                &["Deprecated", "Available"],
                400,
                "InvalidStatus.NotSupport",
            )?,
            boot_mode: create_image::boot_mode(params)?,
            nvme_support: features.word(
                "NvmeSupport",
                &["supported", "unsupported"],
                400,
                "InvalidParameter.FeaturesNvmeSupport",
            )?,
            imds_support: features.word(
                "ImdsSupport",
                &["v1", "v2"],
                400,
                "InvalidParameter.FeaturesImdsSupport",
            )?,
        };
        let given = [
            &request.image_name,
            &request.description,
            &request.image_family,
            &request.status,
            &request.boot_mode,
            &request.nvme_support,
            &request.imds_support,
        ];
        match given.iter().all(|value| value.is_none()) {
            true => Err(ApiError::new(
                400,
                "NoAttributeToModify",
                "No attribute is given that could be modified.",
            )),
            false => Ok(request),
        }
    }
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&ImageId=m-1&ImageName=ab";
        check::required(Request::parse, base, &["RegionId", "ImageId"]);
        check::refusals(
            Request::parse,
            "RegionId=r&ImageId=m-1",
            &[
                ("ImageName=1", 400, "InvalidImageName.Malformed"),
                ("ImageFamily=1", 400, "InvalidImageFamily.Malformed"),
                ("ImageFamily=web.1", 400, "InvalidImageFamily.Malformed"),
                ("Description=x", 400, "InvalidDescription.Malformed"),
                ("Status=Creating", 400, "InvalidStatus.NotSupport"),
                ("BootMode=x", 400, "InvalidBootMode.NotSupport"),
                (
                    "Features.NvmeSupport=x",
                    400,
                    "InvalidParameter.FeaturesNvmeSupport",
                ),
                (
                    "Features.ImdsSupport=x",
                    400,
                    "InvalidParameter.FeaturesImdsSupport",
                ),
                ("ImageName=", 400, "NoAttributeToModify"),
            ],
        );
        let cleared = Request::parse(&check::params("RegionId=r&ImageId=m-1&ImageFamily=")).expect("valid");
        assert_eq!(cleared.image_family.as_deref(), Some(""));
    }
}
