//! DescribeWebhooks: where events are sent, and how that goes. Not an action of the service that we follow.

use crate::model::list;
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: Option<String>,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            region_id: params.text("RegionId"),
            page: PageRequest::parse(params, 100, 100)?,
        })
    }
}

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Webhook {
    pub webhook_id: String,
    /// As far as the host: the rest may be the receiver's secret.
    pub url: String,
    /// Empty: all events.
    #[serde(with = "list::event_name")]
    pub event_names: Vec<String>,
    /// The least level of events that it wants.
    pub level: String,
    pub creation_time: String,
    /// Empty: nothing was delivered yet.
    pub last_delivery_time: String,
    /// Attempts that failed since the last one that did not.
    pub failures: i64,
    /// That the last attempt failed, and nothing about why; empty if it did not.
    pub last_error: String,
    /// Events that it has not seen, whether or not it wants them.
    pub behind: i64,
    /// Events that it wanted and will never see, because it was too far behind.
    pub dropped: i64,
}

/// Webhooks, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::webhook")]
    pub webhooks: Vec<Webhook>,
    #[serde(flatten)]
    pub page: PageInfo,
}
