//! One simulated file's bytes: what programs see, and what a power cut would leave.
//!
//! Two layers of 4 KiB pages. `durable` is the medium. `cached` holds whole pages as programs see
//! them, with a bit per 512-byte sector that the medium does not have yet. Only [`Content::sync`],
//! [`Content::sync_failed`], [`Content::crash`], an early write-back and damage change the medium.
//! Invariants: (1) a sector that is not dirty reads the same in both layers; (2) bytes at or past the
//! size are zeros; (3) every page with data belongs to `space`. Cost follows the pages with data,
//! never the size.

mod damage;

use super::ranges::RangeSet;
use super::rng::Rng;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) const PAGE_BYTES: u64 = 4096;
const SECTOR_BYTES: usize = 512;
const ALL_DIRTY: u8 = 0xff;
/// Unsynced sizes remembered for a crash to choose from; more would only repeat themselves.
const SIZES_MAX: usize = 64;

type Page = Box<[u8; PAGE_BYTES as usize]>;

struct Cached {
    /// The page as programs see it; `None` is a hole.
    data: Option<Page>,
    /// Bit `n`: sector `n` is not on the medium.
    dirty: u8,
}

/// See the module.
#[derive(Default)]
pub(super) struct Content {
    durable: BTreeMap<u64, Page>,
    cached: BTreeMap<u64, Cached>,
    size: u64,
    durable_size: u64,
    unsynced_sizes: Vec<u64>,
    space: RangeSet,
    durable_space: RangeSet,
    space_changed: bool,
}

/// Pages that `range` of bytes touches.
pub(super) fn pages_of(range: Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES)
}

/// Sectors of a page that bytes `range` of it touch, as bits.
fn sector_bits(range: Range<usize>) -> u8 {
    (range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES)).fold(0, |bits, sector| bits | 1 << sector)
}

