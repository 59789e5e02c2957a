//! Marks and what becomes of them: taken, committed, failed; and rollback.
//!
//! The order that the node follows for a snapshot: `mark` -> `read_frozen` of every pending chunk -> `taken` as they become
//! durable in the spool -> the head entry is created in the vault -> `commit`. A crash anywhere leaves the mark
//! pending, and the node goes on from what the spool and the vault hold. Repeating any step is harmless.

use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::log::layout::RecordKind;
use crate::log::writer::{Append, Log};
use crate::notes::Note;
use crate::source::ChunkSource;
use crate::tracking::{Mark, PendingMark};
use crate::volume::{CoreState, Volume};
use roaring::RoaringBitmap;
use std::rc::Rc;
use tidemark_env::mutant;
use tidemark_units::{BlockRange, Lsn, SnapshotId};
use tokio::sync::oneshot;

impl CoreState {
    /// One mark at a time (docs/decisions/0011): refuses while one waits for its snapshot or for its group.
    pub(crate) fn check_no_mark_waits(&self) -> Result<()> {
        match self.tracker.first_waiting() {
            Some(other) => Err(VolumeError::new(
                VolumeErrorKind::Busy,
                format!("snapshot {} of this disk is still being captured", other.snapshot),
            )),
            None => Ok(()),
        }
    }

    /// What a caller found out about the difference to its parent holds only for that parent.
    fn check_parent(&self, expected: Option<&[u8]>) -> Result<()> {
        if self.parent.as_deref() == expected || mutant::on("volume-reparent-ignores-parent") {
            return Ok(());
        }
        Err(VolumeError::new(
            VolumeErrorKind::Busy,
            "another snapshot of this disk was committed meanwhile",
        ))
    }
}

impl Volume {
    /// Fixes the present as a point in time; durable when this returns. While another snapshot's capture
    /// is pending: [`VolumeErrorKind::Busy`]. The same snapshot again gives its mark.
    pub async fn mark(&self, snapshot: &SnapshotId) -> Result<Mark> {
        let inner = &self.inner;
        let _one = inner.marking.lock().await;
        self.check_serving()?;
        {
            let state = inner.core.state.borrow();
            if let Some(mark) = state.tracker.mark_of(snapshot) {
                return Ok(mark);
            }
            state.check_no_mark_waits()?;
        }
        let lsn = Log::appended(self.append_note(RecordKind::Mark, snapshot, "")).await?;
        if !mutant::on("volume-mark-without-sync") {
            inner.log.sync(lsn).await?;
        }
        let found = inner.core.state.borrow().tracker.mark_of(snapshot);
        found.ok_or_else(|| VolumeError::corrupt("a mark that was just written is not in the index"))
    }

    /// Queues a record about the mark of `snapshot`: its place in history is fixed when this returns.
    pub(crate) fn append_note(
        &self,
        kind: RecordKind,
        snapshot: &SnapshotId,
        group: &str,
    ) -> oneshot::Receiver<Result<Lsn>> {
        let note = Note {
            unix_millis: self.inner.env.clock.unix_millis(),
            snapshot: snapshot.clone(),
            group: group.to_owned(),
        };
        self.inner.log.append(Append {
            kind,
            blocks: BlockRange::new(0, 0),
            payload: vec![note.encode()],
        })
    }

    /// Marks whose snapshot is not committed, oldest first. Prepared ones ([`Volume::prepared_marks`]) are none yet.
    pub fn pending_marks(&self) -> Vec<PendingMark> {
        self.inner.core.state.borrow().tracker.pending()
    }

    /// The last committed snapshot's root: what the next snapshot's changes are relative to.
    pub fn parent(&self) -> Option<Vec<u8>> {
        self.inner.core.state.borrow().parent.clone()
    }

    /// The roots (opaque here) that the volume still needs: its parent, and where absent chunks come from. Those
    /// of the last superblock too, as long as it is the last.
    pub fn roots(&self) -> Vec<Vec<u8>> {
        let state = self.inner.core.state.borrow();
        // What is durable counts: a crash would bring an absent chunk back.
        let source = state
            .source_root
            .clone()
            .filter(|_| !state.durable_states.all_present());
        let mut roots: Vec<_> = state.parent.clone().into_iter().chain(source).collect();
        roots.extend(state.durable_roots.iter().cloned());
        roots.sort();
        roots.dedup();
        roots
    }

    /// The root that absent chunks come from.
    pub fn source_root(&self) -> Option<Vec<u8>> {
        self.inner.core.state.borrow().source_root.clone()
    }

    /// `chunks` of the snapshot are durable elsewhere: the base may change there.
    pub fn taken(&self, snapshot: &SnapshotId, chunks: &RoaringBitmap) {
        let mut state = self.inner.core.state.borrow_mut();
        state.tracker.taken(snapshot, chunks);
        state.wanted -= chunks;
        drop(state);
        self.inner.core.taken.notify_waiters();
    }

