//! What the server needs of the thing it exports.

use crate::proto::{Errno, ExportInfo, Extent};
use bytes::Bytes;
use std::borrow::Cow;
use tidemark_env::{LocalFuture, Piece};

/// A failed request: what the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({errno:?})")]
pub struct ExportError {
    /// The number in the reply.
    pub errno: Errno,
    /// What happened, for people; clients with chunked replies get to see it.
    pub message: Cow<'static, str>,
    /// The byte of the export where it happened, if that is known.
    pub at: Option<u64>,
}

impl ExportError {
    /// An error that concerns the whole request.
    pub fn new(errno: Errno, message: impl Into<Cow<'static, str>>) -> ExportError {
        ExportError {
            errno,
            message: message.into(),
            at: None,
        }
    }
}

/// A disk, as clients see it. Owned by one thread.
///
/// The server checks requests before they get here: ranges lie within `info().size_bytes` and are
/// never empty, lengths of reads and writes are at most [`crate::proto::PAYLOAD_BYTES_MAX`], and an
/// export whose info says `read_only` is never asked to change. Ranges may have any alignment.
///
/// Methods are called, and their futures first polled, in the order in which one client's requests
/// arrived; an export that orders overlapping requests by that keeps the client's order. Many futures
/// are alive at once, none is dropped before it ends while its thread's executor runs, and a future's
/// first poll may come from another task than the later ones.
pub trait Export {
    /// What it is and can do; must not change while it is served, except that it may grow.
    fn info(&self) -> ExportInfo;
    /// Exactly `len` bytes from `offset`, in pieces of any sizes.
    fn read(&self, offset: u64, len: u32) -> LocalFuture<'_, Result<Vec<Piece>, ExportError>>;
    /// Stores `data`, piece after piece, from `offset` on; durable before this completes if `fua`.
    fn write(&self, offset: u64, data: Vec<Bytes>, fua: bool) -> LocalFuture<'_, Result<(), ExportError>>;
    /// Makes a range read as zeros. Unless `may_punch`, later writes to it must not fail for lack of space.
    fn zero(
        &self,
        offset: u64,
        len: u64,
        may_punch: bool,
        fua: bool,
    ) -> LocalFuture<'_, Result<(), ExportError>>;
    /// The content of a range is no longer needed.
    fn trim(&self, offset: u64, len: u64, fua: bool) -> LocalFuture<'_, Result<(), ExportError>>;
    /// Makes every change durable that completed before this was called, on any connection.
    fn flush(&self) -> LocalFuture<'_, Result<(), ExportError>>;
    /// Statuses of the range in the metadata context of that name, from `offset` on: at least one
    /// extent; fewer bytes than asked for are fine when the rest is costly to find out.
    fn block_status<'a>(
        &'a self,
        offset: u64,
        len: u64,
        context: &'a str,
    ) -> LocalFuture<'a, Result<Vec<Extent>, ExportError>>;
    /// The range will be read soon; may complete before anything has happened.
    fn cache(&self, offset: u64, len: u64) -> LocalFuture<'_, Result<(), ExportError>>;
}
