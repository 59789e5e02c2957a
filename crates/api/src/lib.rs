//! The ECS API over HTTP: who asks, for what, and how the answer travels.
//!
//! A request passes, in this order: method and path, answer format, signature (V1 or V3),
//! timestamp, nonce, token of temporary keys, action and version, flow control, the action's own parsing, the
//! caller's permissions, then `control`. The format is
//! settled first, because an error in the wrong format breaks clients worse than the error itself.
//! What must stay true: every answer, error or not, has a body in the caller's format and a
//! RequestId that the log knows; nothing that a caller sends makes a request panic, and a panic of
//! ours reaches a caller as `InternalError`; an action that has started runs to its end even when
//! the caller hangs up.
//!
//! Beside it, with listeners of its own: the metadata service for instances ([`MetadataServer`]).
//!
//! Not here: shapes and syntax of actions (`ecs`), what they do (`control`).

mod actions;
mod answer;
mod auth;
mod call;
mod listen;
mod metadata;
mod openapi;
mod request;
mod serve;

pub use listen::{Bounds, serve};
pub use metadata::{MetadataConfig, MetadataServer, Site};
pub use serve::{ApiState, router};

/// Whether an action of this name is served.
pub fn is_action(name: &str) -> bool {
    actions::ACTIONS.iter().any(|action| action.name == name)
}
