//! CreateWebhook: events are sent to a URL from now on. Not an action of the service that we follow.

use crate::{ApiError, Params};
use serde::Serialize;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Levels of events, the least first.
pub const LEVELS: [&str; 3] = ["INFO", "WARN", "CRITICAL"];

/// What is asked for.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub url: String,
    /// Empty: all events.
    pub event_names: Vec<String>,
    /// The least: `INFO`, `WARN`, `CRITICAL`; `None`: all.
    pub level: Option<String>,
}

impl std::fmt::Debug for Request {
    /// Without the URL, which may hold a receiver's secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("event_names", &self.event_names)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let url = params.required("Url")?;
        let refuse = |why: &str| Err(ApiError::invalid_parameter("Url", why));
        let rest = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let Some(rest) = rest else {
            return refuse("it must start with https:// or http://");
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if url.len() > URL_BYTES_MAX {
            return refuse("it is too long");
        }
        if host.is_empty() || host.starts_with(':') {
            return refuse("it names no host");
        }
        if host.contains('@') || url.contains('#') {
            return refuse("it must hold neither a user name nor a fragment");
        }
        if !url.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("it holds characters that must be percent-encoded");
        }
        Ok(Self {
            region_id: params.text("RegionId"),
            url,
            event_names: params.list("EventName")?,
            level: params.word_any_case("Level", &LEVELS, 400, "InvalidParameter")?,
        })
    }
}

/// The only answer that holds the secret.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub webhook_id: String,
    /// What the signatures of events are made with.
    pub secret: String,
}

impl std::fmt::Debug for Response {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("webhook_id", &self.webhook_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required() {
        check::required(Request::parse, "Url=https://h/a", &["Url"]);
        let request = Request::parse(&check::params("Url=https://h/a&Level=warn")).expect("valid");
        assert_eq!(request.level.as_deref(), Some("WARN"));
        check::refusals(
            Request::parse,
            "Url=https://h/a",
            &[("Level=LOUD", 400, "InvalidParameter")],
        );
    }

    #[test]
    fn refusals() {
        let long = format!("Url=https://h/{}", "a".repeat(2048));
        check::refusals(
            Request::parse,
            "X=",
            &[
                ("Url=ftp://h/", 400, "InvalidParameter"),
                ("Url=h/a", 400, "InvalidParameter"),
                ("Url=https://", 400, "InvalidParameter"),
                ("Url=https://:80/", 400, "InvalidParameter"),
                ("Url=https://u:p@h/", 400, "InvalidParameter"),
                ("Url=https://h/%23f", 400, "InvalidParameter"),
                ("Url=https://h/%20", 400, "InvalidParameter"),
                (&long, 400, "InvalidParameter"),
            ],
        );
    }
}
