//! Checkpoints: the base catches up with the log, and the log's segments become free.
//!
//! The order (design 3.3), for the oldest frozen layer: its records are durable in the log -> every chunk that it
//! overwrites and a pending mark still needs is taken -> its blocks are written to the base, in disk order -> the base
//! is synced -> the superblock says so -> the layer is dropped and segments nobody needs are recycled.
//! A crash between any two steps replays the layer from the log.
//! A full file system makes it give back the reserve and try again until there is room: the data waits in the
//! log, nothing is lost. Any other failure poisons the volume.
//! Invariant: the superblock never claims more than the base's last sync covers.

use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::index::{Extent, Location};
use crate::layers::Layer;
use crate::log::segment::read_blocks;
use crate::reserve::is_full;
use crate::volume::Volume;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::select;
use futures_util::stream;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{BLOCK_BYTES, BlockRange, MIB};

/// Most bytes of one base write.
const RUN_BYTES_MAX: u64 = MIB;
/// Base writes under way at once.
const RUNS_AT_ONCE: usize = 8;
/// Bytes of the base after which a checkpoint waits for the medium: a guest's sync that comes meanwhile has no more than that
/// before it in the medium's queue.
const WRITE_OUT_BYTES: u64 = 4 * MIB;

impl Volume {
    /// Brings the base up to date with everything acknowledged so far.
    pub async fn checkpoint(&self) -> Result<()> {
        let _one = self.inner.checkpointing.lock().await;
        {
            let mut state = self.inner.core.state.borrow_mut();
            let interval = state.tracker.open_interval();
            state.layers.freeze(interval);
        }
        let frozen = self.inner.core.state.borrow().layers.frozen_count();
        for _ in 0..frozen {
            self.checkpoint_oldest().await?;
        }
        // Landed chunks count from here on too.
        let landed = {
            let state = self.inner.core.state.borrow();
            frozen == 0 && state.states != state.durable_states
        };
        if landed {
            self.sync_base_and_persist(None).await
        } else {
            Ok(())
        }
    }

    /// Brings the base up to the disk's last mark; what came after it stays in the log.
    pub(crate) async fn checkpoint_before_parent(&self) -> Result<()> {
        loop {
            let _one = self.inner.checkpointing.lock().await;
            let due = {
                let state = self.inner.core.state.borrow();
                let open = state.tracker.open_interval();
                let oldest = state.layers.oldest_frozen();
                oldest.is_some_and(|layer| layer.interval != open)
            };
            if !due {
                return Ok(());
            }
            self.checkpoint_oldest().await?;
        }
    }

    /// Runs checkpoints when there is reason to, until the volume closes.
    pub(crate) async fn run_checkpointer(self) {
        loop {
            let wanted = pin!(self.inner.core.checkpoint_wanted.notified());
            select(wanted, pin!(self.inner.log.starved())).await;
            if self.inner.closing.get() {
                return;
            }
            if let Err(e) = self.catch_up().await {
                let stopping = self.inner.closing.get() || self.inner.log.poisoned().is_some();
                if stopping || e.kind == VolumeErrorKind::Poisoned {
                    return;
                }
                tracing::error!(volume = self.name(), error = %e, "checkpoint failed");
                self.inner.log.poison(&e.message);
                return;
            }
        }
    }

    /// Checkpoints layer by layer while the log is fuller, or the index larger, than it should be.
    async fn catch_up(&self) -> Result<()> {
        loop {
            let _one = self.inner.checkpointing.lock().await;
            let due = {
                let mut state = self.inner.core.state.borrow_mut();
                let (used, capacity) = self.inner.log.usage();
                // What waits to be written counts: nobody may come and ask again once it is.
                let filled = used + self.inner.log.queued_bytes();
                let full = filled * 100 >= capacity * self.inner.config.checkpoint_percent;
                let crowded = state.layers.is_crowded(self.inner.config.extents_max);
                let due = full || crowded || self.inner.log.is_starved();
                if due && state.layers.frozen_count() == 0 && state.layers.active().first_segment != 0 {
                    let interval = state.tracker.open_interval();
                    state.layers.freeze(interval);
                }
                due && state.layers.frozen_count() > 0
            };
            if !due || self.inner.closing.get() {
                return Ok(());
            }
            self.checkpoint_oldest().await?;
        }
    }

