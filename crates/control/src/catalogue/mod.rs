//! The catalogue's tables as typed rows.
//!
//! Repositories work inside a transaction that the caller holds; they know columns and conditions,
//! not rules. Only [`crate::store::Transaction`] is used, so the database behind it can change.
//! Not here: which transitions are allowed (`states`), what an action may do (`actions`).

pub(crate) mod damage;
pub(crate) mod disks;
pub(crate) mod events;
pub(crate) mod groups;
pub(crate) mod images;
pub(crate) mod instances;
pub(crate) mod jobs;
pub(crate) mod key_pairs;
pub(crate) mod keys;
mod listing;
pub(crate) mod locks;
pub(crate) mod nonces;
pub(crate) mod policies;
pub(crate) mod ram;
mod record;
pub(crate) mod regions;
pub(crate) mod snapshots;
pub(crate) mod tags;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod usage;
pub(crate) mod webhooks;

pub(crate) use listing::Conditions;
pub(crate) use record::{Column, record};

use crate::store::{StoreError, StoreErrorKind, Transaction};

/// The next number of a counter: 1, 2, 3 …, never one twice.
pub(crate) fn next_number(t: &mut dyn Transaction, counter: &str) -> Result<i64, StoreError> {
    let sql = "INSERT INTO counters (name, value) VALUES ($1, 1) \
               ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value";
    match t.query_one(sql, &[counter.into()])? {
        Some(row) => row.integer(0),
        None => Err(StoreError::new(
            StoreErrorKind::Corrupt,
            counter,
            "the counter gave no number",
        )),
    }
}

#[cfg(test)]
mod tests;
