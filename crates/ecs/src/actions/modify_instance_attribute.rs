//! ModifyInstanceAttribute: what an instance is called, what it is told at its start, and whether it can be deleted.

use super::run_instances;
use crate::rules::text;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` leaves it as it is. A password is the machine's own affair: it is checked and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub instance_id: String,
    pub instance_name: Option<String>,
    pub host_name: Option<String>,
    pub description: Option<String>,
    /// Base64.
    pub user_data: Option<String>,
    pub deletion_protection: Option<bool>,
    /// Empty: they stay.
    pub security_group_ids: Vec<String>,
    pub has_password: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let instance_id = params.required("InstanceId")?;
        let password = text::password(params, (400, "InvalidPassword.Malformed"))?;
        let request = Self {
            region_id: params.text("RegionId"),
            instance_id,
            instance_name: text::name(params, "InstanceName", (400, "InvalidInstanceName.Malformed"))?,
            host_name: text::host_name(params, "HostName", (400, "InvalidHostName.Malformed"))?,
            description: text::description(params, "Description", (400, "InvalidDescription.Malformed"))?,
            user_data: run_instances::user_data(params)?,
            deletion_protection: params.boolean("DeletionProtection")?,
            security_group_ids: params.list("SecurityGroupIds")?,
            has_password: password.is_some(),
        };
        let texts = [
            &request.instance_name,
            &request.host_name,
            &request.description,
            &request.user_data,
        ];
        let nothing = texts.iter().all(|text| text.is_none())
            && request.deletion_protection.is_none()
            && request.security_group_ids.is_empty()
            && !request.has_password;
        match nothing {
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
        check::required(Request::parse, "InstanceId=i-1&InstanceName=ab", &["InstanceId"]);
        check::refusals(
            Request::parse,
            "InstanceId=i-1",
            &[
                ("InstanceName=1", 400, "InvalidInstanceName.Malformed"),
                ("HostName=-a", 400, "InvalidHostName.Malformed"),
                ("Description=x", 400, "InvalidDescription.Malformed"),
                ("Password=short", 400, "InvalidPassword.Malformed"),
                ("UserData=%25", 400, "InvalidUserData.NotSupported"),
                ("DeletionProtection=x", 400, "InvalidParameter"),
                ("InstanceName=", 400, "NoAttributeToModify"),
            ],
        );
    }
}
