//! Serves exports over sockets, in two phases on two threads.
//!
//! [`negotiate`] speaks the handshake on tokio, with a [`Directory`] that knows the exports, and ends
//! with a [`Negotiated`](crate::proto::Negotiated). The socket then moves to the thread that owns the
//! export, where [`serve`] answers requests from an [`Export`] until the client leaves, breaks the
//! protocol, or a [`Stop`] is pulled.

mod connection;
mod directory;
mod export;
mod negotiate;
mod outbox;
mod perform;
mod stop;

pub use connection::{ServeLimits, ServeOutcome, serve};
pub use directory::{Directory, SendFuture};
pub use export::{Export, ExportError};
pub use negotiate::{NegotiateError, NegotiateLimits, negotiate};
pub use stop::{Stop, Stopped};
