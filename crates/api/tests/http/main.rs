//! The API as clients see it: real sockets, a real control plane on a real node, in a directory of
//! its own. Time is given, so that what expires does so when a test says.

mod server;

mod actions;
mod signing;
mod transport;
