//! ResizeDisk: makes a disk larger; never smaller, and partitions are the guest's affair.

use crate::rules::client_token;
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub disk_id: String,
    /// GiB. Whatever is less than the disk has is refused where that is known.
    pub new_size: i64,
    /// The instance must be Running; else the guest is expected to look after its next start.
    pub online: bool,
    /// Not part of what is compared between two requests with the same token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let disk_id = params.required("DiskId")?;
        params.required("NewSize")?;
        let way = params.word("Type", &["offline", "online"], 400, "InvalidParam.Type")?;
        Ok(Self {
            region_id: params.text("RegionId"),
            disk_id,
            new_size: params.integer("NewSize")?.unwrap_or(0),
            online: way.as_deref() == Some("online"),
            client_token: client_token(params, 403, "InvalidClientToken.Malformed")?,
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
        check::required(Request::parse, "DiskId=d-1&NewSize=30", &["DiskId", "NewSize"]);
        let (long, base) = ("t".repeat(65), "DiskId=d-1");
        check::refusals(
            Request::parse,
            base,
            &[
                ("NewSize=30&Type=hot", 400, "InvalidParam.Type"),
                ("NewSize=big", 400, "InvalidParameter"),
                (
                    &format!("NewSize=30&ClientToken={long}"),
                    403,
                    "InvalidClientToken.Malformed",
                ),
            ],
        );
        let parse = |query: &str| Request::parse(&check::params(&format!("{base}&{query}"))).expect(query);
        assert!(!parse("NewSize=30").online && parse("NewSize=30&Type=online").online);
    }
}
