//! ReInitDisk: a disk becomes again what it was when it was made.

use crate::rules::text;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for. Passwords are the machine's own affair: one is checked and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub disk_id: String,
    pub key_pair_name: Option<String>,
    pub auto_start_instance: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let disk_id = params.required("DiskId")?;
        text::password(params, (400, "InvalidPassword.Malformed"))?;
        params.word(
            "SecurityEnhancementStrategy",
            &["Active", "Deactive"],
            400,
            "InvalidParameter",
        )?;
        Ok(Self {
            region_id: params.text("RegionId"),
            disk_id,
            key_pair_name: params.text("KeyPairName"),
            auto_start_instance: params.flag("AutoStartInstance")?,
        })
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
        check::required(Request::parse, "DiskId=d-1&AutoStartInstance=True", &["DiskId"]);
        check::refusals(
            Request::parse,
            "DiskId=d-1",
            &[
                ("Password=short", 400, "InvalidPassword.Malformed"),
                ("AutoStartInstance=yes", 400, "InvalidParameter"),
                ("SecurityEnhancementStrategy=x", 400, "InvalidParameter"),
            ],
        );
    }
}