    async fn checkpoint_oldest(&self) -> Result<()> {
        let inner = &self.inner;
        let Some(layer) = inner.core.state.borrow().layers.oldest_frozen() else {
            return Ok(());
        };
        // The base must never hold what the log could still lose: tracking would not know of it.
        if !mutant::on("volume-base-ahead-of-log") {
            inner.log.sync(layer.last.min(inner.log.written())).await?;
        }
        self.preserve(&layer).await?;
        {
            let all_present = inner.core.state.borrow().states.all_present();
            let _landing = if all_present {
                None
            } else {
                Some(inner.landing.lock().await)
            };
            let runs = runs_of(&layer);
            let writes = stream::iter(runs.into_iter().map(|run| self.write_run(run)));
            let mut writes = writes.buffer_unordered(RUNS_AT_ONCE);
            let mut unwritten = 0;
            while let Some(done) = writes.next().await {
                unwritten += done? * BLOCK_BYTES;
                if unwritten >= WRITE_OUT_BYTES {
                    let written = inner.base.write_out().await;
                    written.map_err(|e| self.broken("writing the base", &e))?;
                    unwritten = 0;
                }
            }
            let mut state = inner.core.state.borrow_mut();
            for extent in layer.map.iter() {
                state.states.validate(extent.blocks);
            }
        }
        self.sync_base_and_persist(Some(layer)).await
    }

    /// Waits until no pending mark needs the old content of a chunk that the layer overwrites.
    async fn preserve(&self, layer: &Layer) -> Result<()> {
        loop {
            let taken = self.inner.core.taken.notified();
            let needed = self
                .inner
                .core
                .state
                .borrow()
                .tracker
                .needed(layer.interval, &layer.chunks);
            if needed.is_empty() || mutant::on("volume-checkpoint-ignores-pending") {
                return Ok(());
            }
            if self.inner.closing.get() {
                return Err(VolumeError::new(
                    VolumeErrorKind::Busy,
                    "a capture still needs the base as it is",
                ));
            }
            self.inner.core.state.borrow_mut().wanted |= &needed;
            self.inner.core.take_wanted.notify_one();
            taken.await;
            self.check_poisoned()?;
        }
    }

    fn check_poisoned(&self) -> Result<()> {
        match self.inner.log.poisoned() {
            Some(why) => Err(VolumeError::new(VolumeErrorKind::Poisoned, why)),
            None => Ok(()),
        }
    }

    /// Writes a run to the base; says how many blocks it has.
    async fn write_run(&self, run: Run) -> Result<u64> {
        let data = match &run.content {
            Content::Log(parts) => {
                let mut data = Vec::with_capacity(parts.len());
                for part in parts {
                    let Location::Log { segment, block } = part.location else {
                        unreachable!("a run of log extents")
                    };
                    let segment = self.inner.log.segment(segment);
                    let read = read_blocks(&*segment.file, block, part.blocks.count() as u32).await;
                    data.push(read.map_err(|e| self.broken("reading the log for a checkpoint", &e))?);
                }
                data
            }
            Content::Zero { .. } => Vec::new(),
        };
        loop {
            match self.write_run_once(&run, &data).await {
                Ok(()) => return Ok(run.blocks.count()),
                // As much as the run needs and no more: the rest of the log needs the rest of the reserve.
                Err(e) if is_full(&e) => {
                    let needed = run.blocks.count() * BLOCK_BYTES;
                    if !self.inner.reserve.give_back(needed).await? {
                        self.wait_for_space(&e).await?;
                    }
                }
                Err(e) => return Err(self.broken("writing the base", &e)),
            }
        }
    }

    async fn write_run_once(&self, run: &Run, data: &[Bytes]) -> io::Result<()> {
        let offset = run.blocks.start * BLOCK_BYTES;
        match run.content {
            Content::Log(_) => self.inner.base.write(offset, data.to_vec()).await,
            Content::Zero { .. } if mutant::on("volume-trim-keeps-data") => Ok(()),
            Content::Zero { punch } => {
                let len = run.blocks.count() * BLOCK_BYTES;
                self.inner.base.punch(offset, len).await?;
                if punch {
                    return Ok(());
                }
                match self.inner.base.allocate(offset, len).await {
                    // Nobody reserved this space, and zeros need none; what was taken of it is given back.
                    Err(e) if is_full(&e) => self.inner.base.punch(offset, len).await,
                    other => other,
                }
            }
        }
    }

    /// The data is safe in the log; try again when somebody may have made room.
    async fn wait_for_space(&self, e: &io::Error) -> Result<()> {
        if self.inner.closing.get() {
            return Err(VolumeError::io("writing the base", e));
        }
        tracing::warn!(
            volume = self.name(),
            "no room to move data from the log to the base; trying again"
        );
        self.inner.env.clock.sleep(Duration::from_millis(200)).await;
        self.check_poisoned()
    }

