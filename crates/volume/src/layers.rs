//! The index as layers: one active map that records are applied to, and frozen ones below it.
//!
//! A mark freezes the active layer by moving a pointer; nothing is copied. The view at a mark is the
//! layers up to it over the base. Layers are checkpointed oldest first, each whole, so the base always
//! holds the disk as of some layer's end.
//! Invariants: (1) a frozen layer never changes; (2) no layer spans a mark; (3) layers are contiguous in LSN.

use crate::index::{Extent, ExtentMap, Location};
use roaring::RoaringBitmap;
use std::collections::VecDeque;
use std::rc::Rc;
use tidemark_units::{BLOCK_BYTES, BlockRange, Lsn};

/// Frozen layers at which the base should catch up: each one costs every read a look-up.
const LAYERS_MAX: usize = 6;

/// Records `..= last` that came after the layer below, as a map.
#[derive(Default, Debug)]
pub struct Layer {
    /// Where blocks lie.
    pub map: ExtentMap,
    /// Chunks that the layer touches.
    pub chunks: RoaringBitmap,
    /// The last record applied.
    pub last: Lsn,
    /// Which mark interval the records belong to (see `tracking`).
    pub interval: u64,
    /// Bytes of data records in it: what the base may need room for.
    pub data_bytes: u64,
    /// The first segment that holds a record of it.
    pub first_segment: u64,
}

/// A run of blocks and where a reader finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// In a layer.
    Found(Extent),
    /// Below all layers.
    Below(BlockRange),
}

impl Piece {
    /// The blocks that it covers.
    pub fn blocks(&self) -> BlockRange {
        match self {
            Piece::Found(extent) => extent.blocks,
            Piece::Below(blocks) => *blocks,
        }
    }
}

/// All layers of a volume.
#[derive(Default)]
pub struct Layers {
    /// Oldest first.
    frozen: VecDeque<Rc<Layer>>,
    active: Layer,
}

impl Layers {
    /// Layers over a base that holds everything up to `checkpointed`.
    pub fn new(checkpointed: Lsn, interval: u64) -> Self {
        Self {
            frozen: VecDeque::new(),
            active: Layer {
                last: checkpointed,
                interval,
                ..Layer::default()
            },
        }
    }

    /// Applies one record.
    pub fn apply(&mut self, lsn: Lsn, segment: u64, change: Option<(BlockRange, Location)>) {
        let layer = &mut self.active;
        assert_eq!(
            lsn,
            layer.last.next(),
            "records are applied in LSN order, none left out"
        );
        if layer.first_segment == 0 {
            layer.first_segment = segment;
        }
        layer.last = lsn;
        if let Some((blocks, location)) = change {
            if let Location::Log { .. } = location {
                layer.data_bytes += blocks.count() * BLOCK_BYTES;
            }
            layer.chunks.insert_range(blocks.chunks());
            layer.map.insert(blocks, location);
        }
    }

    /// Accounts for positions that recovery skipped: they were never used and never will be.
    pub fn skip_to(&mut self, last: Lsn) {
        assert!(last >= self.active.last);
        self.active.last = last;
    }

    /// The last record applied.
    pub fn last(&self) -> Lsn {
        self.active.last
    }

    /// Closes the active layer; later records go to a new one of `interval`.
    pub fn freeze(&mut self, interval: u64) {
        let next = Layer {
            last: self.active.last,
            interval,
            ..Layer::default()
        };
        let done = std::mem::replace(&mut self.active, next);
        if done.first_segment != 0 {
            self.frozen.push_back(Rc::new(done));
        }
    }

    /// The layer to checkpoint next.
    pub fn oldest_frozen(&self) -> Option<Rc<Layer>> {
        self.frozen.front().cloned()
    }

    /// The base now holds the oldest frozen layer.
    pub fn drop_oldest(&mut self) -> Option<Rc<Layer>> {
        self.frozen.pop_front()
    }

    /// Forgets what was logged in `interval`, which must be all that there is: otherwise `false`, and nothing happens.
    pub fn discard(&mut self, interval: u64) -> bool {
        if self.frozen.iter().any(|layer| layer.interval != interval) || self.active.interval != interval {
            return false;
        }
        self.frozen.clear();
        self.active = Layer {
            last: self.active.last,
            interval,
            ..Layer::default()
        };
        true
    }

