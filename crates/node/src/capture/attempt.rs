//! The work of a capture: attempts to move every pending chunk from the volume to the vault's writer, and the commit.
//!
//! A vault that is slow or down slows an attempt down, or ends it and another follows; only when the guest's log is about to
//! fill up because of it is the snapshot given up, loudly. The guest's writes never fail for a snapshot's sake.
//! Not here: when captures begin and end, and how one is undone (`super`).

use super::{Control, End, pause_after};
use crate::disk::DiskHost;
use crate::notes::Note;
use crate::remote::{Gone, Remote};
use crate::types::SnapshotSummary;
use crate::vault::VaultHost;
use futures_util::future::{self, Either};
use roaring::RoaringBitmap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_units::{ChunkIndex, DiskId, SnapshotId};
use tidemark_vault::{
    CaptureSpec, Chunk, Committed, RecordDraft, Root, SnapshotWriter, VaultError, VaultErrorKind,
};
use tidemark_volume::{FrozenChunk, PendingMark, VolumeErrorKind};

/// Chunks asked of the volume at once: 2 MiB.
const BATCH: usize = 32;
/// Log fill in percent at which a capture that makes no progress is given up: above it the guest waits.
const PRESSURE_PERCENT: u64 = 90;
/// Tries before trouble that waiting does not help is final.
const TRIES_MAX: u32 = 3;
/// How often the log's fill is looked at.
const PRESSURE_LOOK: Duration = Duration::from_millis(250);
/// Looks without progress under pressure after which a capture is given up.
const PRESSURE_LOOKS: u32 = 8;

impl VaultHost {
    pub(super) async fn capture(
        &self,
        disk: &DiskId,
        remote: &Remote<DiskHost>,
        pending: &PendingMark,
        control: &Control,
    ) -> Result<SnapshotSummary, End> {
        let snapshot = &pending.mark.snapshot;
        let mut tries = 0;
        loop {
            // First: the note of a snapshot that was committed before a crash is gone.
            let tried = match self.already_committed(disk, pending).await {
                Ok(Some(committed)) => Ok(committed),
                Ok(None) => match self.note(snapshot).await {
                    Ok(Some(note)) => self.try_capture(disk, remote, pending, &note, control).await,
                    Ok(None) => return Err(End::Cancelled),
                    Err(e) => return Err(End::Failed(e.message)),
                },
                Err(trouble) => Err(trouble),
            };
            match tried {
                Ok(committed) => return self.commit(remote, pending, committed).await,
                Err(Trouble::End(end)) => return Err(end),
                Err(Trouble::Source(why)) => {
                    tries += 1;
                    self.wait_out(remote, snapshot, why, tries).await?;
                }
                Err(Trouble::Vault(e)) => {
                    tries += 1;
                    // Waiting helps with these, however long it takes, unless the log fills up meanwhile.
                    let patient = matches!(e.kind, VaultErrorKind::Busy | VaultErrorKind::Full);
                    // Somebody else may have committed it, and that may have been us.
                    let lost = e.kind == VaultErrorKind::Lost && tries > 1;
                    if e.kind == VaultErrorKind::Stale {
                        return Err(End::Stale(e.to_string()));
                    }
                    if lost || !patient && tries >= TRIES_MAX {
                        // An entry of ours whose fate was unknown may have got there in the meantime.
                        if let Ok(Some(committed)) = self.already_committed(disk, pending).await {
                            return self.commit(remote, pending, committed).await;
                        }
                        return Err(End::Failed(e.to_string()));
                    }
                    self.wait_out(remote, snapshot, e.to_string(), tries).await?;
                }
            }
        }
    }

