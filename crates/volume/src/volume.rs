//! [`Volume`]: the handle, and the state behind it.

use crate::base::Base;
use crate::chunks::ChunkStates;
use crate::config::VolumeConfig;
use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::fetch::Fetches;
use crate::group::AckGate;
use crate::index::Location;
use crate::layers::Layers;
use crate::locks::RangeLocks;
use crate::log::layout::RecordKind;
use crate::log::writer::{Log, Written};
use crate::notes::Note;
use crate::reserve::Reserve;
use crate::source::ChunkSource;
use crate::superblock::Superblock;
use crate::tracking::{Mark, PendingMark, Tracker};
use roaring::RoaringBitmap;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tidemark_env::{DirLock, Env, mutant};
use tidemark_units::{BLOCK_BYTES, BlockRange, Lsn};
use tokio::sync::{Mutex, Notify};

/// An open volume. Clones share it; all belong to one thread.
#[derive(Clone)]
pub struct Volume {
    pub(crate) inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub env: Env,
    pub dir: PathBuf,
    pub config: VolumeConfig,
    pub identity: Identity,
    /// The disk's size: what requests may reach. Only ever grows.
    pub size_bytes: Cell<u64>,
    pub claimed: Claimed,
    pub log: Log,
    pub base: Base,
    pub reserve: Reserve,
    pub core: Rc<Core>,
    pub locks: RangeLocks,
    pub source: RefCell<Option<Rc<dyn ChunkSource>>>,
    pub fetches: Fetches,
    /// Held while data lands in chunks that are not present: by fetches, and by a checkpoint of such chunks.
    pub landing: Mutex<()>,
    /// One checkpoint at a time.
    pub checkpointing: Mutex<()>,
    /// One superblock write at a time.
    pub persisting: Mutex<()>,
    /// One mark at a time. Shared, because a mark that is being prepared holds it in a task of its own.
    pub marking: Arc<Mutex<()>>,
    /// Lets acknowledgements through, or holds them while a group is prepared.
    pub acks: AckGate,
    pub closing: Cell<bool>,
    /// Held for as long as the volume is open (R1).
    pub lock: RefCell<Option<Box<dyn DirLock>>>,
}

/// What never changes while a volume is open.
pub(crate) struct Identity {
    pub volume: [u8; 16],
    pub name: String,
    pub segment_bytes: u64,
}

/// What the next superblock says of the disk's size; ahead of [`Inner::size_bytes`] while the disk grows.
pub(crate) struct Claimed {
    pub bytes: Cell<u64>,
    /// The most segments of the log's ring, from the next opening on.
    pub segments_max: Cell<u32>,
}

/// The state that records are applied to.
pub(crate) struct Core {
    pub state: RefCell<CoreState>,
    /// The checkpointer has reason to look.
    pub checkpoint_wanted: Notify,
    /// Chunks became taken, or a mark is over.
    pub taken: Notify,
    /// The checkpointer waits for chunks to be taken.
    pub take_wanted: Notify,
}

pub(crate) struct CoreState {
    pub layers: Layers,
    pub tracker: Tracker,
    pub states: ChunkStates,
    /// The states as of the last base sync: what a superblock may claim.
    pub durable_states: ChunkStates,
    pub checkpoint: Lsn,
    pub epoch: u64,
    pub generation: u64,
    pub parent: Option<Vec<u8>>,
    pub source_root: Option<Vec<u8>>,
    /// The roots that the last superblock needs: a crash would bring them back.
    pub durable_roots: Vec<Vec<u8>>,
    pub ever_connected: bool,
    /// A superblock that says so is durable.
    pub durably_connected: bool,
    /// Chunks that the checkpointer waits for.
    pub wanted: RoaringBitmap,
}

