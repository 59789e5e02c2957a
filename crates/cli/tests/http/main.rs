//! The API as clients see it: real sockets, a real control plane on a real node, in a directory of
//! its own. It is here and not in `api` because only this crate may know both `api` and `node`.
//! Time is given, so that what expires does so when a test says.

mod server;

mod actions;
mod signing;
mod transport;
