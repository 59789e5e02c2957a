//! Which exports there are: what the handshake asks of the process that it runs in.

use crate::proto::{ExportEntry, ExportInfo, LookUpError};
use std::future::Future;
use std::pin::Pin;

/// A boxed future that may move between threads.
pub type SendFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The exports of a server, seen from the threads that accept connections.
pub trait Directory: Send + Sync {
    /// The exports that a client may see.
    fn list(&self) -> SendFuture<'_, Result<Vec<ExportEntry>, LookUpError>>;
    /// Describes one export; the empty name is the default export, if there is one.
    fn look_up<'a>(&'a self, name: &'a str) -> SendFuture<'a, Result<ExportInfo, LookUpError>>;
}
