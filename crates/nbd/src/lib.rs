//! NBD, the network block device protocol: what is on the wire, and a server for it.
//!
//! [`proto`] is pure: bytes in, decisions and bytes out; no sockets, no clock, no tasks. [`server`]
//! joins it to sockets in two phases, since a connection is accepted on one thread and then moves to
//! the thread that owns the volume: [`server::negotiate`] on tokio, [`server::serve`] on the engine's
//! executor. The source of every rule is the protocol document of the NBD project (`doc/proto.md`,
//! and its `extension-ext-header` branch for extended headers).
//!
//! Not here: listening, who may connect, what an export is made of.

pub mod proto;
pub mod server;
