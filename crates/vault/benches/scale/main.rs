//! How the vault scales by structure: metadata bytes, requests, memory and time of huge sparse disks, long chains of
//! snapshots and scattered change. `cargo xtask bench -- --only scale` runs it; `docs/scale.md` has the tables.
//!
//! One case is one process, so that its peak of memory is its own. Chunks are real ones (64 KiB, hashed and compressed)
//! with almost nothing in them, so that structure is what costs. The bucket is a directory below the working
//! directory, through a wrapper that counts requests as a store over the network would see them. Prints a JSON
//! object per step. Hashing and compression run in line, on the one thread: a service's run at idle priority, and would be measured as
//! whatever else the machine does.
//!
//! Not here: throughput of real data (`bench/snapshots.py`), latency of a store.

mod meter;

use bytes::Bytes;
use meter::Meter;
use roaring::RoaringBitmap;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use tidemark_env::real::{RuntimeOptions, try_run};
use tidemark_env::{Compute, DirBucket, Env, LocalFuture};
use tidemark_units::{CHUNK_BYTES, DiskId, GIB, Lsn, SnapshotId, TIB};
use tidemark_vault::{
    CaptureOptions, CaptureSpec, Chunk, CollectOptions, Reader, RecordDraft, Root, SnapshotWriter,
    SpaceOptions, Vault,
};

const USAGE: &str = "usage: scale sparse|chain|million|dense [NAME=NUMBER ...]
  sparse   a 64 TiB disk with `chunks` (4096) scattered chunks, then `changes` (256) more
  chain    `snapshots` (1000) of a 1 TiB disk whose first `dense` (16) GiB are full; each changes `changes` (256)
           chunks somewhere in these
  million  `chunks` (1000000) scattered over a 64 TiB disk in one capture
  dense    a 1 TiB disk whose first `dense` (16) GiB are full, and then ever more changed chunks in them";

/// Settings of a case, by name.
struct Settings(BTreeMap<String, u32>);

