//! Absent chunks: fetching them when somebody asks, and landing what was fetched in the base.
//!
//! What must stay true: fetched data never lands over newer local data. Landing holds the `landing` lock, writes
//! only blocks that are not valid, and makes the chunk present afterwards; a checkpoint of a chunk that is not
//! present holds the same lock while it writes and validates. Readers need no lock: states only move
//! towards present. A crash between landing and the next superblock only means fetching again.
//! A rollback replaces the source: what was fetched before it (an older epoch) neither lands nor answers later readers.
//! Concurrent readers of one chunk share one fetch.

use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::reserve::is_full;
use crate::source::ChunkSource;
use crate::volume::Volume;
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use tidemark_env::mutant;
use tidemark_units::{BLOCK_BYTES, BlockRange, ChunkIndex};
use tokio::sync::oneshot;

type Fetched = Result<Option<Bytes>>;

/// Who waits for a chunk.
type Waiting = Vec<oneshot::Sender<Fetched>>;

/// Fetches under way, by epoch and chunk, and who waits for them.
#[derive(Default)]
pub(crate) struct Fetches {
    waiting: RefCell<HashMap<(u64, u32), Waiting>>,
}

impl Volume {
    /// Where absent chunks come from at present.
    pub(crate) fn source(&self) -> Option<Rc<dyn ChunkSource>> {
        self.inner.source.borrow().clone()
    }

