//! How many requests a first byte waits for, one after the other, and that nobody who reads at a steady pace waits at all.
//!
//! The bucket takes a second for each request, whatever its size, and serves as many as are asked for at once: virtual time
//! in seconds is the number of requests that depended on each other.

mod common;

use common::*;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::Env;
use tidemark_env::sim::Sim;
use tidemark_units::{CHUNK_BYTES, TIB};
use tidemark_vault::{CaptureOptions, CaptureSpec, Reader, Root, SnapshotWriter, Vault};

const TIB_CHUNKS: u32 = (TIB / CHUNK_BYTES) as u32;
/// What the issue allows.
const REQUESTS_MAX: u64 = 5;
/// A chunk in the middle of nowhere.
const CHUNK: u32 = 777_777;

/// A snapshot in which the nodes above [`CHUNK`] lie in four packs: the worst there is. The change of each capture is
/// further away than that of the one before, so that it shares one node less with it.
async fn scattered(vault: &Vault, chunks: u32, own_key: bool) -> Root {
    let mut model = Model::new();
    let mut root = None;
    for (number, index) in [CHUNK, CHUNK + 500, CHUNK + 100_000, chunks - 1]
        .into_iter()
        .enumerate()
    {
        let pending: Vec<u32> = match index + 40 * 128 < chunks {
            true => (0..40).map(|at| index + at * 128).collect(),
            false => vec![index],
        };
        model.extend(pending.iter().map(|at| (*at, u64::from(*at) * 2 + 1)));
        let name = format!("s-{number}");
        let spec = CaptureSpec {
            own_key,
            ..spec(&name, "d-1", chunks, root, &pending)
        };
        let dir = Path::new("spool").join(&name);
        let writer = SnapshotWriter::begin(vault, &dir, spec, CaptureOptions::default())
            .await
            .unwrap();
        for index in &writer.spec().pending {
            writer
                .put(index, chunk(model.get(&index).copied()))
                .await
                .unwrap();
        }
        root = Some(writer.finish(draft()).await.unwrap().root);
    }
    root.unwrap()
}

/// The requests that `work` waited for one after the other.
async fn chain(bucket: &Rc<Bad>, env: &Env, work: impl Future<Output = ()>) -> u64 {
    bucket.latency.set(Duration::from_secs(1));
    let begun = env.clock.now();
    work.await;
    bucket.latency.set(Duration::ZERO);
    (env.clock.now() - begun).as_secs()
}

async fn read(vault: &Vault, root: Root, index: u32) {
    let found = Reader::open(vault, root).read_chunk(index).await.unwrap();
    assert!(found == chunk(Some(u64::from(index) * 2 + 1)), "chunk {index}");
}

fn within_five(seed: u64, chunks: u32) {
    let sim = Sim::new(seed);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let root = scattered(&vault, chunks, false).await;
        assert_eq!(root.depth(), 4);
        // Cold: as after a start, or on another node.
        let vault = bucket.open_vault(&env).await.unwrap();
        let first = chain(&bucket, &env, read(&vault, root, CHUNK)).await;
        assert!(first <= REQUESTS_MAX, "{first} requests after one another");
        let second = chain(&bucket, &env, read(&vault, root, CHUNK + 500)).await;
        assert!(second <= 2, "the nodes above are known: {second}");
        // What is zeros is known to be from the nodes alone.
        let vault = bucket.open_vault(&env).await.unwrap();
        let zeros = chain(&bucket, &env, async {
            let found = Reader::open(&vault, root).read_chunk(CHUNK + 1).await.unwrap();
            assert!(found == chunk(None));
        });
        assert!(zeros.await < REQUESTS_MAX);
    });
}

#[test]
fn the_first_byte_of_a_tebibyte_is_within_five_requests() {
    within_five(1, TIB_CHUNKS);
    within_five(ENCRYPTED + 1, TIB_CHUNKS);
}

#[test]
fn the_first_byte_of_sixty_four_tebibytes_is_within_five_requests() {
    within_five(2, 64 * TIB_CHUNKS);
}

#[test]
fn a_disk_s_own_key_costs_no_request_more() {
    let sim = Sim::new(ENCRYPTED + 3);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        vault.create_disk_key(&disk("d-1")).await.unwrap();
        let root = scattered(&vault, TIB_CHUNKS, true).await;
        let vault = bucket.open_vault(&env).await.unwrap();
        let of = disk("d-1");
        let both = async {
            futures_util::join!(vault.expect_disk_key(&of), read(&vault, root, CHUNK));
        };
        let requests = chain(&bucket, &env, both).await;
        assert!(requests <= REQUESTS_MAX, "{requests} requests after one another");
    });
}

