//! One copy under way: chunks from the source's reader into a capture of the target, then the commit.

use super::names::Names;
use super::{CopyRequest, Known, Shared};
use crate::capture::{CopyOf, RecordDraft, SnapshotWriter};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::Stage;
use crate::reader::{Chunk, Reader};
use crate::record::{Origin, SnapshotRecord};
use crate::vault::back_off;
use futures_util::stream::{self, StreamExt};
use std::cell::Cell;
use std::rc::Rc;
use tidemark_units::{CHUNK_BYTES, SnapshotId};

/// Chunks that are asked of the source at the same time: 16 MiB. They lie in runs, which come in few reads.
const WIDTH: usize = 256;
/// Tries of what the source or the target does not answer, each of them after the vault's own.
const TRIES: u32 = 8;
/// How often the race for the head entry is lost before that is told.
const LOSSES_MAX: u32 = 8;

/// A capture that a copy goes into.
pub(super) struct Begun {
    pub(super) writer: SnapshotWriter,
    pub(super) basis: Option<SnapshotId>,
    pub(super) resumed: bool,
}

/// How far a copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Plain bytes to copy: chunks that the basis does not have.
    pub total_bytes: u64,
    /// Of these: durable in the spool or in the target.
    pub done_bytes: u64,
    /// Bytes of packs in the target.
    pub uploaded_bytes: u64,
    /// Bytes of packs in the spool.
    pub spool_bytes: u64,
    /// The last trouble of an upload that is being tried again.
    pub trouble: Option<String>,
}

/// A finished copy.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyReport {
    /// The snapshot in the target that it is relative to; `None`: it is a full one.
    pub basis: Option<SnapshotId>,
    /// Whether it went on with what an earlier run had left.
    pub resumed: bool,
    /// Whether another writer was quicker with the same content.
    pub made_by_another: bool,
    /// Plain bytes read from the source by this run, chunks of zeros not counted.
    pub read_bytes: u64,
    /// The snapshot as the target has it.
    pub record: SnapshotRecord,
}

/// A copy under way. Dropping it stops it and leaves its spool, with which [`super::DiskCopier::begin`] goes on.
pub struct SnapshotCopy {
    shared: Rc<Shared>,
    request: CopyRequest,
    /// The source's.
    record: SnapshotRecord,
    begun: Begun,
    read_bytes: Cell<u64>,
}

impl SnapshotCopy {
    pub(super) fn new(
        shared: Rc<Shared>,
        request: CopyRequest,
        record: SnapshotRecord,
        begun: Begun,
    ) -> Self {
        Self {
            shared,
            request,
            record,
            begun,
            read_bytes: Cell::new(0),
        }
    }

    /// The source's record.
    pub fn source(&self) -> &SnapshotRecord {
        &self.record
    }

    /// The snapshot in the target that it is relative to; `None`: it is a full one.
    pub fn basis(&self) -> Option<&SnapshotId> {
        self.begun.basis.as_ref()
    }

    /// Whether it goes on with what an earlier run had left.
    pub fn is_resumed(&self) -> bool {
        self.begun.resumed
    }

    /// How far it is; may be asked while [`SnapshotCopy::run`] runs.
    pub fn progress(&self) -> CopyProgress {
        let progress = self.begun.writer.progress();
        CopyProgress {
            total_bytes: progress.chunks_total * CHUNK_BYTES,
            done_bytes: progress.chunks_taken * CHUNK_BYTES,
            uploaded_bytes: progress.uploaded_bytes,
            spool_bytes: progress.spool_bytes,
            trouble: progress.upload_trouble,
        }
    }

