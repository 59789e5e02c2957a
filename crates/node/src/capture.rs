//! Captures: from a mark to a committed snapshot, on the vault's thread.
//!
//! One task per snapshot. It reads pending chunks from the volume's thread, chunks that the checkpointer waits for
//! first, puts them into the vault's writer, tells the volume what is taken, and commits. The order of the end is:
//! head entry in the vault -> `commit` in the volume -> the note is removed. A crash anywhere leaves the mark pending
//! and the note there: [`resume`] goes on, and a commit that nobody saw is found by the writer or as a record.
//! The note (`marks/<snapshot>.json`) keeps what only the caller knew; a mark without one was never answered
//! and is withdrawn.
//! After a crash the marks of a disk are resolved one after the other, oldest first: a replay brings marks back whose
//! snapshots were committed or withdrawn, and what becomes of one decides what the next one has to capture.
//! Not here: the work between the mark and the commit, and what is done about trouble with it (`attempt`).

mod attempt;

use crate::disk::DiskHost;
use crate::remote::{Gone, Remote};
use crate::types::{Event, NodeError};
use crate::vault::VaultHost;
use futures_util::future::{self, Either};
use roaring::RoaringBitmap;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};
use tidemark_vault::{CaptureOptions, SnapshotWriter};
use tidemark_volume::PendingMark;
use tokio::sync::Notify;

/// Tries to remove the note of a snapshot that is given up.
const NOTE_TRIES_MAX: u32 = 6;

/// How long to wait after so many failed tries.
fn pause_after(tries: u32) -> Duration {
    Duration::from_millis(250 << tries.min(6))
}

/// Captures under way on this thread.
#[derive(Default)]
pub struct Captures {
    running: RefCell<BTreeMap<SnapshotId, Rc<Control>>>,
}

#[derive(Default)]
struct Control {
    /// Give the snapshot up.
    cancel: Notify,
    /// Stop, to be resumed by another process.
    pause: Notify,
    ended: Notify,
    /// What is being written, so that it can be wound down before anybody else touches its spool.
    writer: RefCell<Option<Rc<SnapshotWriter>>>,
}

/// Why a capture ended without a snapshot.
enum End {
    /// For good: the reason, for people.
    Failed(String),
    /// For good, and what the next one would be relative to is of no use either.
    Stale(String),
    /// The caller wants it gone.
    Cancelled,
    /// The volume or the process is going away; the mark stays pending.
    Paused,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Paused
    }
}

impl VaultHost {
    /// Whether a capture of the snapshot runs.
    pub fn is_capturing(&self, snapshot: &SnapshotId) -> bool {
        self.captures.running.borrow().contains_key(snapshot)
    }

    /// Whether any capture runs.
    pub fn is_capturing_any(&self) -> bool {
        !self.captures.running.borrow().is_empty()
    }

    /// Starts, or goes on with, the capture of a pending mark.
    pub fn start_capture(self: &Rc<Self>, disk: DiskId, remote: Remote<DiskHost>, pending: PendingMark) {
        let snapshot = pending.mark.snapshot.clone();
        if self.is_capturing(&snapshot) {
            return;
        }
        let control = Rc::new(Control::default());
        self.captures
            .running
            .borrow_mut()
            .insert(snapshot.clone(), Rc::clone(&control));
        self.board.begin(&snapshot, pending.chunks.len() * CHUNK_BYTES);
        let host = Rc::clone(self);
        self.env().spawn(async move {
            host.run_capture(&disk, &remote, &pending, &control).await;
            host.captures.running.borrow_mut().remove(&snapshot);
            control.ended.notify_waiters();
        });
    }

    /// Goes on with the marks that were pending when a disk was opened, oldest first. Not with later ones: their notes may
    /// still be on their way, and who made them starts their captures.
    pub fn resume_captures(
        self: &Rc<Self>,
        disk: DiskId,
        remote: Remote<DiskHost>,
        found: BTreeSet<SnapshotId>,
    ) {
        let host = Rc::clone(self);
        self.env().spawn(async move {
            let mut before = None;
            loop {
                let pending = remote
                    .call(|host| async move { host.volume.pending_marks() })
                    .await;
                let Some(oldest) = pending.ok().and_then(|marks| marks.into_iter().next()) else {
                    return;
                };
                let mark = oldest.mark.clone();
                if !found.contains(&mark.snapshot) {
                    return;
                }
                // Begun before the volume stopped: it ends by itself, and what it has is in the spool.
                let running = host.captures.running.borrow().get(&mark.snapshot).cloned();
                if let Some(control) = running {
                    control.ended.notified().await;
                    continue;
                }
                if before.replace(mark.clone()) == Some(mark.clone()) {
                    return; // It was paused.
                }
                host.start_capture(disk.clone(), remote.clone(), oldest);
                let running = host.captures.running.borrow().get(&mark.snapshot).cloned();
                if let Some(control) = running {
                    control.ended.notified().await;
                }
            }
        });
    }

    /// Gives a running capture up and waits until it has ended, one way or the other.
    pub async fn cancel_capture(&self, snapshot: &SnapshotId) {
        self.end_capture(snapshot, |control| control.cancel.notify_one())
            .await;
    }

    /// Stops all captures, to be resumed later, and waits for that.
    pub async fn pause_captures(&self) {
        let running: Vec<SnapshotId> = self.captures.running.borrow().keys().cloned().collect();
        for snapshot in running {
            self.end_capture(&snapshot, |control| control.pause.notify_one())
                .await;
        }
    }

