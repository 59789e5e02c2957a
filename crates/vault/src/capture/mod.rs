//! Capture: from chunks of a marked volume to a committed snapshot.
//!
//! ```text
//! put -> batch -> hash, compare, compress (off the thread) -> open pack -> sealed: a synced file in
//! the spool, chunks *taken* -> uploaded -> the file shrinks to its footer -> … all pending chunks
//! taken and uploaded -> tree -> record -> head entry -> spool removed
//! ```
//!
//! Invariants: (1) a chunk is taken only once a sealed pack file that records it would survive a power
//! cut; (2) a row never points at bytes that are less durable than itself: only at its own pack, at a
//! pack sealed before, or at the parent's; (3) everything needed to go on after a crash is in the spool
//! directory, and nothing that is in the bucket already is sent again, except what was being sent;
//! (4) the root depends on the taken chunks and the parent only, so a repeated finish commits the same
//! content; (5) no pack is put into the bucket before the capture is registered there ([`register`]);
//! (6) a file `*.pack` or `*.foot` is whole: damage in one is told, never dropped silently; (7) what an earlier process
//! has put into the bucket is committed only after it was seen there: the spool may be older or newer than the bucket.
//!
//! Memory: a batch or two per core, [`CaptureOptions::upload_width`] packs, a bounded index of chunks.

mod build;
mod commit;
mod encode;
mod index;
mod pipeline;
mod register;
mod spool;
mod state;
mod upload;

pub use register::RegisteredCapture;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use register::{decode as decode_registered, encode as encode_registered};
pub use spool::spool_packs;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use spool::{chunks_of_rows, decode_spec, encode_spec, leaves_of};

use crate::error::{Result, VaultError};
use crate::id::CaptureId;
use crate::pack::PACK_BYTES_TARGET;
use crate::reader::Chunk;
use crate::record::{Origin, SnapshotStats};
use crate::tree::Root;
use crate::vault::Vault;
use bytes::Bytes;
use roaring::RoaringBitmap;
use spool::Spool;
use state::State;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::UnixMillis;
use tidemark_units::{CHUNK_BYTES, DiskId, GIB, Lsn, SnapshotId};

/// What is to be captured.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureSpec {
    /// The snapshot to be made.
    pub snapshot: SnapshotId,
    /// The disk whose head log it will stand in.
    pub disk: DiskId,
    /// The content that `pending` is relative to; `None` for zeros.
    pub parent: Option<Root>,
    /// The disk's size at the mark, in bytes.
    pub size_bytes: u64,
    /// The chunks to take; all others are the parent's.
    pub pending: RoaringBitmap,
    /// Whether what is stored is sealed under the disk's own key ([`Vault::create_disk_key`]), not the vault's.
    pub own_key: bool,
}

impl CaptureSpec {
    /// What is wrong with it by itself.
    fn check(&self) -> std::result::Result<(), String> {
        let chunks = self.size_bytes.div_ceil(CHUNK_BYTES);
        if chunks > 1 << 32 || self.pending.max().is_some_and(|last| u64::from(last) >= chunks) {
            return Err(format!(
                "a pending chunk lies past the disk's {} bytes",
                self.size_bytes
            ));
        }
        Ok(())
    }
}

/// Limits of one capture.
#[derive(Clone, Copy, Debug)]
pub struct CaptureOptions {
    /// Sealed packs in the spool that wait for their upload may have this many bytes before
    /// [`SnapshotWriter::put`] waits.
    pub spool_quota_bytes: u64,
    /// Packs uploaded at the same time.
    pub upload_width: usize,
    /// A pack is closed once its body has this many bytes; at most [`PACK_BYTES_TARGET`].
    pub pack_bytes: u64,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            spool_quota_bytes: GIB,
            upload_width: 4,
            pack_bytes: PACK_BYTES_TARGET,
        }
    }
}

