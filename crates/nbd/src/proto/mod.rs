//! The NBD wire protocol, server side, without any I/O.
//!
//! A connection is a [`Handshake`] (options, until the client picks an export) and then a stream of
//! requests: [`Decoder`] cuts them out of the received bytes, [`Rules::check`] decides what each asks
//! for or how it is refused, [`ReplyTo`] writes the answers' headers.
//!
//! What must stay true: nothing a peer sends makes this code panic, or hold more memory than
//! [`OPTION_BYTES_MAX`] during the handshake and one payload of [`PAYLOAD_BYTES_MAX`] afterwards; a
//! request that is merely wrong gets an answer and the connection goes on; bytes behind the option
//! that ends the handshake are requests and are handed over untouched.

mod command;
mod extent;
mod handshake;
mod info;
mod options;
mod reply;
mod request;
pub mod wire;

pub use command::{Command, Refusal, Rules};
pub use extent::{EXTENTS_MAX, Extent, fit_extents};
pub use handshake::{Handshake, HandshakeError, LookUpError, MetaContext, Negotiated, Step};
pub use info::{Dialect, ExportEntry, ExportInfo};
pub use options::OPTION_BYTES_MAX;
pub use reply::ReplyTo;
pub use request::{Body, Decoder, Request, StreamError};
pub use wire::{BASE_ALLOCATION, Errno};

/// Most bytes that one request may carry or ask for, advertised as the maximum payload.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