    /// Waits before another try; fails when the guest would have to wait for it.
    async fn wait_out(
        &self,
        remote: &Remote<DiskHost>,
        snapshot: &SnapshotId,
        why: String,
        tries: u32,
    ) -> Result<(), End> {
        tracing::warn!(%snapshot, why, tries, "capture interrupted; trying again");
        let pause = pin!(self.env().clock.sleep(pause_after(tries)));
        let trouble = || Some(why.clone());
        let pressure = pin!(self.watch_pressure(remote, || 0, trouble));
        match future::select(pause, pressure).await {
            Either::Left(_) => Ok(()),
            Either::Right((why, _)) => Err(End::Failed(why)),
        }
    }

    /// Makes sure that no other node may commit snapshots of the disk before we do (R1), and gives the head entry that
    /// says so. Once per process and disk, right before its first commit (decision 0031): the guest never waits for the
    /// bucket, and a capture that is given up before leaves no trace there.
    async fn claim(&self, disk: &DiskId, remote: &Remote<DiskHost>) -> Result<u64, Trouble> {
        if let Some(own) = self.owned.borrow().get(disk) {
            return Ok(*own);
        }
        let epoch = remote
            .call(|host| async move { host.volume.info().epoch })
            .await?;
        let own = self.vault.head_log(disk).await?.claim(&self.name, epoch).await?;
        Ok(*self.owned.borrow_mut().entry(disk.clone()).or_insert(own))
    }

