//! Disks come and go: made, opened after a restart or after they stopped, deleted.
//!
//! What must stay true: one maker, opener or deleter per disk at a time; a failed making leaves nothing behind, and
//! never removes what somebody else made; a deletion leaves a whole disk or none, whatever the moment of a crash.

use super::{Disk, Node, lock};
use crate::disk::DiskHost;
use crate::hydration::Settings;
use crate::remote::Remote;
use crate::types::{NodeError, NodeErrorKind};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidemark_env::Fs;
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};
use tidemark_vault::Root;
use tidemark_volume::{CreateOptions, PendingMark, Volume};
use tokio::sync::Mutex as AsyncMutex;

/// How often, and how far apart, a volume's lock is tried at its opening.
const LOCK_TRIES: u32 = 40;
/// See [`LOCK_TRIES`].
const LOCK_WAIT: Duration = Duration::from_millis(25);

/// Makes a name durable.
async fn sync_parent(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => fs.sync_dir(parent).await,
        None => Ok(()),
    }
}

impl Node {
    /// Makes a disk of `size_bytes`: empty, or with a snapshot's content (usable at once, filled lazily).
    /// The disk is open when this returns. Larger than the snapshot: the tail reads as zeros.
    pub async fn create_disk(
        &self,
        disk: &DiskId,
        size_bytes: u64,
        source: Option<&SnapshotId>,
    ) -> Result<(), NodeError> {
        self.make_disk(disk, size_bytes, source, false).await
    }

    /// As [`Node::create_disk`], and what the disk's captures store is under a key of its own, which goes with the disk and
    /// its snapshots. [`NodeErrorKind::Invalid`] if the vault is not encrypted.
    pub async fn create_encrypted_disk(
        &self,
        disk: &DiskId,
        size_bytes: u64,
        source: Option<&SnapshotId>,
    ) -> Result<(), NodeError> {
        self.make_disk(disk, size_bytes, source, true).await
    }

    async fn make_disk(
        &self,
        disk: &DiskId,
        size_bytes: u64,
        source: Option<&SnapshotId>,
        encrypted: bool,
    ) -> Result<(), NodeError> {
        let shared = &self.shared;
        let opening = shared.opening(disk);
        let _one = opening.lock().await;
        if lock(&shared.disks).contains_key(disk) {
            return Ok(());
        }
        let filling = source.map(|snapshot| Settings {
            snapshot: Some(snapshot.clone()),
            ..Settings::default()
        });
        let source = match source {
            Some(snapshot) => Some(self.adopt(disk, &[], snapshot, size_bytes).await?),
            None => None,
        };
        let is_lazy = source.is_some();
        let options = CreateOptions {
            name: disk.to_string(),
            size_bytes,
            source,
        };
        let (dir, half) = (shared.dir(disk), shared.dir_beside("new", disk));
        let (config, named) = (shared.config.volume.clone(), disk.clone());
        // Made on the vault's thread: it is not guest I/O, and the volume's own thread starts with the open.
        let made = shared.vault.call(move |host| async move {
            let fs = &host.env().fs;
            if fs.exists(&dir).await? {
                return Ok(()); // made before a crash
            }
            host.forget_release(&named).await?;
            let _key = match encrypted {
                true => {
                    host.refuse_without_encryption(&named)?;
                    let lock = host.lock_key(&named).await;
                    host.make_disk_key(&named).await?;
                    Some(lock)
                }
                false => None,
            };
            let making = async {
                if fs.exists(&half).await? {
                    fs.remove_dir_all(&half).await?;
                }
                Volume::create(host.env(), &half, &options, &config).await?;
                if let Some(filling) = &filling {
                    filling.store(host.env(), &half).await?;
                }
                // Renamed last: after a crash there is a whole disk or none.
                fs.rename(&half, &dir).await?;
                Ok::<_, NodeError>(sync_parent(&**fs, &dir).await?)
            };
            let made = making.await;
            if made.is_err() {
                for left in [&half, &dir] {
                    if let Err(e) = fs.remove_dir_all(left).await
                        && e.kind() != io::ErrorKind::NotFound
                    {
                        tracing::warn!(dir = %left.display(), error = %e, "removing a half-made disk");
                    }
                }
                if is_lazy && let Err(e) = host.note_release(&named).await {
                    tracing::warn!(disk = %named, error = %e, "the vault goes on to keep what a disk that was not made needs");
                }
            }
            made
        });
        made.await??;
        self.open_locked(disk).await
    }