    async fn end_capture(&self, snapshot: &SnapshotId, signal: impl Fn(&Control)) {
        let found = self.captures.running.borrow().get(snapshot).cloned();
        let Some(control) = found else { return };
        let ended = control.ended.notified();
        signal(&control);
        if self.is_capturing(snapshot) {
            ended.await;
        }
    }

    async fn run_capture(
        &self,
        disk: &DiskId,
        remote: &Remote<DiskHost>,
        pending: &PendingMark,
        control: &Control,
    ) {
        let snapshot = &pending.mark.snapshot;
        let ended = {
            let work = pin!(self.capture(disk, remote, pending, control));
            let cancelled = async {
                match future::select(pin!(control.cancel.notified()), pin!(control.pause.notified())).await {
                    Either::Left(_) => End::Cancelled,
                    Either::Right(_) => End::Paused,
                }
            };
            match future::select(work, pin!(cancelled)).await {
                Either::Left((ended, _)) => ended,
                Either::Right((why, _)) => Err(why),
            }
        };
        let writer = control.writer.take();
        if let Some(writer) = writer {
            writer.close().await;
        }
        match ended {
            Ok(summary) => {
                self.board.forget(snapshot);
                let _ = self
                    .events
                    .send(Event::Accomplished(disk.clone(), snapshot.clone(), summary));
            }
            Err(End::Paused) => {}
            Err(End::Cancelled) => {
                // Who wanted it gone looks whether it is, and is told.
                let _ = self.withdraw(remote, snapshot, None).await;
            }
            Err(End::Failed(why)) => self.fail_capture(disk, remote, snapshot, why).await,
            Err(End::Stale(why)) => {
                self.fail_capture(disk, remote, snapshot, why).await;
                if let Err(error) = remote.call(|host| async move { start_afresh(&host).await }).await {
                    tracing::warn!(%disk, %error, "the disk's thread has ended");
                }
            }
        }
    }

    async fn fail_capture(
        &self,
        disk: &DiskId,
        remote: &Remote<DiskHost>,
        snapshot: &SnapshotId,
        why: String,
    ) {
        tracing::error!(%disk, %snapshot, why, "snapshot failed");
        // Otherwise it has not failed yet: the next opening of its disk goes on with it.
        if self.withdraw(remote, snapshot, Some(why.clone())).await.is_ok() {
            let event = Event::CaptureFailed(disk.clone(), snapshot.clone(), why);
            let _ = self.events.send(event);
        }
    }

    /// Undoes a capture: its changes go to the disk's next snapshot, its data goes away. If it turns out that the
    /// snapshot exists already, it stays. An error means that nothing was undone.
    ///
    /// The note goes first, durably. What follows destroys the content of the mark (what the spool holds may have been
    /// overwritten in the base, and the base may change as soon as the volume has given the mark up), but a crash
    /// brings the mark back, and with its note it would be captured again.
    pub async fn withdraw(
        &self,
        remote: &Remote<DiskHost>,
        snapshot: &SnapshotId,
        why: Option<String>,
    ) -> Result<(), NodeError> {
        let note_last = mutant::on("node-note-removed-last");
        if !note_last {
            self.drop_note_of_withdrawn(snapshot).await?;
        }
        let options = self.capture_options();
        let abandoned = match SnapshotWriter::resume(&self.vault, &self.spool_dir(snapshot), options).await {
            Ok(Some(writer)) => writer.abandon().await,
            Ok(None) => Ok(()),
            Err(e) => Err(e),
        };
        if let Err(e) = abandoned {
            tracing::warn!(%snapshot, error = %e, "cleaning up after a capture");
        }
        let id = snapshot.clone();
        let failed = remote.call(move |host| async move { host.volume.fail(&id).await });
        if let Ok(Err(e)) = failed.await {
            tracing::warn!(%snapshot, error = %e, "giving a capture's changes back");
        }
        if note_last {
            self.drop_note_of_withdrawn(snapshot).await?;
        }
        match why {
            Some(why) => self.board.failed(snapshot, why),
            None => self.board.forget(snapshot),
        }
        Ok(())
    }

    /// As [`VaultHost::drop_note`], again and again before it gives up.
    async fn drop_note_of_withdrawn(&self, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let mut tries = 0;
        while let Err(error) = self.drop_note(snapshot).await {
            tries += 1;
            if tries >= NOTE_TRIES_MAX {
                tracing::error!(%snapshot, %error, "a snapshot cannot be given up: its note cannot be removed");
                return Err(error);
            }
            self.env().clock.sleep(pause_after(tries)).await;
        }
        Ok(())
    }

    fn capture_options(&self) -> CaptureOptions {
        CaptureOptions {
            spool_quota_bytes: self.config.spool_bytes_max,
            pack_bytes: self.config.pack_bytes,
            ..CaptureOptions::default()
        }
    }
}

/// Makes the volume's next snapshot a full one: what it would be relative to may be gone from the vault.
async fn start_afresh(host: &DiskHost) {
    let (parent, chunks) = (
        host.volume.parent(),
        host.volume.size_bytes().div_ceil(CHUNK_BYTES),
    );
    let all: RoaringBitmap = (0..chunks as u32).collect();
    match host.volume.reparent(parent.as_deref(), None, &all).await {
        Ok(()) => tracing::warn!(disk = %host.disk, "the disk's next snapshot is taken in full"),
        Err(error) => tracing::warn!(disk = %host.disk, %error, "the disk's next snapshot may fail as well"),
    }
}
