//! How a disk's bytes are cut: blocks for the log's index, chunks for tracking and the vault.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Bytes in one kibibyte.
pub const KIB: u64 = 1 << 10;
/// Bytes in one mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes in one gibibyte: the unit of disk sizes in the ECS API.
pub const GIB: u64 = 1 << 30;
/// Bytes in one tebibyte.
pub const TIB: u64 = 1 << 40;

/// Bytes in a block: the unit of the log's index and of partly valid chunks.
pub const BLOCK_BYTES: u64 = 4 * KIB;
/// Bytes in a chunk: the unit of change tracking and of the vault.
pub const CHUNK_BYTES: u64 = 64 * KIB;
/// Blocks in a chunk; a chunk's valid mask is one bit for each.
pub const BLOCKS_PER_CHUNK: u64 = CHUNK_BYTES / BLOCK_BYTES;

const _: () = assert!(
    CHUNK_BYTES.is_multiple_of(BLOCK_BYTES),
    "a block never straddles chunks"
);
const _: () = assert!(BLOCKS_PER_CHUNK == 16, "a chunk's valid mask is a u16");

/// Position of a 4 KiB block on a disk, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockIndex(pub u64);

impl BlockIndex {
    /// The block's first byte on the disk.
    pub const fn byte_offset(self) -> u64 {
        self.0 * BLOCK_BYTES
    }

    /// The chunk that holds this block.
    pub const fn chunk(self) -> ChunkIndex {
        ChunkIndex((self.0 / BLOCKS_PER_CHUNK) as u32)
    }
}

/// Position of a 64 KiB chunk on a disk, counted from 0. 32 bits reach 256 TiB; a disk ends before the last one, so that 32 bits count its chunks too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkIndex(pub u32);

impl ChunkIndex {
    /// The chunk's first byte on the disk.
    pub const fn byte_offset(self) -> u64 {
        self.0 as u64 * CHUNK_BYTES
    }

    /// The chunk's first block.
    pub const fn first_block(self) -> BlockIndex {
        BlockIndex(self.0 as u64 * BLOCKS_PER_CHUNK)
    }

    /// The chunk's blocks.
    pub const fn blocks(self) -> BlockRange {
        let start = self.0 as u64 * BLOCKS_PER_CHUNK;
        BlockRange {
            start,
            end: start + BLOCKS_PER_CHUNK,
        }
    }
}

/// Blocks `start .. end` of one disk; may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRange {
    /// First block.
    pub start: u64,
    /// One past the last block.
    pub end: u64,
}

impl BlockRange {
    /// Blocks `start .. start + count`.
    pub const fn new(start: u64, count: u64) -> Self {
        Self {
            start,
            end: start + count,
        }
    }

    /// How many blocks.
    pub const fn count(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no block in it.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The chunks that it touches; one that it only grazes counts too.
    pub const fn chunks(self) -> Range<u32> {
        if self.is_empty() {
            return 0..0;
        }
        let start = (self.start / BLOCKS_PER_CHUNK) as u32;
        let end = self.end.div_ceil(BLOCKS_PER_CHUNK) as u32;
        start..end
    }

    /// The part that lies in both.
    pub fn intersect(self, other: BlockRange) -> BlockRange {
        let start = self.start.max(other.start);
        BlockRange {
            start,
            end: self.end.min(other.end).max(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grazed_chunk_counts() {
        assert_eq!(BlockRange::new(15, 2).chunks(), 0..2);
        assert_eq!(BlockRange::new(16, 16).chunks(), 1..2);
        assert_eq!(BlockRange::new(5, 0).chunks(), 0..0);
    }

    #[test]
    fn a_block_knows_its_chunk() {
        assert_eq!(BlockIndex(15).chunk(), ChunkIndex(0));
        assert_eq!(BlockIndex(16).chunk(), ChunkIndex(1));
        assert_eq!(ChunkIndex(2).byte_offset(), 128 * KIB);
    }

    #[test]
    fn disjoint_ranges_meet_in_nothing() {
        let meet = BlockRange::new(0, 4).intersect(BlockRange::new(8, 4));
        assert!(meet.is_empty());
    }
}