#[test]
fn one_capture_s_nodes_come_in_one_request() {
    let sim = Sim::new(4);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let model: Model = (0..50)
            .map(|at| (at * 300_000 + 7, u64::from(at * 300_000 + 7) * 2 + 1))
            .collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let spec = spec("s-0", "d-1", TIB_CHUNKS, None, &all);
        let root = capture(&vault, Path::new("spool"), spec, &model)
            .await
            .unwrap()
            .root;
        let vault = bucket.open_vault(&env).await.unwrap();
        let requests = chain(&bucket, &env, read(&vault, root, 30 * 300_000 + 7)).await;
        assert_eq!(requests, 2, "the path in one request, the chunk in another");
    });
}

/// A disk of noise over several leaves, in packs of full size.
async fn noise(vault: &Vault, chunks: u32) -> Root {
    let all: Vec<u32> = (0..chunks).collect();
    let spec = spec("s-0", "d-1", chunks, None, &all);
    let writer = SnapshotWriter::begin(vault, Path::new("spool"), spec, CaptureOptions::default())
        .await
        .unwrap();
    for index in 0..chunks {
        writer
            .put(index, chunk(Some(u64::from(index) * 2 + 1)))
            .await
            .unwrap();
    }
    writer.finish(draft()).await.unwrap().root
}

#[test]
fn who_reads_on_at_a_steady_pace_waits_only_at_first() {
    const CHUNKS: u32 = 1024;
    let sim = Sim::new(5);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let root = noise(&vault, CHUNKS).await;
        let vault = bucket.open_vault(&env).await.unwrap();
        bucket.latency.set(Duration::from_millis(100));
        bucket.forget_counts();
        let reader = Reader::open(&vault, root);
        let mut waited = Vec::new();
        for index in 0..CHUNKS {
            let begun = env.clock.now();
            let found = reader.read_chunk(index).await.unwrap();
            assert!(found == chunk(Some(u64::from(index) * 2 + 1)), "chunk {index}");
            if env.clock.now() - begun >= Duration::from_millis(1) {
                waited.push(index);
            }
            // 64 KiB every 5 ms: 12.5 MiB/s, and a request takes as long as twenty of them.
            env.clock.sleep(Duration::from_millis(5)).await;
        }
        // Eight leaves, each with its border; the window has to grow first.
        assert!(waited.iter().all(|index| *index < 64), "waited for {waited:?}");
        assert!(waited.len() <= 8, "waited for {waited:?}");
        let reads = bucket.reads.get();
        assert!(
            reads < u64::from(CHUNKS) / 8,
            "{reads} requests for {CHUNKS} chunks"
        );
    });
}

#[test]
fn two_who_read_beside_each_other_and_one_who_jumps_do_not_disturb() {
    const CHUNKS: u32 = 1024;
    let sim = Sim::new(6);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let root = noise(&vault, CHUNKS).await;
        let vault = bucket.open_vault(&env).await.unwrap();
        bucket.latency.set(Duration::from_millis(100));
        let reader = Reader::open(&vault, root);
        let mut waited = 0;
        for step in 0..300 {
            for index in [step, 512 + step] {
                let begun = env.clock.now();
                reader.read_chunk(index).await.unwrap();
                waited += u32::from(env.clock.now() - begun >= Duration::from_millis(1));
            }
            reader.read_chunk(step * 379 % CHUNKS).await.unwrap();
            env.clock.sleep(Duration::from_millis(5)).await;
        }
        assert!(waited < 30, "the two waited {waited} times of 600");
    });
}

#[test]
fn chunks_named_in_advance_come_in_few_requests() {
    let sim = Sim::new(7);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let root = noise(&vault, 1024).await;
        let vault = bucket.open_vault(&env).await.unwrap();
        let reader = Reader::open(&vault, root);
        let wanted: Vec<u32> = (0..60).map(|at| at * 17 % 1024).chain([5000, u32::MAX]).collect();
        bucket.forget_counts();
        let requests = chain(&bucket, &env, reader.prefetch(&wanted.iter().copied().collect())).await;
        assert!(
            requests <= 12,
            "{requests} requests after one another for sixty chunks"
        );
        bucket.forget_counts();
        for index in wanted.iter().filter(|index| **index < 1024) {
            let found = reader.read_chunk(*index).await.unwrap();
            assert!(found == chunk(Some(u64::from(*index) * 2 + 1)), "chunk {index}");
        }
        assert_eq!(bucket.reads.get(), 0, "all of it was in memory");
    });
}

#[test]
fn memory_is_bounded_whatever_is_read() {
    let sim = Sim::new(8);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let root = noise(&vault, 1024).await;
        let small = options(world.seed()).with_cache(3 << 20);
        let vault = Vault::open_with(&env, bucket.clone(), small).await.unwrap();
        let (one, other) = (Reader::open(&vault, root), Reader::open(&vault, root));
        let mut most = 0;
        for index in 0..1024 {
            one.read_chunk(index).await.unwrap();
            other.read_chunk(1023 - index).await.unwrap();
            let (bytes, bound) = vault.cached_bytes();
            assert_eq!(bound, 3 << 20);
            assert!(bytes <= bound, "{bytes} bytes after chunk {index}");
            most = most.max(bytes);
        }
        assert!(most > 1 << 20, "and what there is of it is used: {most} bytes");
    });
}
