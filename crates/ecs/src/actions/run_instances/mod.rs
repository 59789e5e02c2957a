//! RunInstances: creates and starts 1 to 100 instances.
//!
//! Parameters that only a public cloud can mean (spot prices, dedicated hosts, billing periods) are
//! accepted and ignored; a value that asks for something impossible here is refused.
//! For instance types of our own (`tidemark.…`) no image is required, because such an instance is a
//! machine that we do not run and so do not boot.

mod disks;

pub use disks::{DataDisk, SystemDisk};

use crate::model::{MetadataOptions, Tag, list};
use crate::rules::{client_token, tags, text};
use crate::{ApiError, Params, time};
use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use std::net::Ipv4Addr;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub zone_id: Option<String>,
    pub image_id: Option<String>,
    pub image_family: Option<String>,
    pub instance_type: String,
    /// Empty: the default group.
    pub security_group_ids: Vec<String>,
    pub vswitch_id: Option<String>,
    /// 1 to 100.
    pub amount: u32,
    /// 1 to `amount`; fewer are not accepted.
    pub min_amount: u32,
    pub instance_name: Option<String>,
    pub host_name: Option<String>,
    pub host_names: Vec<String>,
    pub description: Option<String>,
    /// Append 001 … 999 to the names.
    pub unique_suffix: bool,
    /// Kept out of what is stored for comparison.
    #[serde(skip)]
    pub password: Option<String>,
    pub password_inherit: bool,
    pub key_pair_name: Option<String>,
    pub system_disk: SystemDisk,
    /// At most 16.
    pub data_disks: Vec<DataDisk>,
    /// Base64, as stored and answered.
    pub user_data: Option<String>,
    pub ram_role_name: Option<String>,
    pub metadata_options: MetadataOptions,
    pub private_ip_address: Option<Ipv4Addr>,
    pub internet_charge_type: Option<String>,
    pub internet_max_bandwidth_in: Option<i64>,
    /// 0 to 100.
    pub internet_max_bandwidth_out: Option<i64>,
    pub deletion_protection: bool,
    #[serde(serialize_with = "as_seconds")]
    pub auto_release_time: Option<Timestamp>,
    /// On the instances, their disks and network cards.
    pub tags: Vec<Tag>,
    pub resource_group_id: Option<String>,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
    #[serde(skip)]
    pub dry_run: bool,
}

fn as_seconds<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    at.map(time::seconds).serialize(to)
}

/// Prefix of the instance types that this project defines itself.
pub const OWN_TYPE_PREFIX: &str = "tidemark.";

