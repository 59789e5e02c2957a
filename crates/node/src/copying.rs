//! Copies of snapshots from another vault into this node's, on the vault's thread.
//!
//! One task per copy, as a capture has one: `tidemark_vault::copy` does the work, here it is started, followed, cancelled,
//! stopped and gone on with. `copies/<snapshot>` is a copy's spool; whoever asks for the same copy after a restart goes on
//! with it. What must stay true: copies of one disk run one after another, so that each is relative to the one before; a
//! copy that is cancelled leaves no snapshot behind; the source is only read.
//!
//! Not here: that a copy is started again after a restart (who asked for it), and what a copy is called and means.

use crate::place::BucketHandles;
use crate::types::{Event, NodeError, NodeErrorKind, SnapshotSummary};
use crate::vault::VaultHost;
use futures_util::future::{self, Either};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::{Bucket, DirBucket};
use tidemark_units::{DiskId, MIB, SnapshotId};
use tidemark_vault::{
    CaptureOptions, CopyRequest, DiskCopier, Secret, SnapshotCopy, SnapshotRecord, SnapshotWriter, Vault,
    VaultErrorKind, VaultOptions,
};
use tokio::sync::{Mutex, Notify, Semaphore};

/// Copies that run beside each other; each holds up to 16 MiB of chunks in memory.
const COPIES_MAX: usize = 2;
/// Most memory for what a copy reads of the source's trees and chunks.
const CACHE_BYTES: u64 = 12 * MIB;
/// How often a copy's progress is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Tries before trouble that waiting does not help is final.
const TRIES_MAX: u32 = 3;

/// Where a node's vault is, for another node that reads it.
#[derive(Clone)]
pub struct VaultAccess {
    pub(crate) bucket: Option<BucketHandles>,
    pub(crate) dir: PathBuf,
    pub(crate) secret: Option<Secret>,
}

/// What to copy into a node's vault, and as what.
#[derive(Clone)]
pub struct SnapshotCopyRequest {
    /// The vault that has it.
    pub from: VaultAccess,
    /// Its disk.
    pub disk: DiskId,
    /// Its id there.
    pub snapshot: SnapshotId,
    /// The copy's id.
    pub as_snapshot: SnapshotId,
    /// The caller's data about the copy, as for a mark.
    pub meta: serde_json::Value,
}

/// Copies under way on this thread.
pub struct Copies {
    running: RefCell<BTreeMap<SnapshotId, Rc<Control>>>,
    /// One copy of a disk at a time.
    of_disks: RefCell<BTreeMap<DiskId, Rc<Mutex<()>>>>,
    places: Semaphore,
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            running: RefCell::default(),
            of_disks: RefCell::default(),
            places: Semaphore::new(COPIES_MAX),
        }
    }
}

struct Control {
    disk: DiskId,
    /// Give the copy up.
    cancel: Notify,
    /// Stop, to be gone on with by another process.
    pause: Notify,
    ended: Notify,
    /// What runs, so that it can be wound down before anybody else touches its spool.
    copy: RefCell<Option<Rc<SnapshotCopy>>>,
}

/// Why a copy ended without a snapshot.
enum End {
    Failed(String),
    Cancelled,
    Paused,
}

/// Why one try did not get through.
enum Trouble {
    Vault(VaultErrorKind, String),
    /// Of this machine's own.
    Node(NodeError),
}

impl Trouble {
    /// How often it is worth trying; `None`: waiting helps, however long it takes.
    fn tries_most(&self) -> Option<u32> {
        match self {
            Self::Vault(VaultErrorKind::Busy | VaultErrorKind::Full, _) => None,
            Self::Vault(VaultErrorKind::Missing | VaultErrorKind::Corrupt, _) => Some(1),
            Self::Vault(
                VaultErrorKind::Stale
                | VaultErrorKind::Lost
                | VaultErrorKind::Denied
                | VaultErrorKind::Locked
                | VaultErrorKind::Other,
                _,
            ) => Some(TRIES_MAX),
            Self::Node(error) => match error.kind {
                NodeErrorKind::Busy | NodeErrorKind::Full => None,
                NodeErrorKind::Missing
                | NodeErrorKind::Corrupt
                | NodeErrorKind::Poisoned
                | NodeErrorKind::Invalid
                | NodeErrorKind::Other => Some(1),
            },
        }
    }
}

impl From<tidemark_vault::VaultError> for Trouble {
    fn from(error: tidemark_vault::VaultError) -> Self {
        Self::Vault(error.kind, error.to_string())
    }
}

impl From<NodeError> for Trouble {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl VaultHost {
    /// Whether the snapshot is being copied here.
    pub fn is_copying(&self, snapshot: &SnapshotId) -> bool {
        self.copies.running.borrow().contains_key(snapshot)
    }

    /// Whether any snapshot of the disk is being copied here.
    pub fn is_copying_disk(&self, disk: &DiskId) -> bool {
        let running = self.copies.running.borrow();
        running.values().any(|control| control.disk == *disk)
    }

