//! Which chunks are present, absent, or partly valid.
//!
//! A chunk is *present* (all its content is local), *absent* (its content is the source snapshot's) or
//! *partly valid* (absent, but for the blocks in its mask, which hold newer local data). States only
//! move towards present, except at a rollback, when no client is connected.
//! Present is recorded durably only after the data was synced (R9); until then a crash makes it absent again,
//! and it is fetched once more: landing writes only blocks that are not valid, so nothing newer is lost.

use crate::codec::{Reader, Writer};
use crate::error::{Result, VolumeError};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use tidemark_units::{BLOCKS_PER_CHUNK, BlockRange, ChunkIndex};

/// The states of a volume's chunks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChunkStates {
    /// Chunks that are not present.
    absent: RoaringBitmap,
    /// Of those, the ones with valid blocks: one bit a block.
    masks: BTreeMap<u32, u16>,
}

/// The bits of a chunk's blocks that lie in `blocks`.
fn mask_of(chunk: u32, blocks: BlockRange) -> u16 {
    let own = ChunkIndex(chunk).blocks();
    let meet = own.intersect(blocks);
    if meet.is_empty() {
        return 0;
    }
    let from = (meet.start - own.start) as u32;
    let count = meet.count() as u32;
    (((1u32 << count) - 1) << from) as u16
}

impl ChunkStates {
    /// Whether every chunk is present.
    pub fn all_present(&self) -> bool {
        self.absent.is_empty()
    }

    /// The chunks that are not present.
    pub fn absent(&self) -> &RoaringBitmap {
        &self.absent
    }

    /// Whether the chunk is present.
    pub fn is_present(&self, chunk: ChunkIndex) -> bool {
        !self.absent.contains(chunk.0)
    }

    /// Which blocks of the chunk are local: all bits for a present one.
    pub fn valid(&self, chunk: ChunkIndex) -> u16 {
        if self.is_present(chunk) {
            u16::MAX
        } else {
            self.masks.get(&chunk.0).copied().unwrap_or(0)
        }
    }

    /// Whether all of `blocks` are local.
    pub fn all_valid(&self, blocks: BlockRange) -> bool {
        if self.absent.is_empty() {
            return true;
        }
        let chunks = blocks.chunks();
        self.absent.range(chunks).all(|c| {
            let wanted = mask_of(c, blocks);
            self.valid(ChunkIndex(c)) & wanted == wanted
        })
    }

    /// Local data was written to `blocks`.
    pub fn validate(&mut self, blocks: BlockRange) {
        if self.absent.is_empty() || blocks.is_empty() {
            return;
        }
        // Chunks that are wholly covered, at once: a discard of a whole disk is one call.
        let full_start = blocks.start.div_ceil(BLOCKS_PER_CHUNK) as u32;
        let full_end = (blocks.end / BLOCKS_PER_CHUNK) as u32;
        if full_start < full_end {
            self.absent.remove_range(full_start..full_end);
            let covered: Vec<u32> = self.masks.range(full_start..full_end).map(|(&c, _)| c).collect();
            for chunk in covered {
                self.masks.remove(&chunk);
            }
        }
        let chunks = blocks.chunks();
        for chunk in [chunks.start, chunks.end - 1] {
            if !self.absent.contains(chunk) {
                continue;
            }
            let mask = self.masks.entry(chunk).or_insert(0);
            *mask |= mask_of(chunk, blocks);
            if *mask == u16::MAX {
                self.make_present(ChunkIndex(chunk));
            }
        }
    }

    /// All content of the chunk is local now.
    pub fn make_present(&mut self, chunk: ChunkIndex) {
        self.absent.remove(chunk.0);
        self.masks.remove(&chunk.0);
    }

    /// Forgets the local content of `chunks`: they are the source's again.
    pub fn make_absent(&mut self, chunks: &RoaringBitmap) {
        self.absent |= chunks;
        self.masks.retain(|c, _| !chunks.contains(*c));
    }

    /// Appends the states to a superblock.
    pub fn encode(&self, w: &mut Writer) {
        w.bitmap(&self.absent);
        w.u32(self.masks.len() as u32);
        for (&chunk, &mask) in &self.masks {
            w.u32(chunk);
            w.u16(mask);
        }
    }

    /// Reads what [`ChunkStates::encode`] wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let absent = r.bitmap()?;
        let mut masks = BTreeMap::new();
        for _ in 0..r.u32()? {
            let chunk = r.u32()?;
            let mask = r.u16()?;
            if !absent.contains(chunk) {
                return Err(VolumeError::corrupt(format!(
                    "superblock: present chunk {chunk} has a mask"
                )));
            }
            masks.insert(chunk, mask);
        }
        Ok(Self { absent, masks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chunk_becomes_present_block_by_block() {
        let mut states = ChunkStates::default();
        states.make_absent(&[0u32, 1].into_iter().collect());
        states.validate(BlockRange::new(0, 15));
        assert!(!states.is_present(ChunkIndex(0)) && states.all_valid(BlockRange::new(3, 12)));
        assert!(!states.all_valid(BlockRange::new(14, 2)));
        states.validate(BlockRange::new(15, 1));
        assert!(states.is_present(ChunkIndex(0)) && !states.is_present(ChunkIndex(1)));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_blocks(
            absent in prop::collection::btree_set(0u32..8, 0..8),
            writes in prop::collection::vec((0u64..128, 1u64..60), 0..20),
        ) {
            let mut states = ChunkStates::default();
            states.make_absent(&absent.iter().copied().collect());
            let mut valid: Vec<bool> = (0..200).map(|b| !absent.contains(&((b / 16) as u32))).collect();
            for (start, count) in writes {
                states.validate(BlockRange::new(start, count));
                valid[start as usize..(start + count) as usize].fill(true);
            }
            for block in 0..128u64 {
                prop_assert_eq!(states.all_valid(BlockRange::new(block, 1)), valid[block as usize]);
            }
            for chunk in 0..8u32 {
                let all = valid[chunk as usize * 16..chunk as usize * 16 + 16].iter().all(|v| *v);
                prop_assert_eq!(states.is_present(ChunkIndex(chunk)), all);
            }
        }
    }
}