impl Settings {
    fn get(&self, name: &str, default: u32) -> u32 {
        self.0.get(name).copied().unwrap_or(default)
    }
}

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let case = args.next().unwrap_or_default();
    let settings: Option<BTreeMap<String, u32>> = args
        .map(|arg| {
            let (name, number) = arg.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        })
        .collect();
    let Some(settings) = settings.map(Settings) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = try_run(RuntimeOptions::default(), |real| async move {
        let env = Env {
            compute: Rc::new(InLine),
            ..real.env
        };
        let bench = Bench::new(&env).await;
        match case.as_str() {
            "sparse" => bench.sparse(&settings).await,
            "chain" => bench.chain(&settings).await,
            "million" => bench.million(&settings).await,
            "dense" => bench.dense(&settings).await,
            _ => return false,
        }
        bench.totals().await;
        true
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Computation on the thread itself.
struct InLine;

impl Compute for InLine {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()> {
        Box::pin(async move { work() })
    }

    fn parallelism(&self) -> usize {
        1
    }
}

struct Bench {
    env: Env,
    bucket: Rc<Meter>,
    /// As a service has it: open for long.
    vault: Vault,
    disk: DiskId,
}

impl Bench {
    async fn new(env: &Env) -> Self {
        let bucket = Meter::new(DirBucket::new(env.clone(), "bucket"));
        let vault = Vault::create(env, bucket.clone())
            .await
            .expect("an empty working directory");
        Self {
            env: env.clone(),
            bucket,
            vault,
            disk: DiskId::new("d-scale").expect("a plain id"),
        }
    }

    /// As a tool, or a service that has just started, has it.
    async fn fresh(&self) -> Vault {
        Vault::open(&self.env, self.bucket.clone())
            .await
            .expect("the vault is there")
    }

    async fn totals(&self) {
        let below = |prefix| self.bucket.below(prefix);
        let totals = json!({
            "step": "totals", "at": 0, "peak": meter::memory_bytes("VmHWM:"),
            "more": {
                "tree packs": below("nodes/").await, "data packs": below("packs/").await,
                "head entries": below("d/").await, "records": below("snapshots/").await,
            },
        });
        println!("{totals}");
    }

    async fn capture(
        &self,
        number: u32,
        size_bytes: u64,
        parent: Option<Root>,
        pending: RoaringBitmap,
    ) -> Root {
        let spec = CaptureSpec {
            snapshot: id(number),
            disk: self.disk.clone(),
            parent,
            size_bytes,
            pending,
            own_key: false,
        };
        let dir = Path::new("spool").join(format!("{number}"));
        let writer = SnapshotWriter::begin(&self.vault, &dir, spec, CaptureOptions::default())
            .await
            .expect("begin");
        for index in &writer.spec().pending {
            writer.put(index, content(number, index)).await.expect("put");
        }
        let draft = RecordDraft {
            created_ms: 1_700_000_000_000,
            parent: None,
            lsn: Lsn(1),
            owner: None,
            meta: json!({"SnapshotName": "nightly", "Description": "made by a policy"}),
        };
        writer.finish(draft).await.expect("finish").root
    }

    /// A capture as a step; its metadata is what tree packs grew by.
    async fn captured(
        &self,
        name: &str,
        number: u32,
        size_bytes: u64,
        parent: Option<Root>,
        pending: RoaringBitmap,
    ) -> Root {
        let before = self.tree_bytes().await;
        let chunks = pending.len();
        let capture = self.capture(number, size_bytes, parent, pending);
        let root = self
            .bucket
            .step(name, number, capture, |_| json!({"chunks": chunks}))
            .await;
        let tree = self.tree_bytes().await - before;
        let each = tree as f64 / chunks.max(1) as f64;
        println!(
            "{}",
            json!({"step": "metadata", "at": number, "more": {"chunks": chunks, "tree bytes": tree, "per chunk": each}})
        );
        root
    }

    async fn tree_bytes(&self) -> u64 {
        self.bucket.below("nodes/").await["bytes"].as_u64().unwrap_or(0)
    }

    /// Reading, comparing and accounting, by a process that knows nothing yet.
    async fn look(&self, at: u32, first: Option<&Root>, before: Option<&Root>, last: &Root) {
        let cold = self.fresh().await;
        let listed = self.bucket.step(
            "list",
            at,
            cold.snapshots(),
            |found| json!({"snapshots": found.as_ref().map_or(0, Vec::len)}),
        );
        listed.await.expect("list");
        let (cold, name) = (self.fresh().await, id(at));
        self.bucket
            .step("show one", at, cold.snapshot(&name), nothing)
            .await
            .expect("show");
        for (name, from) in [
            ("diff with the one before", before),
            ("diff with the first", first),
        ] {
            let cold = self.fresh().await;
            let diff = self.bucket.step(
                name,
                at,
                cold.diff(from, Some(last)),
                |found| json!({"chunks": found.as_ref().map_or(0, RoaringBitmap::len)}),
            );
            diff.await.expect("diff");
        }
        let cold = self.fresh().await;
        let index = cold
            .non_zero_chunks(last, 0..u32::MAX)
            .await
            .expect("walk")
            .max()
            .unwrap_or(0);
        let reader = Reader::open(&self.fresh().await, *last);
        self.bucket
            .step("read one chunk", at, reader.read_chunk(index), nothing)
            .await
            .expect("read");
        let cold = self.fresh().await;
        let options = SpaceOptions::default();
        let space = self
            .bucket
            .step("account for space", at, cold.space(&options), |found| {
                let packs = found.as_ref().map_or(0, |report| report.packs.all().packs);
                json!({"packs": packs, "passes": found.as_ref().map_or(0, |report| report.passes)})
            });
        space.await.expect("space");
    }

    /// Deletes one as a service does, then another one as a tool does.
    async fn delete(&self, at: u32, two: [u32; 2]) {
        let name = id(two[0]);
        let deleted = self.vault.delete_snapshot(&self.disk, &name, None);
        self.bucket
            .step("delete one", at, deleted, nothing)
            .await
            .expect("delete");
        let (cold, name) = (self.fresh().await, id(two[1]));
        let deleted = cold.delete_snapshot(&self.disk, &name, None);
        self.bucket
            .step("delete one, first call", at, deleted, nothing)
            .await
            .expect("delete");
    }

    async fn collect(&self, at: u32) {
        let options = CollectOptions {
            purge_all: true,
            ..CollectOptions::default()
        };
        let collected = self.bucket.step(
            "collect",
            at,
            self.vault.collect(&options),
            |report| match report {
                Ok(report) => json!({"freed packs": report.freed_packs, "kept packs": report.kept_packs}),
                Err(error) => json!({"error": error.to_string()}),
            },
        );
        collected.await.expect("collect");
    }

    async fn sparse(&self, settings: &Settings) {
        let size = 64 * TIB;
        let full = scattered(1, settings.get("chunks", 4096), chunks(size));
        let first = self.captured("create, full", 0, size, None, full).await;
        let changes = scattered(2, settings.get("changes", 256), chunks(size));
        let second = self.captured("create", 1, size, Some(first), changes).await;
        self.look(1, Some(&first), Some(&first), &second).await;
        self.delete(1, [0, 1]).await;
        self.collect(1).await;
    }

    async fn million(&self, settings: &Settings) {
        let size = 64 * TIB;
        let full = scattered(1, settings.get("chunks", 1_000_000), chunks(size));
        let root = self.captured("create, full", 0, size, None, full.clone()).await;
        // The same again, relative to it: every chunk is somebody else's leaf by now.
        let second = self.captured("create", 1, size, Some(root), full).await;
        self.look(1, None, Some(&root), &second).await;
        self.delete(1, [0, 1]).await;
        self.collect(1).await;
    }

    async fn dense(&self, settings: &Settings) {
        let size = TIB;
        let full = chunks(u64::from(settings.get("dense", 16)) * GIB);
        let all = RoaringBitmap::from_sorted_iter(0..full).expect("a range is sorted");
        let mut root = self.captured("create, full", 0, size, None, all).await;
        for (number, count) in (1..).zip([1, 8, 64, 256, 2048, 16_384]) {
            let changes = scattered(u64::from(number), count, full);
            root = self.captured("create", number, size, Some(root), changes).await;
        }
    }

    async fn chain(&self, settings: &Settings) {
        let size = TIB;
        let full = chunks(u64::from(settings.get("dense", 16)) * GIB);
        let changes = settings.get("changes", 256);
        let all = RoaringBitmap::from_sorted_iter(0..full).expect("a range is sorted");
        let first = self.captured("create, full", 0, size, None, all).await;
        let (mut before, mut last) = (first, first);
        let mut gone = 1;
        for number in 1..=settings.get("snapshots", 1000) {
            let pending = scattered(u64::from(number), changes, full);
            let looked_at = [10, 100, 1000].contains(&number);
            let root = match looked_at {
                true => self.captured("create", number, size, Some(last), pending).await,
                false => self.capture(number, size, Some(last), pending).await,
            };
            (before, last) = (last, root);
            if looked_at {
                self.look(number, Some(&first), Some(&before), &last).await;
                self.delete(number, [gone, gone + 1]).await;
                gone += 2;
            }
        }
        let _ = before;
        self.collect(settings.get("snapshots", 1000)).await;
    }
}

fn id(number: u32) -> SnapshotId {
    SnapshotId::new(format!("s-{number:06}")).expect("a plain id")
}

fn chunks(bytes: u64) -> u32 {
    u32::try_from(bytes / CHUNK_BYTES).expect("no disk of these cases has more chunks")
}

/// Different for each snapshot and place, and nearly nothing once it is compressed.
fn content(snapshot: u32, index: u32) -> Chunk {
    let mut bytes = vec![0; CHUNK_BYTES as usize];
    bytes[..4].copy_from_slice(&index.to_le_bytes());
    bytes[4..8].copy_from_slice(&(snapshot + 1).to_le_bytes());
    Chunk::Data(Bytes::from(bytes))
}

/// So many of `of` chunks, chosen by a seed.
fn scattered(seed: u64, count: u32, of: u32) -> RoaringBitmap {
    let mut state = seed;
    let mut chosen = RoaringBitmap::new();
    while chosen.len() < u64::from(count.min(of)) {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chosen.insert(((mixed ^ (mixed >> 31)) % u64::from(of)) as u32);
    }
    chosen
}

/// For a step of which there is nothing to tell but what it cost.
fn nothing<T>(_: &T) -> Value {
    Value::Null
}
