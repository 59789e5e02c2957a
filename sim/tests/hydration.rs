//! A disk is filled from its snapshot: what the last one read first comes first, as fast as it may, or not now; and what is
//! only a hint harms nobody.

mod common;

use bytes::Bytes;
use common::on_node;
use std::time::Duration;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_env::{Env, Precondition};
use tidemark_node::{HydrationChange, HydrationStatus, MarkRequest, Node, SnapshotStatus};
use tidemark_sim::guest::{Io, Request, Wire, session};
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId, TIB};
use tidemark_vault::{BootTrace, Vault};
use tokio::sync::{mpsc, oneshot};

const CHUNKS: u64 = 600;
const PAUSE: HydrationChange = HydrationChange {
    paused: Some(true),
    bytes_per_second: None,
};

fn disk(number: u32) -> DiskId {
    DiskId::new(format!("d-{number}")).unwrap()
}

fn snapshot() -> SnapshotId {
    SnapshotId::new("s-1").unwrap()
}

fn content(chunk: u64) -> Bytes {
    let mut bytes = vec![0; CHUNK_BYTES as usize];
    for piece in bytes.chunks_mut(64) {
        piece[..8].copy_from_slice(&(chunk + 1).to_le_bytes());
    }
    bytes.into()
}

/// A client of a disk.
struct Guest(Wire);

impl Guest {
    async fn of(node: &Node, disk: &DiskId) -> Self {
        node.set_exported(disk, true).await.unwrap();
        let (wire, requests) = mpsc::unbounded_channel();
        node.connect(disk, move |export, stop| session(export, stop, requests))
            .unwrap();
        Self(wire)
    }

    async fn ask(&self, io: Io) -> Bytes {
        let (reply, answer) = oneshot::channel();
        self.0.send(Request(io, reply)).ok().unwrap();
        answer.await.unwrap().unwrap()
    }

    async fn write(&self, chunk: u64) {
        let (offset, data) = (chunk * CHUNK_BYTES, content(chunk));
        self.ask(Io::Write {
            offset,
            data,
            fua: false,
        })
        .await;
    }

    async fn read(&self, chunk: u64) -> Bytes {
        let (offset, len) = (chunk * CHUNK_BYTES, CHUNK_BYTES as u32);
        self.ask(Io::Read { offset, len }).await
    }

    async fn holds(&self, chunks: impl IntoIterator<Item = u64>) {
        for chunk in chunks {
            assert!(self.read(chunk).await == content(chunk), "chunk {chunk}");
        }
    }
}

