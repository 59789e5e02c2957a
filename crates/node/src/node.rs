//! [`Node`]: which disks are open on which threads, and the requests of the control plane.

use crate::capture::Note;
use crate::disk::DiskHost;
use crate::nbd;
use crate::progress::ProgressBoard;
use crate::remote::Remote;
use crate::types::{
    DiskStatus, Event, MarkRequest, Marked, NodeConfig, NodeError, NodeErrorKind, SnapshotStatus,
    SnapshotSummary, SweepReport,
};
use crate::vault::VaultHost;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tidemark_env::real::RuntimeOptions;
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};
use tidemark_vault::Root;
use tidemark_volume::{CreateOptions, Volume, VolumeConfig, VolumeErrorKind};
use tokio::sync::{Mutex as AsyncMutex, Notify, RwLock, broadcast};
use tokio::task::AbortHandle;

/// How long deletions are gathered before the vault is swept for them.
const SWEEP_DELAY: Duration = Duration::from_secs(2);
/// When a sweep that failed is tried again.
const SWEEP_RETRY: Duration = Duration::from_secs(60);
/// How long a shutdown waits for what clients have under way.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);
/// How often, and how far apart, a volume's lock is tried at its opening.
const LOCK_TRIES: u32 = 40;
/// See [`LOCK_TRIES`].
const LOCK_WAIT: Duration = Duration::from_millis(25);
/// Events that a slow reader may be behind.
const EVENTS_KEPT: usize = 1024;

/// A node: owns volumes and a vault. Clones share it. Dropping the last one does not close the volumes
/// cleanly; [`Node::shutdown`] does. (A crash, or a drop, loses nothing that was acknowledged.)
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

/// What a node's clones and its NBD socket share.
pub struct Shared {
    config: NodeConfig,
    /// The vault's thread.
    pub vault: Remote<VaultHost>,
    disks: Mutex<HashMap<DiskId, Arc<Disk>>>,
    /// Opening, making and deleting disks, one at a time per disk.
    opening: Mutex<HashMap<DiskId, Arc<AsyncMutex<()>>>>,
    board: ProgressBoard,
    events: broadcast::Sender<Event>,
    /// Read while a volume adopts a snapshot's content; written by a sweep.
    adopting: RwLock<()>,
    sweep_wanted: Arc<Notify>,
    tasks: Mutex<Vec<AbortHandle>>,
    vault_thread: Mutex<Option<JoinHandle<()>>>,
}

/// An open disk.
struct Disk {
    remote: Remote<DiskHost>,
    size_bytes: u64,
    exported: AtomicBool,
    /// Mark, rollback, delete: one at a time.
    changing: AsyncMutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn disk(&self, disk: &DiskId) -> Result<Arc<Disk>, NodeError> {
        lock(&self.disks).get(disk).cloned().ok_or_else(|| {
            NodeError::new(
                NodeErrorKind::Missing,
                format!("disk {disk} is not open on this node"),
            )
        })
    }

    fn dir(&self, disk: &DiskId) -> PathBuf {
        self.config.data_dir.join("volumes").join(disk.as_str())
    }

    fn opening(&self, disk: &DiskId) -> Arc<AsyncMutex<()>> {
        Arc::clone(lock(&self.opening).entry(disk.clone()).or_default())
    }

    /// The thread of an exported disk.
    pub fn remote_of(&self, disk: &DiskId) -> Option<Remote<DiskHost>> {
        let disks = lock(&self.disks);
        let found = disks.get(disk).filter(|d| d.exported.load(Ordering::Acquire));
        found.map(|d| d.remote.clone())
    }

    /// Exported disks and their sizes in bytes.
    pub fn exported(&self) -> Vec<(DiskId, u64)> {
        let disks = lock(&self.disks);
        let exported = disks.iter().filter(|(_, d)| d.exported.load(Ordering::Acquire));
        let mut all: Vec<_> = exported.map(|(id, d)| (id.clone(), d.size_bytes)).collect();
        all.sort();
        all
    }

    /// Whether an open disk is exported, and its size in bytes.
    pub fn export_state(&self, disk: &DiskId) -> Option<(bool, u64)> {
        let disks = lock(&self.disks);
        disks
            .get(disk)
            .map(|d| (d.exported.load(Ordering::Acquire), d.size_bytes))
    }

