//! A node on an encrypted vault: what reaches the vault is closed, and an encrypted disk's content goes with its key.

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::{config, nbdcopy, snapshot};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemark_node::{CollectOptions, MarkRequest, Node, NodeConfig, NodeErrorKind, SnapshotStatus};
use tidemark_units::{DiskId, MIB, SnapshotId};
use tidemark_vault::Secret;

const DISK_BYTES: u64 = 4 * MIB;
const NEEDLE: &[u8] = b"what only the guest may know. ";

fn locked(dir: &Path) -> NodeConfig {
    NodeConfig {
        vault_secret: Some(Secret::key_file(&[7; 32]).unwrap()),
        ..config(dir)
    }
}

fn disk(name: &str) -> DiskId {
    DiskId::new(name).unwrap()
}

async fn take(node: &Node, of: &DiskId, id: &SnapshotId) {
    let meta = serde_json::json!({ "name": "the name of it" });
    let request = MarkRequest {
        snapshot: id.clone(),
        meta,
    };
    node.mark(of, request).await.unwrap();
    for _ in 0..3000 {
        match node.snapshot_status(id).await.unwrap() {
            SnapshotStatus::Accomplished(_) => return,
            SnapshotStatus::Progressing(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{id}: {other:?}"),
        }
    }
    panic!("{id} is not accomplished after a minute");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.path())).collect()
}

#[tokio::test]
async fn an_encrypted_disk_lives_and_goes_on_an_encrypted_vault() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let image: Vec<u8> = NEEDLE.iter().copied().cycle().take(DISK_BYTES as usize).collect();
    std::fs::write(dir.join("in.raw"), &image).unwrap();
    let (d1, s1) = (disk("d-1"), snapshot("s-1"));

    let node = Node::start(locked(dir)).await.unwrap();
    node.create_encrypted_disk(&d1, DISK_BYTES, None).await.unwrap();
    node.set_exported(&d1, true).await.unwrap();
    nbdcopy(dir, "in.raw", "nbd:d-1").await;
    take(&node, &d1, &s1).await;
    node.shutdown().await;
    for path in files(&dir.join("vault")) {
        let body = std::fs::read(&path).unwrap();
        for word in [NEEDLE, b"the name of it"] {
            assert!(
                !body.windows(word.len()).any(|bytes| bytes == word),
                "{}",
                path.display()
            );
        }
    }
    let keys = |of: &str| files(&dir.join(of).join("diskkeys")).len();
    assert_eq!((keys("vault"), keys("data")), (1, 1));

    let refused = Node::start(config(dir)).await.map(drop).unwrap_err();
    assert!(refused.message.contains("no key was given"), "{refused}");

    // Another disk is filled from it, and it goes: its key stays for as long as the other needs it.
    let node = Node::start(locked(dir)).await.unwrap();
    node.open_disk(&d1).await.unwrap();
    let (d2, s2) = (disk("d-2"), snapshot("s-2"));
    node.create_disk(&d2, DISK_BYTES, Some(&s1)).await.unwrap();
    node.set_exported(&d2, true).await.unwrap();
    take(&node, &d2, &s2).await;
    node.delete_snapshot(&d1, &s1).await.unwrap();
    node.delete_disk(&d1).await.unwrap();
    node.collect(&at_once()).await.unwrap();
    assert_eq!(
        (keys("vault"), keys("data")),
        (1, 1),
        "a snapshot of the clone needs it"
    );
    nbdcopy(dir, "nbd:s-2", "out.raw").await;
    assert!(std::fs::read(dir.join("out.raw")).unwrap() == image);

    node.delete_snapshot(&d2, &s2).await.unwrap();
    node.delete_disk(&d2).await.unwrap();
    node.collect(&at_once()).await.unwrap();
    assert_eq!((keys("vault"), keys("data")), (0, 0), "nothing needs it any more");
    node.shutdown().await;
}

#[tokio::test]
async fn a_plain_vault_makes_no_encrypted_disk() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).await.unwrap();
    let refused = node
        .create_encrypted_disk(&disk("d-1"), DISK_BYTES, None)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, NodeErrorKind::Invalid);
    assert!(refused.message.contains("d-1 cannot be encrypted"), "{refused}");
    node.create_disk(&disk("d-1"), DISK_BYTES, None).await.unwrap();
    node.shutdown().await;
}

/// Deleted snapshots are gone for good at once.
fn at_once() -> tidemark_node::CollectOptions {
    tidemark_node::CollectOptions {
        purge_all: true,
        ..Default::default()
    }
}

/// Disks are made while the collector runs, which destroys the keys of disks that are gone.
#[tokio::test]
async fn a_disk_that_is_being_made_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(locked(dir.path())).await.unwrap();
    for count in 1..=30 {
        let new = disk(&format!("d-{count}"));
        let making = node.create_encrypted_disk(&new, 64 * MIB, None);
        let collecting = async {
            for _ in 0..6 {
                node.collect(&CollectOptions::default()).await.unwrap();
            }
        };
        let (made, ()) = tokio::join!(making, collecting);
        made.unwrap();
        for place in ["vault", "data"] {
            let keys = files(&dir.path().join(place).join("diskkeys"));
            assert_eq!(keys.len(), count, "keys in {place}");
        }
    }
    node.shutdown().await;
}
