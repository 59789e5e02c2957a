//! Making and opening volumes: recovery (R1-R6, R8, R9).
//!
//! R1 the directory lock; R2 the newest valid superblock; R3-R5 `log::scan`; R6 new records go to a new segment; R8 replay fills the
//! layers, which hide the base; R9 the superblock's chunk states are those of the last base sync.
//! R3 holds for all that is found, not only for records: superblock slots and the names of files are synced before anything is
//! built upon them, because their maker may have been killed between making and syncing them.

use crate::base::Base;
use crate::chunks::ChunkStates;
use crate::config::VolumeConfig;
use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::fetch::Fetches;
use crate::group::AckGate;
use crate::locks::RangeLocks;
use crate::log::layout::{RecordKind, Seed, SegmentHeader};
use crate::log::scan::{Replayed, scan};
use crate::log::segment::SegmentStore;
use crate::log::writer::{Log, LogStart, Written};
use crate::notes::Note;
use crate::reserve::Reserve;
use crate::source::ChunkSource;
use crate::superblock::{SIZE_BYTES_MAX, Superblock};
use crate::volume::{Claimed, Core, Identity, Inner, Volume};
use roaring::RoaringBitmap;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use tidemark_env::{DirLock, Env, OpenMode, mutant};
use tidemark_units::{BLOCK_BYTES, CHUNK_BYTES, Lsn};
use tokio::sync::Mutex;

/// What a new volume is.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Its name, at most 64 bytes.
    pub name: String,
    /// Size in bytes, a multiple of 4096.
    pub size_bytes: u64,
    /// A snapshot's root (opaque here) to start from, and its size in bytes: chunks below it start absent.
    pub source: Option<(Vec<u8>, u64)>,
}

impl Volume {
    /// Makes a volume in `dir`, durable when this returns; it is not opened. An existing one is
    /// refused. A half-made one (a crash) is made anew.
    pub async fn create(env: &Env, dir: &Path, options: &CreateOptions, config: &VolumeConfig) -> Result<()> {
        let size = options.size_bytes;
        if size == 0 || !size.is_multiple_of(BLOCK_BYTES) || size > SIZE_BYTES_MAX {
            return Err(VolumeError::invalid(format!(
                "a volume's size must be a multiple of {BLOCK_BYTES} bytes, up to {SIZE_BYTES_MAX}; {size} is not"
            )));
        }
        let failed = |e: std::io::Error| VolumeError::io(format!("making a volume in {}", dir.display()), &e);
        tidemark_env::fs::create_dir_durable(&*env.fs, dir)
            .await
            .map_err(failed)?;
        let _lock = env.fs.lock_dir(dir).await.map_err(failed)?;
        match Superblock::load(env, dir).await {
            // A making that was interrupted before it was durable never got to slot 0, the second that is written: what
            // has both is a volume, if a damaged one.
            Err(e) if e.kind == VolumeErrorKind::Corrupt => {
                let slot = dir.join("super.0");
                if env.fs.exists(&slot).await.map_err(failed)? {
                    return Err(e.about(&format!("{} is not empty", dir.display())));
                }
            }
            Err(e) => return Err(e),
            Ok(_) => {
                return Err(VolumeError::invalid(format!(
                    "{} holds a volume already",
                    dir.display()
                )));
            }
        }
        let volume: [u8; 16] = env.random();
        Base::create(env, dir, size).await?;
        let store = SegmentStore::new(env.clone(), dir, config.segment_bytes);
        store.create_dir().await?;
        let header = SegmentHeader {
            seed: Seed {
                volume,
                sequence: 1,
                salt: u64::from_le_bytes(env.random()),
            },
            epoch: 1,
            first_lsn: Lsn(1),
            previous_lsn: Lsn::ZERO,
            previous_crc: 0,
            segment_blocks: store.segment_blocks(),
        };
        // The first segment exists from the start, so that a missing one is always damage, never "no log yet".
        store.create_first(&header).await?;
        let mut states = ChunkStates::default();
        if let Some((_, source_bytes)) = &options.source {
            let chunks = size.min(*source_bytes).div_ceil(CHUNK_BYTES) as u32;
            let mut absent = RoaringBitmap::new();
            absent.insert_range(0..chunks);
            states.make_absent(&absent);
        }
        let root = options.source.as_ref().map(|(root, _)| root.clone());
        let superblock = Superblock {
            volume,
            name: options.name.clone(),
            size_bytes: size,
            segment_bytes: config.segment_bytes,
            segments_max: config.ring(size),
            generation: 1,
            epoch: 1,
            checkpoint: Lsn::ZERO,
            first_sequence: 1,
            dirty: RoaringBitmap::new(),
            marks: Vec::new(),
            parent: root.clone(),
            source: root,
            states,
            ever_connected: false,
        };
        // Last: from here on it is a volume.
        superblock.store_twice(env, dir).await
    }