impl Core {
    pub fn new(superblock: &Superblock) -> Self {
        let tracker = Tracker::new(superblock.dirty.clone(), superblock.marks.clone());
        let layers = Layers::new(superblock.checkpoint, tracker.open_interval());
        let state = CoreState {
            layers,
            tracker,
            states: superblock.states.clone(),
            durable_states: superblock.states.clone(),
            checkpoint: superblock.checkpoint,
            epoch: superblock.epoch,
            generation: superblock.generation,
            parent: superblock.parent.clone(),
            source_root: superblock.source.clone(),
            durable_roots: superblock.roots(),
            ever_connected: superblock.ever_connected,
            durably_connected: superblock.ever_connected,
            wanted: RoaringBitmap::new(),
        };
        Self {
            state: RefCell::new(state),
            checkpoint_wanted: Notify::new(),
            taken: Notify::new(),
            take_wanted: Notify::new(),
        }
    }

    /// Applies a record that is in the log: the same after its write and in replay.
    pub fn apply(&self, written: Written<'_>) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let location = Location::Log {
            segment: written.segment,
            block: written.payload_block,
        };
        let change = match written.kind {
            RecordKind::Data => Some((written.blocks, location)),
            RecordKind::Zero => Some((written.blocks, Location::Zero { punch: false })),
            RecordKind::Trim => Some((written.blocks, Location::Zero { punch: true })),
            RecordKind::Mark | RecordKind::MarkPrepare | RecordKind::MarkCommit | RecordKind::MarkAbort => {
                None
            }
        };
        state.layers.apply(written.lsn, written.segment, change);
        if change.is_none() {
            let note = Note::decode(&written.payload.concat(), written.kind)?;
            state.apply_note(written.lsn, written.kind, note);
        }
        Ok(())
    }
}

impl CoreState {
    fn apply_note(&mut self, lsn: Lsn, kind: RecordKind, note: Note) {
        let group = match kind {
            RecordKind::MarkCommit => return self.tracker.commit_prepared(&note.snapshot),
            RecordKind::MarkAbort => return self.tracker.abort_prepared(&note.snapshot),
            RecordKind::MarkPrepare => Some(note.group),
            _ => None,
        };
        let changed = self.layers.chunks_of(self.tracker.open_interval());
        let mark = Mark {
            snapshot: note.snapshot,
            lsn,
            unix_millis: note.unix_millis,
        };
        let next = self.tracker.close(mark, group, &changed);
        self.layers.freeze(next);
    }
}

/// What a volume is and does, for people.
#[derive(Clone, Debug)]
pub struct VolumeInfo {
    /// The name it was created with.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The last record in the log.
    pub last_lsn: Lsn,
    /// The base holds everything up to here.
    pub checkpoint_lsn: Lsn,
    /// Log bytes that are still needed, and the most there can be.
    pub log_bytes: (u64, u64),
    /// Extents in the index.
    pub extents: usize,
    /// The owner's epoch.
    pub epoch: u64,
    /// Chunks changed since the last mark.
    pub changed_chunks: u64,
    /// Marks whose capture is not finished.
    pub pending: Vec<PendingMark>,
    /// Marks whose group has not decided, each with its group.
    pub prepared: Vec<(Mark, String)>,
    /// Chunks that are not all local.
    pub absent_chunks: u64,
    /// Whether a client has ever been connected.
    pub ever_connected: bool,
    /// Why the volume refuses service, if it does.
    pub poisoned: Option<String>,
}

