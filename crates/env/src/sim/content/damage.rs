//! What a medium may do to a file's bytes: bits that rot, pages and sectors that land in the wrong place.
//!
//! Damage is to what the medium holds. Programs see it at once where nothing newer hides it, so the
//! invariants of [`Content`] stay true: a sector that is not dirty reads the same in both layers.

use super::{Content, PAGE_BYTES, Page, SECTOR_BYTES, sector_range};
use crate::sim::rng::{Rng, TEN_THOUSAND};
use std::collections::BTreeMap;

/// A sector's number within the file.
type SectorIndex = u64;
type Sector = [u8; SECTOR_BYTES];

impl Content {
    /// Flips one random bit of data on the medium; the offset of its byte. `None`: there is no data.
    pub(in crate::sim) fn rot(&mut self, rng: &mut Rng) -> Option<u64> {
        let end = self.rotting_end();
        let pages: Vec<u64> = self
            .durable
            .range(..end.div_ceil(PAGE_BYTES))
            .map(|(page, _)| *page)
            .collect();
        if pages.is_empty() {
            return None;
        }
        let page = pages[rng.below(pages.len() as u64) as usize];
        let within = rng.below(PAGE_BYTES.min(end - page * PAGE_BYTES)) as usize;
        let mut damaged = self.durable.get(&page)?.clone();
        damaged[within] ^= 1 << rng.below(8);
        self.damage(page, damaged);
        Some(page * PAGE_BYTES + within as u64)
    }

    /// Overwrites one page of data on the medium with another, different one; the offset of the page that
    /// is lost. `None`: no two pages differ.
    pub(in crate::sim) fn misdirect(&mut self, rng: &mut Rng) -> Option<u64> {
        let end = self.rotting_end();
        // Whole pages only: the rest of the last one must stay zeros.
        let pages: Vec<u64> = self
            .durable
            .range(..end / PAGE_BYTES)
            .map(|(page, _)| *page)
            .collect();
        if pages.is_empty() {
            return None;
        }
        let first = rng.below(pages.len() as u64) as usize;
        let from = pages[first];
        let others = pages[first + 1..].iter().chain(&pages[..first]);
        let differing: Vec<u64> = others
            .copied()
            .filter(|other| self.durable[other] != self.durable[&from])
            .collect();
        if differing.is_empty() {
            return None;
        }
        let lost = differing[rng.below(differing.len() as u64) as usize];
        self.damage(lost, self.durable[&from].clone());
        Some(lost * PAGE_BYTES)
    }

    /// The sectors that are not on the medium, with their new bytes.
    pub(super) fn unsynced_sectors(&self) -> BTreeMap<SectorIndex, Sector> {
        let mut sectors = BTreeMap::new();
        for (page, cached) in &self.cached {
            for sector in (0..8).filter(|sector| cached.dirty & 1 << sector != 0) {
                let mut bytes = [0; SECTOR_BYTES];
                if let Some(data) = &cached.data {
                    bytes.copy_from_slice(&data[sector_range(sector)]);
                }
                sectors.insert(page * 8 + sector as u64, bytes);
            }
        }
        sectors
    }

    /// Gives some of the `kept` sectors the bytes of another one of `unsynced`; how many changed thereby.
    pub(super) fn misdirect_kept(
        &mut self,
        unsynced: &BTreeMap<SectorIndex, Sector>,
        kept: &[(u64, u8)],
        chances: u32,
        rng: &mut Rng,
    ) -> u64 {
        if unsynced.len() < 2 {
            return 0;
        }
        let sources: Vec<&Sector> = unsynced.values().collect();
        let mut strays = 0;
        for (page, bits) in kept {
            for sector in (0..8).filter(|sector| bits & 1 << sector != 0) {
                let past_the_end = page * PAGE_BYTES + sector_range(sector).start as u64 >= self.size;
                if past_the_end || !rng.coin(chances.into(), TEN_THOUSAND) {
                    continue;
                }
                let source = sources[rng.below(sources.len() as u64) as usize];
                if unsynced.get(&(page * 8 + sector as u64)) == Some(source) {
                    continue;
                }
                let medium = self
                    .durable
                    .entry(*page)
                    .or_insert_with(|| Box::new([0; PAGE_BYTES as usize]));
                medium[sector_range(sector)].copy_from_slice(source);
                self.space.insert(*page..page + 1);
                self.durable_space.insert(*page..page + 1);
                strays += 1;
            }
        }
        strays
    }

    /// Bytes below here are in the file both as programs see it and as a power cut would leave it.
    fn rotting_end(&self) -> u64 {
        self.size.min(self.durable_size)
    }

    /// The medium now holds `damaged` as `page`; sectors that are newer in the cache hide it.
    fn damage(&mut self, page: u64, damaged: Page) {
        if let Some(cached) = self.cached.get_mut(&page) {
            let seen = cached
                .data
                .get_or_insert_with(|| Box::new([0; PAGE_BYTES as usize]));
            for sector in (0..8)
                .filter(|sector| cached.dirty & 1 << sector == 0)
                .map(sector_range)
            {
                seen[sector.clone()].copy_from_slice(&damaged[sector]);
            }
        }
        self.durable.insert(page, damaged);
    }
}
