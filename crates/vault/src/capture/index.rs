//! Which chunks this capture has stored already: bounded, oldest out first.

use crate::id::ChunkId;
use crate::pack::Location;
use std::collections::{HashMap, VecDeque};

/// Chunks remembered: some 8 MiB of memory, and 4 GiB of disk.
const KEPT_MAX: usize = 1 << 16;

#[derive(Default)]
pub(super) struct ChunkIndex {
    places: HashMap<ChunkId, Location>,
    order: VecDeque<ChunkId>,
}

impl ChunkIndex {
    pub(super) fn get(&self, id: &ChunkId) -> Option<Location> {
        self.places.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: ChunkId, at: Location) {
        if self.places.insert(id, at).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > KEPT_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.places.remove(&oldest);
            }
        }
    }
}