    /// Opens the volume in `dir` and recovers what its last owner left. `source` provides the absent chunks, if
    /// there are any ([`Volume::source_of`] tells of which snapshot).
    pub async fn open(
        env: &Env,
        dir: &Path,
        source: Option<Rc<dyn ChunkSource>>,
        config: &VolumeConfig,
    ) -> Result<Volume> {
        let lock = lock(env, dir).await?;
        if !mutant::on("volume-superblock-not-synced-on-open") {
            Superblock::settle(env, dir).await?;
        }
        let (superblock, spare) = Superblock::load_both(env, dir).await?;
        let subject = format!("volume {} in {}", superblock.name, dir.display());
        let opened = Self::open_locked(env, dir, lock, superblock, spare, source, config).await;
        opened.map_err(|e| e.about(&subject))
    }

    async fn open_locked(
        env: &Env,
        dir: &Path,
        lock: Box<dyn DirLock>,
        mut superblock: Superblock,
        spare: bool,
        source: Option<Rc<dyn ChunkSource>>,
        config: &VolumeConfig,
    ) -> Result<Volume> {
        let config = VolumeConfig {
            segment_bytes: superblock.segment_bytes,
            ..config.clone()
        };
        let base = Base::open(env, dir, superblock.size_bytes).await?;
        let store = SegmentStore::new(env.clone(), dir, superblock.segment_bytes);
        let core = Rc::new(Core::new(&superblock));
        let files = store.open_all(OpenMode::ReadWrite).await?;
        let mut whole = Vec::with_capacity(files.len());
        for (slot, file) in files {
            if store.complete(slot, &*file, &superblock.volume).await? {
                whole.push((slot, file));
            }
        }
        if !mutant::on("volume-segment-names-not-synced-on-open") {
            store.settle().await?;
        }
        let replayed = Cell::new(0u64);
        let end = scan(whole, &superblock, |record| {
            let news = replay(&core, &superblock, record)?;
            replayed.set(replayed.get() + u64::from(news));
            Ok(())
        })
        .await?;
        tracing::info!(
            volume = superblock.name,
            records = replayed.get(),
            last = end.last.0,
            "log replayed"
        );
        // Only now that the log fits the superblock: before, a copy might replace the only one that it does fit.
        if !spare {
            superblock.generation += 1;
            match superblock.store(env, dir).await {
                // The slot that counts is untouched; the next superblock is the second one then.
                Err(e) if e.kind == VolumeErrorKind::Full => superblock.generation -= 1,
                stored => stored?,
            }
            core.state.borrow_mut().generation = superblock.generation;
        }
        let epoch = end.highest_epoch.max(superblock.epoch) + 1;
        {
            let mut state = core.state.borrow_mut();
            state.layers.skip_to(end.highest);
            state.epoch = epoch;
        }
        let start = LogStart {
            last: end.last,
            next: end.highest.next(),
            chain: end.chain,
            chain_lsn: end.chain_lsn,
            sequence: end.highest_sequence,
            live: end.live,
            free: end.free,
        };
        let (apply_to, extents_max) = (Rc::clone(&core), config.extents_max);
        let apply = Box::new(move |written: Written<'_>| {
            apply_to
                .apply(written)
                .expect("a record that was just built is well formed");
            // The log's fill says nothing of discards and marks: they cost memory and look-ups all the same.
            if apply_to.state.borrow().layers.is_crowded(extents_max) {
                apply_to.checkpoint_wanted.notify_one();
            }
        });
        let log = Log::start(
            env.clone(),
            store,
            superblock.volume,
            epoch,
            superblock.segments_max,
            start,
            apply,
        );
        let reserve = Reserve::open(env, dir, config.reserve_step_bytes).await?;
        let volume = Volume {
            inner: Rc::new(Inner {
                env: env.clone(),
                dir: dir.to_owned(),
                config,
                identity: Identity {
                    volume: superblock.volume,
                    name: superblock.name,
                    segment_bytes: superblock.segment_bytes,
                },
                size_bytes: Cell::new(superblock.size_bytes),
                claimed: Claimed {
                    bytes: Cell::new(superblock.size_bytes),
                    segments_max: Cell::new(superblock.segments_max),
                },
                log,
                base,
                reserve,
                core,
                locks: RangeLocks::default(),
                source: RefCell::new(source),
                fetches: Fetches::default(),
                landing: Mutex::new(()),
                checkpointing: Mutex::new(()),
                persisting: Mutex::new(()),
                marking: Arc::new(Mutex::new(())),
                acks: AckGate::default(),
                closing: Cell::new(false),
                lock: RefCell::new(Some(lock)),
            }),
        };
        env.spawn(volume.clone().run_checkpointer());
        Ok(volume)
    }

    /// The root (opaque here) that a closed volume's absent chunks come from, if it has any.
    pub async fn source_of(env: &Env, dir: &Path) -> Result<Option<Vec<u8>>> {
        let superblock = Superblock::load(env, dir).await?;
        Ok(superblock.source.filter(|_| !superblock.states.all_present()))
    }
}

