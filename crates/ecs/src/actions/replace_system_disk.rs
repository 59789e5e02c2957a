//! ReplaceSystemDisk: an instance gets a new system disk, made from an image; the old one is released.

use crate::rules::{client_token, disk, text};
use crate::{ApiError, Params};
use serde::{Deserialize, Serialize};

/// What is asked for. Passwords are the machine's own affair: one is checked and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    pub image_id: String,
    /// GiB; default: the larger of 40 and the image. Its limits are those of the old disk's category.
    pub size: Option<i64>,
    pub key_pair_name: Option<String>,
    /// `None`: as the image is.
    pub encrypted: Option<bool>,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let instance_id = params.required("InstanceId")?;
        let image_id = params.required("ImageId")?;
        let password = text::password(params, (400, "InvalidPassword.Malformed"))?;
        if password.is_some() && params.flag("PasswordInherit")? {
            return Err(ApiError::new(
                400,
                "InvalidPasswordParam.Mismatch",
                "The parameter \"Password\" cannot be given when \"PasswordInherit\" is true.",
            ));
        }
        let system_disk = params.fields("SystemDisk");
        Ok(Self {
            region_id: params.text("RegionId"),
            instance_id,
            image_id,
            size: system_disk.integer_or("Size", 400, "InvalidSystemDiskSize.ValueNotSupported")?,
            key_pair_name: params.text("KeyPairName"),
            encrypted: disk::encrypted(params)?,
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
        })
    }
}

/// The new disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `d-…`
    pub disk_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "InstanceId=i-1&ImageId=m-1";
        check::required(Request::parse, base, &["InstanceId", "ImageId"]);
        check::refusals(
            Request::parse,
            base,
            &[
                ("Password=short", 400, "InvalidPassword.Malformed"),
                (
                    "Password=Abcdef12&PasswordInherit=true",
                    400,
                    "InvalidPasswordParam.Mismatch",
                ),
                (
                    "SystemDisk.Size=x",
                    400,
                    "InvalidSystemDiskSize.ValueNotSupported",
                ),
                ("KMSKeyId=k", 400, "InvalidParameter.EncryptedIllegal"),
            ],
        );
        let request = Request::parse(&check::params(&format!("{base}&SystemDisk.Size=60"))).expect("valid");
        assert_eq!(request.size, Some(60));
    }
}
