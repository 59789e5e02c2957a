//! What a connection needs of the thing that it serves.

use bytes::Bytes;
use tidemark_env::{LocalFuture, Piece};

/// A failed request, for people: a guest only ever learns that it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DiskError(pub String);

/// A disk, as a guest sees it. Owned by one thread.
///
/// Ranges lie within the size that the disk had when they were checked and are never empty; they may have any alignment of 512
/// bytes. Methods are called, and their futures first polled, in the order in which requests were taken from a ring.
/// Many futures are alive at once; none is dropped before it ends while its thread's executor runs.
pub trait Disk {
    /// Its size in bytes; may grow while it is served.
    fn size_bytes(&self) -> u64;
    /// Its name, of which a guest sees the first 20 bytes.
    fn serial(&self) -> String;
    /// Exactly `len` bytes from `offset`, in pieces of any sizes. What is lent is copied to the guest at once.
    fn read(&self, offset: u64, len: u32) -> LocalFuture<'_, Result<Vec<Piece>, DiskError>>;
    /// Stores `data`; durable before this completes if `fua`.
    fn write(&self, offset: u64, data: Bytes, fua: bool) -> LocalFuture<'_, Result<(), DiskError>>;
    /// Makes a range read as zeros. Unless `may_punch`, later writes to it must not fail for lack of space.
    fn zero(
        &self,
        offset: u64,
        len: u64,
        may_punch: bool,
        fua: bool,
    ) -> LocalFuture<'_, Result<(), DiskError>>;
    /// The content of a range is no longer needed.
    fn trim(&self, offset: u64, len: u64, fua: bool) -> LocalFuture<'_, Result<(), DiskError>>;
    /// Makes every change durable that completed before this was called.
    fn flush(&self) -> LocalFuture<'_, Result<(), DiskError>>;
}