    /// Makes sure that a snapshot's content stays for a volume of `disk`, which goes on to need `roots` too. Gives its
    /// root, encoded, and how much of it a disk of that size takes.
    pub(super) async fn adopt(
        &self,
        disk: &DiskId,
        roots: &[Root],
        snapshot: &SnapshotId,
        size_bytes: u64,
    ) -> Result<(Vec<u8>, u64), NodeError> {
        let missing = || NodeError::new(NodeErrorKind::Missing, format!("there is no snapshot {snapshot}"));
        let record = self.record(snapshot).await?.ok_or_else(missing)?;
        if size_bytes < record.size_bytes {
            let message = format!(
                "a disk of {size_bytes} bytes is too small for snapshot {snapshot} of {} bytes",
                record.size_bytes
            );
            return Err(NodeError::new(NodeErrorKind::Invalid, message));
        }
        let of = record.disk.clone();
        self.shared
            .vault
            .cast(move |host| async move { host.vault.expect_disk_key(&of).await });
        let (disk, id, roots) = (disk.clone(), snapshot.clone(), roots.to_vec());
        let adopted = self
            .shared
            .vault
            .call(move |host| async move { host.adopt(&disk, &roots, &id).await });
        match adopted.await? {
            Ok(record) => Ok((record.root.to_bytes(), record.size_bytes)),
            Err(e) if e.kind == NodeErrorKind::Missing => Err(missing()),
            Err(e) => Err(e),
        }
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
            if open.withdraw().await.is_err() {
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
        let mut tries = 0;
        let (remote, thread) = loop {
            let (id, dir, vault, events) = (id.clone(), dir.clone(), vault.clone(), events.clone());
            let config = shared.config.volume.clone();
            let make = move |place| DiskHost::open(place, id, dir, config, vault, events);
            match Remote::start::<NodeError, _>(&shared.launcher, format!("vol {disk}"), make).await {
                // Who made or closed it a moment ago, on another thread, lets go of the lock a moment later.
                Err(e) if e.kind == NodeErrorKind::Busy && tries < LOCK_TRIES => {
                    tries += 1;
                    shared.sleep(LOCK_WAIT).await;
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
        let found = pending.iter().map(|p| p.mark.snapshot.clone()).collect();
        let (id, known) = (disk.clone(), pending);
        let cleaned = shared
            .vault
            .call(move |host| async move { host.drop_leftovers(&id, &known).await });
        if let Err(e) = cleaned.await? {
            tracing::warn!(%disk, error = %e, "removing what captures had left behind");
        }
        let (id, for_captures) = (disk.clone(), remote.clone());
        shared
            .vault
            .cast(move |host| async move { host.resume_captures(id, for_captures, found) });
        let opened = Disk {
            remote,
            size_bytes: AtomicU64::new(size_bytes),
            exported: AtomicBool::new(false),
            for_guest: AtomicBool::new(false),
            guest_nbd: Mutex::default(),
            vhost: Mutex::new(None),
            changing: AsyncMutex::new(()),
            thread: Mutex::new(Some(thread)),
        };
        let opened = Arc::new(opened);
        lock(&shared.disks).insert(disk.clone(), Arc::clone(&opened));
        self.tell_needs_later(disk, opened);
        Ok(())
    }

    /// Tells the vault what the volume needs, without waiting for it: a volume that came here as a copy of another node's
    /// is known as ours from now on.
    fn tell_needs_later(&self, disk: &DiskId, open: Arc<Disk>) {
        let (disk, shared) = (disk.clone(), Arc::downgrade(&self.shared));
        self.shared.vault.cast(move |_| async move {
            let Some(shared) = shared.upgrade() else { return };
            let Ok(_changing) = open.changing.try_lock() else {
                return;
            };
            if let Err(e) = shared.tell_needs(&disk, &open).await {
                tracing::warn!(%disk, error = %e, "the vault could not be told what a disk needs of it");
            }
        });
    }

    /// Makes a capture known as progressing before anybody can ask.
    fn begin_progress(&self, pending: &PendingMark) {
        self.shared
            .board
            .begin(&pending.mark.snapshot, pending.chunks.len() * CHUNK_BYTES);
    }

    pub(super) fn start_capture(&self, disk: &DiskId, remote: &Remote<DiskHost>, pending: PendingMark) {
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
            open.withdraw().await?;
            lock(&shared.disks).remove(disk);
            open.end().await;
        }
        let (dir, gone) = (shared.dir(disk), shared.dir_beside("gone", disk));
        let removed_disk = disk.clone();
        let removed = shared.vault.call(move |host| async move {
            let fs = &host.env().fs;
            if !fs.exists(&dir).await? {
                return Ok(());
            }
            host.note_release(&removed_disk).await?;
            // Renamed first: after a crash there is a whole disk or none.
            fs.rename(&dir, &gone).await?;
            sync_parent(&**fs, &gone).await?;
            Ok::<_, NodeError>(fs.remove_dir_all(&gone).await?)
        });
        removed.await??;
        // The disk may have been the last to need some of the vault's data.
        shared.collect_wanted.notify_one();
        Ok(())
    }
}
