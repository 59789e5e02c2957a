//! Which blocks of the disk have their newest content in the log, and where.
//!
//! An [`ExtentMap`] is one layer: disjoint extents, ordered by block. A later record simply replaces
//! what it covers, so applying records in LSN order gives the disk's state at the last of them.
//! Not here: which layer is newer (`layers`), what lies below all layers (`base`).

use std::collections::BTreeMap;
use tidemark_units::BlockRange;

/// Where a run of blocks has its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the log: segment by sequence number, first block within the segment's file.
    Log { segment: u64, block: u32 },
    /// Reads as zeros. `punch`: the base may give the space back.
    Zero { punch: bool },
}

impl Location {
    /// The location `blocks` further on.
    pub fn advanced(self, blocks: u64) -> Self {
        match self {
            Location::Log { segment, block } => Location::Log {
                segment,
                block: block + blocks as u32,
            },
            zero => zero,
        }
    }

    /// Whether `next` continues this location after `blocks`.
    fn continues(self, blocks: u64, next: Location) -> bool {
        match (self, next) {
            (Location::Log { .. }, Location::Log { .. }) => self.advanced(blocks) == next,
            (a, b) => a == b,
        }
    }
}

/// A run of blocks with one location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The blocks on the disk.
    pub blocks: BlockRange,
    /// Where the first of them lies; the others follow it.
    pub location: Location,
}

/// One layer of the index.
#[derive(Default, Debug)]
pub struct ExtentMap {
    /// First block -> (one past the last block, location of the first).
    extents: BTreeMap<u64, (u64, Location)>,
}

impl ExtentMap {
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// How many extents: the measure of memory.
    pub fn len(&self) -> usize {
        self.extents.len()
    }

    /// Makes `blocks` lie at `location`, whatever was there.
    pub fn insert(&mut self, blocks: BlockRange, location: Location) {
        if blocks.is_empty() {
            return;
        }
        // The commonest case of a busy disk: the same blocks again.
        if let Some(slot) = self.extents.get_mut(&blocks.start)
            && slot.0 == blocks.end
        {
            slot.1 = location;
            return;
        }
        self.clear(blocks);
        if let Some((&start, slot)) = self.extents.range_mut(..blocks.start).next_back()
            && slot.0 == blocks.start
            && slot.1.continues(blocks.start - start, location)
        {
            slot.0 = blocks.end;
            return;
        }
        self.extents.insert(blocks.start, (blocks.end, location));
    }

    /// Cuts `blocks` out of every extent.
    fn clear(&mut self, blocks: BlockRange) {
        if let Some((&start, &(end, location))) = self.extents.range(..blocks.start).next_back()
            && end > blocks.start
        {
            self.extents.insert(start, (blocks.start, location));
            if end > blocks.end {
                self.extents
                    .insert(blocks.end, (end, location.advanced(blocks.end - start)));
                return;
            }
        }
        while let Some((&start, &(end, location))) = self.extents.range(blocks.start..blocks.end).next() {
            self.extents.remove(&start);
            if end > blocks.end {
                self.extents
                    .insert(blocks.end, (end, location.advanced(blocks.end - start)));
                return;
            }
        }
    }

    /// Calls `found` for each extent within `blocks` (clipped) and `gap` for each run without one, in order.
    pub fn lookup(&self, blocks: BlockRange, mut found: impl FnMut(Extent), mut gap: impl FnMut(BlockRange)) {
        let mut at = blocks.start;
        let before = self.extents.range(..blocks.start).next_back();
        let within = self.extents.range(blocks.start..blocks.end);
        for (&start, &(end, location)) in before.into_iter().chain(within) {
            if end <= at {
                continue;
            }
            let from = start.max(at);
            if from > at {
                gap(BlockRange { start: at, end: from });
            }
            let to = end.min(blocks.end);
            found(Extent {
                blocks: BlockRange { start: from, end: to },
                location: location.advanced(from - start),
            });
            at = to;
        }
        if at < blocks.end {
            gap(BlockRange {
                start: at,
                end: blocks.end,
            });
        }
    }

    /// All extents in block order.
    pub fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        self.extents.iter().map(|(&start, &(end, location))| Extent {
            blocks: BlockRange { start, end },
            location,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(segment: u64, block: u32) -> Location {
        Location::Log { segment, block }
    }

    #[test]
    fn neighbours_in_the_log_become_one_extent() {
        let mut map = ExtentMap::default();
        map.insert(BlockRange::new(10, 2), log(1, 5));
        map.insert(BlockRange::new(12, 1), log(1, 7));
        map.insert(BlockRange::new(13, 1), log(2, 8));
        assert_eq!(map.len(), 2);
    }

    proptest! {
        /// The map always agrees with an array that was written the same way.
        #[test]
        fn behaves_like_an_array(writes in prop::collection::vec((0u64..64, 1u64..20, 0u8..3), 1..60)) {
            let mut map = ExtentMap::default();
            let mut model: Vec<Option<Location>> = vec![None; 96];
            for (n, (start, count, kind)) in writes.into_iter().enumerate() {
                let location = match kind {
                    0 => Location::Zero { punch: n % 2 == 0 },
                    _ => log(n as u64 / 7, (n * 100) as u32),
                };
                map.insert(BlockRange::new(start, count), location);
                for i in 0..count {
                    model[(start + i) as usize] = Some(location.advanced(i));
                }
            }
            for from in [0u64, 3, 17, 40] {
                let mut seen: Vec<Option<Location>> = Vec::new();
                let seen_cell = std::cell::RefCell::new(&mut seen);
                map.lookup(
                    BlockRange { start: from, end: 96 },
                    |e| for i in 0..e.blocks.count() { seen_cell.borrow_mut().push(Some(e.location.advanced(i))) },
                    |g| for _ in 0..g.count() { seen_cell.borrow_mut().push(None) },
                );
                prop_assert_eq!(&seen[..], &model[from as usize..]);
            }
        }
    }
}
