//! The log's ring of segments: which are live, which are free, when another is made.
//!
//! A segment is reused only after a durable superblock says that nothing in it is needed, and only when no
//! reader holds it any more. The ring grows in the background, up to its limit, while there is room; a record that
//! finds neither a free segment nor hope of a new one is *starved*: only a checkpoint helps.
//! Not here: what is written into segments (`writer`).

use super::layout::{Seed, SegmentHeader};
use super::segment::Segment;
use super::writer::{Log, State, poisoned};
use crate::error::Result;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::File;
use tidemark_units::BLOCK_BYTES;

impl Log {
    /// Log bytes that hold records which are still needed, and the most there can be at present.
    pub fn usage(&self) -> (u64, u64) {
        let state = self.inner.state.borrow();
        let segment = u64::from(self.inner.store.segment_blocks()) * BLOCK_BYTES;
        let mut used = state.live.len() as u64 * segment;
        if let Some((current, next_block)) = &state.current
            && state.live.contains_key(&current.sequence)
        {
            used -= segment - u64::from(*next_block) * BLOCK_BYTES;
        }
        let slots = if state.growth_failed {
            state.slots
        } else {
            self.inner.slots_max
        };
        (used, u64::from(slots.max(1)) * segment)
    }

    /// The file of a segment that the index refers to, pinned for as long as the caller holds it.
    pub fn segment(&self, sequence: u64) -> Rc<Segment> {
        let state = self.inner.state.borrow();
        Rc::clone(
            state
                .live
                .get(&sequence)
                .expect("the index only refers to live segments"),
        )
    }

    /// Segments before `sequence` are no longer needed; a durable superblock says so.
    pub fn release_before(&self, sequence: u64) {
        let mut state = self.inner.state.borrow_mut();
        let keep = state.live.split_off(&sequence);
        let gone = std::mem::replace(&mut state.live, keep);
        state.retired.extend(gone.into_values());
        state.unsynced.retain(|s| s.sequence >= sequence);
        state.reclaim();
        drop(state);
        self.inner.space.notify_waiters();
    }

    /// Completes when a record waits for a segment that only a checkpoint can free.
    pub async fn starved(&self) {
        self.inner.starving.notified().await;
    }

    /// Whether the log is down to one segment and cannot have another: nothing can be recycled, whatever the base does.
    pub fn is_stuck(&self) -> bool {
        let state = self.inner.state.borrow();
        state.slots <= 1 && state.growth_failed
    }

    /// Whether a record waits for a segment that only a checkpoint can free.
    pub fn is_starved(&self) -> bool {
        self.inner.state.borrow().starved
    }

    /// Makes a free segment the current one, waiting for one if need be; gives its header, still to be written.
    /// `None`: there is none, and the volume is being closed.
    pub(super) async fn next_segment(&self) -> Result<Option<SegmentHeader>> {
        loop {
            // Registered before looking, so that a release in between is not missed.
            let space = self.inner.space.notified();
            {
                let mut state = self.inner.state.borrow_mut();
                if let Some(why) = &state.poisoned {
                    return Err(poisoned(why));
                }
                state.reclaim();
                if let Some((slot, file)) = state.free.pop() {
                    state.starved = false;
                    return Ok(Some(self.begin_segment(&mut state, slot, file)));
                }
            }
            self.maybe_grow();
            {
                let mut state = self.inner.state.borrow_mut();
                state.starved = !state.growing || state.growth_failed;
                if state.starved && state.stopping {
                    state.starved = false;
                    return Ok(None);
                }
                if state.starved {
                    self.inner.starving.notify_one();
                }
            }
            // A reader's pin is dropped without a word; look again soon.
            let again = self.inner.env.clock.sleep(Duration::from_millis(2));
            futures_util::future::select(std::pin::pin!(space), again).await;
        }
    }

    fn begin_segment(&self, state: &mut State, slot: u32, file: Rc<dyn File>) -> SegmentHeader {
        state.sequence += 1;
        let salt = u64::from_le_bytes(self.inner.env.random());
        let header = SegmentHeader {
            seed: Seed {
                volume: self.inner.volume,
                sequence: state.sequence,
                salt,
            },
            epoch: self.inner.epoch.get(),
            first_lsn: state.next_lsn,
            previous_lsn: state.chain_lsn,
            previous_crc: state.chain,
            segment_blocks: self.inner.store.segment_blocks(),
        };
        let segment = Rc::new(Segment {
            slot,
            file,
            sequence: state.sequence,
            header: Cell::new(Some(header)),
        });
        state.live.insert(state.sequence, Rc::clone(&segment));
        state.current = Some((segment, 1));
        header
    }

    /// Makes another segment file in the background, when the ring may grow and the free ones run out.
    pub(super) fn maybe_grow(&self) {
        let slot = {
            let mut state = self.inner.state.borrow_mut();
            let half = self.inner.store.segment_blocks() / 2;
            let soon = state.current.as_ref().is_none_or(|(_, next)| *next > half);
            if !soon
                || !state.free.is_empty()
                || state.growing
                || state.slots >= self.inner.slots_max
                || state.closed
            {
                return;
            }
            state.growing = true;
            state.making = true;
            state.slots
        };
        let log = self.clone();
        self.inner.env.spawn(async move {
            let made = log.inner.store.create(slot).await;
            let failed = made.is_err();
            {
                let mut state = log.inner.state.borrow_mut();
                state.growth_failed = failed;
                state.making = false;
                match made {
                    Ok(file) => {
                        state.free.push((slot, file));
                        state.slots += 1;
                    }
                    Err(e) => tracing::warn!(error = %e, "the log cannot grow; it recycles what it has"),
                }
            }
            log.inner.space.notify_waiters();
            if failed {
                log.inner.env.clock.sleep(Duration::from_secs(1)).await;
            }
            log.inner.state.borrow_mut().growing = false;
        });
    }
}

impl State {
    /// Moves retired segments that nobody reads any more to the free ones.
    fn reclaim(&mut self) {
        let mut at = 0;
        while at < self.retired.len() {
            if Rc::strong_count(&self.retired[at]) == 1 {
                let segment = self.retired.swap_remove(at);
                self.free.push((segment.slot, Rc::clone(&segment.file)));
            } else {
                at += 1;
            }
        }
    }
}
