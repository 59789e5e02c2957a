//! CreateImage: from an instance's disks, from a set of snapshots, or from one snapshot of a system disk.

use super::attach_disk;
use crate::model::Tag;
use crate::rules::{client_token, tags, text};
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub source: Source,
    pub image_name: Option<String>,
    pub image_family: Option<String>,
    pub image_version: Option<String>,
    pub description: Option<String>,
    pub platform: String,
    pub architecture: String,
    /// `None`: as the source has it.
    pub boot_mode: Option<String>,
    pub imds_support: Option<String>,
    pub tags: Vec<Tag>,
    pub resource_group_id: Option<String>,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
    #[serde(skip)]
    pub dry_run: bool,
}

/// What the image is made of: the first of these that is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Source {
    /// Every disk of an instance.
    Instance(String),
    /// Snapshots, and empty disks, for the devices of a new instance.
    Mappings(Vec<Mapping>),
    /// A system disk's snapshot.
    Snapshot(String),
}

/// A disk of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Mapping {
    /// `None`: an empty data disk.
    pub snapshot_id: Option<String>,
    /// GiB; `None`: as the snapshot, or the smallest.
    pub size: Option<u64>,
    /// `/dev/xvda` for the system disk, `/dev/xvdb` to `/dev/xvdz` for data disks; `None`: the next that is free.
    pub device: Option<String>,
    /// `system` or `data`; `None`: by the device, else as the snapshot's disk was.
    pub disk_type: Option<String>,
}

/// Where a system disk is.
pub const SYSTEM_DEVICE: &str = "/dev/xvda";
/// One system disk and 16 data disks.
const MOST: usize = 17;
/// What an empty data disk may have, in GiB, and what it has unless asked otherwise.
const EMPTY_SIZES: std::ops::RangeInclusive<i64> = 5..=32768;

/// Systems that images name. Those of the second list are `windows`.
const LINUX: &[&str] = &[
    "Others Linux",
    "Aliyun",
    "Alibaba Cloud Linux",
    "AlmaLinux",
    "Anolis",
    "CentOS",
    "CentOS Stream",
    "CoreOS",
    "Customized Linux",
    "Debian",
    "Fedora",
    "Fedora CoreOS",
    "FreeBSD",
    "Gentoo",
    "Kylin",
    "OpenSUSE",
    "RedHat",
    "Red Hat",
    "Rocky Linux",
    "SUSE",
    "UOS",
    "Ubuntu",
    "openEuler",
];

/// `linux` or `windows`, for a platform that [`Request::parse`] lets in.
pub fn os_type(platform: &str) -> &'static str {
    match platform.starts_with("Windows") {
        true => "windows",
        false => "linux",
    }
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.required("RegionId")?,
            source: source(params)?,
            image_name: text::image_name(params, "ImageName", (400, "InvalidImageName.Malformed"))?,
            image_family: text::image_family(params, "ImageFamily", (400, "InvalidImageFamily.Malformed"))?,
            image_version: version(params)?,
            description: text::description(params, "Description", (400, "InvalidDescription.Malformed"))?,
            platform: platform(params)?,
            architecture: params
                .word(
                    "Architecture",
                    &["x86_64", "i386", "arm64"],
                    400,
                    "InvalidArchitecture.Malformed",
                )?
                .unwrap_or_else(|| "x86_64".into()),
            boot_mode: boot_mode(params)?,
            imds_support: params.fields("Features").word(
                "ImdsSupport",
                &["v1", "v2"],
                400,
                "InvalidParameter.FeaturesImdsSupport",
            )?,
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
            resource_group_id: params.text("ResourceGroupId"),
            client_token: client_token(params, 400, "InvalidParameter")?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// `BootMode`, as an image can have it.
pub(super) fn boot_mode(params: &Params) -> Result<Option<String>, ApiError> {
    let modes = ["BIOS", "UEFI", "UEFI-Preferred"];
    params.word("BootMode", &modes, 400, "InvalidBootMode.NotSupport")
}

fn version(params: &Params) -> Result<Option<String>, ApiError> {
    match params.get("ImageVersion") {
        Some(text) if text.chars().count() > 128 || text.chars().any(char::is_control) => Err(ApiError::new(
            400,
            "InvalidImageVersion.Malformed",
            "The parameter \"ImageVersion\" is not valid: it must have at most 128 printable characters.",
        )),
        text => Ok(text.map(str::to_owned)),
    }
}

fn platform(params: &Params) -> Result<String, ApiError> {
    let text = params.get("Platform").unwrap_or(LINUX[0]);
    let windows = text.starts_with("Windows Server ") || text == "Windows";
    if windows || LINUX.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(ApiError::new(
        400,
        "InvalidPlatform.Malformed",
        format!(
            "The parameter \"Platform\" is not valid: {text:?} is neither a Windows Server nor one of {}.",
            LINUX.join(", ")
        ),
    ))
}

fn source(params: &Params) -> Result<Source, ApiError> {
    let mappings = params.structs("DiskDeviceMapping")?;
    if let Some(instance) = params.text("InstanceId") {
        return Ok(Source::Instance(instance));
    }
    if !mappings.is_empty() {
        return Ok(Source::Mappings(parse_mappings(&mappings)?));
    }
    params
        .text("SnapshotId")
        .map(Source::Snapshot)
        .ok_or_else(|| ApiError::missing_parameter("InstanceId"))
}

