//! A crash after a mark: the log's tail brings back marks of snapshots that are over, and the one that is not
//! must still capture everything.

mod common;

use common::{config, nbdcopy, snapshot};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tidemark_node::{MarkRequest, Node, SnapshotStatus};
use tidemark_units::{DiskId, MIB};

const DISK_BYTES: u64 = 8 * MIB;

/// Fills the disk with one byte.
async fn fill(node: &Node, dir: &Path, disk: &DiskId, byte: u8) {
    fs::write(dir.join("image"), vec![byte; DISK_BYTES as usize]).unwrap();
    node.set_exported(disk, true).await.unwrap();
    nbdcopy(dir, "image", &format!("nbd:{disk}")).await;
    node.set_exported(disk, false).await.unwrap();
}

async fn mark(node: &Node, disk: &DiskId, name: &str) {
    let request = MarkRequest {
        snapshot: snapshot(name),
        meta: serde_json::json!({}),
    };
    node.mark(disk, request).await.unwrap();
}

async fn accomplished(node: &Node, name: &str) {
    for _ in 0..3000 {
        match node.snapshot_status(&snapshot(name)).await.unwrap() {
            SnapshotStatus::Accomplished(_) => return,
            SnapshotStatus::Progressing(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => panic!("{name}: {other:?}"),
        }
    }
    panic!("{name} is never accomplished");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_after_a_cancelled_one_is_whole_after_a_crash() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (before, after) = (before.path(), after.path());
    let disk = DiskId::new("d-1").unwrap();
    let node = Node::start(config(before)).await.unwrap();
    node.create_disk(&disk, DISK_BYTES, None).await.unwrap();
    fill(&node, before, &disk, 1).await;
    mark(&node, &disk, "s-1").await;
    accomplished(&node, "s-1").await;
    fill(&node, before, &disk, 2).await;
    mark(&node, &disk, "s-2").await;
    node.delete_snapshot(&disk, &snapshot("s-2")).await.unwrap();
    // The crash: what was durable when the mark was answered, before its capture began.
    copy_dir(&config(before).vault_dir, &config(after).vault_dir);
    mark(&node, &disk, "s-3").await;
    let volume = |dir: &Path| config(dir).data_dir.join("volumes").join("d-1");
    fs::create_dir_all(volume(after)).unwrap();
    for slot in ["super.0", "super.1"] {
        fs::copy(volume(before).join(slot), volume(after).join(slot)).unwrap();
    }
    fs::create_dir_all(config(after).data_dir.join("marks")).unwrap();
    let note = serde_json::json!({"disk": "d-1", "meta": {}});
    fs::write(config(after).data_dir.join("marks/s-3.json"), note.to_string()).unwrap();
    for dir in ["log", "base"] {
        copy_dir(&volume(before).join(dir), &volume(after).join(dir));
    }
    node.shutdown().await;

    let node = Node::start(config(after)).await.unwrap();
    node.open_disk(&disk).await.unwrap();
    accomplished(&node, "s-3").await;
    nbdcopy(after, "nbd:s-3", "seen").await;
    let seen = fs::read(after.join("seen")).unwrap();
    assert!(
        seen == vec![2; DISK_BYTES as usize],
        "the snapshot lacks what the cancelled one was to capture"
    );
    node.shutdown().await;
}
