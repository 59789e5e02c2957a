//! The account of requests in flight, in memory that the front end keeps while this process is dead.
//!
//! The layout is the protocol's, for split rings. A queue's part is a header and an entry for each descriptor:
//!
//! ```text
//! 0  features u64   8 version u16   10 desc_num u16   12 last_batch_head u16   14 used_idx u16
//! 16 + 16 * i:  0 inflight u8   6 next u16   8 counter u64
//! ```
//!
//! The order of stores, each of which may be the last one before a death:
//! taken: counter, then inflight = 1; answered: next, last_batch_head; the used ring's idx (`ring`); inflight = 0; used_idx.
//! So a request is marked from before it is begun until after its answer can be seen. If the ring's idx is not the used_idx noted here,
//! the death came between the answer and its note, and what is marked at last_batch_head has been answered. We answer one at a time; another
//! implementation may have left a longer batch, which `next` links.
//!
//! The front end could write anything here. All of it is read as numbers that are checked, never as addresses.

use crate::config::{QUEUE_SIZE_MAX, QUEUES_MAX};
use crate::memory::map_sealed;
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

const VERSION_AT: usize = 8;
const DESC_NUM_AT: usize = 10;
const LAST_BATCH_HEAD_AT: usize = 12;
const USED_IDX_AT: usize = 14;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
const INFLIGHT_AT: usize = 0;
const NEXT_AT: usize = 6;
const COUNTER_AT: usize = 8;
/// Queues' parts start at multiples of this.
const ALIGN: usize = 64;
/// The version of the layout.
const VERSION: u16 = 1;

/// Bytes of one queue's part.
fn queue_bytes(queue_size: u16) -> usize {
    (HEADER_BYTES + ENTRY_BYTES * usize::from(queue_size)).next_multiple_of(ALIGN)
}

/// Bytes for so many queues of that size, if both are within bounds.
fn region_bytes(queues: u16, queue_size: u16) -> io::Result<usize> {
    if queues == 0 || queues > QUEUES_MAX || queue_size == 0 || queue_size > QUEUE_SIZE_MAX {
        return Err(io::Error::other(format!(
            "{queues} queues of {queue_size} entries are not offered"
        )));
    }
    Ok(usize::from(queues) * queue_bytes(queue_size))
}

