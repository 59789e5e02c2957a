//! Catalogue, resource state machines, jobs.
