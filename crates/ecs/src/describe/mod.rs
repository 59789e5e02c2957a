//! What an action takes, learnt from its own `parse`.
//!
//! `Request::parse` is run over parameters that tell a [`Watcher`] what is read of them: each name, and as
//! what. It is run again with plausible values for what it asks for, until it succeeds, and then once for
//! every way there may be on. So the description cannot say anything else than the code does, and a new
//! action needs none.
//!
//! What must stay true: the same code, the same description, in the same order (it is published). What is not
//! here: how a description is written down (`api`).

mod examples;
mod search;
mod watch;

pub use search::{Description, Parameter, parameters};
pub use watch::Kind;
pub(crate) use watch::Watcher;
