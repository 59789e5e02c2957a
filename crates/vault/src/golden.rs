//! The bytes of every kind of object, pinned: what an older release wrote must stay readable, and a
//! second implementation can test itself against `tests/golden/`. A change here is a new version.

use crate::capture::{RegisteredCapture, decode_registered, encode_registered};
use crate::codec::Codec;
use crate::crypt::Naming;
use crate::format::Format;
use crate::head::{self, HeadEntry};
use crate::id::{CaptureId, ChunkId, NodeId, Nonce, PackId, VaultId};
use crate::pack::{EntryKind, Footer, Location, PACK_BYTES_TARGET, PackBuilder, PackKind};
use crate::record::{SnapshotRecord, SnapshotStats};
use crate::trace::BootTrace;
use crate::tree::{LeafEntry, NodeRef, Root, TreeNode, decode_node, encode_node};
use bytes::Bytes;
use tidemark_units::{DiskId, Lsn, SnapshotId};

const VAULT: VaultId = VaultId(*b"the golden vault");
const PACK: PackId = PackId(*b"the golden pack!");
const TREE_PACK: PackId = PackId(*b"the golden tree!");

/// Compares with the hex in the file, 32 bytes to a line.
fn assert_pinned(name: &str, pinned: &str, bytes: &[u8]) {
    let mut found = String::new();
    for line in bytes.chunks(32) {
        found.push_str(&data_encoding::HEXLOWER.encode(line));
        found.push('\n');
    }
    assert!(
        found == pinned,
        "the bytes of {name} changed; they are now:\n{found}"
    );
}

fn at(pack: PackId, offset: u32, ordinal: u16) -> Location {
    Location {
        pack,
        offset,
        stored_len: 100 + u32::from(ordinal),
        ordinal,
        codec: Codec::Zstd,
    }
}

fn leaf() -> TreeNode {
    let mut entries = TreeNode::empty_leaf();
    entries[0] = Some(LeafEntry {
        id: ChunkId([0x11; 32]),
        at: at(PACK, 32, 0),
    });
    entries[9] = Some(LeafEntry {
        id: ChunkId([0x22; 32]),
        at: at(TREE_PACK, 132, 1),
    });
    entries[127] = Some(LeafEntry {
        id: ChunkId([0x33; 32]),
        at: at(PACK, 233, 2),
    });
    TreeNode::Leaf(entries)
}

fn inner() -> TreeNode {
    let mut children = TreeNode::empty_children();
    children[1] = Some(NodeRef {
        id: leaf().id(&Naming::default()),
        chunks: 3,
        at: at(TREE_PACK, 32, 0),
    });
    children[255] = Some(NodeRef {
        id: NodeId([0x44; 32]),
        chunks: 128,
        at: at(TREE_PACK, 500, 1),
    });
    TreeNode::Inner { level: 1, children }
}

fn root() -> Root {
    Root::new(
        Some(NodeRef {
            id: inner().id(&Naming::default()),
            chunks: 131,
            at: at(TREE_PACK, 700, 2),
        }),
        2 << 30,
    )
}

#[test]
fn names_are_pinned() {
    let chunk = Naming::default().chunk(&[b'x'; 65536]);
    assert_eq!(
        chunk.to_string(),
        include_str!("../tests/golden/chunk-id.txt").trim()
    );
    assert_eq!(
        leaf().id(&Naming::default()).to_string(),
        include_str!("../tests/golden/leaf-id.txt").trim()
    );
    assert_eq!(
        inner().id(&Naming::default()).to_string(),
        include_str!("../tests/golden/inner-id.txt").trim()
    );
}

#[test]
fn a_pack_is_pinned() {
    let mut pack = PackBuilder::new(VAULT, PackKind::Data, PACK, PACK_BYTES_TARGET);
    let stored = EntryKind::Stored { index: 1 };
    let first = pack.store(
        [0x11; 32],
        stored,
        Codec::Raw,
        Bytes::from_static(b"stored bytes"),
    );
    pack.zero(2);
    pack.zero(3);
    pack.refer([0x11; 32], EntryKind::Copy { index: 4 }, first);
    pack.refer([0x22; 32], EntryKind::Same { index: 5 }, at(TREE_PACK, 4242, 7));
    let (footer, pieces) = pack.finish(&None, [0; 12]);
    let bytes = pieces.concat();
    assert_pinned(
        "a data pack",
        include_str!("../tests/golden/data-pack.hex"),
        &bytes,
    );
    assert_eq!(
        Footer::decode(&"pack", &bytes[footer.body_end as usize..]).unwrap(),
        footer
    );

    let mut pack = PackBuilder::new(VAULT, PackKind::Tree, TREE_PACK, PACK_BYTES_TARGET);
    let node = EntryKind::Node {
        level: 0,
        position: 300,
        chunks: 3,
    };
    pack.store(
        leaf().id(&Naming::default()).0,
        node,
        Codec::Raw,
        Bytes::from(encode_node(&Naming::default(), &leaf()).1),
    );
    let bytes = pack.finish(&None, [0; 12]).1.concat();
    assert_pinned(
        "a tree pack",
        include_str!("../tests/golden/tree-pack.hex"),
        &bytes,
    );
}