    /// The spool directory of a copy.
    pub fn copy_dir(&self, snapshot: &SnapshotId) -> PathBuf {
        self.config.data_dir.join("copies").join(snapshot.as_str())
    }

    /// Starts a copy, or goes on with one; one that runs, goes on.
    pub fn start_copy(self: &Rc<Self>, request: SnapshotCopyRequest) {
        let snapshot = request.as_snapshot.clone();
        if self.is_copying(&snapshot) {
            return;
        }
        let control = Rc::new(Control {
            disk: request.disk.clone(),
            cancel: Notify::new(),
            pause: Notify::new(),
            ended: Notify::new(),
            copy: RefCell::default(),
        });
        self.copies
            .running
            .borrow_mut()
            .insert(snapshot.clone(), Rc::clone(&control));
        self.board.begin(&snapshot, 0);
        let host = Rc::clone(self);
        self.env().spawn(async move {
            host.run_copy(&request, &control).await;
            host.copies.running.borrow_mut().remove(&snapshot);
            control.ended.notify_waiters();
        });
    }

    /// Gives a copy up, be it running or left behind, and waits until it has ended, one way or the other.
    pub async fn cancel_copy(&self, snapshot: &SnapshotId) -> Result<(), NodeError> {
        self.end_copy(snapshot, |control| control.cancel.notify_one())
            .await;
        self.discard_copy(snapshot).await
    }

    /// Makes sure that what a copy has left behind is never committed, and removes it.
    async fn discard_copy(&self, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let dir = self.copy_dir(snapshot);
        if !self.env().fs.exists(&dir).await? {
            return Ok(());
        }
        match SnapshotWriter::resume(&self.vault, &dir, self.copy_options()).await {
            Ok(Some(left)) => match left.abandon_copy().await {
                // It was committed; who cancels it deletes it next.
                Err(error) if error.kind == VaultErrorKind::Other => {}
                done => return Ok(done?),
            },
            Ok(None) => {}
            // Nobody goes on with what it holds.
            Err(error) if matches!(error.kind, VaultErrorKind::Corrupt | VaultErrorKind::Missing) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.env().fs.remove_dir_all(&dir).await?)
    }

    /// Stops all copies, to be gone on with later, and waits for that.
    pub async fn pause_copies(&self) {
        let running: Vec<SnapshotId> = self.copies.running.borrow().keys().cloned().collect();
        for snapshot in running {
            self.end_copy(&snapshot, |control| control.pause.notify_one())
                .await;
        }
    }

    async fn end_copy(&self, snapshot: &SnapshotId, signal: impl Fn(&Control)) {
        let found = self.copies.running.borrow().get(snapshot).cloned();
        let Some(control) = found else { return };
        let ended = control.ended.notified();
        signal(&control);
        if self.is_copying(snapshot) {
            ended.await;
        }
    }

    async fn run_copy(&self, request: &SnapshotCopyRequest, control: &Control) {
        let snapshot = &request.as_snapshot;
        let ended = {
            let work = pin!(self.copy_to_the_end(request, control));
            let stopped = async {
                match future::select(pin!(control.cancel.notified()), pin!(control.pause.notified())).await {
                    Either::Left(_) => End::Cancelled,
                    Either::Right(_) => End::Paused,
                }
            };
            match future::select(work, pin!(stopped)).await {
                Either::Left((ended, _)) => ended,
                Either::Right((why, _)) => Err(why),
            }
        };
        let copy = control.copy.take();
        if let Some(copy) = &copy {
            copy.close().await;
        }
        match ended {
            Ok(record) => {
                self.board.forget(snapshot);
                let summary = SnapshotSummary {
                    disk_bytes: record.size_bytes,
                    ..record.stats.into()
                };
                let event = Event::Accomplished(request.disk.clone(), snapshot.clone(), summary);
                let _ = self.events.send(event);
            }
            // Unknown from now on; the next start goes on with the spool.
            Err(End::Paused | End::Cancelled) => self.board.forget(snapshot),
            Err(End::Failed(why)) => {
                tracing::error!(disk = %request.disk, %snapshot, source = %request.snapshot, why, "copy failed");
                drop(copy);
                if let Err(error) = self.discard_copy(snapshot).await {
                    tracing::warn!(%snapshot, %error, "what is left of a copy that failed stays for now");
                }
                self.board.failed(snapshot, why.clone());
                let event = Event::CaptureFailed(request.disk.clone(), snapshot.clone(), why);
                let _ = self.events.send(event);
            }
        }
    }