impl Volume {
    /// Size of the disk in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.inner.size_bytes.get()
    }

    /// The name it was created with.
    pub fn name(&self) -> &str {
        &self.inner.identity.name
    }

    /// What it is and does.
    pub fn info(&self) -> VolumeInfo {
        let state = self.inner.core.state.borrow();
        let open = state.tracker.open_interval();
        let changed = state.tracker.open_checkpointed() | state.layers.chunks_of(open);
        VolumeInfo {
            name: self.inner.identity.name.clone(),
            size_bytes: self.size_bytes(),
            last_lsn: state.layers.last(),
            checkpoint_lsn: state.checkpoint,
            log_bytes: self.inner.log.usage(),
            extents: state.layers.extent_count(),
            epoch: state.epoch,
            changed_chunks: changed.len(),
            pending: state.tracker.pending(),
            prepared: state.tracker.prepared(),
            absent_chunks: state.states.absent().len(),
            ever_connected: state.ever_connected,
            poisoned: self.inner.log.poisoned(),
        }
    }

    /// Remembers, durably, that a client was connected.
    pub async fn note_connected(&self) -> Result<()> {
        {
            let mut state = self.inner.core.state.borrow_mut();
            if state.durably_connected {
                return Ok(());
            }
            state.ever_connected = true;
        }
        self.persist().await
    }

    /// Writes the superblock.
    pub(crate) async fn persist(&self) -> Result<()> {
        let inner = &self.inner;
        let _one = inner.persisting.lock().await;
        if inner.lock.borrow().is_none() {
            return Err(VolumeError::new(
                VolumeErrorKind::Poisoned,
                "the volume was closed",
            ));
        }
        let superblock = {
            let state = inner.core.state.borrow();
            let (dirty, marks) = state.tracker.saved(state.checkpoint);
            let first = state.layers.first_segment().unwrap_or(u64::MAX);
            // Present counts only once its data was synced (R9).
            let states = match mutant::on("volume-present-before-sync") {
                false => state.durable_states.clone(),
                true => state.states.clone(),
            };
            Superblock {
                volume: inner.identity.volume,
                name: inner.identity.name.clone(),
                size_bytes: inner.claimed.bytes.get(),
                segment_bytes: inner.identity.segment_bytes,
                segments_max: inner.claimed.segments_max.get(),
                // Not counted before it is written: another attempt after a failure must not touch the slot that is valid.
                generation: state.generation + 1,
                epoch: state.epoch,
                checkpoint: state.checkpoint,
                first_sequence: first.min(inner.log.synced_sequence()),
                dirty,
                marks,
                parent: state.parent.clone(),
                source: state.source_root.clone(),
                states,
                ever_connected: state.ever_connected,
            }
        };
        if mutant::on("volume-recycle-too-soon") {
            inner.log.release_before(superblock.first_sequence);
        }
        superblock.store(&inner.env, &inner.dir).await?;
        {
            let mut state = inner.core.state.borrow_mut();
            state.generation = superblock.generation;
            state.durable_roots = superblock.roots();
            state.durably_connected = superblock.ever_connected;
        }
        inner.log.release_before(superblock.first_sequence);
        Ok(())
    }

    /// Checks a request's range against the disk.
    pub(crate) fn check_range(&self, offset: u64, len: u64) -> Result<()> {
        let size = self.size_bytes();
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(VolumeError::invalid(format!(
                "{len} bytes at {offset} reach past the end of the disk ({size} bytes)"
            ))),
        }
    }

    pub(crate) fn check_serving(&self) -> Result<()> {
        if self.inner.closing.get() {
            return Err(VolumeError::new(
                VolumeErrorKind::Poisoned,
                "the volume is being closed",
            ));
        }
        match self.inner.log.poisoned() {
            Some(why) => Err(VolumeError::new(
                VolumeErrorKind::Poisoned,
                format!("the volume stopped: {why}"),
            )),
            None => Ok(()),
        }
    }
}

/// The whole blocks that bytes `offset .. offset + len` touch.
pub(crate) fn blocks_touched(offset: u64, len: u64) -> BlockRange {
    BlockRange {
        start: offset / BLOCK_BYTES,
        end: (offset + len).div_ceil(BLOCK_BYTES),
    }
}

/// The whole blocks that lie within bytes `offset .. offset + len`.
pub(crate) fn blocks_within(offset: u64, len: u64) -> BlockRange {
    let start = offset.div_ceil(BLOCK_BYTES);
    BlockRange {
        start,
        end: ((offset + len) / BLOCK_BYTES).max(start),
    }
}