#[test]
fn nodes_and_root_are_pinned() {
    for (name, node, pinned) in [
        ("a leaf", leaf(), include_str!("../tests/golden/leaf.hex")),
        (
            "an inner node",
            inner(),
            include_str!("../tests/golden/inner.hex"),
        ),
    ] {
        let (id, bytes) = encode_node(&Naming::default(), &node);
        assert_pinned(name, pinned, &bytes);
        assert_eq!(decode_node(&Naming::default(), id, &bytes).unwrap(), node);
    }
    assert_pinned(
        "a root",
        include_str!("../tests/golden/root.hex"),
        &root().to_bytes(),
    );
}

#[test]
fn text_objects_are_pinned() {
    let (disk, snapshot) = (
        DiskId::new("d-golden").unwrap(),
        SnapshotId::new("s-golden").unwrap(),
    );
    let entries = [
        HeadEntry::Own {
            epoch: 3,
            node: "node-a".into(),
        },
        HeadEntry::Snapshot {
            id: snapshot.clone(),
            root: root(),
            copied: false,
        },
        HeadEntry::Drop {
            id: snapshot.clone(),
            until_ms: None,
        },
        HeadEntry::Fence { epoch: 3 },
        HeadEntry::Drop {
            id: snapshot.clone(),
            until_ms: Some(1_700_000_086_400),
        },
        HeadEntry::Undelete { id: snapshot.clone() },
        HeadEntry::Purge { id: snapshot.clone() },
        HeadEntry::Hold {
            node: "node-a".into(),
            roots: vec![root()],
        },
        HeadEntry::End {
            capture: CaptureId(*b"acapture"),
        },
    ];
    let mut text = Format::new(VAULT, false).encode().unwrap().to_vec();
    for (seq, entry) in (0..).zip(&entries) {
        let object = head::encode(&disk, seq, Nonce(*b"sixteen bytes ok"), entry).unwrap();
        assert_eq!(&head::decode(&disk, seq, &object).unwrap(), entry);
        text.extend_from_slice(&object);
    }
    let registered = RegisteredCapture {
        capture: CaptureId(*b"acapture"),
        disk: disk.clone(),
        snapshot: snapshot.clone(),
        node: "node-a".into(),
    };
    let object = encode_registered(&registered).unwrap();
    assert_eq!(
        decode_registered(registered.capture, &object).unwrap(),
        registered
    );
    text.extend_from_slice(&object);
    let record = SnapshotRecord {
        snapshot: snapshot.clone(),
        disk,
        size_bytes: 2 << 30,
        created_ms: 1_700_000_000_123,
        root: root(),
        parent: None,
        lsn: Lsn(77),
        stats: SnapshotStats {
            captured_chunks: 131,
            stored_bytes: 9000,
            ..SnapshotStats::default()
        },
        meta: serde_json::json!({"SnapshotName": "before the upgrade"}),
        origin: None,
    };
    let object = record.encode().unwrap();
    assert_eq!(SnapshotRecord::decode(&snapshot, &object).unwrap(), record);
    text.extend_from_slice(&object);
    let trace = BootTrace::new([0, 1, 2, 4_294_967_295, 77, 78]);
    let object = trace.encode(&snapshot).unwrap();
    assert_eq!(BootTrace::decode(&snapshot, &object).unwrap(), trace);
    text.extend_from_slice(&object);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text, include_str!("../tests/golden/text-objects.txt"));
}

/// A zstd frame as this release writes it must stay readable; how well later ones pack is free.
#[test]
fn an_old_frame_is_readable() {
    let hex: String = include_str!("../tests/golden/zstd-chunk.hex")
        .split_whitespace()
        .collect();
    let frame = Bytes::from(data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap());
    let plain = crate::codec::decode(Codec::Zstd, &frame, 65536).unwrap();
    assert_eq!(plain, [b'x'; 65536].as_slice());
}