fn sector_range(sector: usize) -> Range<usize> {
    sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of space the file owns.
    pub(super) fn space_bytes(&self) -> u64 {
        self.space.count() * PAGE_BYTES
    }

    /// Bytes of further space that writing `range` needs.
    pub(super) fn space_needed(&self, range: Range<u64>) -> u64 {
        self.space.missing(pages_of(range)) * PAGE_BYTES
    }

    /// Bytes `range`, which lies within the size.
    pub(super) fn read(&self, range: Range<u64>) -> Bytes {
        let mut out = BytesMut::zeroed((range.end - range.start) as usize);
        for page in pages_of(range.clone()) {
            if let Some(data) = self.page(page) {
                let within = within_page(page, &range);
                let at = (page * PAGE_BYTES + within.start as u64 - range.start) as usize;
                out[at..at + within.len()].copy_from_slice(&data[within]);
            }
        }
        out.freeze()
    }

    /// Stores `data` at `offset` in the cache, growing the size if needed.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], rng: &mut Rng) {
        let range = offset..offset + data.len() as u64;
        for page in pages_of(range.clone()) {
            let within = within_page(page, &range);
            let at = (page * PAGE_BYTES + within.start as u64 - range.start) as usize;
            self.write_back_early(page, sector_bits(within.clone()), rng);
            let cached = cache(&self.durable, &mut self.cached, page);
            let target = cached
                .data
                .get_or_insert_with(|| Box::new([0; PAGE_BYTES as usize]));
            target[within.clone()].copy_from_slice(&data[at..at + within.len()]);
            cached.dirty |= sector_bits(within);
        }
        self.reserve(range.clone());
        if range.end > self.size && !data.is_empty() {
            self.change_size(range.end, rng);
        }
    }

    /// Gives `range` space without changing what it reads.
    pub(super) fn reserve(&mut self, range: Range<u64>) {
        let pages = pages_of(range);
        if self.space.missing(pages.clone()) > 0 {
            self.space.insert(pages);
            self.space_changed = true;
        }
    }

    /// Makes `range` read as zeros and frees the pages wholly in it.
    pub(super) fn punch(&mut self, range: Range<u64>) {
        self.zero(range.clone());
        self.space
            .remove(range.start.div_ceil(PAGE_BYTES)..range.end / PAGE_BYTES);
        self.space_changed = true;
    }

    /// Cuts or extends to `size`.
    pub(super) fn set_size(&mut self, size: u64, rng: &mut Rng) {
        if size < self.size {
            self.zero(size..self.size);
            self.space.remove(size.div_ceil(PAGE_BYTES)..u64::MAX);
            self.space_changed = true;
        }
        self.change_size(size, rng);
    }

    /// The first run of pages with data in `range`, cut to it and to the size.
    pub(super) fn next_data(&self, range: Range<u64>) -> Option<(u64, u64)> {
        let range = range.start..range.end.min(self.size);
        if range.is_empty() {
            return None;
        }
        let pages = pages_of(range.clone());
        let mut at = pages.start;
        let first = loop {
            let durable = self.durable.range(at..pages.end).next().map(|(page, _)| *page);
            let cached = self.cached.range(at..pages.end).next().map(|(page, _)| *page);
            let candidate = durable.into_iter().chain(cached).min()?;
            if self.page(candidate).is_some() {
                break candidate;
            }
            at = candidate + 1;
        };
        let end = (first..pages.end)
            .find(|page| self.page(*page).is_none())
            .unwrap_or(pages.end);
        Some((
            (first * PAGE_BYTES).max(range.start),
            (end * PAGE_BYTES).min(range.end),
        ))
    }

    /// Brings all to the medium.
    pub(super) fn sync(&mut self) {
        for (page, cached) in std::mem::take(&mut self.cached) {
            // By invariant (1) the cached page is the durable one with the dirty sectors replaced.
            match cached.data {
                Some(data) => drop(self.durable.insert(page, data)),
                None => drop(self.durable.remove(&page)),
            }
        }
        self.durable_size = self.size;
        self.unsynced_sizes.clear();
        if std::mem::take(&mut self.space_changed) {
            self.durable_space.clone_from(&self.space);
        }
    }

    /// A sync that fails: each unsynced sector reached the medium or is gone, and none is dirty any
    /// more, so that a later sync succeeds without repairing anything.
    pub(super) fn sync_failed(&mut self, rng: &mut Rng) {
        let chances = rng.below(5);
        let _kept = self.settle(chances, rng);
    }

    /// A power cut: any subset of what was not synced is kept, and in `misdirected` of 10,000 cases a sector
    /// that is kept gets the bytes of another unsynced one: how many did.
    pub(super) fn crash(&mut self, misdirected: u32, rng: &mut Rng) -> u64 {
        // One probability per file and crash, so that "all", "none" and every mixture are common.
        let chances = rng.below(5);
        let before = match misdirected {
            0 => BTreeMap::new(),
            _ => self.unsynced_sectors(),
        };
        let kept = self.settle(chances, rng);
        let strays = self.misdirect_kept(&before, &kept, misdirected, rng);
        self.cut_durable();
        strays
    }

    /// Keeps `chances` of 4 of all that is not synced; the bits of the sectors kept, by page.
    fn settle(&mut self, chances: u64, rng: &mut Rng) -> Vec<(u64, u8)> {
        let mut all_kept = Vec::new();
        for (page, cached) in std::mem::take(&mut self.cached) {
            let kept = (0..8).filter(|sector| cached.dirty & 1 << sector != 0 && rng.coin(chances, 4));
            let kept = kept.fold(0, |bits, sector| bits | 1 << sector);
            self.store_sectors(page, cached.data.as_deref(), kept);
            all_kept.push((page, kept));
        }
        if !self.unsynced_sizes.is_empty() && rng.coin(chances, 4) {
            let chosen = rng.below(self.unsynced_sizes.len() as u64) as usize;
            self.durable_size = self.unsynced_sizes[chosen];
        }
        self.unsynced_sizes.clear();
        if self.space_changed && rng.coin(chances, 4) {
            self.durable_space = std::mem::take(&mut self.space);
        }
        self.space_changed = false;
        self.size = self.durable_size;
        self.cut_durable();
        self.space.clone_from(&self.durable_space);
        self.durable
            .keys()
            .for_each(|page| self.space.insert(*page..page + 1));
        self.durable_space.clone_from(&self.space);
        all_kept
    }

    /// A file that holds what the medium does.
    pub(super) fn durable_copy(&self) -> Self {
        let mut copy = Self {
            durable: self.durable.clone(),
            size: self.durable_size,
            durable_size: self.durable_size,
            space: self.durable_space.clone(),
            ..Self::default()
        };
        copy.cut_durable();
        copy.durable
            .keys()
            .for_each(|page| copy.space.insert(*page..page + 1));
        copy.durable_space.clone_from(&copy.space);
        copy
    }

    /// The page as programs see it; `None` is a hole.
    fn page(&self, page: u64) -> Option<&Page> {
        match self.cached.get(&page) {
            Some(cached) => cached.data.as_ref(),
            None => self.durable.get(&page),
        }
    }

    fn change_size(&mut self, size: u64, rng: &mut Rng) {
        if size == self.size {
            return;
        }
        self.size = size;
        if self.unsynced_sizes.len() < SIZES_MAX {
            self.unsynced_sizes.push(size);
        } else {
            let replaced = rng.below(SIZES_MAX as u64) as usize;
            self.unsynced_sizes[replaced] = size;
        }
    }

    /// Makes `range` read as zeros; touches only pages that have data.
    fn zero(&mut self, range: Range<u64>) {
        let pages = pages_of(range.clone());
        let durable = self.durable.range(pages.clone()).map(|(page, _)| *page);
        let cached = self.cached.range(pages).map(|(page, _)| *page);
        let mut touched: Vec<u64> = durable.chain(cached).collect();
        touched.sort_unstable();
        touched.dedup();
        for page in touched {
            let within = within_page(page, &range);
            let cached = cache(&self.durable, &mut self.cached, page);
            cached.dirty |= sector_bits(within.clone());
            if within.len() == PAGE_BYTES as usize {
                cached.data = None;
            } else if let Some(data) = &mut cached.data {
                data[within].fill(0);
            }
        }
    }

    /// The kernel may have written a sector at any time before it is overwritten: sometimes it did.
    fn write_back_early(&mut self, page: u64, sectors: u8, rng: &mut Rng) {
        let Some(cached) = self.cached.get(&page) else {
            return;
        };
        let overwritten = cached.dirty & sectors;
        if overwritten != 0 && rng.coin(1, 8) {
            let bits = overwritten & rng.next() as u8;
            let data = cached.data.clone();
            self.store_sectors(page, data.as_deref(), bits);
        }
    }

    /// Copies the sectors in `bits` of `data` to the medium.
    fn store_sectors(&mut self, page: u64, data: Option<&[u8; PAGE_BYTES as usize]>, bits: u8) {
        if bits == 0 {
            return;
        }
        if bits == ALL_DIRTY && data.is_none() {
            self.durable.remove(&page);
            return;
        }
        let medium = self
            .durable
            .entry(page)
            .or_insert_with(|| Box::new([0; PAGE_BYTES as usize]));
        for sector in (0..8).filter(|sector| bits & 1 << sector != 0).map(sector_range) {
            match data {
                Some(data) => medium[sector.clone()].copy_from_slice(&data[sector]),
                None => medium[sector].fill(0),
            }
        }
    }

    /// Removes what the medium holds past the size, so that growing again reads zeros.
    fn cut_durable(&mut self) {
        let size = self.size;
        drop(self.durable.split_off(&size.div_ceil(PAGE_BYTES)));
        if let Some(last) = self.durable.get_mut(&(size / PAGE_BYTES)) {
            last[(size % PAGE_BYTES) as usize..].fill(0);
        }
    }
}

/// The cached form of `page`, made from the medium if need be.
fn cache<'a>(
    durable: &BTreeMap<u64, Page>,
    cached: &'a mut BTreeMap<u64, Cached>,
    page: u64,
) -> &'a mut Cached {
    cached.entry(page).or_insert_with(|| Cached {
        data: durable.get(&page).cloned(),
        dirty: 0,
    })
}

/// Which bytes of `page` the file range `range` covers.
fn within_page(page: u64, range: &Range<u64>) -> Range<usize> {
    let start = page * PAGE_BYTES;
    (range.start.max(start) - start) as usize..(range.end.min(start + PAGE_BYTES) - start) as usize
}