const USER_DATA_MOST_BYTES: usize = 32 * 1024;

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        refuse_launch_templates(params)?;
        let instance_type = params.required("InstanceType")?;
        let (image_id, image_family) = (params.text("ImageId"), params.text("ImageFamily"));
        if image_id.is_none() && image_family.is_none() && !instance_type.starts_with(OWN_TYPE_PREFIX) {
            return Err(ApiError::missing_parameter("ImageId"));
        }
        let (amount, min_amount) = amounts(params)?;
        let password = text::password(params, (400, "InvalidPassword.Malformed"))?;
        let password_inherit = params.flag("PasswordInherit")?;
        let key_pair_name = params.text("KeyPairName");
        if [password.is_some(), password_inherit, key_pair_name.is_some()]
            .iter()
            .filter(|given| **given)
            .count()
            > 1
        {
            return Err(ApiError::new(
                400,
                "InvalidPasswordParam.Mismatch",
                "Only one of the parameters \"Password\", \"PasswordInherit\", \"KeyPairName\" can be given.",
            ));
        }
        charge_type(params)?;
        let mut security_group_ids = params.list("SecurityGroupIds")?;
        security_group_ids.extend(params.text("SecurityGroupId"));
        Ok(Self {
            region_id,
            zone_id: params.text("ZoneId"),
            image_id,
            image_family,
            instance_type,
            security_group_ids,
            vswitch_id: params.text("VSwitchId"),
            amount,
            min_amount,
            instance_name: text::name(params, "InstanceName", (400, "InvalidInstanceName.Malformed"))?,
            host_name: text::host_name(params, "HostName", (400, "InvalidHostName.Malformed"))?,
            host_names: text::host_names(params, "HostNames", (400, "InvalidHostName.Malformed"))?,
            description: text::description(params, "Description", (400, "InvalidDescription.Malformed"))?,
            unique_suffix: params.flag("UniqueSuffix")?,
            password,
            password_inherit,
            key_pair_name,
            system_disk: SystemDisk::parse(&params.fields("SystemDisk"))?,
            data_disks: disks::data_disks(params)?,
            user_data: user_data(params)?,
            ram_role_name: params.text("RamRoleName"),
            metadata_options: metadata_options(params)?,
            private_ip_address: private_address(params, amount)?,
            internet_charge_type: params.word(
                "InternetChargeType",
                &["PayByTraffic", "PayByBandwidth"],
                400,
                "InvalidParameter",
            )?,
            internet_max_bandwidth_in: params.integer("InternetMaxBandwidthIn")?,
            internet_max_bandwidth_out: params.integer_in(
                "InternetMaxBandwidthOut",
                0..=100,
                400,
                "InvalidParameter",
            )?,
            deletion_protection: params.flag("DeletionProtection")?,
            auto_release_time: auto_release(params)?,
            tags: tags::new_tags(params, (403, "QuotaExceed.Tags"))?,
            resource_group_id: params.text("ResourceGroupId"),
            client_token: client_token(params, 400, "InvalidClientToken.ValueNotSupported")?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

fn refuse_launch_templates(params: &Params) -> Result<(), ApiError> {
    match params
        .get("LaunchTemplateId")
        .or(params.get("LaunchTemplateName"))
    {
        Some(template) => Err(ApiError::new(
            404,
            "InvalidLaunchTemplate.NotFound",
            format!("The specified launch template {template:?} does not exist."),
        )),
        None => Ok(()),
    }
}

fn amounts(params: &Params) -> Result<(u32, u32), ApiError> {
    let amount = params
        .integer_in("Amount", 1..=100, 403, "InvalidParam.Amount")?
        .unwrap_or(1);
    let least = params
        .integer_in("MinAmount", 1..=amount, 400, "InvalidMinAmount.Malformed")?
        .unwrap_or(amount);
    let narrow = |number: i64| u32::try_from(number).map_err(|_| ApiError::internal());
    Ok((narrow(amount)?, narrow(least)?))
}

fn charge_type(params: &Params) -> Result<(), ApiError> {
    let charge = params.word(
        "InstanceChargeType",
        &["PostPaid", "PrePaid"],
        404,
        "InvalidInstanceChargeType.NotFound",
    )?;
    if charge.as_deref() == Some("PrePaid") {
        return Err(ApiError::new(
            403,
            "InvalidPayMethod",
            "Prepaid instances are not offered; use PostPaid.",
        ));
    }
    Ok(())
}

pub(super) fn user_data(params: &Params) -> Result<Option<String>, ApiError> {
    let Some(text) = params.get("UserData") else {
        return Ok(None);
    };
    let raw = BASE64.decode(text.as_bytes()).map_err(|_| {
        ApiError::new(
            400,
            "InvalidUserData.NotSupported",
            "The parameter \"UserData\" is not valid: it is not base64.",
        )
    })?;
    if raw.len() > USER_DATA_MOST_BYTES {
        return Err(ApiError::new(
            400,
            "InvalidUserData.SizeExceeded",
            format!(
                "The parameter \"UserData\" is not valid: {} bytes, where {USER_DATA_MOST_BYTES} are allowed.",
                raw.len()
            ),
        ));
    }
    Ok(Some(text.to_owned()))
}

fn metadata_options(params: &Params) -> Result<MetadataOptions, ApiError> {
    let word = |name: &str, words: &[&str], code| params.word(name, words, 400, code);
    let default = |word: Option<String>, value: &str| word.unwrap_or_else(|| value.to_owned());
    Ok(MetadataOptions {
        http_endpoint: default(
            word(
                "HttpEndpoint",
                &["enabled", "disabled"],
                "InvalidHttpEndpoint.NotSupported",
            )?,
            "enabled",
        ),
        http_tokens: default(
            word(
                "HttpTokens",
                &["optional", "required"],
                "InvalidHttpTokens.NotSupported",
            )?,
            "optional",
        ),
        http_put_response_hop_limit: params
            .integer_in(
                "HttpPutResponseHopLimit",
                1..=64,
                400,
                "InvalidHttpPutResponseHopLimit.NotSupported",
            )?
            .unwrap_or(1),
        instance_metadata_tags: "disabled".to_owned(),
    })
}

fn private_address(params: &Params, amount: u32) -> Result<Option<Ipv4Addr>, ApiError> {
    let Some(text) = params.get("PrivateIpAddress") else {
        return Ok(None);
    };
    if amount > 1 {
        return Err(ApiError::new(
            400,
            "InvalidPrivateIpAddress",
            "The parameter \"PrivateIpAddress\" can only be given for one instance.",
        ));
    }
    text.parse().map(Some).map_err(|_| {
        ApiError::new(
            400,
            "InvalidPrivateIpAddress.Malformed",
            format!("The parameter \"PrivateIpAddress\" is not valid: {text:?} is not an IPv4 address."),
        )
    })
}

pub(super) fn auto_release(params: &Params) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = params.get("AutoReleaseTime") else {
        return Ok(None);
    };
    time::parse_minutes_or_seconds(text).map(Some).ok_or_else(|| {
        ApiError::new(
            400,
            "InvalidAutoReleaseTime.Malformed",
            format!("The parameter \"AutoReleaseTime\" is not valid: {text:?} is not yyyy-MM-ddTHH:mm:ssZ."),
        )
    })
}

/// The instances, in order of creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::instance_id_set")]
    pub instance_id_sets: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "RegionId=r&ImageId=m-1&InstanceType=ecs.g6.large";

    #[test]
    fn required_and_defaults() {
        check::required(Request::parse, BASE, &["RegionId", "ImageId", "InstanceType"]);
        let request =
            Request::parse(&check::params("RegionId=r&InstanceType=tidemark.external")).expect("no image");
        assert_eq!((request.amount, request.min_amount), (1, 1));
        assert_eq!(request.system_disk.category, "cloud_efficiency");
        assert_eq!(request.metadata_options.http_tokens, "optional");
        let request = Request::parse(&check::params(&format!("{BASE}&Amount=5&MinAmount=2"))).expect("valid");
        assert_eq!((request.amount, request.min_amount), (5, 2));
    }

    #[test]
    fn refusals() {
        let long = BASE64
            .encode(&vec![0u8; USER_DATA_MOST_BYTES + 1])
            .replace('+', "%2B");
        check::refusals(
            Request::parse,
            BASE,
            &[
                ("Amount=0", 403, "InvalidParam.Amount"),
                ("Amount=101", 403, "InvalidParam.Amount"),
                ("Amount=2&MinAmount=3", 400, "InvalidMinAmount.Malformed"),
                ("InstanceName=1a", 400, "InvalidInstanceName.Malformed"),
                ("HostName=.a", 400, "InvalidHostName.Malformed"),
                (
                    "HostNames.1=web-1&HostNames.2=a_b",
                    400,
                    "InvalidHostName.Malformed",
                ),
                ("Description=x", 400, "InvalidDescription.Malformed"),
                ("Password=short", 400, "InvalidPassword.Malformed"),
                (
                    "Password=Abcdef12&PasswordInherit=true",
                    400,
                    "InvalidPasswordParam.Mismatch",
                ),
                ("UserData=!", 400, "InvalidUserData.NotSupported"),
                (&format!("UserData={long}"), 400, "InvalidUserData.SizeExceeded"),
                ("HttpEndpoint=on", 400, "InvalidHttpEndpoint.NotSupported"),
                ("HttpTokens=on", 400, "InvalidHttpTokens.NotSupported"),
                (
                    "HttpPutResponseHopLimit=65",
                    400,
                    "InvalidHttpPutResponseHopLimit.NotSupported",
                ),
                (
                    "PrivateIpAddress=10.0.0.1&Amount=2",
                    400,
                    "InvalidPrivateIpAddress",
                ),
                (
                    "PrivateIpAddress=10.0.0",
                    400,
                    "InvalidPrivateIpAddress.Malformed",
                ),
                ("AutoReleaseTime=soon", 400, "InvalidAutoReleaseTime.Malformed"),
                ("InstanceChargeType=PrePaid", 403, "InvalidPayMethod"),
                (
                    "InstanceChargeType=Free",
                    404,
                    "InvalidInstanceChargeType.NotFound",
                ),
                ("LaunchTemplateId=lt-1", 404, "InvalidLaunchTemplate.NotFound"),
                ("ClientToken=%C3%A9", 400, "InvalidClientToken.ValueNotSupported"),
                ("Tag.1.Key=", 400, "InvalidTagKey.Malformed"),
            ],
        );
    }

    #[test]
    fn the_answer_reads_back() {
        let response = Response {
            instance_id_sets: vec!["i-1".into(), "i-2".into()],
        };
        let text = serde_json::to_string(&response).expect("json");
        assert_eq!(text, r#"{"InstanceIdSets":{"InstanceIdSet":["i-1","i-2"]}}"#);
        assert_eq!(
            serde_json::from_str::<Response>(&text).expect("own text"),
            response
        );
    }
}
