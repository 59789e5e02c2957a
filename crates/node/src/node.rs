//! [`Node`]: which disks are open on which threads, and the requests of the control plane.
//!
//! Start and end are here; disks come and go in `lifecycle`, snapshots in `marks`, sets of disks in `groups`, how a disk is
//! filled in `hydration`, what differs between two snapshots in `changes`, its growth and its return to another content in `resizing`, and what nobody needs any more in `collecting`. Each of them is one `impl` of [`Node`].

mod changes;
mod collecting;
mod groups;
mod hydration;
mod lifecycle;
mod marks;
mod resizing;
mod scrubbing;

use crate::copying::VaultAccess;
use crate::disk::DiskHost;
use crate::export::VolumeExport;
use crate::nbd::{self, GuestSocket};
use crate::place::{BucketHandles, SharedLauncher, Thread, Threads};
use crate::progress::ProgressBoard;
use crate::remote::{Gone, Remote};
use crate::types::{DiskStatus, Event, GuestSockets, NodeConfig, NodeError, NodeErrorKind};
use crate::vault::VaultHost;
use crate::vhost::VhostSocket;
use futures_util::future::{self, Either};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tidemark_env::real::RuntimeOptions;
use tidemark_nbd::server::Stop;
use tidemark_units::{CHUNK_BYTES, DiskId};
use tokio::sync::{Mutex as AsyncMutex, Notify, broadcast};
use tokio::task::AbortHandle;

/// How long a shutdown waits for what clients have under way.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);
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
    launcher: SharedLauncher,
    /// The vault's thread.
    pub vault: Remote<VaultHost>,
    /// Chosen when the vault was made, for good.
    vault_is_encrypted: bool,
    disks: Mutex<BTreeMap<DiskId, Arc<Disk>>>,
    /// Opening, making and deleting disks, one at a time per disk.
    opening: Mutex<BTreeMap<DiskId, Arc<AsyncMutex<()>>>>,
    board: ProgressBoard,
    events: broadcast::Sender<Event>,
    collect_wanted: Arc<Notify>,
    /// Takes NBD clients in.
    accepting: Mutex<Option<AbortHandle>>,
    vault_thread: Mutex<Option<Thread>>,
}

/// An open disk.
struct Disk {
    remote: Remote<DiskHost>,
    size_bytes: AtomicU64,
    exported: AtomicBool,
    /// Exported to a virtual machine alone: no NBD client is let in.
    for_guest: AtomicBool,
    /// Where a virtual machine finds it; only while it is exported.
    vhost: Mutex<Option<VhostSocket>>,
    /// Where a virtual machine's monitor finds it by NBD; only while it is exported to that alone.
    guest_nbd: Mutex<Option<GuestSocket>>,
    /// Mark, rollback, delete: one at a time.
    changing: AsyncMutex<()>,
    thread: Mutex<Option<Thread>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Waits for some time, as the vault's thread knows it; not at all once that thread has ended.
    async fn sleep(&self, time: Duration) {
        let slept = self
            .vault
            .call(move |host| async move { host.env().clock.sleep(time).await });
        let _ = slept.await;
    }

    /// What `work` gives, or `None` after `time`.
    async fn within<T>(&self, time: Duration, work: impl Future<Output = T>) -> Option<T> {
        match future::select(pin!(work), pin!(self.sleep(time))).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

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

    /// A place beside a disk's for what is half made or half removed: a start removes it.
    fn dir_beside(&self, what: &str, disk: &DiskId) -> PathBuf {
        let name = format!(".{what}-{disk}");
        self.config.data_dir.join("volumes").join(name)
    }

    fn opening(&self, disk: &DiskId) -> Arc<AsyncMutex<()>> {
        Arc::clone(lock(&self.opening).entry(disk.clone()).or_default())
    }

    /// The thread of an exported disk.
    pub fn remote_of(&self, disk: &DiskId) -> Option<Remote<DiskHost>> {
        let disks = lock(&self.disks);
        let found = disks.get(disk).filter(|d| d.lets_in());
        found.map(|d| d.remote.clone())
    }

    /// Exported disks and their sizes in bytes.
    pub fn exported(&self) -> Vec<(DiskId, u64)> {
        let disks = lock(&self.disks);
        let exported = disks.iter().filter(|(_, d)| d.lets_in());
        let mut all: Vec<_> = exported.map(|(id, d)| (id.clone(), d.size_bytes())).collect();
        all.sort();
        all
    }

    /// Whether an open disk is exported, and its size in bytes.
    pub fn export_state(&self, disk: &DiskId) -> Option<(bool, u64)> {
        let disks = lock(&self.disks);
        disks.get(disk).map(|d| (d.lets_in(), d.size_bytes()))
    }
}

impl Node {
    /// Opens the vault (making it on first use), starts the threads and the NBD socket. No disk is open yet.
    pub async fn start(config: NodeConfig) -> Result<Node, NodeError> {
        Self::start_with(config, None).await
    }

