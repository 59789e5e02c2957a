//! What the control plane sees of a node: plain values.

use crate::remote::Gone;
use crate::scrub::ScrubConfig;
use std::path::PathBuf;
use std::time::Duration;
use tidemark_env::real::IoChoice;
use tidemark_units::{DiskId, Lsn, MIB, SnapshotId};
use tidemark_vault::{
    CaptureOptions, Loss, Secret, SnapshotRecord, SnapshotStats, VaultError, VaultErrorKind,
};
pub use tidemark_vault::{CollectOptions, CollectReport};
use tidemark_volume::{VolumeConfig, VolumeError, VolumeErrorKind};

/// How long a deleted snapshot can be brought back unless a node is told otherwise.
pub const UNDELETE_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Where a node keeps things and how it may use the machine.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Volumes live in `<data_dir>/volumes/<disk-id>`, captures spool in `<data_dir>/spool`.
    pub data_dir: PathBuf,
    /// The vault's directory, unless the vault is in a bucket that the launcher knows.
    pub vault_dir: PathBuf,
    /// What opens the vault if it is encrypted; a vault that this node makes is, if there is one.
    pub vault_secret: Option<Secret>,
    /// The unix socket on which disks and snapshots are exported by NBD; `None`: they are not.
    pub nbd_socket: Option<PathBuf>,
    /// The directory with a vhost-user socket for each exported disk; `None`: there are none.
    pub vhost_dir: Option<PathBuf>,
    /// How files and sockets are driven.
    pub io: IoChoice,
    /// Most bytes that captures may hold in the local spool before they wait for the vault.
    pub spool_bytes_max: u64,
    /// Bytes at which a pack is closed and sent.
    pub pack_bytes: u64,
    /// How long a deleted snapshot can be brought back.
    pub undelete_window: Duration,
    /// Most bytes of the vault's content in memory, for all disks together.
    pub vault_cache_bytes: u64,
    /// How volumes use memory and space.
    pub volume: VolumeConfig,
    /// How the vault is scrubbed in the background.
    pub scrub: ScrubConfig,
}

impl NodeConfig {
    /// What [`NodeConfig::vault_cache_bytes`] is unless somebody chooses.
    pub const VAULT_CACHE_BYTES: u64 = 48 * MIB;

    /// A node with its volumes in one directory and its vault in another, no sockets, and no scrub.
    pub fn new(data_dir: PathBuf, vault_dir: PathBuf) -> Self {
        let capture = CaptureOptions::default();
        Self {
            data_dir,
            vault_dir,
            vault_secret: None,
            nbd_socket: None,
            vhost_dir: None,
            io: IoChoice::Auto,
            spool_bytes_max: capture.spool_quota_bytes,
            pack_bytes: capture.pack_bytes,
            undelete_window: UNDELETE_WINDOW,
            vault_cache_bytes: Self::VAULT_CACHE_BYTES,
            volume: VolumeConfig::default(),
            scrub: ScrubConfig::OFF,
        }
    }
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

/// How a disk is being filled from the snapshot that its content is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HydrationStatus {
    /// The snapshot, if it is known.
    pub snapshot: Option<SnapshotId>,
    /// Bytes that are not local yet, zeros among them; 0: the disk is complete.
    pub absent_bytes: u64,
    /// At most so many of them are data; the rest is zeros and takes no time.
    pub data_bytes: u64,
    /// Bytes of data fetched in the background since the disk was opened.
    pub fetched_bytes: u64,
    /// Bytes fetched in the background in a second, over the last ten.
    pub bytes_per_second: u64,
    /// Estimate of the seconds left, while there is one.
    pub remaining_seconds: Option<u64>,
    /// Nothing is fetched in the background. Reads of clients are served all the same.
    pub paused: bool,
    /// The most to be fetched in the background in a second.
    pub bytes_per_second_max: Option<u64>,
    /// Chunks that the boot trace named, which came first.
    pub traced_chunks: u64,
    /// What keeps it from getting on, for people; it is tried again.
    pub trouble: Option<String>,
}

/// What to change about a disk's hydration; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HydrationChange {
    /// Stop or go on fetching in the background.
    pub paused: Option<bool>,
    /// The most bytes to fetch in the background in a second; `Some(None)`: as many as possible.
    pub bytes_per_second: Option<Option<u64>>,
}

/// What happened in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The snapshot's head entry exists now, captured or copied.
    Accomplished(DiskId, SnapshotId, SnapshotSummary),
    /// The capture, or the copy, failed for good.
    CaptureFailed(DiskId, SnapshotId, String),
    /// All content of the disk is local now.
    Hydrated(DiskId),
    /// A client connected to the disk.
    Connected(DiskId),
    /// The scrub met damage in the vault that it cannot repair.
    VaultDamaged(Loss),
    /// The scrub met damage in the vault and has repaired it.
    VaultRepaired(Loss),
}

