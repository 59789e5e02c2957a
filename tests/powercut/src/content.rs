//! One file's bytes: what programs see, and what a power cut would leave of it.
//!
//! `medium` holds the pages that are safe. `cached` holds whole pages as programs see them, each with a
//! bit per 512-byte sector that the medium does not have yet; it is empty after a sync. Invariants:
//! (1) a sector that is not dirty reads the same in both; (2) bytes at or past the size are zeros;
//! (3) `allocated` is the number of pages that programs see and that are no hole.
//! A sector is the unit of loss: a medium writes one wholly or not at all.
//! Not here: names (`names`), limits of space (`disk`).

use crate::rng::Rng;
use std::collections::BTreeMap;
use std::ops::Range;

/// The unit of allocation, in bytes.
pub const PAGE_BYTES: u64 = 4096;
/// The unit of loss, in bytes.
pub const SECTOR_BYTES: usize = 512;
const SECTORS: usize = PAGE_BYTES as usize / SECTOR_BYTES;
const ALL_SECTORS: u8 = 0xff;
/// Unsynced sizes that a cut can choose from; more would only repeat the pattern.
const SIZES_MAX: usize = 32;

type Bytes = Box<[u8; PAGE_BYTES as usize]>;

/// A page that is no hole. Log segments are born as zeros: those cost no memory here.
#[derive(Clone)]
enum Page {
    /// Owns space, was never written: a hole to `SEEK_DATA`.
    Reserved,
    /// Written with zeros.
    Zeros,
    Data(Bytes),
}

impl Page {
    /// Bytes `range` of the page; `None` if all of them are zeros.
    fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        match self {
            Page::Reserved | Page::Zeros => None,
            Page::Data(bytes) => Some(&bytes[range]),
        }
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        if let Page::Data(bytes) = self {
            bytes[at..at + data.len()].copy_from_slice(data);
        } else if data.iter().all(|byte| *byte == 0) {
            *self = Page::Zeros;
        } else {
            let mut bytes = Box::new([0; PAGE_BYTES as usize]);
            bytes[at..at + data.len()].copy_from_slice(data);
            *self = Page::Data(bytes);
        }
    }

    fn zero(&mut self, range: Range<usize>) {
        if let Page::Data(bytes) = self {
            bytes[range].fill(0);
        }
    }
}

struct Cached {
    /// The page as programs see it; `None` is a hole.
    page: Option<Page>,
    /// Bit `n`: the medium does not have sector `n`.
    dirty: u8,
}

/// What a cut did to one file, in sectors.
#[derive(Default, Clone, Copy)]
pub struct Toll {
    pub kept: u64,
    pub lost: u64,
}

/// See the module.
#[derive(Default)]
pub struct Content {
    medium: BTreeMap<u64, Page>,
    cached: BTreeMap<u64, Cached>,
    size: u64,
    medium_size: u64,
    /// Sizes since the last sync; a cut may leave any of them.
    sizes: Vec<u64>,
    allocated: u64,
}

/// Pages that bytes `range` touch.
fn pages_of(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES)
}

/// Which bytes of `page` the file's bytes `range` cover.
fn within(page: u64, range: &Range<u64>) -> Range<usize> {
    let start = page * PAGE_BYTES;
    (range.start.max(start) - start) as usize..(range.end.min(start + PAGE_BYTES) - start) as usize
}

/// Sectors of a page that its bytes `range` touch, as bits.
fn sectors_of(range: &Range<usize>) -> u8 {
    (range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES)).fold(0, |bits, sector| bits | 1 << sector)
}

impl Content {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Pages that own space.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Pages of further space that writing `range` needs.
    pub fn missing(&self, range: &Range<u64>) -> u64 {
        pages_of(range).filter(|page| self.seen(*page).is_none()).count() as u64
    }

