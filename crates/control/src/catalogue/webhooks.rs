//! Webhooks: who is told of events, and how far.

use super::events::{EventRow, Level};
use super::{next_number, record};
use crate::store::{StoreError, Transaction, Value};
use std::ops::Range;

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
        /// The least level of events that it wants.
        level: Level,
        /// The ordinal of the last event that is done with.
        seen: i64,
        /// Events that it wanted and that were left out, because it was too far behind.
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

    /// Whether it wants to be told of this.
    pub(crate) fn wants(&self, event: &EventRow) -> bool {
        let names = self.wanted();
        let named = names.is_empty() || names.iter().any(|name| name == event.name.word());
        named && self.level.and_above().contains(&event.level)
    }

    /// How many events it wants of those with an ordinal above the start, up to the end, as far as they are still there.
    pub(crate) fn count_wanted(&self, t: &mut dyn Transaction, of: Range<i64>) -> Result<i64, StoreError> {
        let mut values: Vec<Value> = vec![(&self.account).into(), of.start.into(), of.end.into()];
        let mut sql =
            String::from("SELECT COUNT(*) FROM events WHERE account = $1 AND ordinal > $2 AND ordinal <= $3");
        let levels: Vec<String> = self
            .level
            .and_above()
            .iter()
            .map(|level| level.word().into())
            .collect();
        for (column, wanted) in [("level", levels), ("name", self.wanted())] {
            if wanted.is_empty() {
                continue;
            }
            let mut places = Vec::new();
            for value in wanted {
                values.push(value.into());
                places.push(format!("${}", values.len()));
            }
            sql.push_str(&format!(" AND {column} IN ({})", places.join(", ")));
        }
        t.query_one(&sql, &values)?.map_or(Ok(0), |row| row.integer(0))
    }
}