    /// As [`Node::start`], with the vault in `bucket` if there is one, else in the directory that `config` names.
    pub async fn start_with(config: NodeConfig, bucket: Option<BucketHandles>) -> Result<Node, NodeError> {
        let options = RuntimeOptions { io: config.io };
        let threads = Threads { options, bucket };
        Self::start_on(Arc::new(threads), config).await
    }

    /// As [`Node::start`], with engine threads started by `launcher`. Without an NBD socket in `config` this needs
    /// no runtime but the caller's.
    pub async fn start_on(launcher: SharedLauncher, config: NodeConfig) -> Result<Node, NodeError> {
        let board = ProgressBoard::default();
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (for_host, told, heard) = (config.clone(), events.clone(), board.clone());
        let make = move |place| VaultHost::open(place, for_host, heard, told);
        let (vault, thread) = Remote::start(&launcher, "vault".into(), make).await?;
        let volumes = config.data_dir.join("volumes");
        let vault_is_encrypted = vault
            .call(move |host| async move {
                let fs = &host.env().fs;
                tidemark_env::fs::create_dir_durable(&**fs, &volumes).await?;
                for entry in fs.list(&volumes).await? {
                    // A disk whose deletion was interrupted.
                    if entry.name.starts_with('.') {
                        fs.remove_dir_all(&volumes.join(entry.name)).await?;
                    }
                }
                Ok::<_, std::io::Error>(host.vault.is_encrypted())
            })
            .await??;
        let socket = config.nbd_socket.clone();
        let shared = Arc::new(Shared {
            config,
            launcher,
            vault,
            vault_is_encrypted,
            disks: Mutex::default(),
            opening: Mutex::default(),
            board,
            events,
            collect_wanted: Arc::new(Notify::new()),
            accepting: Mutex::default(),
            vault_thread: Mutex::new(Some(thread)),
        });
        collecting::start(&shared);
        scrubbing::start(&shared);
        if let Some(socket) = socket {
            let listener = nbd::listen(&socket).map_err(|e| {
                NodeError::new(
                    NodeErrorKind::Other,
                    format!("NBD socket {}: {e}", socket.display()),
                )
            })?;
            let accepting = tokio::spawn(nbd::accept(listener, Arc::downgrade(&shared)));
            *lock(&shared.accepting) = Some(accepting.abort_handle());
        }
        Ok(Node { shared })
    }

    /// For how long a deleted snapshot can be brought back.
    pub fn undelete_window(&self) -> Duration {
        self.shared.config.undelete_window
    }

    /// Whether disks can have keys of their own ([`Node::create_encrypted_disk`]).
    pub fn vault_is_encrypted(&self) -> bool {
        self.shared.vault_is_encrypted
    }

    /// Lets clients connect to the disk, or disconnects them and refuses new ones. When `false` has
    /// returned, no client write is under way any more. Not remembered across restarts.
    pub async fn set_exported(&self, disk: &DiskId, exported: bool) -> Result<(), NodeError> {
        let open = self.shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        if !exported {
            return Ok(open.withdraw().await?);
        }
        open.for_guest.store(false, Ordering::Release);
        open.exported.store(true, Ordering::Release);
        open.remote
            .call(|host| async move { host.set_exported(true).await })
            .await?;
        if let Some(dir) = &self.shared.config.vhost_dir
            && let Err(e) = open.serve_vhost(dir, disk)
        {
            // NBD clients are none the worse for it.
            tracing::error!(%disk, dir = %dir.display(), error = %e, "no vhost-user socket for a disk");
        }
        Ok(())
    }

    /// As [`Node::set_exported`], for a virtual machine alone: the disk has its vhost-user socket and an NBD socket of its own, and no
    /// other NBD client is let in, who would write beside it. Those that were are not asked to leave.
    pub async fn export_to_guest(&self, disk: &DiskId) -> Result<GuestSockets, NodeError> {
        let open = self.shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        let failed = |why: String| NodeError::new(NodeErrorKind::Other, why);
        let Some(dir) = &self.shared.config.vhost_dir else {
            return Err(failed("this node has no directory for vhost-user sockets".into()));
        };
        open.for_guest.store(true, Ordering::Release);
        open.exported.store(true, Ordering::Release);
        open.remote
            .call(|host| async move { host.set_exported(true).await })
            .await?;
        let place = dir.display();
        let told = |e| failed(format!("the sockets of {disk} in {place}: {e}"));
        Ok(GuestSockets {
            vhost: open.serve_vhost(dir, disk).map_err(told)?,
            nbd: open
                .serve_guest(dir, disk, Arc::downgrade(&self.shared))
                .map_err(told)?,
        })
    }

