//! The vault's thread: what lives on it.

use crate::capture::Captures;
use crate::copying::Copies;
use crate::place::Place;
use crate::progress::ProgressBoard;
use crate::scrub::ScrubRequests;
use crate::types::{Event, NodeConfig, NodeError, NodeErrorKind};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tidemark_env::{DirBucket, DirLock, Env};
use tidemark_units::{DiskId, GroupId, SnapshotId};
use tidemark_vault::{BootTrace, Reader, Root, SnapshotRecord, Vault, VaultOptions};
use tokio::sync::{Mutex, Semaphore, broadcast};

/// Snapshots that are compared at a time: each takes memory and turns on this thread, which captures and reads need, too.
const COMPARED_MAX: usize = 2;

/// Readers kept open: each holds only its place in a tree, the caches are the vault's.
const READERS_MAX: usize = 64;

/// The state of the vault's thread.
pub struct VaultHost {
    /// The thread's world.
    pub place: Place,
    /// The vault.
    pub vault: Vault,
    /// The node's settings.
    pub config: NodeConfig,
    /// Captures under way.
    pub captures: Captures,
    /// Copies into the vault under way.
    pub copies: Copies,
    /// Where progress is told.
    pub board: ProgressBoard,
    /// Where events are told.
    pub events: broadcast::Sender<Event>,
    readers: RefCell<HashMap<Arc<[u8]>, Rc<Reader>>>,
    /// Disks that this process has claimed, and the head entries that say so.
    pub owned: RefCell<BTreeMap<DiskId, u64>>,
    /// Disks whose captures are under keys of their own.
    pub own_keys: RefCell<BTreeSet<DiskId>>,
    /// See [`VaultHost::lock_key`].
    pub key_locks: RefCell<BTreeMap<DiskId, Arc<Mutex<()>>>>,
    /// One change of a group's record at a time.
    pub grouping: Mutex<()>,
    /// A content is adopted, or a volume that is gone released, one at a time: what one says must not undo the other.
    pub holding: Mutex<()>,
    /// Groups that failed and are being undone.
    pub voiding: RefCell<BTreeSet<GroupId>>,
    /// Places for comparing snapshots, for people who ask.
    pub comparing: Semaphore,
    /// Who wants the vault verified and repaired now.
    pub scrub_requests: ScrubRequests,
    /// How this node is called where it claims disks and says what it needs; the same after a restart.
    pub name: String,
    _lock: Box<dyn DirLock>,
}

/// The node's name in the vault: random, made at its first start and kept in `<data>/node.name`.
async fn name_of(env: &Env, data_dir: &Path) -> Result<String, NodeError> {
    let path = data_dir.join("node.name");
    let known = tidemark_env::fs::read_small(&*env.fs, &path).await?;
    let known = known.and_then(|known| String::from_utf8(known.into()).ok());
    if let Some(known) = known.map(|known| known.trim_end().to_owned())
        && !known.is_empty()
    {
        return Ok(known);
    }
    let name = format!("node-{:016x}", u64::from_le_bytes(env.random()));
    tidemark_env::fs::write_atomic(&*env.fs, &path, format!("{name}\n").into()).await?;
    Ok(name)
}

