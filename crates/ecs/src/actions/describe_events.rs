//! DescribeEvents: what happened. Not an action of the service that we follow.
//!
//! Two ways through the list: pages, newest first, as everywhere; or with `Follow`, oldest first from a token on, which
//! every answer carries, also when there is nothing new.

use super::create_webhook::LEVELS;
use crate::model::list;
use crate::page::{PageInfo, PageRequest, Start};
use crate::{ApiError, Params, time};
use jiff::Timestamp;
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    /// Empty: any.
    pub event_names: Vec<String>,
    pub level: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    /// Both ends belong to it.
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    /// Oldest first, after the token; without one, from now on.
    pub follow: bool,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let at = |name: &str| match params.get(name) {
            None => Ok(None),
            Some(text) => time::parse_minutes_or_seconds(text).map(Some).ok_or_else(|| {
                ApiError::invalid_parameter(
                    name,
                    format!("{text:?} is no time in the format yyyy-MM-ddTHH:mm:ssZ"),
                )
            }),
        };
        let request = Self {
            region_id: params.text("RegionId"),
            event_names: params.list("EventName")?,
            level: params.word_any_case("Level", &LEVELS, 400, "InvalidParameter")?,
            resource_type: params.text("ResourceType"),
            resource_id: params.text("ResourceId"),
            start_time: at("StartTime")?,
            end_time: at("EndTime")?,
            follow: params.flag("Follow")?,
            page: PageRequest::parse(params, 100, 100)?,
        };
        match request.page.start {
            Start::Number(number) if request.follow && number > 1 => Err(ApiError::invalid_parameter(
                "PageNumber",
                "Follow goes on from a NextToken",
            )),
            _ => Ok(request),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Event {
    pub event_id: String,
    /// Empty for what is in no region.
    pub region_id: String,
    pub event_name: String,
    /// `INFO`, `WARN` or `CRITICAL`.
    pub level: String,
    pub event_time: String,
    pub resource_type: String,
    pub resource_id: String,
    /// An object; its members depend on the event.
    pub content: serde_json::Value,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::event")]
    pub events: Vec<Event>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn refusals() {
        check::refusals(
            Request::parse,
            "X=",
            &[
                ("Level=LOUD", 400, "InvalidParameter"),
                ("StartTime=yesterday", 400, "InvalidParameter"),
                ("Follow=maybe", 400, "InvalidParameter"),
                ("Follow=true&PageNumber=2", 400, "InvalidParameter"),
                ("PageSize=101", 400, "InvalidParameter"),
            ],
        );
        let request =
            Request::parse(&check::params("Level=warn&StartTime=2026-01-01T00:00Z")).expect("valid");
        assert_eq!(request.level.as_deref(), Some("WARN"));
    }
}