    async fn copy_to_the_end(
        &self,
        request: &SnapshotCopyRequest,
        control: &Control,
    ) -> Result<SnapshotRecord, End> {
        let of_disk = {
            let mut all = self.copies.of_disks.borrow_mut();
            all.retain(|_, lock| Rc::strong_count(lock) > 1);
            Rc::clone(all.entry(request.disk.clone()).or_default())
        };
        let _one_of_disk = of_disk.lock().await;
        let mut tries = 0;
        loop {
            // Not kept during the pause: copies from a vault that is away leave the places to those from others. The
            // semaphore is never closed.
            let place = self.copies.places.acquire().await.ok();
            let trouble = match self.try_to_copy(request, control).await {
                Ok(record) => return Ok(record),
                Err(trouble) => trouble,
            };
            // Dropped, so that the next try has the spool for itself.
            let left = control.copy.take();
            if let Some(left) = left {
                left.close().await;
            }
            drop(place);
            tries += 1;
            let is_final = trouble.tries_most().is_some_and(|most| tries >= most);
            let (Trouble::Vault(_, why) | Trouble::Node(NodeError { message: why, .. })) = trouble;
            if is_final {
                return Err(End::Failed(why));
            }
            tracing::warn!(snapshot = %request.as_snapshot, why, tries, "copy interrupted; trying again");
            let pause = Duration::from_millis(250 << tries.min(6));
            self.env().clock.sleep(pause).await;
        }
    }

    async fn try_to_copy(
        &self,
        request: &SnapshotCopyRequest,
        control: &Control,
    ) -> Result<SnapshotRecord, Trouble> {
        let from = self.source_vault(&request.from).await?;
        let copier = DiskCopier::open(&from, &self.vault, &request.disk).await?;
        let wanted = CopyRequest {
            snapshot: request.snapshot.clone(),
            as_snapshot: request.as_snapshot.clone(),
            meta: Some(request.meta.clone()),
        };
        let dir = self.copy_dir(&request.as_snapshot);
        let Some(copy) = copier.begin(&wanted, &dir, self.copy_options()).await? else {
            return Ok(self.vault.snapshot(&request.as_snapshot).await?);
        };
        self.keep_key_of_copied(&request.disk).await?;
        let copy = Rc::new(copy);
        *control.copy.borrow_mut() = Some(Rc::clone(&copy));
        let mut running = pin!(copy.run());
        loop {
            self.tell_copied(&request.as_snapshot, &copy);
            match future::select(running.as_mut(), self.env().clock.sleep(LOOK)).await {
                Either::Left((done, _)) => return Ok(done?.record),
                Either::Right(_) => {}
            }
        }
    }

    fn tell_copied(&self, snapshot: &SnapshotId, copy: &SnapshotCopy) {
        let progress = copy.progress();
        let now = self.env().clock.now();
        self.board
            .show(snapshot, progress.done_bytes, progress.total_bytes, now);
    }

    /// The other node's vault, read from this thread.
    async fn source_vault(&self, access: &VaultAccess) -> Result<Vault, tidemark_vault::VaultError> {
        let bucket: Rc<dyn Bucket> = match &access.bucket {
            Some(handle) => handle(),
            None => Rc::new(DirBucket::new(self.env().clone(), access.dir.clone())),
        };
        let options = VaultOptions {
            secret: access.secret.clone(),
            ..VaultOptions::default()
        }
        .with_cache(CACHE_BYTES);
        Vault::open_with(self.env(), bucket, options).await
    }

    fn copy_options(&self) -> CaptureOptions {
        CaptureOptions {
            spool_quota_bytes: self.config.spool_bytes_max,
            pack_bytes: self.config.pack_bytes,
            ..CaptureOptions::default()
        }
    }
}

impl super::Node {
    /// Where this node's vault is, for a node that copies from it.
    pub fn vault_access(&self) -> VaultAccess {
        self.access()
    }

    /// Starts copying a snapshot from another vault into this node's; one that runs, goes on. Returns at once:
    /// [`super::Node::snapshot_status`] of the copy tells how far it is, [`super::Node::delete_snapshot`] cancels it. After a
    /// restart it is `Unknown` until it is asked for again, and then goes on where it was.
    pub async fn copy_snapshot(&self, request: SnapshotCopyRequest) -> Result<(), NodeError> {
        if request.snapshot == request.as_snapshot {
            let message = format!("a copy of snapshot {} needs an id of its own", request.snapshot);
            return Err(NodeError::new(NodeErrorKind::Invalid, message));
        }
        let started = self
            .vault_remote()
            .call(move |host| async move { host.start_copy(request) });
        Ok(started.await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk of this machine's own ends no copy, just as a full bucket does not.
    #[test]
    fn what_waiting_helps_with_is_waited_for() {
        let of_node = |kind| Trouble::Node(NodeError::new(kind, "no")).tries_most();
        let of_vault = |kind| Trouble::Vault(kind, "no".into()).tries_most();
        for kind in [NodeErrorKind::Busy, NodeErrorKind::Full] {
            assert_eq!(of_node(kind), None, "{kind:?}");
        }
        for kind in [VaultErrorKind::Busy, VaultErrorKind::Full] {
            assert_eq!(of_vault(kind), None, "{kind:?}");
        }
        assert_eq!(of_node(NodeErrorKind::Corrupt), Some(1));
        assert_eq!(of_vault(VaultErrorKind::Missing), Some(1));
        assert_eq!(of_vault(VaultErrorKind::Denied), Some(TRIES_MAX));
    }
}
