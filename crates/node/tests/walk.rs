//! A node from outside, on real files and with a real NBD client: write, snapshot, restore, roll back, delete.

mod common;

use common::{config, nbdcopy, snapshot};
use std::path::Path;
use std::time::Duration;
use tidemark_node::{MarkRequest, Node, NodeErrorKind, SnapshotStatus, SnapshotSummary};
use tidemark_units::{DiskId, MIB, SnapshotId};

const DISK_BYTES: u64 = 96 * MIB;

fn disk(name: &str) -> DiskId {
    DiskId::new(name).unwrap()
}

/// An image with data, repeated data, and holes; different for every seed.
fn image(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; DISK_BYTES as usize];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for (n, piece) in bytes.chunks_mut(256 << 10).enumerate() {
        if n % 3 == 0 {
            continue;
        }
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&(if n % 3 == 1 { state } else { seed }).to_le_bytes());
        }
    }
    bytes
}

async fn accomplished(node: &Node, id: &SnapshotId) -> SnapshotSummary {
    let mut done = 0;
    for _ in 0..3000 {
        match node.snapshot_status(id).await.unwrap() {
            SnapshotStatus::Accomplished(summary) => return summary,
            SnapshotStatus::Progressing(p) => {
                assert!(
                    p.done_bytes >= done && p.done_bytes <= p.total_bytes,
                    "progress never falls"
                );
                done = p.done_bytes;
            }
            other => panic!("{id}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{id} is not accomplished after a minute");
}

async fn mark(node: &Node, d: &DiskId, s: &SnapshotId) {
    let meta = serde_json::json!({ "name": s.as_str() });
    node.mark(
        d,
        MarkRequest {
            snapshot: s.clone(),
            meta,
        },
    )
    .await
    .unwrap();
}

async fn content(dir: &Path, export: &str) -> Vec<u8> {
    nbdcopy(dir, &format!("nbd:{export}"), "out.raw").await;
    std::fs::read(dir.join("out.raw")).unwrap()
}

fn vault_bytes(dir: &Path) -> u64 {
    fn size(dir: &Path) -> u64 {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| {
                if e.path().is_dir() {
                    size(&e.path())
                } else {
                    e.metadata().map_or(0, |m| m.len())
                }
            })
            .sum()
    }
    size(&dir.join("vault"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_snapshot_restore_roll_back_delete() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let node = Node::start(config(dir)).await.unwrap();
    let (d1, s1, s2) = (disk("d-1"), snapshot("s-1"), snapshot("s-2"));
    node.create_disk(&d1, DISK_BYTES, None).await.unwrap();
    node.set_exported(&d1, true).await.unwrap();
    assert!(!node.disk_status(&d1).await.unwrap().ever_connected);

    let first = image(1);
    std::fs::write(dir.join("in.raw"), &first).unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    assert!(node.disk_status(&d1).await.unwrap().ever_connected);
    mark(&node, &d1, &s1).await;
    let full = accomplished(&node, &s1).await;
    assert_eq!(full.disk_bytes, DISK_BYTES);

    // A second snapshot stores what changed, not the disk.
    let mut second = first.clone();
    second[5 << 20..6 << 20].fill(0x5a);
    std::fs::write(dir.join("in.raw"), &second).unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    let third = image(3);
    mark(&node, &d1, &s2).await;
    // Written while the capture runs: not in it.
    std::fs::write(dir.join("in.raw"), &third).unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    accomplished(&node, &s2).await;
    assert_eq!(content(dir, "s-1").await, first, "a snapshot is an export");
    assert_eq!(content(dir, "s-2").await, second);
    assert_eq!(content(dir, "d-1").await, third);

    // Roll back: not while clients may write, then to the very bytes.
    let refused = node.rollback(&d1, &s1).await.unwrap_err();
    assert_eq!(refused.kind, NodeErrorKind::Busy);
    node.set_exported(&d1, false).await.unwrap();
    node.rollback(&d1, &s1).await.unwrap();
    node.set_exported(&d1, true).await.unwrap();
    assert_eq!(content(dir, "d-1").await, first);

    // A new disk from a snapshot, larger; the tail is zeros. It stays right when its snapshot goes away.
    let d2 = disk("d-2");
    node.create_disk(&d2, DISK_BYTES + 8 * MIB, Some(&s2))
        .await
        .unwrap();
    node.set_exported(&d2, true).await.unwrap();
    node.delete_snapshot(&d1, &s2).await.unwrap();
    assert_eq!(node.snapshot_status(&s2).await.unwrap(), SnapshotStatus::Unknown);
    node.collect(&at_once()).await.unwrap();
    let clone = content(dir, "d-2").await;
    assert_eq!(&clone[..DISK_BYTES as usize], &second[..]);
    assert!(clone[DISK_BYTES as usize..].iter().all(|b| *b == 0));

    // The disk goes, its snapshot stays (S5).
    node.delete_disk(&d1).await.unwrap();
    assert_eq!(content(dir, "s-1").await, first);
    let before = vault_bytes(dir);
    node.delete_snapshot(&d1, &s1).await.unwrap();
    node.delete_disk(&d2).await.unwrap();
    node.collect(&at_once()).await.unwrap();
    let after = vault_bytes(dir);
    assert!(
        after < before / 50,
        "nothing refers to the packs any more: {before} -> {after} bytes"
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_a_capture_and_a_cancelled_one_gives_its_changes_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (d1, s1, s2) = (disk("d-1"), snapshot("s-1"), snapshot("s-2"));
    let node = Node::start(config(dir)).await.unwrap();
    node.create_disk(&d1, DISK_BYTES, None).await.unwrap();
    node.set_exported(&d1, true).await.unwrap();
    let first = image(7);
    std::fs::write(dir.join("in.raw"), &first).unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    mark(&node, &d1, &s1).await;
    node.shutdown().await;

    let node = Node::start(config(dir)).await.unwrap();
    node.open_disk(&d1).await.unwrap();
    accomplished(&node, &s1).await;
    assert_eq!(content(dir, "s-1").await, first);
    node.set_exported(&d1, true).await.unwrap();
    let second = image(8);
    std::fs::write(dir.join("in.raw"), &second).unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    mark(&node, &d1, &s2).await;
    node.delete_snapshot(&d1, &s2).await.unwrap();
    assert_eq!(node.snapshot_status(&s2).await.unwrap(), SnapshotStatus::Unknown);
    let s3 = snapshot("s-3");
    mark(&node, &d1, &s3).await;
    accomplished(&node, &s3).await;
    assert_eq!(
        content(dir, "s-3").await,
        second,
        "what the cancelled snapshot would have held is in the next one"
    );
    let missing = node
        .create_disk(&disk("d-9"), DISK_BYTES, Some(&s2))
        .await
        .unwrap_err();
    assert_eq!(missing.kind, NodeErrorKind::Missing);
    let refused = node.delete_disk(&disk("d-9")).await;
    assert!(refused.is_ok(), "deleting what is not there succeeds");
    node.shutdown().await;
}

/// Deleted snapshots are gone for good at once.
fn at_once() -> tidemark_node::CollectOptions {
    tidemark_node::CollectOptions {
        purge_all: true,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_grows_under_its_client_and_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let larger = DISK_BYTES + 8 * MIB;
    let node = Node::start(config(dir)).await.unwrap();
    let (d1, d2, s1, s2) = (disk("d-1"), disk("d-2"), snapshot("s-1"), snapshot("s-2"));
    node.create_disk(&d1, DISK_BYTES, None).await.unwrap();
    node.set_exported(&d1, true).await.unwrap();
    let first = image(1);
    std::fs::write(dir.join("in.raw"), &first).unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    mark(&node, &d1, &s1).await;
    accomplished(&node, &s1).await;

    // Larger while it is exported; whoever connects now sees it.
    node.grow_disk(&d1, larger).await.unwrap();
    let refused = node.grow_disk(&d1, DISK_BYTES).await.unwrap_err();
    assert_eq!(refused.kind, NodeErrorKind::Invalid);
    let grown = content(dir, "d-1").await;
    assert_eq!(grown.len() as u64, larger);
    assert_eq!(&grown[..DISK_BYTES as usize], &first[..]);
    assert!(grown[DISK_BYTES as usize..].iter().all(|b| *b == 0));
    let mut second = vec![0x77; larger as usize];
    second[..MIB as usize].copy_from_slice(&first[..MIB as usize]);
    std::fs::write(dir.join("in.raw"), &second).unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    mark(&node, &d1, &s2).await;
    let full = accomplished(&node, &s2).await;
    assert_eq!(full.disk_bytes, larger);
    assert_eq!(content(dir, "s-2").await, second);
    assert_eq!(
        content(dir, "s-1").await,
        first,
        "an older snapshot keeps its size"
    );

    // Made anew from another disk's snapshot, and as zeros; refused while clients may write.
    node.create_disk(&d2, larger, None).await.unwrap();
    node.set_exported(&d2, true).await.unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-2").await;
    let refused = node.reinit_disk(&d2, Some(&s1)).await.unwrap_err();
    assert_eq!(refused.kind, NodeErrorKind::Busy);
    node.set_exported(&d2, false).await.unwrap();
    node.reinit_disk(&d2, Some(&s1)).await.unwrap();
    node.set_exported(&d2, true).await.unwrap();
    let anew = content(dir, "d-2").await;
    assert_eq!(&anew[..DISK_BYTES as usize], &first[..]);
    assert!(anew[DISK_BYTES as usize..].iter().all(|b| *b == 0));
    node.set_exported(&d1, false).await.unwrap();
    node.reinit_disk(&d1, None).await.unwrap();
    node.set_exported(&d1, true).await.unwrap();
    assert!(content(dir, "d-1").await.iter().all(|b| *b == 0));
    // What it was has no hold on the vault any more, and its next snapshot holds only what came since.
    node.collect(&at_once()).await.unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    let s3 = snapshot("s-3");
    mark(&node, &d1, &s3).await;
    accomplished(&node, &s3).await;
    node.shutdown().await;
    let node = Node::start(config(dir)).await.unwrap();
    for d in [&d1, &d2] {
        node.open_disk(d).await.unwrap();
        node.set_exported(d, true).await.unwrap();
    }
    assert_eq!(content(dir, "s-3").await, second);
    assert_eq!(content(dir, "d-1").await, second);
    assert_eq!(content(dir, "d-2").await, anew);
    node.shutdown().await;
}