    async fn sweep(&self) -> Result<SweepReport, NodeError> {
        let _nobody_adopts = self.adopting.write().await;
        let open: Vec<_> = lock(&self.disks)
            .iter()
            .map(|(id, d)| (id.clone(), d.remote.clone()))
            .collect();
        let mut roots = Vec::new();
        let mut dirs = Vec::new();
        for (id, remote) in open {
            // A disk whose thread has died counts as closed: its superblock says what it needs.
            if let Ok(needed) = remote.call(|host| async move { host.volume.roots() }).await {
                roots.extend(needed);
                dirs.push(self.dir(&id));
            }
        }
        self.vault
            .call(move |host| async move { host.sweep(roots, dirs).await })
            .await?
    }
}

/// Sweeps some time after something was deleted; again later if that failed.
async fn sweeper(wanted: Arc<Notify>, shared: Weak<Shared>) {
    loop {
        wanted.notified().await;
        tokio::time::sleep(SWEEP_DELAY).await;
        let Some(node) = shared.upgrade() else { return };
        if let Err(e) = node.sweep().await {
            tracing::warn!(error = %e, "the vault was not swept; nothing was freed, trying again in a minute");
            drop(node);
            tokio::time::sleep(SWEEP_RETRY).await;
            wanted.notify_one();
        }
    }
}

impl Node {
    /// Opens the vault (making it on first use), starts the threads and the NBD socket. No disk is open yet.
    pub async fn start(config: NodeConfig) -> Result<Node, NodeError> {
        let board = ProgressBoard::default();
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let options = RuntimeOptions { io: config.io };
        let (for_host, told, heard) = (config.clone(), events.clone(), board.clone());
        let make = move |real| VaultHost::open(real, for_host, heard, told);
        let (vault, thread) = Remote::start("vault".into(), options, make).await?;
        let volumes = config.data_dir.join("volumes");
        vault
            .call(move |host| async move {
                let fs = &host.env().fs;
                tidemark_env::fs::create_dir_durable(&**fs, &volumes).await?;
                for entry in fs.list(&volumes).await? {
                    // A disk whose deletion was interrupted.
                    if entry.name.starts_with('.') {
                        fs.remove_dir_all(&volumes.join(entry.name)).await?;
                    }
                }
                Ok::<_, std::io::Error>(())
            })
            .await??;
        let listener = nbd::listen(&config.nbd_socket).map_err(|e| {
            NodeError::new(
                NodeErrorKind::Other,
                format!("NBD socket {}: {e}", config.nbd_socket.display()),
            )
        })?;
        let shared = Arc::new(Shared {
            config,
            vault,
            disks: Mutex::default(),
            opening: Mutex::default(),
            board,
            events,
            adopting: RwLock::new(()),
            sweep_wanted: Arc::new(Notify::new()),
            tasks: Mutex::default(),
            vault_thread: Mutex::new(Some(thread)),
        });
        let accepting = tokio::spawn(nbd::accept(listener, Arc::downgrade(&shared)));
        let sweeping = tokio::spawn(sweeper(Arc::clone(&shared.sweep_wanted), Arc::downgrade(&shared)));
        lock(&shared.tasks).extend([accepting.abort_handle(), sweeping.abort_handle()]);
        Ok(Node { shared })
    }

