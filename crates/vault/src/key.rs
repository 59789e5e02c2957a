//! Where things are in the bucket. Every key that the vault uses is made or parsed here.

use crate::id::{CaptureId, Nonce, PackId, VaultId};
use crate::pack::PackKind;
use tidemark_units::{DiskId, SnapshotId};

/// The format object.
pub(crate) const FORMAT: &str = "format";
/// All boot traces.
pub(crate) const TRACES: &str = "traces/";
/// All snapshot records.
pub(crate) const SNAPSHOTS: &str = "snapshots/";
/// All head logs.
pub(crate) const DISKS: &str = "d/";

/// All captures under way.
pub(crate) const CAPTURES: &str = "w/";
/// All forwards.
pub(crate) const FORWARDS: &str = "moved/";

/// A capture under way.
pub(crate) fn capture(id: CaptureId) -> String {
    format!("{CAPTURES}{id}")
}

/// The capture that `key` is about.
pub(crate) fn parse_capture(key: &str) -> Option<CaptureId> {
    key.strip_prefix(CAPTURES)?.parse().ok()
}

/// Where the content of a pack has gone.
pub(crate) fn forward(pack: PackId) -> String {
    let hex = pack.to_string();
    format!("{FORWARDS}{}/{hex}", &hex[..2])
}

/// The pack whose forward `key` is.
pub(crate) fn parse_forward(key: &str) -> Option<PackId> {
    let pack: PackId = key.rsplit('/').next()?.parse().ok()?;
    (forward(pack) == key).then_some(pack)
}

/// All key sets of all vaults.
pub(crate) const KEYS: &str = "keys/";

/// All key sets of an encrypted vault.
pub(crate) fn key_sets(vault: VaultId) -> String {
    format!("{KEYS}{vault}/")
}

/// One key set. Twenty digits: the order of keys is the order of sets.
pub(crate) fn key_set(vault: VaultId, seq: u64) -> String {
    format!("{}{seq:020}", key_sets(vault))
}

/// The number of the key set whose key this is.
pub(crate) fn parse_key_set(vault: VaultId, key: &str) -> Option<u64> {
    let seq = key.strip_prefix(&key_sets(vault))?.parse().ok()?;
    (key_set(vault, seq) == key).then_some(seq)
}

/// All disks' keys.
pub(crate) const DISK_KEYS: &str = "diskkeys/";

/// A disk's key, sealed.
pub(crate) fn disk_key(id: Nonce) -> String {
    format!("{DISK_KEYS}{id}")
}

/// All packs of a kind.
pub(crate) fn pack_prefix(kind: PackKind) -> &'static str {
    match kind {
        PackKind::Data => "packs/",
        PackKind::Tree => "nodes/",
    }
}

/// One pack; the two digits spread packs over 256 directories.
pub(crate) fn pack(kind: PackKind, id: PackId) -> String {
    let hex = id.to_string();
    format!("{}{}/{hex}", pack_prefix(kind), &hex[..2])
}

/// The pack that `key` names, if it is one that [`pack`] makes.
pub(crate) fn parse_pack(kind: PackKind, key: &str) -> Option<PackId> {
    let id: PackId = key.rsplit('/').next()?.parse().ok()?;
    (pack(kind, id) == key).then_some(id)
}

/// A snapshot's record.
pub(crate) fn snapshot(id: &SnapshotId) -> String {
    format!("{SNAPSHOTS}{id}")
}

/// The snapshot whose record `key` is.
pub(crate) fn parse_snapshot(key: &str) -> Option<SnapshotId> {
    SnapshotId::new(key.strip_prefix(SNAPSHOTS)?).ok()
}

/// A snapshot's boot trace.
pub(crate) fn trace(id: &SnapshotId) -> String {
    format!("{TRACES}{id}")
}

/// The snapshot whose boot trace `key` is.
pub(crate) fn parse_trace(key: &str) -> Option<SnapshotId> {
    SnapshotId::new(key.strip_prefix(TRACES)?).ok()
}

/// A disk's head log.
pub(crate) fn head_prefix(disk: &DiskId) -> String {
    format!("{DISKS}{disk}/h/")
}

/// One head entry. Twenty digits: the order of keys is the order of entries.
pub(crate) fn head(disk: &DiskId, seq: u64) -> String {
    format!("{}{seq:020}", head_prefix(disk))
}

/// The disk and sequence number of a head entry's key.
pub(crate) fn parse_head(key: &str) -> Option<(DiskId, u64)> {
    let (disk, seq) = key.strip_prefix(DISKS)?.split_once("/h/")?;
    let (disk, seq) = (DiskId::new(disk).ok()?, seq.parse().ok()?);
    (head(&disk, seq) == key).then_some((disk, seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_back_and_look_alikes_do_not() {
        let id = PackId([0xab; 16]);
        let key = pack(PackKind::Tree, id);
        assert_eq!(key, format!("nodes/ab/{}", "ab".repeat(16)));
        assert_eq!(parse_pack(PackKind::Tree, &key), Some(id));
        assert_eq!(parse_pack(PackKind::Data, &key), None);
        assert_eq!(
            parse_pack(PackKind::Tree, &format!("nodes/aa/{}", "ab".repeat(16))),
            None
        );
        let disk = DiskId::new("d-1").unwrap();
        assert_eq!(head(&disk, 7), "d/d-1/h/00000000000000000007");
        assert_eq!(parse_head("d/d-1/h/00000000000000000007"), Some((disk, 7)));
        assert_eq!(parse_head("d/d-1/h/7"), None);
        assert_eq!(parse_head("d/d-1/h/+0000000000000000007"), None);
    }
}
