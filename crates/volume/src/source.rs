//! Where absent chunks come from: the volume's side of a lazy restore.

use crate::LocalFuture;
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::ops::Range;
use tidemark_units::ChunkIndex;

/// A snapshot, as a volume sees it: chunks by index, verified by whoever provides them.
pub trait ChunkSource {
    /// A chunk's 64 KiB, or `None` when it is all zeros. The error is a sentence for people.
    fn read_chunk(&self, chunk: ChunkIndex) -> LocalFuture<'_, Result<Option<Bytes>, String>>;
    /// Which chunks of `range` are not all zeros, without fetching them.
    fn nonzero(&self, range: Range<u32>) -> LocalFuture<'_, Result<RoaringBitmap, String>>;
}