    /// Copies and commits. After an error the spool is there to go on with, unless what it holds is of no use. An
    /// error of kind [`VaultErrorKind::Stale`]: the basis was deleted meanwhile, or the target does not have what an
    /// earlier run had stored there; begin again.
    pub async fn run(&self) -> Result<CopyReport> {
        let committed = match self.copy_chunks().await {
            Ok(()) => self.commit().await,
            Err(error) if error.kind == VaultErrorKind::Stale => Err(error),
            Err(error) => return Err(error),
        };
        match committed {
            Ok(made_by_another) => self.confirm(made_by_another).await,
            // Gone on with, what was stored would be refused again and again.
            Err(error) if matches!(error.kind, VaultErrorKind::Corrupt | VaultErrorKind::Stale) => {
                if let Err(left) = self.abandon().await {
                    tracing::warn!(error = %left, "what is left of a copy that was refused stays");
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Stops the background work and waits until none is left; the spool stays.
    pub async fn close(&self) {
        self.begun.writer.close().await;
    }

    /// Gives the copy up, as [`SnapshotWriter::abandon`] does.
    pub async fn abandon(&self) -> Result<()> {
        self.begun.writer.abandon_copy().await
    }

    async fn copy_chunks(&self) -> Result<()> {
        let writer = &self.begun.writer;
        let left = &writer.spec().pending - writer.taken();
        let reader = Reader::open_named(&self.shared.from, self.record.root, self.record.snapshot.clone());
        let reader = &reader;
        let mut chunks = stream::iter(left)
            .map(|index| async move { (index, self.read(reader, index).await) })
            .buffered(WIDTH);
        while let Some((index, chunk)) = chunks.next().await {
            let chunk = chunk?;
            if let Chunk::Data(data) = &chunk {
                self.read_bytes.set(self.read_bytes.get() + data.len() as u64);
            }
            writer.put(index, chunk).await?;
        }
        // All is in the spool now: what follows needs the source no more.
        writer.seal().await.map(drop)
    }

    async fn read(&self, reader: &Reader, index: u32) -> Result<Chunk> {
        let mut tries = 0;
        loop {
            match reader.read_chunk(index).await {
                Err(error) if error.kind == VaultErrorKind::Busy && tries < TRIES => tries += 1,
                done => return done,
            }
            let env = self.shared.from.env();
            env.clock.sleep(back_off(env, tries + 4)).await;
        }
    }

    /// Makes the snapshot exist; `true`: another writer was quicker.
    async fn commit(&self) -> Result<bool> {
        let (shared, writer) = (&self.shared, &self.begun.writer);
        let copy = CopyOf {
            origin: self.record.origin.unwrap_or(Origin {
                vault: shared.from.id(),
                root: self.record.root,
            }),
            source: self.record.root,
            same_names: shared.same_names,
        };
        let (mut tries, mut losses) = (0, 0);
        loop {
            let is_there = matches!(
                shared.in_target(&self.request.as_snapshot).await?,
                Some((_, Stage::Exists))
            );
            // Not left to the commit, which would read the tree of what is gone.
            if !is_there && !shared.is_basis_there(writer.spec().parent.as_ref()).await? {
                return Err(self.stale());
            }
            if !is_there && shared.has_ended(writer) {
                let cause = "its capture was given up, perhaps by another node; begin again";
                return Err(self.stale_because(cause));
            }
            let draft = RecordDraft {
                created_ms: self.record.created_ms,
                parent: self.parent_there().await?,
                lsn: self.record.lsn,
                owner: None,
                meta: self
                    .request
                    .meta
                    .clone()
                    .unwrap_or_else(|| self.record.meta.clone()),
            };
            match writer.finish_copy(draft, &copy).await {
                Err(error) if error.kind == VaultErrorKind::Busy && tries < TRIES => {
                    tries += 1;
                    let env = shared.to.env();
                    env.clock.sleep(back_off(env, tries + 4)).await;
                }
                // Somebody appended in between; if it was this snapshot, the next look finds it.
                Err(error) if error.kind == VaultErrorKind::Lost && losses < LOSSES_MAX => losses += 1,
                // It went while its tree was read.
                Err(error) if error.kind == VaultErrorKind::Missing => {
                    let is_there = shared.is_basis_there(writer.spec().parent.as_ref()).await?;
                    return Err(if is_there { error } else { self.stale() });
                }
                Err(error) => return Err(error),
                Ok(_) => return Ok(is_there),
            }
        }
    }

    fn stale(&self) -> VaultError {
        self.stale_because("what it is relative to was deleted from the target; begin again")
    }

    fn stale_because(&self, cause: &str) -> VaultError {
        let subject = format!("snapshot {}", self.request.as_snapshot);
        VaultError::new(VaultErrorKind::Stale, "copy", subject, cause)
    }

    /// The snapshot that the source's record names as the parent, if the target has it.
    async fn parent_there(&self) -> Result<Option<SnapshotId>> {
        let Some(parent) = &self.record.parent else {
            return Ok(None);
        };
        let found = self.shared.in_target(parent).await?;
        Ok(matches!(found, Some((_, Stage::Exists))).then(|| parent.clone()))
    }

    /// Looks at what the target has now: with the same name, another writer may have made it.
    async fn confirm(&self, made_by_another: bool) -> Result<CopyReport> {
        let shared = &self.shared;
        let id = &self.request.as_snapshot;
        let record = shared.to.snapshot(id).await?;
        let names = Names::of(&shared.to, &record.root, record.origin.as_ref());
        let wanted = &shared.source_known(&self.record.snapshot)?.names;
        let counts = |record: &SnapshotRecord| (record.size_bytes, record.root.data_chunks());
        if !names.meet(wanted) || counts(&record) != counts(&self.record) {
            let cause = "another writer made a snapshot of this name with other content in the target; it is left alone";
            return Err(VaultError::other("copy", format!("snapshot {id}"), cause));
        }
        let known = Known {
            id: id.clone(),
            root: record.root,
            names,
        };
        let mut target = shared.target.borrow_mut();
        target.retain(|other| other.id != known.id);
        target.push(known);
        drop(target);
        Ok(CopyReport {
            basis: self.begun.basis.clone(),
            resumed: self.begun.resumed,
            made_by_another,
            read_bytes: self.read_bytes.get(),
            record,
        })
    }
}