    /// Makes a disk of `size_bytes`: empty, or with a snapshot's content (usable at once, filled lazily).
    /// The disk is open when this returns. Larger than the snapshot: the tail reads as zeros.
    pub async fn create_disk(
        &self,
        disk: &DiskId,
        size_bytes: u64,
        source: Option<&SnapshotId>,
    ) -> Result<(), NodeError> {
        let shared = &self.shared;
        let opening = shared.opening(disk);
        let _one = opening.lock().await;
        if lock(&shared.disks).contains_key(disk) {
            return Ok(());
        }
        let _adopting = shared.adopting.read().await;
        let options = CreateOptions {
            name: disk.to_string(),
            size_bytes,
            source: match source {
                Some(snapshot) => Some(self.content_of(snapshot, size_bytes).await?),
                None => None,
            },
        };
        let dir = shared.dir(disk);
        let path = dir.clone();
        // Made on the vault's thread: it is not guest I/O, and the volume's own thread starts with the open.
        let made = shared.vault.call(move |host| async move {
            if Volume::roots_of(host.env(), &path).await.is_ok() {
                return Ok(()); // made before a crash
            }
            Volume::create(host.env(), &path, &options, &VolumeConfig::default()).await
        });
        if let Err(e) = made.await? {
            // These say that there is a volume, however it was missed above: it is nobody's to remove.
            if matches!(e.kind, VolumeErrorKind::Invalid | VolumeErrorKind::Busy) {
                return Err(e.into());
            }
            let cleaned = shared
                .vault
                .call(move |host| async move { host.env().fs.remove_dir_all(&dir).await });
            if let Err(e) = cleaned.await? {
                tracing::warn!(%disk, error = %e, "removing a half-made disk");
            }
            return Err(e.into());
        }
        self.open_locked(disk).await
    }

    /// A snapshot's root, encoded, and how much of it a disk of that size takes.
    async fn content_of(&self, snapshot: &SnapshotId, size_bytes: u64) -> Result<(Vec<u8>, u64), NodeError> {
        let id = snapshot.clone();
        let record = self
            .shared
            .vault
            .call(move |host| async move { host.record(&id).await })
            .await??;
        let Some(record) = record else {
            return Err(NodeError::new(
                NodeErrorKind::Missing,
                format!("there is no snapshot {snapshot}"),
            ));
        };
        if size_bytes < record.size_bytes {
            let message = format!(
                "a disk of {size_bytes} bytes is too small for snapshot {snapshot} of {} bytes",
                record.size_bytes
            );
            return Err(NodeError::new(NodeErrorKind::Invalid, message));
        }
        Ok((record.root.to_bytes(), record.size_bytes))
    }

    /// Opens a disk after a restart: recovers its log and resumes its captures and its hydration.
    pub async fn open_disk(&self, disk: &DiskId) -> Result<(), NodeError> {
        let opening = self.shared.opening(disk);
        let _one = opening.lock().await;
        self.open_locked(disk).await
    }

    async fn open_locked(&self, disk: &DiskId) -> Result<(), NodeError> {
        let shared = &self.shared;
        let open = lock(&shared.disks).get(disk).cloned();
        if let Some(open) = open {
            let poisoned = open
                .remote
                .call(|host| async move { host.volume.info().poisoned })
                .await;
            if matches!(poisoned, Ok(None)) {
                return Ok(());
            }
            // It stopped serving. What it acknowledged is in its log, which the opening below replays.
            let _changing = open.changing.lock().await;
            open.exported.store(false, Ordering::Release);
            if open
                .remote
                .call(|host| async move { host.set_exported(false).await })
                .await
                .is_err()
            {
                tracing::warn!(%disk, "the thread of a disk that stopped serving has ended by itself");
            }
            lock(&shared.disks).remove(disk);
            open.end().await;
        }
        let dir = shared.dir(disk);
        let there = dir.clone();
        let exists = shared
            .vault
            .call(move |host| async move { host.env().fs.exists(&there).await })
            .await??;
        if !exists {
            return Err(NodeError::new(
                NodeErrorKind::Missing,
                format!("disk {disk} has no data on this node"),
            ));
        }
        let (id, vault, events) = (disk.clone(), shared.vault.clone(), shared.events.clone());
        let options = RuntimeOptions { io: shared.config.io };
        let mut tries = 0;
        let (remote, thread) = loop {
            let (id, dir, vault, events) = (id.clone(), dir.clone(), vault.clone(), events.clone());
            let make = move |real| DiskHost::open(real, id, dir, vault, events);
            match Remote::start::<NodeError, _>(format!("vol {disk}"), options.clone(), make).await {
                // Who made or closed it a moment ago, on another thread, lets go of the lock a moment later.
                Err(e) if e.kind == NodeErrorKind::Busy && tries < LOCK_TRIES => {
                    tries += 1;
                    tokio::time::sleep(LOCK_WAIT).await;
                }
                done => break done?,
            }
        };
        let (size_bytes, pending) = remote
            .call(|host| async move { (host.volume.size_bytes(), host.volume.pending_marks()) })
            .await?;
        for mark in &pending {
            self.begin_progress(mark);
        }
        let (id, for_captures) = (disk.clone(), remote.clone());
        shared
            .vault
            .cast(move |host| async move { host.resume_captures(id, for_captures) });
        let opened = Disk {
            remote,
            size_bytes,
            exported: AtomicBool::new(false),
            changing: AsyncMutex::new(()),
            thread: Mutex::new(Some(thread)),
        };
        lock(&shared.disks).insert(disk.clone(), Arc::new(opened));
        Ok(())
    }

