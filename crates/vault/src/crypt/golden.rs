//! The bytes of everything encrypted, pinned, with the keys and nonces that they were made with: a second implementation
//! can test itself against `tests/golden/encrypted.txt` and `key-set.txt`. A change here is a new version.

use super::cipher::CipherKeys;
use super::secret::{Key, Secret};
use super::slot::Draft;
use super::{BoxKind, Crypt, KdfCost, KeySet, Keyring, encrypt_stored};
use crate::codec::Codec;
use crate::head::{self, HeadEntry};
use crate::id::{Nonce, PackId, VaultId};
use crate::key;
use crate::pack::{EntryKind, PackBuilder, PackKind};
use crate::tree::{LeafEntry, TreeNode, encode_node};
use bytes::Bytes;
use std::fmt::Write;
use tidemark_units::{DiskId, SnapshotId};

const VAULT: VaultId = VaultId(*b"the golden vault");
const PACK: PackId = PackId(*b"the golden pack!");
const MASTERS: [[u8; 32]; 2] = [[0x4d; 32], [0x4e; 32]];
const COST: KdfCost = KdfCost {
    memory_kib: 64,
    passes: 2,
    lanes: 2,
};

fn disk() -> DiskId {
    DiskId::new("d-golden").unwrap()
}

/// One line for each thing: its name and its bytes in hex.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let hex = data_encoding::HEXLOWER.encode(bytes.as_ref());
        writeln!(self.0, "{name} {hex}").unwrap();
    }
}

#[test]
fn everything_encrypted_is_pinned() {
    let ring = Keyring::golden(VAULT);
    let (naming, newest) = (ring.naming().clone(), ring.newest());
    let disk_key_id = ring.disk_key_id(&disk());
    let crypt = Crypt::new(ring);
    let mut lines = Lines::default();
    lines.add("vault", VAULT.0);
    for (generation, master) in MASTERS.iter().enumerate() {
        lines.add(&format!("master-{generation}"), master);
    }
    lines.add("key-id-1", newest.id().0);
    lines.add("disk-key-id", disk_key_id.0);

    let chunk = naming.chunk(&[b'x'; 65536]);
    lines.add("chunk-id", chunk.0);
    let stored = Bytes::from_static(b"stored bytes");
    let of_vault = Some(newest);
    let boxed = encrypt_stored(&of_vault, PackKind::Data, &chunk.0, [1; 12], stored.clone());
    lines.add("chunk-box", &boxed);
    let decrypted = crypt.decrypt_stored(PackKind::Data, &chunk.0, boxed.clone());
    assert_eq!(decrypted.unwrap(), stored);

    let disk_key = Key::new([0x64; 32]);
    lines.add("disk-key", disk_key.bytes());
    let of_disk = Some(std::sync::Arc::new(CipherKeys::new(
        VAULT,
        disk_key_id,
        &disk_key,
    )));
    let by_disk = encrypt_stored(&of_disk, PackKind::Data, &chunk.0, [2; 12], stored.clone());
    lines.add("chunk-box-by-disk-key", &by_disk);
    assert!(
        crypt
            .decrypt_stored(PackKind::Data, &chunk.0, by_disk.clone())
            .is_err()
    );
    assert_eq!(crypt.wanted(&by_disk), Some(disk_key_id));
    crypt.keyring().unwrap().learn_disk(disk_key_id, &disk_key);
    let decrypted = crypt.decrypt_stored(PackKind::Data, &chunk.0, by_disk);
    assert_eq!(decrypted.unwrap(), stored);

    let mut builder = PackBuilder::new(VAULT, PackKind::Data, PACK, 1 << 20);
    let at = builder.store(chunk.0, EntryKind::Stored { index: 1 }, Codec::Raw, boxed);
    builder.zero(2);
    let (footer, pieces) = builder.finish(&of_vault, [3; 12]);
    let pack = pieces.concat();
    lines.add("pack", &pack);
    let found = crypt.read_footer(&"pack", PackKind::Data, PACK, &pack[footer.body_end as usize..]);
    assert_eq!(found.unwrap(), footer);

    let mut leaf = TreeNode::empty_leaf();
    leaf[1] = Some(LeafEntry { id: chunk, at });
    let (id, plain) = encode_node(&naming, &TreeNode::Leaf(leaf));
    lines.add("leaf-id", id.0);
    lines.add("leaf", &plain);
    let boxed = encrypt_stored(&of_vault, PackKind::Tree, &id.0, [4; 12], plain.clone().into());
    lines.add("leaf-box", &boxed);
    assert_eq!(crypt.decrypt_stored(PackKind::Tree, &id.0, boxed).unwrap(), plain);

    let entry = HeadEntry::Drop {
        id: SnapshotId::new("s-golden").unwrap(),
        until_ms: None,
    };
    let plain = head::encode(&disk(), 7, Nonce(*b"sixteen bytes ok"), &entry).unwrap();
    let disk_plain = [&disk_key.bytes()[..], b"d-golden"].concat();
    let objects = [
        (BoxKind::Head, key::head(&disk(), 7), plain),
        (
            BoxKind::Record,
            "snapshots/s-golden".into(),
            Bytes::from_static(b"a record's object"),
        ),
        (BoxKind::DiskKey, key::disk_key(disk_key_id), disk_plain.into()),
        (
            BoxKind::Trace,
            "traces/s-golden".into(),
            Bytes::from_static(b"a trace's object"),
        ),
    ];
    for (number, (kind, name, plain)) in (5..).zip(objects) {
        let object = crypt.encrypt_object(kind, &name, || [number; 12], plain.clone());
        lines.add(&name, &object);
        assert_eq!(crypt.decrypt_object(kind, &name, &object).unwrap(), plain);
    }
    assert!(
        lines.0 == include_str!("../../tests/golden/encrypted.txt"),
        "what is encrypted changed; it is now:\n{}",
        lines.0
    );
}

#[test]
fn a_key_set_is_pinned() {
    let [old, new] = MASTERS.map(Key::new);
    let draft = |number: u8, secret: &Secret, label: &str| Draft {
        label: label.into(),
        secret: secret.clone(),
        cost: COST,
        id: [number; 4],
        created_ms: 1_700_000_000_123,
        salt: Nonce([number; 16]),
        nonce: [number; 12],
    };
    let passphrase = Secret::passphrase("the golden passphrase").unwrap();
    let file = Secret::key_file(&[0x6b; 32]).unwrap();
    let slots = [draft(1, &passphrase, "a person's"), draft(2, &file, "the safe's")];
    let slots = slots.map(|draft| draft.wrap(VAULT, 1, &new).unwrap()).to_vec();
    let mut set = KeySet {
        seq: 3,
        generation: 1,
        ..KeySet::first(VAULT, slots)
    };
    set.wrap_older([9; 12], &[old, new]);
    let object = set.encode().unwrap();
    let text = String::from_utf8(object.to_vec()).unwrap();
    assert!(
        text == include_str!("../../tests/golden/key-set.txt"),
        "the key set changed; it is now:\n{text}"
    );
    let read = KeySet::decode(VAULT, Some(3), &object).unwrap();
    assert_eq!(read, set);
    for secret in [passphrase, file] {
        let opened: Vec<_> = read
            .open(&secret)
            .unwrap()
            .iter()
            .map(|key| *key.bytes())
            .collect();
        assert_eq!(opened, MASTERS);
    }
}