/// Makes a disk with these chunks filled, and a snapshot of it.
async fn source(node: &Node, env: &Env, size_bytes: u64, chunks: impl IntoIterator<Item = u64>) {
    node.create_disk(&disk(1), size_bytes, None).await.unwrap();
    let guest = Guest::of(node, &disk(1)).await;
    for chunk in chunks {
        guest.write(chunk).await;
    }
    let (id, meta) = (snapshot(), serde_json::Value::Null);
    node.mark(&disk(1), MarkRequest { snapshot: id, meta })
        .await
        .unwrap();
    while !matches!(
        node.snapshot_status(&snapshot()).await.unwrap(),
        SnapshotStatus::Accomplished(_)
    ) {
        env.clock.sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the disk is complete, and says how long that took.
async fn complete(node: &Node, env: &Env, disk: &DiskId) -> Duration {
    let begun = env.clock.now();
    while node.hydration(disk).await.unwrap().absent_bytes > 0 {
        env.clock.sleep(Duration::from_millis(10)).await;
        let status = node.hydration(disk).await.unwrap();
        assert!(env.clock.now() - begun < Duration::from_secs(600), "{status:?}");
    }
    env.clock.now() - begun
}

/// Runs `work` on a node of its own.
fn alone<F: Future<Output = ()> + 'static>(
    seed: u64,
    work: impl FnOnce(Node, Env, SimBucket) -> F + 'static,
) {
    let sim = Sim::new(seed);
    let (machine, bucket) = (sim.machine("host"), SimBucket::new(&sim));
    sim.run(|_| async move {
        let at = bucket.clone();
        let done = on_node(&machine, &bucket, move |node, env| work(node, env, at)).await;
        done.await.unwrap();
    });
}

#[test]
fn what_a_disk_read_first_comes_first_in_the_next_one() {
    alone(1, |node, env, bucket| async move {
        source(&node, &env, CHUNKS * CHUNK_BYTES, 0..CHUNKS).await;
        let boot = [500, 3, 250, 90, 420, 7, 333, 180, 560, 44, 290, 130];
        node.create_disk(&disk(2), CHUNKS * CHUNK_BYTES, Some(&snapshot()))
            .await
            .unwrap();
        let guest = Guest::of(&node, &disk(2)).await;
        // Its own data is nothing to be had from the snapshot.
        guest.write(599).await;
        guest.holds([599]).await;
        guest.holds(boot).await;
        complete(&node, &env, &disk(2)).await;
        // What is local by now was read first all the same.
        guest.holds([77]).await;
        drop(guest);
        node.delete_disk(&disk(2)).await.unwrap();
        env.clock.sleep(Duration::from_secs(5)).await;
        let vault = Vault::open(&env, bucket.client_of_run()).await.unwrap();
        let trace = vault.boot_trace(&snapshot()).await.unwrap();
        let expected: Vec<u32> = boot.iter().map(|chunk| *chunk as u32).chain([77]).collect();
        assert_eq!(trace.chunks(), expected);

        // One chunk after the other, ten a second: the trace's thirteen, and only then the others.
        let size_bytes = CHUNKS * CHUNK_BYTES;
        node.create_disk(&disk(3), size_bytes, Some(&snapshot()))
            .await
            .unwrap();
        let limit = HydrationChange {
            bytes_per_second: Some(Some(10 * CHUNK_BYTES)),
            ..HydrationChange::default()
        };
        node.change_hydration(&disk(3), limit).await.unwrap();
        while node.hydration(&disk(3)).await.unwrap().fetched_bytes < 13 * CHUNK_BYTES {
            env.clock.sleep(Duration::from_millis(5)).await;
        }
        node.change_hydration(&disk(3), PAUSE).await.unwrap();
        env.clock.sleep(Duration::from_secs(10)).await;
        let status = node.hydration(&disk(3)).await.unwrap();
        assert!(status.fetched_bytes < 40 * CHUNK_BYTES, "{status:?}");
        assert_eq!((status.traced_chunks, status.paused), (13, true));
        // With the vault away, what is there is there.
        bucket.set_down(true);
        let guest = Guest::of(&node, &disk(3)).await;
        guest.holds(boot).await;
    });
}

#[test]
fn a_pause_outlives_a_death_and_reads_are_served() {
    let sim = Sim::new(2);
    let (machine, bucket) = (sim.machine("host"), SimBucket::new(&sim));
    sim.run(|env| async move {
        let first = on_node(&machine, &bucket, |node, env| async move {
            source(&node, &env, CHUNKS * CHUNK_BYTES, 0..CHUNKS).await;
            node.create_disk(&disk(2), CHUNKS * CHUNK_BYTES, Some(&snapshot()))
                .await
                .unwrap();
            node.change_hydration(&disk(2), PAUSE).await.unwrap();
            stands_still(&node, &env).await;
        });
        first.await.await.unwrap();
        machine.kill_all();
        let second = on_node(&machine, &bucket, |node, env| async move {
            node.open_disk(&disk(2)).await.unwrap();
            stands_still(&node, &env).await;
            let guest = Guest::of(&node, &disk(2)).await;
            guest.holds([599, 300, 0]).await;
            let resume = HydrationChange {
                paused: Some(false),
                ..PAUSE
            };
            node.change_hydration(&disk(2), resume).await.unwrap();
            complete(&node, &env, &disk(2)).await;
            guest.holds(0..CHUNKS).await;
        });
        second.await.await.unwrap();
        drop(env);
    });
}

async fn stands_still(node: &Node, env: &Env) -> HydrationStatus {
    // What was under way may still land.
    env.clock.sleep(Duration::from_secs(5)).await;
    let before = node.hydration(&disk(2)).await.unwrap();
    env.clock.sleep(Duration::from_secs(60)).await;
    let after = node.hydration(&disk(2)).await.unwrap();
    assert!(after.paused && after.absent_bytes > 0, "{after:?}");
    assert_eq!(after.absent_bytes, before.absent_bytes);
    assert_eq!(after.snapshot, Some(snapshot()));
    after
}

#[test]
fn the_rate_limit_holds_and_can_be_lifted() {
    alone(3, |node, env, _| async move {
        source(&node, &env, CHUNKS * CHUNK_BYTES, 0..CHUNKS).await;
        node.create_disk(&disk(2), CHUNKS * CHUNK_BYTES, Some(&snapshot()))
            .await
            .unwrap();
        let limit = |rate| HydrationChange {
            bytes_per_second: Some(rate),
            ..HydrationChange::default()
        };
        node.change_hydration(&disk(2), limit(Some(10 * CHUNK_BYTES)))
            .await
            .unwrap();
        env.clock.sleep(Duration::from_secs(1)).await;
        let before = node.hydration(&disk(2)).await.unwrap();
        env.clock.sleep(Duration::from_secs(20)).await;
        let after = node.hydration(&disk(2)).await.unwrap();
        let chunks = (after.fetched_bytes - before.fetched_bytes) / CHUNK_BYTES;
        assert!((180..=210).contains(&chunks), "{chunks} chunks in 20 s");
        assert!(
            after
                .remaining_seconds
                .is_some_and(|left| (10..=60).contains(&left)),
            "{after:?}"
        );
        node.change_hydration(&disk(2), limit(None)).await.unwrap();
        assert!(complete(&node, &env, &disk(2)).await < Duration::from_secs(10));
    });
}

#[test]
fn zeros_take_no_time_whatever_the_size() {
    alone(4, |node, env, _| async move {
        let chunks = [0, 1, 5000, 1_000_000, 16_000_000];
        source(&node, &env, TIB, chunks).await;
        node.create_disk(&disk(2), TIB, Some(&snapshot())).await.unwrap();
        let took = complete(&node, &env, &disk(2)).await;
        assert!(took < Duration::from_secs(20), "{took:?}");
        let guest = Guest::of(&node, &disk(2)).await;
        guest.holds(chunks).await;
        for zeros in [2, 4999, 9_999_999] {
            assert!(guest.read(zeros).await.iter().all(|byte| *byte == 0));
        }
    });
}

#[test]
fn a_rollback_brings_zeros_back_over_data() {
    alone(5, |node, env, _| async move {
        source(&node, &env, CHUNKS * CHUNK_BYTES, 0..10).await;
        let guest = Guest::of(&node, &disk(1)).await;
        for chunk in 0..CHUNKS {
            guest.write((chunk * 7) % CHUNKS).await;
        }
        drop(guest);
        node.set_exported(&disk(1), false).await.unwrap();
        node.rollback(&disk(1), &snapshot()).await.unwrap();
        complete(&node, &env, &disk(1)).await;
        let guest = Guest::of(&node, &disk(1)).await;
        guest.holds(0..10).await;
        for chunk in 10..CHUNKS {
            assert!(
                guest.read(chunk).await.iter().all(|byte| *byte == 0),
                "chunk {chunk}"
            );
        }
    });
}

#[test]
fn a_hostile_trace_harms_nobody() {
    alone(6, |node, env, bucket| async move {
        source(&node, &env, CHUNKS * CHUNK_BYTES, 0..CHUNKS).await;
        let vault = Vault::open(&env, bucket.client_of_run()).await.unwrap();
        let past_the_end = BootTrace::new([u32::MAX, 5, 600, 601, 100_000_000, 4, 3]);
        assert!(vault.keep_trace(&snapshot(), &past_the_end).await.unwrap());
        let good = bucket.objects()["traces/s-1"].clone();
        for (number, object) in (2..).zip([good, Bytes::new(), Bytes::from(vec![0x5b; 1 << 20])]) {
            let put = bucket.client_of_run();
            put.put("traces/s-1", vec![object], Precondition::None)
                .await
                .unwrap();
            node.create_disk(&disk(number), CHUNKS * CHUNK_BYTES, Some(&snapshot()))
                .await
                .unwrap();
            complete(&node, &env, &disk(number)).await;
            Guest::of(&node, &disk(number)).await.holds(0..CHUNKS).await;
        }
    });
}

#[test]
fn a_vault_that_is_away_delays_nobody_who_has_a_trace_for_it() {
    alone(7, |node, env, bucket| async move {
        source(&node, &env, CHUNKS * CHUNK_BYTES, 0..CHUNKS).await;
        node.create_disk(&disk(2), CHUNKS * CHUNK_BYTES, Some(&snapshot()))
            .await
            .unwrap();
        let guest = Guest::of(&node, &disk(2)).await;
        guest.holds([500, 3, 250]).await;
        complete(&node, &env, &disk(2)).await;
        drop(guest);
        bucket.set_down(true);
        let begun = env.clock.now();
        node.delete_disk(&disk(2)).await.unwrap();
        assert!(env.clock.now() - begun < Duration::from_secs(1));
        env.clock.sleep(Duration::from_secs(120)).await;
        bucket.set_down(false);
        assert!(
            !bucket.objects().contains_key("traces/s-1"),
            "it is a hint, and this one is lost"
        );
        // Machines come and go: nothing of it is left over.
        node.create_disk(&disk(3), CHUNKS * CHUNK_BYTES, Some(&snapshot()))
            .await
            .unwrap();
        complete(&node, &env, &disk(3)).await;
    });
}
