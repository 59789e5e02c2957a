//! The Merkle radix tree that maps a disk's chunk indexes to chunks.
//!
//! A leaf (level 0) has 128 slots, one per chunk; an inner node has 256, one per node of the level
//! below. An empty slot is all zeros, whatever its size. A disk's size fixes the depth.
//!
//! Invariants: (1) a node's id hashes its logical content only: level, which slots are filled, the
//! ids in them, and for inner nodes how many chunks are below each; where things are stored is a
//! hint and no part of it; (2) so equal content has an equal id, and a subtree that did not change
//! *is* the parent's; (3) no stored node is empty; (4) a node that was read is checked against the
//! id it was asked by before anybody sees it.
//! Not here: reading nodes ([`crate::fetch`]), building them ([`crate::capture`]).

mod node;
mod root;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use node::parse_node;
pub use node::{LeafEntry, NodeRef, TreeNode};
pub(crate) use node::{NODE_BYTES_MAX, decode_node, encode_node};
pub use root::Root;

use std::ops::Range;

/// Chunks in a leaf: 8 MiB of disk.
pub const LEAF_SLOTS: u32 = 128;
/// Children of an inner node.
pub const FANOUT: u32 = 256;
/// Levels that a tree can have: enough for 2^32 chunks.
pub const DEPTH_MAX: u8 = 5;

const LEAF_BITS: u32 = LEAF_SLOTS.trailing_zeros();
const FANOUT_BITS: u32 = FANOUT.trailing_zeros();

const _: () = assert!(LEAF_SLOTS == 1 << LEAF_BITS && FANOUT == 1 << FANOUT_BITS);
const _: () = assert!(cover_bits(DEPTH_MAX - 1) >= 32, "every chunk index has its place");

const fn cover_bits(level: u8) -> u32 {
    LEAF_BITS + FANOUT_BITS * level as u32
}

/// Chunks below one node of `level`.
pub(crate) const fn cover(level: u8) -> u64 {
    1 << cover_bits(level)
}

/// Slots of one node of `level`.
pub(crate) const fn slots(level: u8) -> u32 {
    if level == 0 { LEAF_SLOTS } else { FANOUT }
}

/// Levels of the tree of a disk of so many chunks; an empty disk has a leaf too.
pub(crate) fn depth_for(chunks: u64) -> u8 {
    (1..DEPTH_MAX)
        .find(|&depth| cover(depth - 1) >= chunks)
        .unwrap_or(DEPTH_MAX)
}

/// Which node of `level` holds chunk `index`.
pub(crate) fn position(level: u8, index: u32) -> u32 {
    (u64::from(index) >> cover_bits(level)) as u32
}

/// Which slot of its leaf a chunk has.
pub(crate) fn leaf_slot(index: u32) -> usize {
    (index % LEAF_SLOTS) as usize
}

/// Which slot of its parent a node has.
pub(crate) fn inner_slot(position: u32) -> usize {
    (position % FANOUT) as usize
}

/// The first chunk below node `position` of `level`, as a number that may lie past every disk.
pub(crate) fn first_chunk(level: u8, position: u32) -> u64 {
    u64::from(position) << cover_bits(level)
}

/// The chunks below node `position` of `level` that a disk of `chunks` chunks has.
pub(crate) fn chunks_of(level: u8, position: u32, chunks: u64) -> Range<u64> {
    let start = first_chunk(level, position).min(chunks);
    start..(start + cover(level)).min(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_follows_size() {
        assert_eq!(depth_for(0), 1);
        assert_eq!(depth_for(128), 1);
        assert_eq!(depth_for(129), 2);
        assert_eq!(depth_for(1 << 15), 2);
        assert_eq!(depth_for((1 << 15) + 1), 3);
        assert_eq!(depth_for(1 << 24), 4);
        assert_eq!(depth_for(1 << 32), 5);
    }

    #[test]
    fn positions_at_the_far_end() {
        assert_eq!(position(0, u32::MAX), u32::MAX >> 7);
        assert_eq!(position(3, u32::MAX), 1);
        assert_eq!(position(4, u32::MAX), 0);
        assert_eq!(chunks_of(0, 1, 200), 128..200);
        assert_eq!(chunks_of(0, 2, 200), 200..200);
    }
}
