//! What the control plane sees of a node: plain values and awaitable requests.

use std::path::PathBuf;
use std::sync::Arc;
use tidemark_units::{DiskId, Lsn, SnapshotId};
use tokio::sync::broadcast;

/// Where a node keeps things and how it may use the machine.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Volumes live in `<data_dir>/volumes/<disk-id>`, captures spool in `<data_dir>/spool`.
    pub data_dir: PathBuf,
    /// The vault's directory.
    pub vault_dir: PathBuf,
    /// The unix socket on which disks and snapshots are exported by NBD.
    pub nbd_socket: PathBuf,
    /// How files and sockets are driven.
    pub io: tidemark_env::real::IoChoice,
    /// Most bytes that captures may hold in the local spool before they wait for the vault.
    pub spool_bytes_max: u64,
}

/// What to snapshot, and what the vault's record keeps for rebuilding a catalogue.
#[derive(Clone, Debug)]
pub struct MarkRequest {
    /// The new snapshot's id.
    pub snapshot: SnapshotId,
    /// The caller's data about it (name, tags ...), stored as it is in the snapshot's record.
    pub meta: serde_json::Value,
}

/// A durable mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The point in the disk's log.
    pub lsn: Lsn,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: i64,
}

/// How far a capture is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Bytes of changed chunks captured so far.
    pub done_bytes: u64,
    /// Bytes of changed chunks in all.
    pub total_bytes: u64,
    /// Estimate of the seconds left, once there is one.
    pub remaining_seconds: Option<u64>,
}

/// What a finished snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Size of the disk at the mark, in bytes.
    pub disk_bytes: u64,
    /// Bytes of all chunks that are not zeros: what a full snapshot would read.
    pub full_bytes: u64,
    /// Bytes that this snapshot added to the vault, as stored (compressed), metadata included.
    pub stored_bytes: u64,
    /// Chunks captured for it.
    pub changed_chunks: u64,
}

/// Where a snapshot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// Being captured.
    Progressing(SnapshotProgress),
    /// Its head entry exists.
    Accomplished(SnapshotSummary),
    /// The capture failed for good; its changes are folded into the disk's next snapshot.
    Failed(String),
    /// This node and its vault have no such snapshot (the mark was never made, or it was deleted).
    Unknown,
}

/// What a disk is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStatus {
    /// Whether a client has ever been connected to it.
    pub ever_connected: bool,
    /// Clients connected now.
    pub clients: usize,
    /// Bytes whose content still has to come from a snapshot; 0 once all is local.
    pub absent_bytes: u64,
    /// Snapshots being captured.
    pub captures: Vec<SnapshotId>,
    /// Bytes of log in use and the most that it may use.
    pub log_bytes: (u64, u64),
    /// Why the disk refuses service, if it does (for example a failed sync).
    pub poisoned: Option<String>,
}

/// What happened in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The snapshot's head entry exists now.
    Accomplished(DiskId, SnapshotId, SnapshotSummary),
    /// The capture failed for good.
    CaptureFailed(DiskId, SnapshotId, String),
    /// All content of the disk is local now.
    Hydrated(DiskId),
    /// A client connected to the disk.
    Connected(DiskId),
}

/// What kind of failure; tells the caller what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeErrorKind {
    /// No such disk or snapshot.
    Missing,
    /// Not now: a client holds the disk, a capture is running, the disk is not open.
    Busy,
    /// No room.
    Full,
    /// Bytes are not what they must be: an operator has to look.
    Corrupt,
    /// The disk stopped serving after a failed write or sync; reopen it.
    Poisoned,
    /// The request makes no sense (size, id).
    Invalid,
    /// Anything else.
    Other,
}

/// A failed request: kind, subject and cause in one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NodeError {
    /// What the caller can do.
    pub kind: NodeErrorKind,
    /// What failed, on what, and why.
    pub message: String,
}

/// Freed by a sweep of the vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Packs removed.
    pub packs: u64,
    /// Bytes freed.
    pub bytes: u64,
}

/// A node: owns volumes and a vault. Clones share it. Dropping the last one does not stop the
/// threads; [`Node::shutdown`] does.
#[derive(Clone)]
pub struct Node {
    #[expect(dead_code)]
    inner: Arc<()>,
}

#[allow(unused_variables, clippy::unused_async)]
impl Node {
    /// Opens the vault (making it on first use), starts the threads and the NBD socket. No disk is open yet.
    pub async fn start(config: NodeConfig) -> Result<Node, NodeError> {
        Err(not_yet())
    }

    /// Makes a disk of `size_bytes`: empty, or with a snapshot's content (usable at once, filled lazily).
    /// The disk is open when this returns. Larger than the snapshot: the tail reads as zeros.
    pub async fn create_disk(
        &self,
        disk: &DiskId,
        size_bytes: u64,
        source: Option<&SnapshotId>,
    ) -> Result<(), NodeError> {
        Err(not_yet())
    }

    /// Opens a disk after a restart: recovers its log and resumes its captures and its hydration.
    pub async fn open_disk(&self, disk: &DiskId) -> Result<(), NodeError> {
        Err(not_yet())
    }

    /// Closes and removes a disk's local data. Its snapshots stay. Refused (`Busy`) while a capture runs.
    pub async fn delete_disk(&self, disk: &DiskId) -> Result<(), NodeError> {
        Err(not_yet())
    }

    /// Lets NBD clients connect to the disk, or disconnects them and refuses new ones. When `false` has
    /// returned, no client write is under way any more. Not remembered across restarts.
    pub async fn set_exported(&self, disk: &DiskId, exported: bool) -> Result<(), NodeError> {
        Err(not_yet())
    }

    /// What the disk is doing.
    pub async fn disk_status(&self, disk: &DiskId) -> Result<DiskStatus, NodeError> {
        Err(not_yet())
    }

    /// Fixes a point in time of the disk, durable when this returns, and starts capturing it in the background.
    pub async fn mark(&self, disk: &DiskId, request: MarkRequest) -> Result<Marked, NodeError> {
        Err(not_yet())
    }

    /// Where a snapshot stands; answers from memory or from the vault.
    pub async fn snapshot_status(&self, snapshot: &SnapshotId) -> Result<SnapshotStatus, NodeError> {
        Err(not_yet())
    }

    /// Deletes a snapshot, or cancels it while it is being captured. When this returns it is no longer
    /// listed; space is freed in the background. One that is not there is fine.
    pub async fn delete_snapshot(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<(), NodeError> {
        Err(not_yet())
    }

    /// Rolls the disk back to one of its snapshots; usable when this returns, filled lazily. Refused
    /// (`Busy`) while it is exported or a capture runs.
    pub async fn rollback(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<(), NodeError> {
        Err(not_yet())
    }

    /// Frees packs that nothing refers to; also runs by itself after deletions.
    pub async fn sweep(&self) -> Result<SweepReport, NodeError> {
        Err(not_yet())
    }

    /// Background events from now on. A slow reader misses some: ask [`Node::snapshot_status`] then.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        broadcast::channel(1).1
    }

    /// Stops taking requests, ends guests' connections, checkpoints and closes the volumes, joins the threads.
    pub async fn shutdown(&self) {}
}

fn not_yet() -> NodeError {
    NodeError { kind: NodeErrorKind::Other, message: "the node is being built".into() }
}
