//! Webhooks: who is told of events, and how far.

use super::{next_number, record};
use crate::store::{StoreError, Transaction};

record! {
    /// Where events are sent.
    WebhookRow = "webhooks" {
        id: String,
        ordinal: i64,
        account: String,
        url: String,
        /// Sealed; signs what is sent.
        secret: String,
        /// A JSON array of names; empty: all events.
        names: String,
        /// The ordinal of the last event that is done with.
        seen: i64,
        /// Events that were left out, because it was too far behind.
        dropped: i64,
        /// Attempts that failed since the last one that did not.
        failures: i64,
        /// Why the last attempt failed; empty if it did not.
        last_error: String,
        delivered_ms: Option<i64>,
        created_ms: i64,
    }
}

impl WebhookRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "webhook")
    }

    /// The names of events that it wants; empty: all.
    pub(crate) fn wanted(&self) -> Vec<String> {
        serde_json::from_str(&self.names).unwrap_or_default()
    }
}