/// How far a capture is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Chunks to take.
    pub chunks_total: u64,
    /// Of these: durable in the spool or the bucket.
    pub chunks_taken: u64,
    /// Plain bytes that were put and are taken, zero chunks included.
    pub read_bytes: u64,
    /// Plain bytes of new chunks that are taken.
    pub new_bytes: u64,
    /// Bytes of sealed packs.
    pub stored_bytes: u64,
    /// Of these: in the bucket.
    pub uploaded_bytes: u64,
    /// Of these: waiting in the spool.
    pub spool_bytes: u64,
    /// Taken chunks that are zeros.
    pub zero_chunks: u64,
    /// Taken chunks that equal the parent's.
    pub same_chunks: u64,
    /// Taken chunks that equal others of this capture.
    pub copied_chunks: u64,
    /// The last trouble of an upload that is being tried again.
    pub upload_trouble: Option<String>,
}

/// What only the caller knows about the snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordDraft {
    /// When the mark was made.
    pub created_ms: UnixMillis,
    /// The snapshot whose root the parent is.
    pub parent: Option<SnapshotId>,
    /// The mark's place in the disk's log.
    pub lsn: Lsn,
    /// The head entry by which the disk is ours ([`crate::HeadLog::claim`]): another owner after it ends the capture.
    pub owner: Option<u64>,
    /// Whatever the control plane wants back when it rebuilds its catalogue.
    pub meta: serde_json::Value,
}

/// What a snapshot that is copied from another vault has to become; looked at before anything of it can be seen.
#[derive(Clone, Debug)]
pub(crate) struct CopyOf {
    /// For the record.
    pub(crate) origin: Origin,
    /// The content, as the vault names it that is copied from.
    pub(crate) source: Root,
    /// Whether both vaults give equal content equal names.
    pub(crate) same_names: bool,
}

impl CopyOf {
    /// Refuses a tree that is not the source's. Every chunk was verified when it was read; this is about which of them
    /// were read, and about the snapshot that the copy is relative to.
    fn check(&self, made: &Root) -> Result<()> {
        let counts = |root: &Root| (root.size_bytes(), root.data_chunks());
        let is_same = match self.same_names {
            true => made.same_content(&self.source),
            false => counts(made) == counts(&self.source),
        };
        if is_same {
            return Ok(());
        }
        let cause = format!(
            "the copy has {} chunks of data and another tree than the source with its {}; nothing was committed",
            made.data_chunks(),
            self.source.data_chunks()
        );
        Err(VaultError::corrupt("check copy", "tree", cause))
    }
}

/// A snapshot that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Its content.
    pub root: Root,
    /// What it cost and holds.
    pub stats: SnapshotStats,
}

/// One capture in progress. All methods take `&self`: several tasks of the thread may share it.
///
/// Dropping it stops the background work at the next opportunity and leaves the spool as it is, for
/// [`SnapshotWriter::resume`]; [`SnapshotWriter::close`] also waits for that. After any error the
/// capture takes no more chunks: resume it (nothing durable is lost) or abandon it.
pub struct SnapshotWriter(Rc<State>);

impl SnapshotWriter {
    /// Starts a capture whose spool will be `spool_dir`, which must not exist or be empty. Needs no
    /// bucket: a capture can start while it is out of reach (one with a key of the disk's own, if that key is known).
    pub async fn begin(
        vault: &Vault,
        spool_dir: &Path,
        spec: CaptureSpec,
        options: CaptureOptions,
    ) -> Result<Self> {
        spec.check().map_err(|cause| {
            VaultError::other("begin capture", format!("snapshot {}", spec.snapshot), cause)
        })?;
        let encrypter = vault.encrypter(&spec.disk, spec.own_key).await?;
        let spool = Spool::create(vault, spool_dir, &spec).await?;
        let fresh = Vec::new();
        Ok(Self(State::new(vault, spool, spec, encrypter, options, fresh)?))
    }

