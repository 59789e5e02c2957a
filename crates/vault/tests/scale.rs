//! Cost follows the change, not the disk; a reader fetches in few, large, shared reads.

mod common;

use common::*;
use futures_util::future::join_all;
use roaring::RoaringBitmap;
use std::path::Path;
use tidemark_env::Bucket;
use tidemark_env::sim::Sim;
use tidemark_units::{CHUNK_BYTES, TIB};
use tidemark_vault::{CaptureOptions, CaptureSpec, Chunk, Reader, Root, SnapshotWriter, Vault};

/// Chunks of a 1 TiB disk.
const TIB_CHUNKS: u32 = (TIB / CHUNK_BYTES) as u32;

async fn capture_with_large_packs(vault: &Vault, name: &str, spec: CaptureSpec, model: &Model) -> Root {
    let dir = Path::new("spool").join(name);
    let writer = SnapshotWriter::begin(vault, &dir, spec, CaptureOptions::default())
        .await
        .unwrap();
    for index in &writer.spec().pending {
        writer
            .put(index, chunk(model.get(&index).copied()))
            .await
            .unwrap();
    }
    writer.finish(draft()).await.unwrap().root
}

#[test]
fn few_changes_on_a_tebibyte_touch_few_nodes() {
    let sim = Sim::new(1);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        // A chunk in every 512 MiB: 2048 leaves all over the disk.
        let mut model: Model = (0..2048)
            .map(|at| (at * 8192 + 77, u64::from(at % 90) * 2 + 2))
            .collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let first =
            capture_with_large_packs(&vault, "s-0", spec("s-0", "d-1", TIB_CHUNKS, None, &all), &model).await;
        assert_eq!(first.depth(), 4);

        let vault = bucket.open_vault(&env).await.unwrap();
        bucket.forget_counts();
        let changes = [(8192 + 77, 4444), (5, 5), (9_000_000, 7), (TIB_CHUNKS - 1, 9)];
        model.extend(changes);
        let pending: Vec<u32> = changes.iter().map(|(index, _)| *index).collect();
        let spec = spec("s-1", "d-1", TIB_CHUNKS, Some(first), &pending);
        let second = capture_with_large_packs(&vault, "s-1", spec, &model).await;
        let puts = bucket.puts.borrow().len();
        assert_eq!(
            puts, 5,
            "the registration, one data pack, one tree pack, the record, the head entry"
        );
        // Four paths of four nodes, and the head log.
        assert!(bucket.reads.get() <= 4 * 4 + 4, "{} reads", bucket.reads.get());
        assert!(
            bucket.read_bytes.get() < 1 << 20,
            "{} bytes read",
            bucket.read_bytes.get()
        );

        bucket.forget_counts();
        let differing = vault.diff(Some(&first), Some(&second)).await.unwrap();
        assert_eq!(differing, pending.iter().copied().collect::<RoaringBitmap>());
        // Four levels of two trees; what lies on one level is read at once.
        assert!(bucket.reads.get() <= 2 * 4, "{} reads", bucket.reads.get());
        for (index, seed) in changes {
            let found = Reader::open(&vault, second).read_chunk(index).await.unwrap();
            assert!(found == chunk(Some(seed)), "chunk {index}");
        }
    });
}

#[test]
fn a_disk_that_grows_or_shrinks_keeps_what_fits() {
    let sim = Sim::new(2);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let mut model: Model = [(0, 2), (99, 4), (127, 6)].into();
        let all: Vec<u32> = model.keys().copied().collect();
        let mut root =
            capture_with_large_packs(&vault, "s-0", spec("s-0", "d-1", 128, None, &all), &model).await;
        // Every depth upwards, then down again, mostly without any change of content.
        for (number, chunks) in (1..).zip([129, 40_000, 20_000_000, 20_000_001, 32_768, 100, 1]) {
            model.retain(|index, _| *index < chunks);
            let mut pending = Vec::new();
            if chunks > 20_000_000 {
                model.insert(chunks - 1, 8);
                pending.push(chunks - 1);
            }
            let name = format!("s-{number}");
            let spec = spec(&name, "d-1", chunks, Some(root), &pending);
            root = capture_with_large_packs(&vault, &name, spec, &model).await;
            assert_eq!(root.size_bytes(), u64::from(chunks) * CHUNK_BYTES);
            assert_holds(&vault, root, &model, &name).await;
        }
    });
}

#[test]
fn zeros_cost_rows_and_no_packs() {
    let sim = Sim::new(3);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        bucket.puts.borrow_mut().clear();
        let mut spec = spec("s-0", "d-1", TIB_CHUNKS, None, &[]);
        spec.pending.insert_range(1000..101_000);
        let root = capture_with_large_packs(&vault, "s-0", spec, &Model::new()).await;
        assert!(root.top().is_none());
        assert_eq!(bucket.puts.borrow().len(), 2, "the record and the head entry");
        assert_eq!(
            Reader::open(&vault, root).read_chunk(5000).await.unwrap(),
            Chunk::Zero
        );
    });
}

#[test]
fn sequential_and_concurrent_reads_share_large_fetches() {
    let sim = Sim::new(4);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let model: Model = (0..512).map(|at| (at, u64::from(at) * 2 + 1)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let root = capture_with_large_packs(&vault, "s-0", spec("s-0", "d-1", 512, None, &all), &model).await;

        let vault = bucket.open_vault(&env).await.unwrap();
        bucket.reads.set(0);
        let reader = Reader::open(&vault, root);
        for (index, seed) in &model {
            assert!(
                reader.read_chunk(*index).await.unwrap() == chunk(Some(*seed)),
                "chunk {index}"
            );
        }
        assert!(
            bucket.reads.get() < 70,
            "{} reads for 512 chunks",
            bucket.reads.get()
        );

        let vault = bucket.open_vault(&env).await.unwrap();
        let (one, other) = (Reader::open(&vault, root), Reader::open(&vault, root));
        bucket.reads.set(0);
        let same = join_all((0..20).map(|at| if at % 2 == 0 { &one } else { &other }.read_chunk(300))).await;
        assert!(same.into_iter().all(|found| found.unwrap() == chunk(Some(601))));
        assert!(
            bucket.reads.get() <= 3,
            "top, leaf and chunk, once each: {}",
            bucket.reads.get()
        );
        assert_eq!(one.extents(0..400).await.unwrap(), vec![0..400]);
        assert!(bucket.describe().contains("bad days"));
    });
}
