//! RebootInstances: see [`start_instances`](super::start_instances).

pub use super::start_instances::{Request, Response};