    /// The source's content of a chunk; also starts landing it.
    pub(crate) async fn fetch(&self, chunk: ChunkIndex) -> Fetched {
        let receiver = {
            let mut waiting = self.inner.fetches.waiting.borrow_mut();
            let (done, receiver) = oneshot::channel();
            let epoch = self.epoch();
            let first = !waiting.contains_key(&(epoch, chunk.0));
            waiting.entry((epoch, chunk.0)).or_default().push(done);
            if first {
                let volume = self.clone();
                // A task of its own: a reader that goes away must not take the others' answer with it.
                self.inner
                    .env
                    .spawn(async move { volume.fetch_and_land(chunk, epoch).await });
            }
            receiver
        };
        let lost = || {
            VolumeError::new(
                VolumeErrorKind::Unavailable,
                "the volume was closed during a fetch",
            )
        };
        receiver.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn fetch_and_land(&self, chunk: ChunkIndex, epoch: u64) {
        let source = self.source().filter(|_| self.epoch() == epoch);
        let fetched = match source {
            Some(source) => source.read_chunk(chunk).await.map_err(|e| {
                VolumeError::new(
                    VolumeErrorKind::Unavailable,
                    format!("chunk {} of {}: {e}", chunk.0, self.name()),
                )
            }),
            None => Err(VolumeError::corrupt(format!(
                "chunk {} is absent and there is no snapshot to fetch it from",
                chunk.0
            ))),
        };
        // Answer first: a guest waits for the data, not for its landing.
        let waiting = self
            .inner
            .fetches
            .waiting
            .borrow_mut()
            .remove(&(epoch, chunk.0))
            .unwrap_or_default();
        for reader in waiting {
            let _ = reader.send(fetched.clone());
        }
        if let Ok(content) = fetched
            && let Err(e) = self.land(chunk, content, epoch).await
        {
            tracing::warn!(volume = self.name(), chunk = chunk.0, error = %e, "fetched data could not be kept");
        }
    }

    /// Which content absent chunks have: a rollback starts a new one.
    fn epoch(&self) -> u64 {
        self.inner.core.state.borrow().epoch
    }

    /// Puts a chunk's content, as it was in `epoch`, under whatever is valid of it, and makes it present.
    async fn land(&self, chunk: ChunkIndex, content: Option<Bytes>, epoch: u64) -> Result<()> {
        let _landing = self.inner.landing.lock().await;
        // After a close the base may be another owner's.
        self.check_serving()?;
        let end = self.size_bytes() / BLOCK_BYTES;
        let blocks = chunk.blocks().intersect(BlockRange { start: 0, end });
        let valid = {
            let state = self.inner.core.state.borrow();
            let stale = state.epoch != epoch && !mutant::on("volume-fetch-outlives-rollback");
            if stale || state.states.is_present(chunk) {
                return Ok(());
            }
            match mutant::on("volume-fetch-over-newer") {
                false => state.states.valid(chunk),
                true => 0,
            }
        };
        let first = blocks.start;
        let mut at = blocks.start;
        while at < blocks.end {
            let from = at;
            while at < blocks.end && valid & (1 << (at - first)) == 0 {
                at += 1;
            }
            if at > from {
                self.land_run(BlockRange { start: from, end: at }, first, &content)
                    .await?;
            } else {
                at += 1;
            }
        }
        self.inner.core.state.borrow_mut().states.make_present(chunk);
        Ok(())
    }

    async fn land_run(&self, run: BlockRange, first: u64, content: &Option<Bytes>) -> Result<()> {
        let offset = run.start * BLOCK_BYTES;
        let len = run.count() * BLOCK_BYTES;
        let done = match content {
            Some(bytes) => {
                let from = ((run.start - first) * BLOCK_BYTES) as usize;
                self.inner
                    .base
                    .write(offset, vec![bytes.slice(from..from + len as usize)])
                    .await
            }
            // After a rollback the base may hold something else there.
            None => self.inner.base.punch(offset, len).await,
        };
        match done {
            Err(e) if is_full(&e) => Err(VolumeError::io("landing a fetched chunk", &e)),
            Err(e) => {
                let why = format!("landing a fetched chunk: {e}");
                self.inner.log.poison(&why);
                Err(VolumeError::new(VolumeErrorKind::Poisoned, why))
            }
            Ok(()) => Ok(()),
        }
    }

    /// Chunks that are not all local.
    pub fn absent_chunks(&self) -> RoaringBitmap {
        self.inner.core.state.borrow().states.absent().clone()
    }

    /// How many chunks of each range are not all local.
    pub fn absent_in(&self, ranges: impl Iterator<Item = Range<u32>>) -> Vec<u64> {
        let state = self.inner.core.state.borrow();
        let absent = state.states.absent();
        ranges.map(|range| absent.range_cardinality(range)).collect()
    }

    /// The first chunk from `from` on that is not all local.
    pub fn first_absent(&self, from: u32) -> Option<u32> {
        self.inner
            .core
            .state
            .borrow()
            .states
            .absent()
            .range(from..)
            .next()
    }

    /// How many chunks are not all local.
    pub fn absent_count(&self) -> u64 {
        self.inner.core.state.borrow().states.absent().len()
    }

    /// Makes those chunks of `range` present that are zeros in the source and have no local content, many at a time, and
    /// says which others there are not present: [`Volume::hydrate`] these. As with that, a crash may undo it until the
    /// next [`Volume::checkpoint`].
    pub async fn hydrate_zeros(&self, range: Range<u32>) -> Result<RoaringBitmap> {
        self.check_serving()?;
        let (epoch, source) = (self.epoch(), self.source());
        let Some(source) = source else {
            let cause = "chunks are absent and there is no snapshot to fetch them from";
            return Err(VolumeError::corrupt(cause));
        };
        let unavailable = |e: String| {
            let what = format!("chunks {}..{} of {}: {e}", range.start, range.end, self.name());
            VolumeError::new(VolumeErrorKind::Unavailable, what)
        };
        let stored = source.nonzero(range.clone()).await.map_err(unavailable)?;
        let _landing = self.inner.landing.lock().await;
        self.check_serving()?;
        let mut zeros = RoaringBitmap::new();
        let mut others = RoaringBitmap::new();
        {
            let state = self.inner.core.state.borrow();
            for chunk in state.states.absent().range(range) {
                // What a rollback has replaced the source of says nothing.
                let is_zeros = state.epoch == epoch && !stored.contains(chunk);
                match is_zeros && state.states.valid(ChunkIndex(chunk)) == 0 {
                    true => zeros.insert(chunk),
                    false => others.insert(chunk),
                };
            }
        }
        let end = self.size_bytes() / BLOCK_BYTES;
        let mut left = zeros.iter().peekable();
        while let Some(first) = left.next() {
            let mut last = first;
            while let Some(next) = left.next_if(|next| *next == last + 1) {
                last = next;
            }
            let run = BlockRange {
                start: ChunkIndex(first).blocks().start,
                end: ChunkIndex(last).blocks().end.min(end),
            };
            // The states stand still: a checkpoint of chunks that are not present waits for the lock.
            self.land_run(run, run.start, &None).await?;
            let mut state = self.inner.core.state.borrow_mut();
            (first..=last).for_each(|chunk| state.states.make_present(ChunkIndex(chunk)));
        }
        Ok(others)
    }

    /// Makes a chunk present; one that is so already is fine. What is made present survives a crash after
    /// the next [`Volume::checkpoint`].
    pub async fn hydrate(&self, chunk: ChunkIndex) -> Result<()> {
        self.check_serving()?;
        if self.inner.core.state.borrow().states.is_present(chunk) {
            return Ok(());
        }
        let epoch = self.epoch();
        let content = self.fetch(chunk).await?;
        self.land(chunk, content, epoch).await
    }
}