    /// The bytes of `range` that lie below the size.
    pub fn read(&self, range: Range<u64>) -> Vec<u8> {
        let range = range.start..range.end.min(self.size);
        let mut out = vec![0; range.end.saturating_sub(range.start) as usize];
        for page in pages_of(&range) {
            let part = within(page, &range);
            let at = (page * PAGE_BYTES + part.start as u64 - range.start) as usize;
            if let Some(bytes) = self.seen(page).and_then(|page| page.get(part)) {
                out[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        out
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let range = offset..offset + data.len() as u64;
        for page in pages_of(&range) {
            let part = within(page, &range);
            let at = (page * PAGE_BYTES + part.start as u64 - offset) as usize;
            let bytes = &data[at..at + part.len()];
            self.change(page, sectors_of(&part), |page| {
                page.get_or_insert(Page::Reserved).put(part.start, bytes);
            });
        }
        if range.end > self.size && !data.is_empty() {
            self.change_size(range.end);
        }
    }

    /// Gives `range` space; what it reads and the size stay.
    pub fn reserve(&mut self, range: Range<u64>) {
        for page in pages_of(&range) {
            if self.seen(page).is_none() {
                self.change(page, ALL_SECTORS, |page| *page = Some(Page::Reserved));
            }
        }
    }

    /// Makes `range` read as zeros and frees the pages wholly in it.
    pub fn punch(&mut self, range: Range<u64>) {
        let on_medium = self.medium.range(pages_of(&range)).map(|(page, _)| *page);
        let in_cache = self.cached.range(pages_of(&range)).map(|(page, _)| *page);
        let touched: std::collections::BTreeSet<u64> = on_medium.chain(in_cache).collect();
        for page in touched {
            let part = within(page, &range);
            self.change(page, sectors_of(&part), |page| {
                if part.len() as u64 == PAGE_BYTES {
                    *page = None;
                } else if let Some(page) = page {
                    page.zero(part);
                }
            });
        }
    }

    /// Cuts or extends to `size`.
    pub fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.punch(size..self.size.next_multiple_of(PAGE_BYTES));
        }
        self.change_size(size);
    }

    /// The first byte at or after `from` that is data (`true`) or a hole; `None` past the size. The end
    /// of the file counts as a hole.
    pub fn seek(&self, from: u64, data: bool) -> Option<u64> {
        if from >= self.size {
            return None;
        }
        let is_data = |page| matches!(self.seen(page), Some(Page::Zeros | Page::Data(_)));
        let mut page = from / PAGE_BYTES;
        if data {
            while !is_data(page) {
                let on_medium = self.medium.range(page + 1..).next().map(|(page, _)| *page);
                let in_cache = self.cached.range(page + 1..).next().map(|(page, _)| *page);
                page = on_medium.into_iter().chain(in_cache).min()?;
            }
        } else {
            while page * PAGE_BYTES < self.size && is_data(page) {
                page += 1;
            }
        }
        let found = (page * PAGE_BYTES).max(from);
        match data {
            true => (found < self.size).then_some(found),
            false => Some(found.min(self.size)),
        }
    }

    /// Brings everything to the medium.
    pub fn sync(&mut self) {
        for (page, cached) in std::mem::take(&mut self.cached) {
            // By invariant (1) the cached page is the medium's with its dirty sectors replaced.
            match cached.page {
                Some(content) => drop(self.medium.insert(page, content)),
                None => drop(self.medium.remove(&page)),
            }
        }
        self.medium_size = self.size;
        self.sizes.clear();
    }

    /// Whether a cut could change anything.
    pub fn is_dirty(&self) -> bool {
        !self.cached.is_empty() || !self.sizes.is_empty()
    }

    /// What the kernel does in its own time: brings one unsynced page to the medium, with no promise.
    /// So a cut can leave a version of a page that has been overwritten since.
    pub fn write_back_one(&mut self, rng: &mut Rng) {
        let Some((last, _)) = self.cached.last_key_value() else {
            return;
        };
        let from = rng.below(last + 1);
        if let Some((&page, _)) = self.cached.range(from..).next()
            && let Some(cached) = self.cached.remove(&page)
        {
            self.store(page, cached.page.as_ref(), cached.dirty);
        }
    }

    /// A power cut: of the unsynced sectors and sizes any subset is kept.
    pub fn cut(&mut self, rng: &mut Rng) -> Toll {
        // One chance per file and cut, so that "all", "none" and every mixture are common.
        let chance = rng.below(5);
        let mut toll = Toll::default();
        for (page, cached) in std::mem::take(&mut self.cached) {
            let mut kept = 0;
            for bit in (0..SECTORS)
                .map(|sector| 1 << sector)
                .filter(|bit| cached.dirty & bit != 0)
            {
                if rng.coin(chance, 4) {
                    kept |= bit;
                    toll.kept += 1;
                } else {
                    toll.lost += 1;
                }
            }
            self.store(page, cached.page.as_ref(), kept);
        }
        if !self.sizes.is_empty() && rng.coin(chance, 4) {
            self.medium_size = self.sizes[rng.below(self.sizes.len() as u64) as usize];
        }
        self.sizes.clear();
        self.size = self.medium_size;
        drop(self.medium.split_off(&self.size.div_ceil(PAGE_BYTES)));
        if let Some(page) = self.medium.get_mut(&(self.size / PAGE_BYTES)) {
            page.zero((self.size % PAGE_BYTES) as usize..PAGE_BYTES as usize);
        }
        self.allocated = self.medium.len() as u64;
        toll
    }

    /// The page as programs see it; `None` is a hole.
    fn seen(&self, page: u64) -> Option<&Page> {
        match self.cached.get(&page) {
            Some(cached) => cached.page.as_ref(),
            None => self.medium.get(&page),
        }
    }

    /// Changes a page in the cache; `sectors` are the ones that differ from now on.
    fn change(&mut self, page: u64, sectors: u8, edit: impl FnOnce(&mut Option<Page>)) {
        let cached = self.cached.entry(page).or_insert_with(|| Cached {
            page: self.medium.get(&page).cloned(),
            dirty: 0,
        });
        let before = cached.page.is_some();
        edit(&mut cached.page);
        cached.dirty |= sectors;
        let after = cached.page.is_some();
        self.allocated = self.allocated + u64::from(after) - u64::from(before);
    }

    fn change_size(&mut self, size: u64) {
        if size == self.size {
            return;
        }
        self.size = size;
        if self.sizes.len() == SIZES_MAX {
            self.sizes.remove(0);
        }
        self.sizes.push(size);
    }

    /// Brings the sectors in `bits` of `from` to the medium.
    fn store(&mut self, page: u64, from: Option<&Page>, bits: u8) {
        match from {
            _ if bits == 0 => {}
            None if bits == ALL_SECTORS => drop(self.medium.remove(&page)),
            Some(content) if bits == ALL_SECTORS => drop(self.medium.insert(page, content.clone())),
            _ => {
                let target = self.medium.entry(page).or_insert(Page::Reserved);
                for sector in (0..SECTORS).filter(|sector| bits & 1 << sector != 0) {
                    let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                    match from.and_then(|page| page.get(range.clone())) {
                        Some(bytes) => target.put(range.start, bytes),
                        None => target.put(range.start, &[0; SECTOR_BYTES]),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
