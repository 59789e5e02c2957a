//! A node dies at any moment while it gives a snapshot up: the snapshot is gone, or it holds what it was marked with.

mod common;

use bytes::Bytes;
use common::on_node;
use std::time::Duration;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_node::{MarkRequest, Node};
use tidemark_sim::guest::{Io, Request, Wire, session};
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};
use tidemark_vault::{Chunk, Reader, Vault, VaultErrorKind};
use tokio::sync::{mpsc, oneshot};

const CHUNKS: u32 = 3;
const STEP: Duration = Duration::from_micros(50);
const STEPS: u32 = 120;

fn disk() -> DiskId {
    DiskId::new("d-1").unwrap()
}

fn snapshot() -> SnapshotId {
    SnapshotId::new("s-1").unwrap()
}

async fn fill(wire: &Wire, byte: u8) {
    for chunk in 0..u64::from(CHUNKS) {
        let (reply, answer) = oneshot::channel();
        let io = Io::Write {
            offset: chunk * CHUNK_BYTES,
            data: Bytes::from(vec![byte; CHUNK_BYTES as usize]),
            fua: true,
        };
        wire.send(Request(io, reply)).ok().unwrap();
        answer.await.unwrap().unwrap();
    }
}

/// Marks the disk full of ones, writes twos, and deletes the snapshot; says when it begins to.
async fn life(node: Node, begun: oneshot::Sender<()>, bucket: SimBucket) {
    let size = u64::from(CHUNKS) * CHUNK_BYTES;
    node.create_disk(&disk(), size, None).await.unwrap();
    node.set_exported(&disk(), true).await.unwrap();
    let (wire, requests) = mpsc::unbounded_channel();
    node.connect(&disk(), move |export, stop| session(export, stop, requests))
        .unwrap();
    fill(&wire, 1).await;
    // What is marked now is not captured yet when it is given up, and the base must stay as it is until then.
    bucket.set_down(true);
    let request = MarkRequest {
        snapshot: snapshot(),
        meta: serde_json::Value::Null,
    };
    node.mark(&disk(), request).await.unwrap();
    fill(&wire, 2).await;
    begun.send(()).unwrap();
    let _ = node.delete_snapshot(&disk(), &snapshot()).await;
    std::future::pending::<()>().await;
}

#[test]
fn a_snapshot_that_is_given_up_does_not_come_back_with_later_content() {
    for step in 0..STEPS {
        let sim = Sim::new(u64::from(step));
        let (machine, bucket) = (sim.machine("host"), SimBucket::new(&sim));
        sim.run(|env| async move {
            let (begun, deleting) = oneshot::channel();
            let at = bucket.clone();
            let _living = on_node(&machine, &bucket, move |node, _| life(node, begun, at)).await;
            deleting.await.unwrap();
            env.clock.sleep(STEP * step).await;
            machine.kill_all();
            bucket.set_down(false);
            let opened = on_node(&machine, &bucket, |node, env| async move {
                node.open_disk(&disk()).await.unwrap();
                env.clock.sleep(Duration::from_secs(60)).await;
            });
            opened.await.await.unwrap();
            let vault = Vault::open(&env, bucket.client_of_run()).await.unwrap();
            match vault.snapshot(&snapshot()).await {
                Ok(record) => {
                    let reader = Reader::open(&vault, record.root);
                    for chunk in 0..CHUNKS {
                        let expected = Chunk::Data(vec![1; CHUNK_BYTES as usize].into());
                        let found = reader.read_chunk(chunk).await.unwrap();
                        assert!(found == expected, "killed after {:?}: chunk {chunk}", STEP * step);
                    }
                }
                Err(e) => assert_eq!(e.kind, VaultErrorKind::Missing),
            }
        });
    }
}
