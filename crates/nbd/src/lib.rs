//! The NBD wire protocol and its server.