    /// How large a disk is, in bytes, if it is open.
    pub fn open_size(&self, disk: &DiskId) -> Option<u64> {
        self.shared.export_state(disk).map(|(_, bytes)| bytes)
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

    /// Runs `session` as a client of an exported disk, on the thread that owns it: what a front end does.
    pub fn connect<F>(
        &self,
        disk: &DiskId,
        session: impl FnOnce(Rc<VolumeExport>, Stop) -> F + Send + 'static,
    ) -> Result<(), NodeError>
    where
        F: Future<Output = ()> + 'static,
    {
        let remote = self.shared.disk(disk)?.remote.clone();
        remote.cast(move |host| async move { host.connect(session).await });
        Ok(())
    }

    /// See [`Node::vault_access`].
    pub(crate) fn access(&self) -> VaultAccess {
        let shared = &self.shared;
        VaultAccess {
            bucket: shared.launcher.bucket(),
            dir: shared.config.vault_dir.clone(),
            secret: shared.config.vault_secret.clone(),
        }
    }

    pub(crate) fn vault_remote(&self) -> &Remote<VaultHost> {
        &self.shared.vault
    }

    /// Background events from now on. A slow reader misses some: ask [`Node::snapshot_status`] and [`Node::scrub_state`] then.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Stops taking requests, ends guests' connections, checkpoints and closes the volumes, ends the threads.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        if let Some(accepting) = lock(&shared.accepting).take() {
            accepting.abort();
        }
        if let Some(socket) = &shared.config.nbd_socket {
            let _ = std::fs::remove_file(socket);
        }
        let disks = std::mem::take(&mut *lock(&shared.disks));
        for disk in disks.values() {
            let ended = disk.withdraw();
            // A request that waits for room on a full file system ends when its volume is closed, below.
            if shared.within(SHUTDOWN_PATIENCE, ended).await.is_none() {
                tracing::warn!("clients still have requests under way; closing their disk all the same");
            }
        }
        let paused = shared.vault.call(|host| async move {
            host.pause_copies().await;
            host.pause_captures().await;
        });
        if shared.within(SHUTDOWN_PATIENCE, paused).await.is_none() {
            tracing::warn!("a capture or a copy does not stop; it is resumed at the next start");
        }
        for disk in disks.into_values() {
            disk.end().await;
        }
        shared.vault.end();
        let thread = lock(&shared.vault_thread).take();
        if let Some(thread) = thread {
            thread.ended().await;
        }
    }
}

impl Disk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    /// As [`Disk::serve_vhost`], by NBD and for a virtual machine's monitor.
    fn serve_guest(&self, dir: &Path, disk: &DiskId, node: Weak<Shared>) -> std::io::Result<PathBuf> {
        let mut socket = lock(&self.guest_nbd);
        match &*socket {
            Some(open) => Ok(open.path().to_owned()),
            None => {
                let opened = GuestSocket::open(dir, disk, node, self.remote.clone())?;
                Ok(socket.insert(opened).path().to_owned())
            }
        }
    }

    /// Whether NBD clients are let in.
    fn lets_in(&self) -> bool {
        self.exported.load(Ordering::Acquire) && !self.for_guest.load(Ordering::Acquire)
    }

    /// Opens the socket for virtual machines, if it is not open: its path. Once clients are let in: a front end that finds it is
    /// served.
    fn serve_vhost(&self, dir: &Path, disk: &DiskId) -> std::io::Result<PathBuf> {
        let mut socket = lock(&self.vhost);
        match &*socket {
            Some(open) => Ok(open.path().to_owned()),
            None => {
                let opened = VhostSocket::open(dir, disk, self.remote.clone())?;
                Ok(socket.insert(opened).path().to_owned())
            }
        }
    }

    /// Lets no more clients in and waits for the end of those that are there.
    async fn withdraw(&self) -> Result<(), Gone> {
        self.exported.store(false, Ordering::Release);
        drop(lock(&self.vhost).take());
        drop(lock(&self.guest_nbd).take());
        self.remote
            .call(|host| async move { host.set_exported(false).await })
            .await
    }

    /// Closes the volume and waits for the end of its thread.
    async fn end(&self) {
        let closed = self
            .remote
            .call(|host| async move {
                host.demand.finish();
                host.volume.close().await
            })
            .await;
        if let Ok(Err(e)) = closed {
            tracing::warn!(error = %e, "closing a volume; its log is replayed at the next open");
        }
        self.remote.end();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            thread.ended().await;
        }
    }
}
