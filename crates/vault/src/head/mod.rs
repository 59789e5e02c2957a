//! Head logs: for each disk, which of its snapshots exist, who owns it, and what its volumes still need.
//!
//! A log is objects with consecutive numbers, made only where none was: whoever makes number n has won n. What the
//! entries add up to is in [`state`], reading and appending in [`log`]. Each entry carries a random nonce, so that a
//! writer whose answer got lost knows its own entry again.
//!
//! Not here: what losing means (the caller stops, or looks and tries the next number), and what is freed when
//! ([`crate::gc`]).

mod log;
mod state;

pub use log::HeadLog;
pub(crate) use log::Refusal;
pub(crate) use state::Stage;
pub use state::{DeletedSnapshot, HeadState};

use crate::crypt::BoxKind;
use crate::error::{Result, VaultError};
use crate::id::{CaptureId, Nonce};
use crate::tree::Root;
use crate::vault::Store;
use crate::{key, text};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_env::UnixMillis;
use tidemark_units::{DiskId, SnapshotId};

const KIND: &str = "head";
const VERSION: u32 = 1;

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
pub enum HeadEntry {
    /// From here on `node` owns the disk, in this epoch.
    Own {
        /// Grows with each owner.
        epoch: u64,
        /// The owner's name.
        node: String,
    },
    /// The snapshot exists, with this content. The disk's owner, if there is one, may name the content as a parent.
    Snapshot {
        /// Its id.
        id: SnapshotId,
        /// Its content.
        root: Root,
        /// It came from another vault: no volume here goes on from it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        copied: bool,
    },
    /// The snapshot is deleted: it no longer exists, and can be brought back until it is purged.
    Drop {
        /// Its id.
        id: SnapshotId,
        /// Not before this time is it purged, in milliseconds since 1970-01-01 UTC; at once without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<UnixMillis>,
    },
    /// A deleted snapshot exists again.
    Undelete {
        /// Its id.
        id: SnapshotId,
    },
    /// A deleted snapshot is gone for good.
    Purge {
        /// Its id.
        id: SnapshotId,
    },
    /// The volume of this disk on `node` needs these contents, and no others but its own last two snapshots after this.
    Hold {
        /// Whose volume.
        node: String,
        /// Where its absent chunks come from, and what its next snapshot may be relative to.
        roots: Vec<Root>,
    },
    /// The capture will never be committed.
    End {
        /// Which.
        capture: CaptureId,
    },
    /// Owners of this epoch and below must stop.
    Fence {
        /// The last epoch that is fenced.
        epoch: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    disk: DiskId,
    seq: u64,
    nonce: Nonce,
    #[serde(flatten)]
    entry: HeadEntry,
}

/// Parses what one head entry's object says, once it has been opened.
pub(crate) fn decode(disk: &DiskId, seq: u64, object: &[u8]) -> Result<HeadEntry> {
    let key = key::head(disk, seq);
    let stored: Stored = text::decode(KIND, VERSION, &key, object)?;
    if (&stored.disk, stored.seq) != (disk, seq) {
        let cause = format!("it is entry {} of disk {}", stored.seq, stored.disk);
        return Err(VaultError::corrupt("read head log", key, cause));
    }
    Ok(stored.entry)
}

/// What one head entry's object says, before it is encrypted.
pub(crate) fn encode(disk: &DiskId, seq: u64, nonce: Nonce, entry: &HeadEntry) -> Result<Bytes> {
    text::encode(
        KIND,
        VERSION,
        &Stored {
            disk: disk.clone(),
            seq,
            nonce,
            entry: entry.clone(),
        },
    )
}

/// Reads one head entry's object as the bucket has it.
pub(crate) fn open(store: &Store, disk: &DiskId, seq: u64, object: &Bytes) -> Result<HeadEntry> {
    let plain = store
        .crypt
        .decrypt_object(BoxKind::Head, &key::head(disk, seq), object)?;
    decode(disk, seq, &plain)
}

/// The root of every snapshot that exists after these entries, in the order of their making.
pub fn live_snapshots(entries: &[HeadEntry]) -> Vec<(SnapshotId, Root)> {
    HeadState::of(entries).live()
}