    /// Goes on after a crash, or after [`SnapshotWriter::close`]. `None` when nothing was begun in
    /// `spool_dir` or it was finished or abandoned; the directory is gone then. Needs no bucket.
    pub async fn resume(vault: &Vault, spool_dir: &Path, options: CaptureOptions) -> Result<Option<Self>> {
        let Some((spool, spec, encrypter, packs)) = Spool::load(vault, spool_dir).await? else {
            return Ok(None);
        };
        let state = State::new(vault, spool, spec, encrypter, options, packs)?;
        state.start_uploads();
        Ok(Some(Self(state)))
    }

    /// How the vault knows it from others: the collector leaves its packs alone until it has ended.
    pub fn id(&self) -> CaptureId {
        self.0.spool.capture
    }

    /// What is being captured.
    pub fn spec(&self) -> &CaptureSpec {
        &self.0.spec
    }

    /// Hands over chunk `index` as it was at the mark. Data is 64 KiB; the disk's last chunk may be
    /// shorter. Waits while too much is under way or the spool quota is used up. A chunk that was put
    /// or taken before is ignored; one that is not pending is an error.
    pub async fn put(&self, index: u32, chunk: Chunk) -> Result<()> {
        self.0.put(index, chunk).await
    }

    /// Whether [`SnapshotWriter::put`] would wait now.
    pub fn is_saturated(&self) -> bool {
        self.0.is_saturated()
    }

    /// Makes everything durable that was put before, and says which chunks became taken since this or
    /// [`SnapshotWriter::drain_taken`] was last asked. Independent of the bucket.
    pub async fn seal(&self) -> Result<RoaringBitmap> {
        self.0.seal().await?;
        Ok(self.drain_taken())
    }

    /// Which chunks became taken since this was last asked: the volume may overwrite them.
    pub fn drain_taken(&self) -> RoaringBitmap {
        self.0.drain_taken()
    }

    /// All taken chunks.
    pub fn taken(&self) -> RoaringBitmap {
        self.0.core.borrow().taken.clone()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.0.progress()
    }

    /// The error that ended this capture's work, if any.
    pub fn failure(&self) -> Option<VaultError> {
        self.0.core.borrow().failed.clone()
    }

    /// Waits for the last uploads, builds the tree and commits. All pending chunks must have been put.
    /// May be called again after an error of kind Busy; the snapshot that it makes is the same. After one of kind Stale it
    /// has to be abandoned: what it is relative to, or what it stored before, is not in the vault any more. When
    /// it is there already (a crash came between the commit and its answer) that is the answer.
    pub async fn finish(&self, draft: RecordDraft) -> Result<Committed> {
        self.0.finish(draft, None).await
    }

    /// As [`SnapshotWriter::finish`], of a copy.
    pub(crate) async fn finish_copy(&self, draft: RecordDraft, copy: &CopyOf) -> Result<Committed> {
        self.0.finish(draft, Some(copy)).await
    }

    /// Gives the capture up: removes the spool, and from the bucket what this capture put there as far
    /// as that is possible now. Fails if the snapshot was committed, whatever became of
    /// it since ([`crate::VaultErrorKind::Other`]): then only the spool goes.
    pub async fn abandon(&self) -> Result<()> {
        self.0.abandon(false).await
    }

    /// As [`SnapshotWriter::abandon`], of a copy: leaves the record, which another copy of the same snapshot may be about to
    /// commit with. Alone it means nothing.
    pub async fn abandon_copy(&self) -> Result<()> {
        self.0.abandon(true).await
    }

    /// Stops the background work and waits until none is left.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The whole chunk: the last one of a disk may come short.
fn whole(data: Bytes) -> Bytes {
    if data.len() as u64 == CHUNK_BYTES {
        return data;
    }
    let mut padded = vec![0; CHUNK_BYTES as usize];
    padded[..data.len()].copy_from_slice(&data);
    padded.into()
}