fn parse_mappings(items: &[Params]) -> Result<Vec<Mapping>, ApiError> {
    if items.len() > MOST {
        return Err(ApiError::invalid_parameter(
            "DiskDeviceMapping",
            format!("{} disks, where {MOST} are allowed", items.len()),
        ));
    }
    let mut mappings: Vec<Mapping> = Vec::with_capacity(items.len());
    for item in items {
        let mapping = Mapping::parse(item)?;
        let twice = |other: &Mapping| mapping.device.is_some() && other.device == mapping.device;
        if mappings.iter().any(twice) {
            return Err(ApiError::new(
                400,
                "InvalidDevice.InUse",
                format!(
                    "The device {} is given twice.",
                    mapping.device.unwrap_or_default()
                ),
            ));
        }
        mappings.push(mapping);
    }
    Ok(mappings)
}

impl Mapping {
    fn parse(params: &Params) -> Result<Self, ApiError> {
        let device = match params.get("Device") {
            Some(SYSTEM_DEVICE) => Some(SYSTEM_DEVICE.to_owned()),
            _ => attach_disk::device(params, "Device", "InvalidDevice.Malformed")?,
        };
        let snapshot_id = params.text("SnapshotId");
        let sizes = match &snapshot_id {
            Some(_) => 1..=65536,
            None => EMPTY_SIZES,
        };
        let size = params.integer_in("Size", sizes, 400, "InvalidSize.ValueNotSupported")?;
        Ok(Self {
            snapshot_id,
            size: size.map(i64::unsigned_abs),
            device,
            disk_type: params.word(
                "DiskType",
                &["system", "data"],
                400,
                "InvalidDiskType.ValueNotSupported",
            )?,
        })
    }
}

/// The image, in creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `m-…`
    pub image_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn the_first_source_that_is_given_counts() {
        let parse = |query: &str| {
            let params = check::params(&format!("RegionId=r&{query}"));
            Request::parse(&params).expect(query).source
        };
        let all = "SnapshotId=s-1&DiskDeviceMapping.1.SnapshotId=s-2&InstanceId=i-1";
        assert_eq!(parse(all), Source::Instance("i-1".into()));
        assert!(matches!(
            parse("SnapshotId=s-1&DiskDeviceMapping.1.SnapshotId=s-2"),
            Source::Mappings(mappings) if mappings.len() == 1
        ));
        assert_eq!(parse("SnapshotId=s-1"), Source::Snapshot("s-1".into()));
        assert_eq!(
            Request::parse(&check::params("RegionId=r"))
                .expect_err("nothing")
                .code,
            "MissingParameter"
        );
    }

    #[test]
    fn defaults() {
        let request = Request::parse(&check::params("RegionId=r&SnapshotId=s-1")).expect("valid");
        assert_eq!(
            (request.platform.as_str(), request.architecture.as_str()),
            ("Others Linux", "x86_64")
        );
        assert_eq!(os_type(&request.platform), "linux");
        assert_eq!(os_type("Windows Server 2022"), "windows");
    }

    #[test]
    fn refusals() {
        check::required(Request::parse, "RegionId=r&SnapshotId=s-1", &["RegionId"]);
        let mapping = "DiskDeviceMapping.1";
        let cases = [
            ("ImageName=a", 400, "InvalidImageName.Malformed"),
            ("ImageName=aliyun-x", 400, "InvalidImageName.Malformed"),
            ("ImageName=acs:x", 400, "InvalidImageName.Malformed"),
            ("ImageFamily=1a", 400, "InvalidImageFamily.Malformed"),
            ("ImageFamily=web.1", 400, "InvalidImageFamily.Malformed"),
            ("ImageVersion=a%0Ab", 400, "InvalidImageVersion.Malformed"),
            ("Description=x", 400, "InvalidDescription.Malformed"),
            ("Platform=Plan9", 400, "InvalidPlatform.Malformed"),
            ("Architecture=vax", 400, "InvalidArchitecture.Malformed"),
            ("BootMode=tape", 400, "InvalidBootMode.NotSupport"),
            (
                "Features.ImdsSupport=v3",
                400,
                "InvalidParameter.FeaturesImdsSupport",
            ),
            ("Tag.1.Key=acs:x", 400, "InvalidTagKey.Malformed"),
        ];
        check::refusals(Request::parse, "RegionId=r&SnapshotId=s-1", &cases);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                (
                    &format!("{mapping}.Device=/dev/sda"),
                    400,
                    "InvalidDevice.Malformed",
                ),
                (
                    &format!("{mapping}.Device=/dev/xvdb&DiskDeviceMapping.2.Device=/dev/xvdb"),
                    400,
                    "InvalidDevice.InUse",
                ),
                (&format!("{mapping}.Size=4"), 400, "InvalidSize.ValueNotSupported"),
                (
                    &format!("{mapping}.DiskType=floppy"),
                    400,
                    "InvalidDiskType.ValueNotSupported",
                ),
            ],
        );
    }
}