    /// Makes a capture known as progressing before anybody can ask.
    fn begin_progress(&self, pending: &tidemark_volume::PendingMark) {
        self.shared
            .board
            .begin(&pending.mark.snapshot, pending.chunks.len() * CHUNK_BYTES);
    }

    fn start_capture(&self, disk: &DiskId, remote: &Remote<DiskHost>, pending: tidemark_volume::PendingMark) {
        self.begin_progress(&pending);
        let (disk, remote) = (disk.clone(), remote.clone());
        self.shared
            .vault
            .cast(move |host| async move { host.start_capture(disk, remote, pending) });
    }

    /// Closes and removes a disk's local data. Its snapshots stay. Refused (`Busy`) while a capture runs.
    pub async fn delete_disk(&self, disk: &DiskId) -> Result<(), NodeError> {
        let shared = &self.shared;
        let opening = shared.opening(disk);
        let _one = opening.lock().await;
        let found = lock(&shared.disks).get(disk).cloned();
        if let Some(open) = found {
            let _changing = open.changing.lock().await;
            let pending = open
                .remote
                .call(|host| async move { host.volume.pending_marks() })
                .await?;
            if let Some(pending) = pending.first() {
                let message = format!(
                    "snapshot {} of disk {disk} is being captured",
                    pending.mark.snapshot
                );
                return Err(NodeError::new(NodeErrorKind::Busy, message));
            }
            open.exported.store(false, Ordering::Release);
            open.remote
                .call(|host| async move { host.set_exported(false).await })
                .await?;
            lock(&shared.disks).remove(disk);
            open.end().await;
        }
        let (dir, gone) = (
            shared.dir(disk),
            shared.config.data_dir.join("volumes").join(format!(".{disk}")),
        );
        let removed = shared.vault.call(move |host| async move {
            let fs = &host.env().fs;
            if !fs.exists(&dir).await? {
                return Ok(());
            }
            // Renamed first: after a crash there is a whole disk or none.
            fs.rename(&dir, &gone).await?;
            if let Some(parent) = gone.parent() {
                fs.sync_dir(parent).await?;
            }
            fs.remove_dir_all(&gone).await
        });
        removed.await??;
        // The disk may have been the last to need some of the vault's data.
        shared.sweep_wanted.notify_one();
        Ok(())
    }

    /// Lets NBD clients connect to the disk, or disconnects them and refuses new ones. When `false` has
    /// returned, no client write is under way any more. Not remembered across restarts.
    pub async fn set_exported(&self, disk: &DiskId, exported: bool) -> Result<(), NodeError> {
        let open = self.shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        open.exported.store(exported, Ordering::Release);
        Ok(open
            .remote
            .call(move |host| async move { host.set_exported(exported).await })
            .await?)
    }

    /// What the disk is doing.
    pub async fn disk_status(&self, disk: &DiskId) -> Result<DiskStatus, NodeError> {
        let open = self.shared.disk(disk)?;
        let (info, clients) = open
            .remote
            .call(|host| async move { (host.volume.info(), host.clients()) })
            .await?;
        Ok(DiskStatus {
            ever_connected: info.ever_connected,
            clients,
            absent_bytes: info.absent_chunks * CHUNK_BYTES,
            captures: info.pending.into_iter().map(|p| p.mark.snapshot).collect(),
            log_bytes: info.log_bytes,
            poisoned: info.poisoned,
        })
    }