/// A new region with nothing in flight, for the front end to keep, and its bytes.
pub fn create(queues: u16, queue_size: u16) -> io::Result<(File, u64)> {
    let bytes = region_bytes(queues, queue_size)?;
    let fd = rustix::fs::memfd_create(
        "tidemark-inflight",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    rustix::fs::ftruncate(&fd, bytes as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok((File::from(fd), bytes as u64))
}

/// A mapped region.
pub struct Region {
    map: MmapRegion,
    queues: u16,
    queue_size: u16,
}

impl Region {
    /// Maps what the front end gives (back).
    pub fn map(file: File, offset: u64, bytes: u64, queues: u16, queue_size: u16) -> io::Result<Self> {
        let needed = region_bytes(queues, queue_size)?;
        if bytes < needed as u64 {
            return Err(io::Error::other(format!(
                "a region for requests in flight of {bytes} bytes is too small for {queues} queues of {queue_size} entries"
            )));
        }
        let map = map_sealed(file, offset, needed as u64)?;
        Ok(Self {
            map,
            queues,
            queue_size,
        })
    }

    fn put<T: vm_memory::AtomicAccess>(&self, at: usize, value: T) {
        let stored = self.map.as_volatile_slice().store(value, at, Ordering::SeqCst);
        stored.expect("the place was checked against the region's size, and is aligned");
    }

    fn get<T: vm_memory::AtomicAccess>(&self, at: usize) -> T {
        let loaded = self.map.as_volatile_slice().load(at, Ordering::SeqCst);
        loaded.expect("the place was checked against the region's size, and is aligned")
    }
}

/// What a ring finds in its part after this process, or the one before, has stopped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Heads of what was begun and not answered, oldest first.
    pub unanswered: Vec<u16>,
}

/// One ring's account: always in our memory, and in the front end's if it keeps one.
pub struct Account {
    /// By head.
    taken: Vec<bool>,
    counter: u64,
    kept: Option<Kept>,
}

struct Kept {
    region: Rc<Region>,
    start: usize,
}

impl Kept {
    fn entry(&self, head: u16) -> usize {
        self.start + HEADER_BYTES + ENTRY_BYTES * usize::from(head)
    }

    /// Corrects what a death in the middle of an answer left behind, given the ring's own idx; the marked heads and the next counter.
    fn settle(&self, used_idx: u16) -> io::Result<(Vec<u16>, u64)> {
        let region = &self.region;
        match region.get::<u16>(self.start + VERSION_AT) {
            VERSION => {}
            0 => region.put(self.start + VERSION_AT, VERSION),
            other => {
                return Err(io::Error::other(format!(
                    "requests in flight are noted in version {other}, we know {VERSION}"
                )));
            }
        }
        region.put(self.start + DESC_NUM_AT, region.queue_size);
        let behind = used_idx.wrapping_sub(region.get(self.start + USED_IDX_AT));
        if behind <= region.queue_size {
            let mut head: u16 = region.get(self.start + LAST_BATCH_HEAD_AT);
            for _ in 0..behind {
                if head >= region.queue_size {
                    break;
                }
                region.put(self.entry(head) + INFLIGHT_AT, 0u8);
                head = region.get(self.entry(head) + NEXT_AT);
            }
        } else {
            // More than any batch: the driver has begun anew, and what is marked is of another life of this ring.
            (0..region.queue_size).for_each(|head| region.put(self.entry(head) + INFLIGHT_AT, 0u8));
        }
        region.put(self.start + USED_IDX_AT, used_idx);
        let marked =
            (0..region.queue_size).filter(|head| region.get::<u8>(self.entry(*head) + INFLIGHT_AT) == 1);
        let mut marked: Vec<(u64, u16)> = marked
            .map(|head| (region.get(self.entry(head) + COUNTER_AT), head))
            .collect();
        marked.sort_unstable();
        let next = marked.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        Ok((marked.into_iter().map(|(_, head)| head).collect(), next))
    }
}

impl Account {
    /// The account of queue `index` with `size` entries whose used ring is at `used_idx`, and what was left unanswered; those stay marked.
    pub fn open(
        region: Option<&Rc<Region>>,
        index: u16,
        size: u16,
        used_idx: u16,
    ) -> io::Result<(Self, Found)> {
        let mut account = Self {
            taken: vec![false; usize::from(size)],
            counter: 0,
            kept: None,
        };
        let Some(region) = region else {
            return Ok((account, Found::default()));
        };
        if index >= region.queues || size > region.queue_size {
            return Err(io::Error::other(format!(
                "queue {index} with {size} entries has no place in the region for requests in flight"
            )));
        }
        let kept = Kept {
            region: Rc::clone(region),
            start: usize::from(index) * queue_bytes(region.queue_size),
        };
        let (unanswered, next) = kept.settle(used_idx)?;
        for head in &unanswered {
            match account.taken.get_mut(usize::from(*head)) {
                Some(taken) => *taken = true,
                None => {
                    return Err(io::Error::other(format!(
                        "request {head} in flight is none of this queue's"
                    )));
                }
            }
        }
        account.counter = next;
        account.kept = Some(kept);
        Ok((account, Found { unanswered }))
    }

    /// Marks a request that is about to be begun. `false`: there is no such head, or it is in flight already.
    pub fn take(&mut self, head: u16) -> bool {
        match self.taken.get_mut(usize::from(head)) {
            Some(taken) if !*taken => *taken = true,
            _ => return false,
        }
        if let Some(kept) = &self.kept {
            kept.region.put(kept.entry(head) + COUNTER_AT, self.counter);
            kept.region.put(kept.entry(head) + INFLIGHT_AT, 1u8);
        }
        self.counter = self.counter.wrapping_add(1);
        true
    }

    /// Its answer is about to become visible.
    pub fn answering(&mut self, head: u16) {
        if let Some(kept) = &self.kept {
            let last: u16 = kept.region.get(kept.start + LAST_BATCH_HEAD_AT);
            kept.region.put(kept.entry(head) + NEXT_AT, last);
            kept.region.put(kept.start + LAST_BATCH_HEAD_AT, head);
        }
    }

    /// Its answer is visible, and the used ring is at `used_idx`.
    pub fn answered(&mut self, head: u16, used_idx: u16) {
        self.taken[usize::from(head)] = false;
        if let Some(kept) = &self.kept {
            kept.region.put(kept.entry(head) + INFLIGHT_AT, 0u8);
            kept.region.put(kept.start + USED_IDX_AT, used_idx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> (File, Rc<Region>) {
        let (file, bytes) = create(2, 8).unwrap();
        let again = file.try_clone().unwrap();
        (again, Rc::new(Region::map(file, 0, bytes, 2, 8).unwrap()))
    }

    fn open(region: &Rc<Region>, used_idx: u16) -> (Account, Vec<u16>) {
        let (account, found) = Account::open(Some(region), 1, 8, used_idx).unwrap();
        (account, found.unanswered)
    }

    #[test]
    fn what_was_taken_and_not_answered_is_found_in_order() {
        let (_, region) = region();
        let (mut first, found) = open(&region, 0);
        assert!(found.is_empty());
        for head in [5, 2, 7, 0] {
            assert!(first.take(head));
        }
        assert!(!first.take(7), "it is in flight");
        assert!(!first.take(8), "there is no such head");
        first.answering(2);
        first.answered(2, 1);
        let (mut second, found) = open(&region, 1);
        assert_eq!(found, [5, 7, 0]);
        assert!(!second.take(5));
        assert!(second.take(2));
        assert_eq!(open(&region, 1).1, [5, 7, 0, 2], "the counter goes on");
    }

    #[test]
    fn a_death_at_each_step_of_an_answer() {
        for (steps, used_idx, left) in [(1, 0, vec![3, 4]), (1, 1, vec![4]), (2, 1, vec![4])] {
            let (_, region) = region();
            let (mut account, _) = open(&region, 0);
            assert!(account.take(3) && account.take(4));
            account.answering(3);
            if steps == 2 {
                account.answered(3, 1);
            }
            assert_eq!(open(&region, used_idx).1, left, "{steps} {used_idx}");
        }
    }

    #[test]
    fn a_longer_batch_of_somebody_else() {
        let (_, region) = region();
        let (mut account, _) = open(&region, 65535);
        for head in 0..4 {
            assert!(account.take(head));
        }
        [1, 0, 3].into_iter().for_each(|head| account.answering(head));
        assert_eq!(open(&region, 2).1, [2]);
    }

    #[test]
    fn a_ring_that_began_anew_forgets() {
        let (_, region) = region();
        let (mut account, _) = open(&region, 100);
        assert!(account.take(3));
        assert!(open(&region, 0).1.is_empty());
    }

    #[test]
    fn nonsense_in_it_is_refused_or_harmless() {
        let (file, region) = region();
        let start = queue_bytes(8);
        region.put(start + LAST_BATCH_HEAD_AT, 999u16);
        assert!(open(&region, 3).1.is_empty());
        region.put(start + VERSION_AT, 7u16);
        assert!(Account::open(Some(&region), 1, 8, 0).is_err());
        assert!(Account::open(Some(&region), 2, 8, 0).is_err());
        assert!(Account::open(Some(&region), 0, 16, 0).is_err());
        assert!(Region::map(file.try_clone().unwrap(), 0, 64, 2, 8).is_err());
        assert!(Region::map(file.try_clone().unwrap(), 4096, 1 << 20, 64, 1024).is_err());
        assert!(Region::map(file, 0, 1 << 30, 65, 8).is_err());
        assert!(create(1, 0).is_err());
        // Memory that could shrink is not mapped.
        let plain = rustix::fs::memfd_create("plain", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&plain, 1 << 20).unwrap();
        assert!(Region::map(File::from(plain), 0, 1 << 20, 1, 8).is_err());
    }

    #[test]
    fn a_region_has_the_size_that_others_expect() {
        assert_eq!(queue_bytes(128), 2112);
        assert_eq!(queue_bytes(3), 64);
    }
}