    /// Waits until the checkpointer needs chunks to be taken, and gives them: take these first.
    pub async fn wanted(&self) -> RoaringBitmap {
        loop {
            let wanted = std::mem::take(&mut self.inner.core.state.borrow_mut().wanted);
            if !wanted.is_empty() {
                return wanted;
            }
            self.inner.core.take_wanted.notified().await;
        }
    }

    /// The snapshot exists, with this `root`: its chunks are no longer changed ones. Absent chunks come from
    /// `root` from now on (their content is the same there), so that older snapshots may go.
    pub async fn commit(
        &self,
        snapshot: &SnapshotId,
        root: Vec<u8>,
        source: Option<Rc<dyn ChunkSource>>,
    ) -> Result<()> {
        {
            let mut state = self.inner.core.state.borrow_mut();
            if !state.tracker.commit(snapshot) {
                return Ok(());
            }
            state.parent = Some(root.clone());
            if source.is_some() && !state.states.all_present() {
                state.source_root = Some(root);
                *self.inner.source.borrow_mut() = source;
            }
        }
        self.inner.core.taken.notify_waiters();
        self.persist().await
    }

    /// The snapshot will never be: its changes belong to the disk's next one.
    pub async fn fail(&self, snapshot: &SnapshotId) -> Result<()> {
        if !self.inner.core.state.borrow_mut().tracker.fail(snapshot) {
            return Ok(());
        }
        self.inner.core.taken.notify_waiters();
        self.persist().await
    }

    /// Makes the next snapshot relative to `parent` instead of `from` (the latest snapshot is being deleted):
    /// `differing` are the chunks in which the two differ. Durable when this returns. [`VolumeErrorKind::Busy`] when
    /// the disk is not relative to `from` (any more): a snapshot may have been committed since the caller looked.
    pub async fn reparent(
        &self,
        from: Option<&[u8]>,
        parent: Option<Vec<u8>>,
        differing: &RoaringBitmap,
    ) -> Result<()> {
        {
            let mut state = self.inner.core.state.borrow_mut();
            state.check_no_mark_waits()?;
            state.check_parent(from)?;
            state.tracker.touch(differing);
            state.parent = parent;
        }
        self.persist().await
    }

    /// Chunks changed since the last mark.
    pub fn changed_chunks(&self) -> RoaringBitmap {
        let state = self.inner.core.state.borrow();
        let open = state.tracker.open_interval();
        state.tracker.open_checkpointed() | state.layers.chunks_of(open)
    }

    /// Turns the disk into the snapshot `root`. `differing` are the chunks in which the disk's parent snapshot `from`
    /// and `root` differ; what changed since the parent is added here. Only those chunks lose their local content;
    /// the rest stays. No client may be connected, no capture pending, and `from` must (still) be the parent:
    /// [`VolumeErrorKind::Busy`]. The disk is usable when this returns,
    /// and a crash leaves the old content or the new, never a mixture: one superblock write decides. A second one
    /// follows, so that no loss of one slot brings the old content back.
    pub async fn rollback(
        &self,
        from: Option<&[u8]>,
        root: Vec<u8>,
        differing: &RoaringBitmap,
        source: Rc<dyn ChunkSource>,
    ) -> Result<()> {
        let inner = &self.inner;
        let _one = inner.marking.lock().await;
        self.check_serving()?;
        {
            let state = inner.core.state.borrow();
            state.check_no_mark_waits()?;
            state.check_parent(from)?;
        }
        inner.log.barrier().await;
        self.checkpoint_before_parent().await?;
        let _checkpointing = inner.checkpointing.lock().await;
        let _landing = inner.landing.lock().await;
        // As before every superblock that says the base holds a record.
        inner.log.sync(inner.log.written()).await?;
        let epoch = {
            let mut state = inner.core.state.borrow_mut();
            let open = state.tracker.open_interval();
            let mut gone = differing | state.tracker.open_checkpointed() | state.layers.chunks_of(open);
            if mutant::on("volume-rollback-keeps-changed") {
                gone = differing.clone();
            }
            // What was logged since the parent's mark lies in chunks that are gone with it: the base need not get it first, and no
            // record has to be ignored at replay (R11), since the checkpoint is behind all of them.
            if !state.layers.discard(open) {
                return Err(VolumeError::new(
                    VolumeErrorKind::Busy,
                    "the disk is being marked",
                ));
            }
            state.checkpoint = state.layers.last();
            let chunks_end = self.size_bytes().div_ceil(tidemark_units::CHUNK_BYTES) as u32;
            gone.remove_range(chunks_end..);
            state.states.make_absent(&gone);
            state.durable_states.make_absent(&gone);
            state.tracker.reset();
            state.parent = Some(root.clone());
            state.source_root = Some(root);
            state.epoch += 1;
            state.epoch
        };
        *inner.source.borrow_mut() = Some(source);
        inner.log.set_epoch(epoch);
        // What comes next is written over the new content: it must not meet the old one after a crash, nor (the
        // second time) when the medium loses the newest slot.
        self.persist_or_poison().await?;
        self.persist_or_poison().await
    }
}
