//! What a quantity or an id means, as types.
//!
//! Index, count and size differ by one or by a factor; a mix-up is a data-loss bug that the
//! compiler can catch. Everything here is plain data: no I/O, no clock, no randomness.
//! Not here: anything that acts on these values.

mod geometry;
mod id;
mod lsn;

pub use geometry::{
    BLOCK_BYTES, BLOCKS_PER_CHUNK, BlockIndex, BlockRange, CHUNK_BYTES, ChunkIndex, GIB, KIB, MIB, TIB,
};
pub use id::{DiskId, GroupId, IdError, SnapshotId};
pub use lsn::Lsn;
