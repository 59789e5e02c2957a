//! A light S3 server, and a proxy that breaks what passes through it: for tests only.
//!
//! [`Server`] is `s3s-fs` over a directory: it checks signatures and the hashes of bodies, and what it
//! stores is there again after a restart. [`Proxy`] stands in front of any server and plays, by seed, the
//! network and the machines between us and a real store.

mod proxy;
mod server;
mod store;

pub use proxy::{Faults, Proxy};
pub use server::{Options, Server};
pub use store::Conditions;
