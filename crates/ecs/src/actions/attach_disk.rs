//! AttachDisk: puts an Available disk on an instance.

use crate::rules::text;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    pub disk_id: String,
    /// `/dev/xvdb` to `/dev/xvdz`; honoured if free.
    pub device: Option<String>,
    pub delete_with_instance: bool,
    /// As the instance's system disk.
    pub bootable: bool,
    #[serde(skip)]
    pub password: Option<String>,
    pub key_pair_name: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            instance_id: params.required("InstanceId")?,
            disk_id: params.required("DiskId")?,
            region_id: params.text("RegionId"),
            device: device(params, "Device", "InvalidDevice.Malformed")?,
            delete_with_instance: params.flag("DeleteWithInstance")?,
            bootable: params.flag("Bootable")?,
            password: text::password(params, (400, "InvalidParameter"))?,
            key_pair_name: params.text("KeyPairName"),
        };
        if request.bootable && request.password.is_none() && request.key_pair_name.is_none() {
            return Err(ApiError::new(
                403,
                "InvalidParameter.AllEmpty",
                "A bootable disk needs a credential: give Password or KeyPairName.",
            ));
        }
        Ok(request)
    }
}

/// A data disk's device name, `/dev/xvdb` to `/dev/xvdz`.
pub(super) fn device(params: &Params, field: &str, code: &'static str) -> Result<Option<String>, ApiError> {
    let Some(device) = params.get(field) else {
        return Ok(None);
    };
    let good = device
        .strip_prefix("/dev/xvd")
        .is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| (b'b'..=b'z').contains(&b)));
    if good {
        return Ok(Some(device.to_owned()));
    }
    Err(ApiError::new(
        400,
        code,
        format!(
            "The parameter \"{}\" is not valid: {device:?} is not /dev/xvdb to /dev/xvdz.",
            params.full_name(field)
        ),
    ))
}

/// RequestId only.
pub type Response = super::Empty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const BASE: &str = "InstanceId=i-1&DiskId=d-1";

    #[test]
    fn required_and_defaults() {
        check::required(Request::parse, BASE, &["InstanceId", "DiskId"]);
        let request = Request::parse(&check::params(&format!("{BASE}&Device=/dev/xvdz"))).expect("valid");
        assert_eq!(
            (request.device.as_deref(), request.delete_with_instance),
            (Some("/dev/xvdz"), false)
        );
    }

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            BASE,
            &[
                ("Device=/dev/xvda", 400, "InvalidDevice.Malformed"),
                ("Device=/dev/sdb", 400, "InvalidDevice.Malformed"),
                ("Device=/dev/xvdbb", 400, "InvalidDevice.Malformed"),
                ("Device=/dev/xvd%C3%A9", 400, "InvalidDevice.Malformed"),
                ("Bootable=true", 403, "InvalidParameter.AllEmpty"),
                ("DeleteWithInstance=x", 400, "InvalidParameter"),
            ],
        );
    }
}