    async fn already_committed(
        &self,
        disk: &DiskId,
        pending: &PendingMark,
    ) -> Result<Option<Committed>, Trouble> {
        match self.vault.snapshot(&pending.mark.snapshot).await {
            // A second mark under the name of a snapshot that exists: its changes are not in that snapshot.
            Ok(record) if record.lsn != pending.mark.lsn || record.disk != *disk => {
                Err(Trouble::End(End::Cancelled))
            }
            Ok(record) => Ok(Some(Committed {
                root: record.root,
                stats: record.stats,
            })),
            Err(e) if e.kind == VaultErrorKind::Missing => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn try_capture(
        &self,
        disk: &DiskId,
        remote: &Remote<DiskHost>,
        pending: &PendingMark,
        note: &Note,
        control: &Control,
    ) -> Result<Committed, Trouble> {
        let snapshot = &pending.mark.snapshot;
        let dir = self.spool_dir(snapshot);
        let options = self.capture_options();
        let (parent, size_bytes) = remote
            .call(|host| async move { (host.volume.parent(), host.volume.size_bytes()) })
            .await?;
        let writer = match SnapshotWriter::resume(&self.vault, &dir, options).await? {
            Some(writer) => writer,
            None => {
                let parent = parent.as_deref().map(Root::from_bytes).transpose()?;
                let spec = CaptureSpec {
                    snapshot: snapshot.clone(),
                    disk: disk.clone(),
                    parent,
                    size_bytes,
                    pending: pending.chunks.clone(),
                    own_key: self.has_own_key(disk),
                };
                SnapshotWriter::begin(&self.vault, &dir, spec, options).await?
            }
        };
        let writer = Rc::new(writer);
        *control.writer.borrow_mut() = Some(Rc::clone(&writer));
        let outcome = {
            let copy = pin!(self.copy(remote, &writer, pending, note));
            let progress = || writer.progress().chunks_taken;
            let trouble = || writer.progress().upload_trouble;
            let pressure = pin!(self.watch_pressure(remote, progress, trouble));
            match future::select(copy, pressure).await {
                Either::Left((done, _)) => done,
                Either::Right((why, _)) => Err(Trouble::End(End::Failed(why))),
            }
        };
        if outcome.is_err() {
            writer.close().await;
        }
        outcome
    }

    /// Moves every pending chunk, then commits.
    async fn copy(
        &self,
        remote: &Remote<DiskHost>,
        writer: &SnapshotWriter,
        pending: &PendingMark,
        note: &Note,
    ) -> Result<Committed, Trouble> {
        let snapshot = &pending.mark.snapshot;
        // What it was begun with: that is complete relative to its parent.
        let mut left = &writer.spec().pending - writer.taken();
        self.tell_taken(remote, snapshot, writer.taken()).await?;
        writer.drain_taken();
        let mut wanted = RoaringBitmap::new();
        let mut reading = None;
        loop {
            let batch = match reading.take() {
                Some(batch) => batch,
                None => {
                    let next = take_batch(&mut left, &wanted);
                    if next.is_empty() {
                        break;
                    }
                    self.read_batch(remote, snapshot, next, !wanted.is_empty())
                        .await?
                }
            };
            let urgent = !wanted.is_empty();
            wanted = batch.wanted;
            let next = take_batch(&mut left, &wanted);
            let put = async {
                for (index, chunk) in batch.chunks {
                    writer.put(index, chunk).await?;
                }
                // The checkpointer waits for these: make them durable now instead of when a pack is full.
                if urgent {
                    writer.seal().await
                } else {
                    Ok(writer.drain_taken())
                }
            };
            if next.is_empty() {
                let taken = put.await?;
                self.tell_taken(remote, snapshot, taken).await?;
            } else {
                let read = self.read_batch(remote, snapshot, next, !wanted.is_empty());
                let (taken, read) = future::join(put, read).await;
                self.tell_taken(remote, snapshot, taken?).await?;
                reading = Some(read?);
            }
            self.tell_progress(snapshot, writer);
        }
        let taken = writer.seal().await?;
        self.tell_taken(remote, snapshot, taken).await?;
        self.tell_progress(snapshot, writer);
        let owner = self.claim(&writer.spec().disk, remote).await?;
        let parent = self.parent_snapshot(writer).await?;
        let draft = RecordDraft {
            created_ms: pending.mark.unix_millis,
            parent,
            lsn: pending.mark.lsn,
            owner: Some(owner),
            meta: note.meta.clone(),
        };
        Ok(writer.finish(draft).await?)
    }

    fn tell_progress(&self, snapshot: &SnapshotId, writer: &SnapshotWriter) {
        let now = self.env().clock.now();
        self.board.update(snapshot, &writer.progress(), now);
    }

    /// The live snapshot of the disk whose content the capture is relative to, if there is one.
    async fn parent_snapshot(&self, writer: &SnapshotWriter) -> Result<Option<SnapshotId>, Trouble> {
        let Some(parent) = &writer.spec().parent else {
            return Ok(None);
        };
        let head = self.vault.head_log(&writer.spec().disk).await?;
        let live = head.state().live();
        Ok(live
            .into_iter()
            .rev()
            .find(|(_, root)| root.same_content(parent))
            .map(|(id, _)| id))
    }

    async fn read_batch(
        &self,
        remote: &Remote<DiskHost>,
        snapshot: &SnapshotId,
        chunks: Vec<u32>,
        urgent: bool,
    ) -> Result<Batch, Trouble> {
        let id = snapshot.clone();
        let read = remote.call(move |host| async move {
            let (clock, pace) = (&host.place.env.clock, &host.demand.pace);
            let pause = pace.pause(clock.now());
            // Where the checkpointer waits for these chunks, the guest soon will.
            if !urgent && !pause.is_zero() {
                clock.sleep(pause).await;
            }
            let mut out = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                // A chunk is copied on the guest's thread: its requests go first, before every one.
                host.place.env.tasks.yield_now().await;
                let frozen = match host.volume.read_frozen(&id, ChunkIndex(chunk)).await {
                    Ok(FrozenChunk::Zero) => Chunk::Zero,
                    Ok(FrozenChunk::Data(bytes)) => Chunk::Data(bytes),
                    Err(e) => return Err(e),
                };
                out.push((chunk, frozen));
            }
            let wanted = futures_util::FutureExt::now_or_never(host.volume.wanted()).unwrap_or_default();
            Ok(Batch { chunks: out, wanted })
        });
        read.await?.map_err(|e| match e.kind {
            // The volume has stopped; what it holds is found again when it is opened again.
            VolumeErrorKind::Poisoned => Trouble::End(End::Paused),
            // A chunk that has to come from the vault first: as if the vault had failed us.
            VolumeErrorKind::Unavailable => Trouble::Source(e.message),
            _ => Trouble::End(End::Failed(e.message)),
        })
    }

    async fn tell_taken(
        &self,
        remote: &Remote<DiskHost>,
        snapshot: &SnapshotId,
        taken: RoaringBitmap,
    ) -> Result<(), Gone> {
        if taken.is_empty() {
            return Ok(());
        }
        let id = snapshot.clone();
        remote
            .call(move |host| async move { host.volume.taken(&id, &taken) })
            .await
    }

    /// Completes, with a reason, when the guest is about to wait for a capture that makes no progress (`taken` stays
    /// the same): the base must not change where a chunk is not taken, so the log cannot be emptied.
    async fn watch_pressure(
        &self,
        remote: &Remote<DiskHost>,
        taken: impl Fn() -> u64,
        trouble: impl Fn() -> Option<String>,
    ) -> String {
        let mut before = taken();
        let mut stuck = 0;
        loop {
            self.env().clock.sleep(PRESSURE_LOOK).await;
            let usage = remote
                .call(|host| async move { host.volume.info().log_bytes })
                .await;
            let Ok((used, capacity)) = usage else {
                future::pending().await
            };
            let now = taken();
            let full = used * 100 >= capacity * PRESSURE_PERCENT;
            stuck = if full && now == before { stuck + 1 } else { 0 };
            before = now;
            if stuck >= PRESSURE_LOOKS {
                let trouble = trouble().unwrap_or_else(|| "it is too slow".into());
                return format!(
                    "the vault does not take the data ({trouble}) and the disk's log is filling up"
                );
            }
        }
    }

    async fn commit(
        &self,
        remote: &Remote<DiskHost>,
        pending: &PendingMark,
        committed: Committed,
    ) -> Result<SnapshotSummary, End> {
        let snapshot = pending.mark.snapshot.clone();
        let root = committed.root.to_bytes();
        let done = remote.call(move |host| async move {
            let source = host.source(&root);
            host.volume.commit(&snapshot, root, Some(source)).await
        });
        if let Err(e) = done.await? {
            // The snapshot exists; the volume learns of it when it is opened again.
            tracing::error!(snapshot = %pending.mark.snapshot, error = %e, "noting a commit in the volume");
            return Err(End::Paused);
        }
        self.forget_note(&pending.mark.snapshot).await;
        Ok(SnapshotSummary {
            disk_bytes: committed.root.size_bytes(),
            ..committed.stats.into()
        })
    }
}

/// Chunks as they were at the mark, and which ones the checkpointer waits for.
struct Batch {
    chunks: Vec<(u32, Chunk)>,
    wanted: RoaringBitmap,
}

/// Why an attempt ended.
enum Trouble {
    /// The vault; perhaps worth another attempt.
    Vault(VaultError),
    /// A chunk of an older snapshot, which this one has to read, cannot be had now.
    Source(String),
    /// No other attempt.
    End(End),
}

impl From<VaultError> for Trouble {
    fn from(e: VaultError) -> Self {
        Trouble::Vault(e)
    }
}

impl From<Gone> for Trouble {
    fn from(gone: Gone) -> Self {
        Trouble::End(gone.into())
    }
}

/// The next chunks to read: wanted ones first, then in order.
fn take_batch(left: &mut RoaringBitmap, wanted: &RoaringBitmap) -> Vec<u32> {
    let mut batch: Vec<u32> = (wanted & &*left).iter().take(BATCH).collect();
    if batch.is_empty() {
        batch = left.iter().take(BATCH).collect();
    }
    for chunk in &batch {
        left.remove(*chunk);
    }
    batch
}