    /// Fixes a point in time of the disk, durable when this returns, and starts capturing it in the background.
    pub async fn mark(&self, disk: &DiskId, request: MarkRequest) -> Result<Marked, NodeError> {
        let shared = &self.shared;
        let open = shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        let snapshot = request.snapshot;
        let (id, note) = (
            snapshot.clone(),
            Note {
                disk: disk.clone(),
                meta: request.meta,
            },
        );
        let noting = shared
            .vault
            .call(move |host| async move { host.keep_note(&id, &note).await });
        let id = snapshot.clone();
        let marking = open.remote.call(move |host| async move {
            let mark = host.volume.mark(&id).await?;
            let pending = host.volume.pending_marks();
            Ok::<_, tidemark_volume::VolumeError>((mark, pending))
        });
        // Side by side: a mark without its note was never answered, and the next open withdraws it.
        let (noted, marked) = tokio::join!(noting, marking);
        let (mark, pending) = match (noted?, marked?) {
            (Ok(()), Ok(marked)) => marked,
            (noted, marked) => {
                let (id, remote) = (snapshot.clone(), open.remote.clone());
                let made = marked.is_ok();
                let undo = shared.vault.call(move |host| async move {
                    if made {
                        host.withdraw(&remote, &id, None).await;
                    } else {
                        host.drop_note(&id).await;
                    }
                });
                undo.await?;
                return Err(marked
                    .err()
                    .map(NodeError::from)
                    .or(noted.err())
                    .unwrap_or_else(|| {
                        NodeError::new(
                            NodeErrorKind::Other,
                            format!("snapshot {snapshot} could not be marked"),
                        )
                    }));
            }
        };
        if let Some(pending) = pending.into_iter().find(|p| p.mark.snapshot == snapshot) {
            self.start_capture(disk, &open.remote, pending);
        }
        Ok(Marked {
            lsn: mark.lsn,
            unix_millis: mark.unix_millis,
        })
    }

    /// Where a snapshot stands; answers from memory or from the vault.
    pub async fn snapshot_status(&self, snapshot: &SnapshotId) -> Result<SnapshotStatus, NodeError> {
        if let Some(status) = self.shared.board.get(snapshot) {
            return Ok(status);
        }
        let id = snapshot.clone();
        let record = self
            .shared
            .vault
            .call(move |host| async move { host.record(&id).await })
            .await??;
        Ok(match record {
            None => SnapshotStatus::Unknown,
            Some(record) => SnapshotStatus::Accomplished(SnapshotSummary {
                disk_bytes: record.size_bytes,
                ..record.stats.into()
            }),
        })
    }

    /// Deletes a snapshot, or cancels it while it is being captured. When this returns it is no longer
    /// listed; space is freed in the background. One that is not there is fine.
    pub async fn delete_snapshot(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let shared = &self.shared;
        let open = lock(&shared.disks).get(disk).cloned();
        let id = snapshot.clone();
        shared
            .vault
            .call(move |host| async move { host.cancel_capture(&id).await })
            .await?;
        if let Some(open) = &open {
            self.withdraw_leftover(open, snapshot).await?;
        }
        shared.board.forget(snapshot);
        let id = snapshot.clone();
        let record = shared
            .vault
            .call(move |host| async move { host.record(&id).await })
            .await??;
        let Some(record) = record else { return Ok(()) };
        if let Some(open) = &open {
            let _changing = open.changing.lock().await;
            self.reparent(disk, open, snapshot, &record.root).await?;
        }
        let (disk, id) = (disk.clone(), snapshot.clone());
        shared
            .vault
            .call(move |host| async move { host.vault.delete_snapshot(&disk, &id).await })
            .await??;
        shared.sweep_wanted.notify_one();
        Ok(())
    }

    /// Withdraws a mark whose capture is not running (its volume had stopped, say).
    async fn withdraw_leftover(&self, open: &Disk, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let id = snapshot.clone();
        let pending = open
            .remote
            .call(
                move |host| async move { host.volume.pending_marks().iter().any(|p| p.mark.snapshot == id) },
            )
            .await?;
        if pending {
            let (id, remote) = (snapshot.clone(), open.remote.clone());
            self.shared
                .vault
                .call(move |host| async move { host.withdraw(&remote, &id, None).await })
                .await?;
        }
        Ok(())
    }