impl VaultHost {
    /// Opens the vault, making it on first use. A lock keeps a second node away from the data.
    pub async fn open(
        place: Place,
        config: NodeConfig,
        board: ProgressBoard,
        events: broadcast::Sender<Event>,
    ) -> Result<Rc<Self>, NodeError> {
        let env = &place.env;
        for dir in [
            &config.data_dir,
            &config.data_dir.join("spool"),
            &config.data_dir.join("copies"),
            &config.data_dir.join("marks"),
            &config.data_dir.join("groups"),
        ] {
            tidemark_env::fs::create_dir_durable(&*env.fs, dir).await?;
        }
        let lock = env
            .fs
            .lock_dir(&config.data_dir)
            .await
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::WouldBlock => NodeError::new(
                    NodeErrorKind::Busy,
                    format!("{} is in use by another process", config.data_dir.display()),
                ),
                _ => NodeError::from(e),
            })?;
        let bucket = match &place.bucket {
            Some(bucket) => Rc::clone(bucket),
            None => {
                tidemark_env::fs::create_dir_durable(&*env.fs, &config.vault_dir).await?;
                Rc::new(DirBucket::new(env.clone(), config.vault_dir.clone()))
            }
        };
        let known = config.data_dir.join("vault.format");
        let format = tidemark_env::fs::read_small(&*env.fs, &known).await?;
        let name = name_of(env, &config.data_dir).await?;
        let options = VaultOptions {
            secret: config.vault_secret.clone(),
            node: Some(name.clone()),
            ..VaultOptions::default()
        }
        .with_cache(config.vault_cache_bytes);
        let vault = Vault::open_known(env, bucket, format.as_deref(), options).await?;
        // It changes with the vault's key slots: the next start without the bucket opens with what opens it now.
        let now = vault.format()?;
        if format.as_ref() != Some(&now) {
            tidemark_env::fs::write_atomic(&*env.fs, &known, now).await?;
        }
        let host = Rc::new(Self {
            captures: Captures::default(),
            copies: Copies::default(),
            owned: RefCell::default(),
            own_keys: RefCell::default(),
            key_locks: RefCell::default(),
            grouping: Mutex::new(()),
            holding: Mutex::new(()),
            voiding: RefCell::default(),
            comparing: Semaphore::new(COMPARED_MAX),
            name,
            scrub_requests: ScrubRequests::default(),
            readers: RefCell::new(HashMap::new()),
            place,
            vault,
            config,
            board,
            events,
            _lock: lock,
        });
        host.load_disk_keys().await?;
        Ok(host)
    }

    /// The thread's world, for jobs.
    pub fn env(&self) -> &Env {
        &self.place.env
    }

    /// The spool directory of a snapshot's capture.
    pub fn spool_dir(&self, snapshot: &SnapshotId) -> PathBuf {
        self.config.data_dir.join("spool").join(snapshot.as_str())
    }

    /// A reader of the content of an encoded root; the error is for people.
    pub fn reader(&self, root: &Arc<[u8]>) -> Result<Rc<Reader>, String> {
        let mut readers = self.readers.borrow_mut();
        if let Some(reader) = readers.get(root) {
            return Ok(Rc::clone(reader));
        }
        if readers.len() >= READERS_MAX {
            readers.clear();
        }
        let decoded = Root::from_bytes(root).map_err(|e| e.to_string())?;
        let reader = Rc::new(Reader::open(&self.vault, decoded));
        readers.insert(Arc::clone(root), Rc::clone(&reader));
        Ok(reader)
    }

    /// The record of a snapshot, or `None` if there is no such snapshot.
    pub async fn record(&self, snapshot: &SnapshotId) -> Result<Option<SnapshotRecord>, NodeError> {
        match self.vault.snapshot(snapshot).await {
            Ok(record) => Ok(Some(record)),
            Err(e) if e.kind == tidemark_vault::VaultErrorKind::Missing => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// What a disk with the snapshot's content is likely to be asked for first; empty when nobody knows.
    pub async fn boot_trace(&self, snapshot: &SnapshotId) -> BootTrace {
        let found = self.vault.boot_trace(snapshot).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(%snapshot, %error, "no boot trace now; filling the disk in order");
            BootTrace::default()
        })
    }

    /// Keeps what a disk with the snapshot's content was asked for first; trouble is nobody's.
    pub async fn keep_trace(&self, snapshot: &SnapshotId, trace: &BootTrace) {
        match self.vault.keep_trace(snapshot, trace).await {
            Ok(true) => tracing::info!(%snapshot, chunks = trace.chunks().len(), "boot trace kept"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%snapshot, %error, "a boot trace could not be kept"),
        }
    }
}