    /// The layer that takes records now.
    pub fn active(&self) -> &Layer {
        &self.active
    }

    /// How many frozen layers.
    pub fn frozen_count(&self) -> usize {
        self.frozen.len()
    }

    /// Frozen layers of `interval` and the active one if it is of it: chunks they touch.
    pub fn chunks_of(&self, interval: u64) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        for layer in self
            .frozen
            .iter()
            .map(|l| &**l)
            .chain([&self.active])
            .filter(|l| l.interval == interval)
        {
            all |= &layer.chunks;
        }
        all
    }

    /// Bytes of data records not yet in the base.
    pub fn data_bytes(&self) -> u64 {
        self.frozen.iter().map(|l| l.data_bytes).sum::<u64>() + self.active.data_bytes
    }

    /// Extents in all layers.
    pub fn extent_count(&self) -> usize {
        self.frozen.iter().map(|l| l.map.len()).sum::<usize>() + self.active.map.len()
    }

    /// Whether there are more layers, or extents, than reads and memory should bear.
    pub fn is_crowded(&self, extents_max: usize) -> bool {
        self.frozen.len() > LAYERS_MAX || self.extent_count() >= extents_max
    }

    /// The first segment that some layer needs, if any does.
    pub fn first_segment(&self) -> Option<u64> {
        self.frozen
            .iter()
            .map(|l| l.first_segment)
            .chain([self.active.first_segment])
            .find(|&s| s != 0)
    }

    /// Where `blocks` lie now.
    pub fn resolve(&self, blocks: BlockRange) -> Vec<Piece> {
        let newest_first = std::iter::once(&self.active).chain(self.frozen.iter().rev().map(|l| &**l));
        resolve_in(newest_first, blocks)
    }

    /// Where `blocks` lay at the record `at`, which must end a layer (a mark does).
    pub fn resolve_at(&self, blocks: BlockRange, at: Lsn) -> Vec<Piece> {
        let newest_first = self.frozen.iter().rev().map(|l| &**l).filter(|l| l.last <= at);
        resolve_in(newest_first, blocks)
    }
}

fn resolve_in<'a>(newest_first: impl Iterator<Item = &'a Layer>, blocks: BlockRange) -> Vec<Piece> {
    let mut pieces = vec![Piece::Below(blocks)];
    for layer in newest_first {
        if layer.map.is_empty() {
            continue;
        }
        if pieces.iter().all(|p| matches!(p, Piece::Found(_))) {
            break;
        }
        let mut next = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::Below(range) => {
                    let out = std::cell::RefCell::new(&mut next);
                    layer.map.lookup(
                        range,
                        |e| out.borrow_mut().push(Piece::Found(e)),
                        |g| out.borrow_mut().push(Piece::Below(g)),
                    );
                }
                found => next.push(found),
            }
        }
        pieces = next;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(block: u32) -> Location {
        Location::Log { segment: 1, block }
    }

    #[test]
    fn newer_layers_hide_older_ones_and_marks_look_below() {
        let mut layers = Layers::new(Lsn(0), 1);
        layers.apply(Lsn(1), 1, Some((BlockRange::new(0, 4), log(10))));
        layers.freeze(2);
        layers.apply(Lsn(2), 1, Some((BlockRange::new(1, 1), log(20))));
        let now = layers.resolve(BlockRange::new(0, 6));
        assert_eq!(
            now,
            vec![
                Piece::Found(Extent {
                    blocks: BlockRange::new(0, 1),
                    location: log(10)
                }),
                Piece::Found(Extent {
                    blocks: BlockRange::new(1, 1),
                    location: log(20)
                }),
                Piece::Found(Extent {
                    blocks: BlockRange::new(2, 2),
                    location: log(12)
                }),
                Piece::Below(BlockRange::new(4, 2)),
            ]
        );
        let then = layers.resolve_at(BlockRange::new(0, 4), Lsn(1));
        assert_eq!(
            then,
            vec![Piece::Found(Extent {
                blocks: BlockRange::new(0, 4),
                location: log(10)
            })]
        );
        assert_eq!(layers.chunks_of(2), [0u32].into_iter().collect());
    }
}