    /// If the disk's next snapshot is relative to one that is going away, makes it relative to the one before,
    /// so that what only the former holds can be freed.
    async fn reparent(
        &self,
        disk: &DiskId,
        open: &Disk,
        snapshot: &SnapshotId,
        root: &Root,
    ) -> Result<(), NodeError> {
        let parent = open
            .remote
            .call(|host| async move { host.volume.parent() })
            .await?;
        let Some(parent) = parent else { return Ok(()) };
        if !Root::from_bytes(&parent)?.same_content(root) {
            return Ok(());
        }
        let (disk, id, from) = (disk.clone(), snapshot.clone(), *root);
        let (before, differing) = self
            .shared
            .vault
            .call(move |host| async move {
                let head = host.vault.head_log(&disk).await?;
                let live = tidemark_vault::head::live_snapshots(&head.entries());
                let before = live
                    .iter()
                    .take_while(|(other, _)| *other != id)
                    .last()
                    .map(|(_, root)| *root);
                let differing = host.vault.diff(before.as_ref(), Some(&from)).await?;
                Ok::<_, tidemark_vault::VaultError>((before.map(|b| b.to_bytes()), differing))
            })
            .await??;
        let done = open
            .remote
            .call(move |host| async move { host.volume.reparent(before, &differing).await })
            .await?;
        match done {
            // A capture that is relative to it goes on; what it needs is kept until it has ended.
            Err(e) if e.kind == VolumeErrorKind::Busy => Ok(()),
            other => Ok(other?),
        }
    }

    /// Rolls the disk back to one of its snapshots; usable when this returns, filled lazily. Refused
    /// (`Busy`) while it is exported or a capture runs.
    pub async fn rollback(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let shared = &self.shared;
        let open = shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        if open.exported.load(Ordering::Acquire) {
            return Err(NodeError::new(
                NodeErrorKind::Busy,
                format!("disk {disk} is exported to clients"),
            ));
        }
        let _adopting = shared.adopting.read().await;
        let (root, _) = self.content_of(snapshot, open.size_bytes).await?;
        let parent = open
            .remote
            .call(|host| async move { host.volume.parent() })
            .await?;
        let target = Root::from_bytes(&root)?;
        let differing = shared
            .vault
            .call(move |host| async move {
                let parent = parent.as_deref().map(Root::from_bytes).transpose()?;
                host.vault.diff(parent.as_ref(), Some(&target)).await
            })
            .await??;
        let rolled = open.remote.call(move |host| async move {
            let source = host.source(&root);
            host.volume.rollback(root, &differing, source).await?;
            host.start_hydration();
            Ok::<_, tidemark_volume::VolumeError>(())
        });
        Ok(rolled.await??)
    }

    /// Frees packs that nothing refers to; also runs by itself after deletions.
    pub async fn sweep(&self) -> Result<SweepReport, NodeError> {
        self.shared.sweep().await
    }

    /// Background events from now on. A slow reader misses some: ask [`Node::snapshot_status`] then.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Stops taking requests, ends guests' connections, checkpoints and closes the volumes, joins the threads.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        for task in lock(&shared.tasks).drain(..) {
            task.abort();
        }
        let _ = std::fs::remove_file(&shared.config.nbd_socket);
        let disks: Vec<_> = lock(&shared.disks).drain().collect();
        for (_, disk) in &disks {
            disk.exported.store(false, Ordering::Release);
            let ended = disk
                .remote
                .call(|host| async move { host.set_exported(false).await });
            // A request that waits for room on a full file system ends when its volume is closed, below.
            if tokio::time::timeout(SHUTDOWN_PATIENCE, ended).await.is_err() {
                tracing::warn!("clients still have requests under way; closing their disk all the same");
            }
        }
        let paused = shared
            .vault
            .call(|host| async move { host.pause_captures().await });
        if tokio::time::timeout(SHUTDOWN_PATIENCE, paused).await.is_err() {
            tracing::warn!("a capture does not stop; it is resumed at the next start");
        }
        for (_, disk) in disks {
            disk.end().await;
        }
        shared.vault.end();
        let thread = lock(&shared.vault_thread).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Disk {
    /// Closes the volume and waits for its thread.
    async fn end(&self) {
        let closed = self
            .remote
            .call(|host| async move { host.volume.close().await })
            .await;
        if let Ok(Err(e)) = closed {
            tracing::warn!(error = %e, "closing a volume; its log is replayed at the next open");
        }
        self.remote.end();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
