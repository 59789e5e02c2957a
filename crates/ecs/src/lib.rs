//! The wire of the ECS API (RPC style, version 2014-05-26), without any I/O.
//!
//! A request comes in as decoded pairs ([`Params`]), becomes one typed `Request` per action
//! ([`actions`]), and is answered with a typed `Response` made of [`model`] objects, which
//! [`render`] turns into JSON or XML. Failures are [`ApiError`]s: status, code, message.
//!
//! What must stay true: status and code of every refusal are the documented ones of that very
//! action; JSON and XML come from one tree; nothing here panics, whatever a caller sends.
//! Not here: sockets, clocks, randomness (callers pass time and random bytes in), and every rule
//! that needs to know which resources exist (that is `control`).

pub mod actions;
pub mod describe;
mod error;
pub mod filter;
pub mod id;
pub mod model;
pub mod page;
mod params;
pub mod ram;
pub mod render;
pub mod rules;
pub mod schedule;
pub mod sign;
pub mod time;

pub use error::ApiError;
pub use params::Params;

/// The one API version that is served.
pub const API_VERSION: &str = "2014-05-26";
