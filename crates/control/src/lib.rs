//! Catalogue, resource state machines, jobs.
pub mod store;
