//! The machine we run on.