/// What to tell of the changes between two snapshots, see [`crate::Node::changes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangesQuestion {
    /// The snapshot to compare with; `None`: the one of the disk that was made before, or zeros if there is none.
    pub base: Option<SnapshotId>,
    /// Into how many equal parts of the disk changes are counted, at most.
    pub parts: u32,
    /// Where the ranges begin, in bytes.
    pub from_bytes: u64,
    /// Most ranges.
    pub ranges_max: usize,
}

/// What differs between two snapshots of a disk, in whole chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotChanges {
    /// What was compared with; `None`: zeros.
    pub base: Option<SnapshotId>,
    /// The disk's size at the snapshot's mark.
    pub size_bytes: u64,
    /// Bytes of the chunks that differ.
    pub changed_bytes: u64,
    /// Bytes of its chunks with data that the snapshot before it has not.
    pub added_bytes: u64,
    /// Bytes of its chunks with data that neither the snapshot before it nor the one after it has there: no more than that is
    /// gone with it. Others may have it all the same: one that was made after a rollback, another disk's.
    pub alone_bytes: u64,
    /// Of each part of the disk, the bytes that differ.
    pub parts: Vec<u64>,
    /// What differs, in bytes, in order.
    pub ranges: Vec<std::ops::Range<u64>>,
    /// Where more ranges begin, if there are more.
    pub next_bytes: Option<u64>,
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

impl NodeError {
    pub(crate) fn new(kind: NodeErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl From<VolumeError> for NodeError {
    fn from(e: VolumeError) -> Self {
        let kind = match e.kind {
            VolumeErrorKind::Invalid => NodeErrorKind::Invalid,
            VolumeErrorKind::Busy => NodeErrorKind::Busy,
            VolumeErrorKind::Full => NodeErrorKind::Full,
            VolumeErrorKind::Corrupt => NodeErrorKind::Corrupt,
            VolumeErrorKind::Poisoned => NodeErrorKind::Poisoned,
            VolumeErrorKind::Unavailable | VolumeErrorKind::Io => NodeErrorKind::Other,
        };
        Self::new(kind, e.message)
    }
}

impl From<VaultError> for NodeError {
    fn from(e: VaultError) -> Self {
        let kind = match e.kind {
            VaultErrorKind::Busy => NodeErrorKind::Busy,
            VaultErrorKind::Missing => NodeErrorKind::Missing,
            VaultErrorKind::Corrupt => NodeErrorKind::Corrupt,
            VaultErrorKind::Full => NodeErrorKind::Full,
            VaultErrorKind::Denied
            | VaultErrorKind::Locked
            | VaultErrorKind::Lost
            | VaultErrorKind::Stale
            | VaultErrorKind::Other => NodeErrorKind::Other,
        };
        Self::new(kind, e.to_string())
    }
}

impl From<std::io::Error> for NodeError {
    fn from(e: std::io::Error) -> Self {
        let kind = match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => NodeErrorKind::Full,
            std::io::ErrorKind::NotFound => NodeErrorKind::Missing,
            _ => NodeErrorKind::Other,
        };
        Self::new(kind, e.to_string())
    }
}

impl From<Gone> for NodeError {
    fn from(_: Gone) -> Self {
        Self::new(NodeErrorKind::Busy, "the thread that owns this has ended")
    }
}

impl From<SnapshotStats> for SnapshotSummary {
    fn from(stats: SnapshotStats) -> Self {
        Self {
            disk_bytes: 0,
            full_bytes: stats.full_bytes,
            stored_bytes: stats.stored_bytes,
            changed_chunks: stats.captured_chunks,
        }
    }
}

/// What the vault's record says of a snapshot, whether that exists or can be brought back.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedSnapshot {
    /// Its disk.
    pub disk: DiskId,
    /// Its id.
    pub snapshot: SnapshotId,
    /// The disk's size at the mark, in bytes.
    pub size_bytes: u64,
    /// When it was made: milliseconds since 1970-01-01 UTC.
    pub created_ms: i64,
    /// Bytes of all its chunks that are not zeros.
    pub full_bytes: u64,
    /// Bytes that it added to the vault.
    pub stored_bytes: u64,
    /// The caller's data about it ([`MarkRequest::meta`]), with its changes.
    pub meta: serde_json::Value,
}

impl From<SnapshotRecord> for RecordedSnapshot {
    fn from(record: SnapshotRecord) -> Self {
        Self {
            disk: record.disk,
            snapshot: record.snapshot,
            size_bytes: record.size_bytes,
            created_ms: record.created_ms,
            full_bytes: record.stats.full_bytes,
            stored_bytes: record.stats.stored_bytes,
            meta: record.meta,
        }
    }
}

/// A deleted snapshot that can still be brought back.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletedSnapshot {
    /// Its disk.
    pub disk: DiskId,
    /// Its id.
    pub snapshot: SnapshotId,
    /// Until then at least, in milliseconds since 1970-01-01 UTC; `None`: the next collection purges it.
    pub until_ms: Option<i64>,
}

/// Where a virtual machine finds a disk ([`crate::Node::export_to_guest`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSockets {
    /// By vhost-user-blk.
    pub vhost: PathBuf,
    /// By NBD, under the disk's id.
    pub nbd: PathBuf,
}