    /// A failure after which the medium's state is unknown.
    fn broken(&self, doing: &str, e: &io::Error) -> VolumeError {
        let why = format!("{doing}: {e}");
        self.inner.log.poison(&why);
        VolumeError::new(VolumeErrorKind::Poisoned, why)
    }

    /// Makes the base durable, says so in the superblock, and lets go of `layer` and of segments.
    async fn sync_base_and_persist(&self, layer: Option<Rc<Layer>>) -> Result<()> {
        let inner = &self.inner;
        // What lands while the sync runs is not covered by it.
        let covered = inner.core.state.borrow().states.clone();
        if !mutant::on("volume-superblock-before-base-sync") {
            let synced = inner.base.sync().await;
            synced.map_err(|e| self.broken("syncing the base", &e))?;
        }
        {
            let mut state = inner.core.state.borrow_mut();
            state.durable_states = covered;
            if let Some(layer) = layer {
                state
                    .tracker
                    .checkpointed(layer.interval, &layer.chunks, layer.last);
                state.checkpoint = layer.last;
                state.layers.drop_oldest();
            }
        }
        self.persist_or_poison().await
    }

    /// Writes the superblock, waiting for room if need be; any other failure stops the volume.
    pub(crate) async fn persist_or_poison(&self) -> Result<()> {
        let inner = &self.inner;
        while let Err(e) = self.persist().await {
            match e.kind {
                VolumeErrorKind::Full => {
                    inner.reserve.release().await?;
                    self.wait_for_space(&io::Error::from(io::ErrorKind::StorageFull))
                        .await?;
                }
                _ => {
                    inner.log.poison(&e.message);
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Stops serving, brings the base up to date and releases the directory. A capture that still needs the base
    /// as it is leaves its data in the log, to be found again by the next open.
    pub async fn close(&self) -> Result<()> {
        let inner = &self.inner;
        inner.closing.set(true);
        inner.log.stop_taking();
        inner.log.barrier().await;
        inner.core.checkpoint_wanted.notify_one();
        inner.core.taken.notify_waiters();
        let outcome = match self.check_poisoned() {
            Err(e) => Err(e),
            Ok(()) => match self.checkpoint().await {
                Err(e) if e.kind == VolumeErrorKind::Busy => inner.log.sync(inner.log.written()).await,
                other => other,
            },
        };
        let released = inner.reserve.close().await;
        inner.log.close().await;
        // Once each of these was held, nothing lands, no checkpoint of a poisoned volume goes on and no superblock is
        // written any more: the directory may soon be another owner's.
        drop(inner.checkpointing.lock().await);
        drop(inner.landing.lock().await);
        let _persisting = inner.persisting.lock().await;
        inner.lock.take();
        outcome.and(released)
    }
}

/// Neighbouring blocks that go to the base as one operation.
struct Run {
    blocks: BlockRange,
    content: Content,
}

enum Content {
    Log(Vec<Extent>),
    Zero { punch: bool },
}

/// A layer's extents as base operations, in disk order.
fn runs_of(layer: &Layer) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for extent in layer.map.iter() {
        match extent.location {
            Location::Zero { punch } => runs.push(Run {
                blocks: extent.blocks,
                content: Content::Zero { punch },
            }),
            Location::Log { .. } => {
                for part in split(extent) {
                    match runs.last_mut() {
                        Some(Run {
                            blocks,
                            content: Content::Log(parts),
                        }) if blocks.end == part.blocks.start
                            && (blocks.count() + part.blocks.count()) * BLOCK_BYTES <= RUN_BYTES_MAX =>
                        {
                            blocks.end = part.blocks.end;
                            parts.push(part);
                        }
                        _ => runs.push(Run {
                            blocks: part.blocks,
                            content: Content::Log(vec![part]),
                        }),
                    }
                }
            }
        }
    }
    runs
}

/// Cuts an extent into pieces of at most one base write.
fn split(extent: Extent) -> impl Iterator<Item = Extent> {
    let step = RUN_BYTES_MAX / BLOCK_BYTES;
    let mut rest = Some(extent);
    std::iter::from_fn(move || {
        let now = rest.take()?;
        if now.blocks.count() > step {
            let cut = now.blocks.start + step;
            rest = Some(Extent {
                blocks: BlockRange {
                    start: cut,
                    end: now.blocks.end,
                },
                location: now.location.advanced(step),
            });
            return Some(Extent {
                blocks: BlockRange {
                    start: now.blocks.start,
                    end: cut,
                },
                ..now
            });
        }
        Some(now)
    })
}
