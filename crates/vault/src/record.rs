//! A snapshot's record: what a catalogue needs to rebuild itself from the bucket alone.
//!
//! The record is written before the head entry and removed after the drop entry: a record alone
//! means nothing, a head entry without its record is damage.

use crate::error::{Result, VaultError};
use crate::id::VaultId;
use crate::tree::Root;
use crate::{key, text};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_env::UnixMillis;
use tidemark_units::{DiskId, Lsn, SnapshotId};

const KIND: &str = "snapshot";
const VERSION: u32 = 1;

/// What a snapshot cost and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotStats {
    /// Chunks that the capture had to take.
    pub captured_chunks: u64,
    /// Of these: all zeros.
    pub zero_chunks: u64,
    /// Of these: the same as in the parent.
    pub same_chunks: u64,
    /// Of these: the same as another one of this capture.
    pub copied_chunks: u64,
    /// Plain bytes of the chunks that this snapshot added.
    pub logical_bytes: u64,
    /// Bytes of the packs that this snapshot added, tree included.
    pub stored_bytes: u64,
    /// Bytes of all chunks of the snapshot that are not zeros.
    pub full_bytes: u64,
}

/// What a copy is a copy of: the vault where the snapshot was captured, and its content there. A copy of a copy keeps
/// it, so that two vaults with keyed names, which call equal content differently, know what they have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The vault of the capture.
    pub vault: VaultId,
    /// The content as that vault names it.
    pub root: Root,
}

/// `<vault>/snapshots/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The disk that it is of.
    pub disk: DiskId,
    /// The disk's size in bytes, at the mark.
    pub size_bytes: u64,
    /// When the mark was made.
    pub created_ms: UnixMillis,
    /// Content.
    pub root: Root,
    /// The snapshot that the capture was relative to.
    pub parent: Option<SnapshotId>,
    /// The mark's place in the disk's log.
    pub lsn: Lsn,
    /// What it cost and holds.
    pub stats: SnapshotStats,
    /// The control plane's own words, kept as they are.
    pub meta: serde_json::Value,
    /// Only of a copy from another vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl SnapshotRecord {
    /// The record's object, before it is encrypted.
    pub(crate) fn encode(&self) -> Result<Bytes> {
        text::encode(KIND, VERSION, self)
    }

    /// Parses the object of `snapshot`'s record, once it has been opened.
    pub(crate) fn decode(snapshot: &SnapshotId, object: &[u8]) -> Result<Self> {
        let key = key::snapshot(snapshot);
        let record: Self = text::decode(KIND, VERSION, &key, object)?;
        if &record.snapshot != snapshot || record.root.size_bytes() != record.size_bytes {
            let cause = format!(
                "it is the record of {} or its size is not its root's",
                record.snapshot
            );
            return Err(VaultError::corrupt("read snapshot record", key, cause));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_and_only_copies_have_one() {
        let id = SnapshotId::new("s-1").unwrap();
        let mut record = SnapshotRecord {
            snapshot: id.clone(),
            disk: DiskId::new("d-1").unwrap(),
            size_bytes: 1 << 30,
            created_ms: 1,
            root: Root::zeros(1 << 30),
            parent: None,
            lsn: Lsn(1),
            stats: SnapshotStats::default(),
            meta: serde_json::Value::Null,
            origin: None,
        };
        assert!(!String::from_utf8_lossy(&record.encode().unwrap()).contains("origin"));
        let (vault, root) = (VaultId([7; 16]), Root::zeros(1 << 30));
        record.origin = Some(Origin { vault, root });
        assert_eq!(
            SnapshotRecord::decode(&id, &record.encode().unwrap()).unwrap(),
            record
        );
    }
}