/// Takes the directory's lock (R1).
pub(crate) async fn lock(env: &Env, dir: &Path) -> Result<Box<dyn DirLock>> {
    env.fs.lock_dir(dir).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => VolumeError::new(
            VolumeErrorKind::Busy,
            format!("{} is in use by another process", dir.display()),
        ),
        _ => VolumeError::io(format!("locking {}", dir.display()), &e),
    })
}

/// Applies a record that the log holds; `false`: the base has it already.
pub(crate) fn replay(core: &Core, superblock: &Superblock, record: Replayed<'_>) -> Result<bool> {
    if record.lsn <= superblock.checkpoint {
        return Ok(false);
    }
    let (lsn, blocks) = (record.lsn, record.record.blocks);
    if blocks.end > superblock.size_bytes / BLOCK_BYTES {
        return Err(VolumeError::corrupt(format!(
            "log record {lsn} is for blocks {} to {}, past the end of the disk",
            blocks.start, blocks.end
        )));
    }
    // Positions that a recovery skipped were never used.
    core.state.borrow_mut().layers.skip_to(Lsn(lsn.0 - 1));
    let applied = core.apply(Written {
        lsn,
        kind: record.record.kind,
        blocks,
        segment: record.segment,
        payload_block: record.payload_block,
        payload: &[record.payload],
    });
    applied.map_err(|e| VolumeError::new(e.kind, format!("log record {lsn}: {}", e.message)))?;
    Ok(true)
}

impl Volume {
    /// The roots (opaque here) that a closed volume still needs: its parent, and where absent chunks come from.
    pub async fn roots_of(env: &Env, dir: &Path) -> Result<Vec<Vec<u8>>> {
        Ok(Superblock::load(env, dir).await?.roots())
    }
}

/// One record of a closed volume's log, for people.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Its position.
    pub lsn: Lsn,
    /// The segment that holds it.
    pub segment: u64,
    /// What it says.
    pub text: String,
}

/// The records of a closed volume's log that a restart would read, oldest first.
pub async fn read_log(env: &Env, dir: &Path, mut each: impl FnMut(LogLine)) -> Result<()> {
    let superblock = Superblock::load(env, dir).await?;
    let store = SegmentStore::new(env.clone(), dir, superblock.segment_bytes);
    let files = store.open_all(OpenMode::Read).await?;
    scan(files, &superblock, |r| {
        let blocks = r.record.blocks;
        let range = format!(
            "{} bytes at {}",
            blocks.count() * BLOCK_BYTES,
            blocks.start * BLOCK_BYTES
        );
        let text = match r.record.kind {
            RecordKind::Data => format!("data   {range}"),
            RecordKind::Zero => format!("zero   {range}"),
            RecordKind::Trim => format!("trim   {range}"),
            kind => {
                let note = Note::decode(&r.payload, kind)?;
                let (snapshot, millis) = (note.snapshot, note.unix_millis);
                match kind {
                    RecordKind::MarkPrepare => {
                        format!("mark   {snapshot} at {millis} ms, prepared for {}", note.group)
                    }
                    RecordKind::MarkCommit => format!("commit {snapshot} at {millis} ms"),
                    RecordKind::MarkAbort => format!("abort  {snapshot} at {millis} ms"),
                    _ => format!("mark   {snapshot} at {millis} ms"),
                }
            }
        };
        each(LogLine {
            lsn: r.lsn,
            segment: r.segment,
            text,
        });
        Ok(())
    })
    .await
    .map(|_| ())
}
