//! DeleteWebhook: nothing is sent there any more. Not an action of the service that we follow.

use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub webhook_id: String,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            webhook_id: params.required("WebhookId")?,
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
    fn required() {
        check::required(Request::parse, "WebhookId=wh-1", &["WebhookId"]);
    }
}
