//! What the vault's tests share: disks as models, captures of them, and a bucket that misbehaves.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

pub mod locked;
mod objects;

pub use objects::{expect_error, forged, objects, replace};

use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::Sim;
use tidemark_env::{
    Bucket, BucketError, BucketErrorKind, DirBucket, Env, LocalFuture, ObjectInfo, Precondition,
};
use tidemark_units::{CHUNK_BYTES, DiskId, Lsn, SnapshotId};
use tidemark_vault::{
    CaptureOptions, CaptureSpec, Chunk, Committed, Reader, RecordDraft, Result, Root, Secret, SnapshotWriter,
    Vault, VaultOptions,
};

/// In worlds with this seed and above, vaults are encrypted: what holds of a plain one holds of those too.
pub const ENCRYPTED: u64 = 1 << 32;

/// How vaults are made and opened in the worlds of this seed.
pub fn options(seed: u64) -> VaultOptions {
    VaultOptions {
        secret: (seed >= ENCRYPTED).then(|| Secret::key_file(&[seed as u8; 32]).unwrap()),
        ..VaultOptions::default()
    }
}

/// A world with a plain vault, and one with an encrypted vault.
pub fn both(seed: u64) -> [Sim; 2] {
    [seed, ENCRYPTED + seed].map(Sim::new)
}

/// A disk's content: what is not named is zeros.
pub type Model = BTreeMap<u32, u64>;

/// Chunk content number `seed`: compressible for even numbers, noise for odd ones, zeros for 0.
pub fn content(seed: u64) -> Bytes {
    let mut bytes = vec![0; CHUNK_BYTES as usize];
    if seed.is_multiple_of(2) {
        if seed != 0 {
            for piece in bytes.chunks_mut(16) {
                piece[..8].copy_from_slice(&seed.to_le_bytes());
            }
        }
    } else {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for piece in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.copy_from_slice(&state.to_le_bytes());
        }
    }
    bytes.into()
}

pub fn chunk(seed: Option<u64>) -> Chunk {
    seed.map_or(Chunk::Zero, |seed| Chunk::Data(content(seed)))
}

pub fn disk(name: &str) -> DiskId {
    DiskId::new(name).unwrap()
}

pub fn snapshot(name: &str) -> SnapshotId {
    SnapshotId::new(name).unwrap()
}

/// Small packs, so that few chunks make many.
pub fn small() -> CaptureOptions {
    CaptureOptions {
        pack_bytes: 5 * CHUNK_BYTES,
        upload_width: 2,
        spool_quota_bytes: 40 * CHUNK_BYTES,
    }
}

pub fn draft() -> RecordDraft {
    RecordDraft {
        owner: None,
        created_ms: 1_700_000_000_000,
        parent: None,
        lsn: Lsn(7),
        meta: serde_json::json!({"name": "x"}),
    }
}

/// What a capture needs to know.
pub fn spec(name: &str, of: &str, chunks: u32, parent: Option<Root>, pending: &[u32]) -> CaptureSpec {
    CaptureSpec {
        snapshot: snapshot(name),
        disk: disk(of),
        parent,
        size_bytes: u64::from(chunks) * CHUNK_BYTES,
        pending: pending.iter().copied().collect(),
        own_key: false,
    }
}

/// Captures a model whose chunks `spec.pending` changed since the parent.
pub async fn capture(vault: &Vault, dir: &Path, spec: CaptureSpec, model: &Model) -> Result<Committed> {
    let writer = SnapshotWriter::begin(vault, dir, spec.clone(), small()).await?;
    for index in &spec.pending {
        writer.put(index, chunk(model.get(&index).copied())).await?;
    }
    writer.finish(draft()).await
}

/// Asserts that a snapshot holds exactly the model.
pub async fn assert_holds(vault: &Vault, root: Root, model: &Model, name: &str) {
    let reader = Reader::open(vault, root);
    let expected: Vec<u32> = model
        .iter()
        .filter(|(_, seed)| **seed != 0)
        .map(|(index, _)| *index)
        .collect();
    let found: Vec<u32> = reader
        .non_zero_chunks(0..u32::MAX)
        .await
        .unwrap()
        .iter()
        .collect();
    assert_eq!(found, expected, "{name}: which chunks are not zeros");
    for index in expected {
        let found = reader.read_chunk(index).await.unwrap();
        assert!(
            found == chunk(model.get(&index).copied()),
            "{name}: chunk {index}"
        );
        if u64::from(index) + 1 < root.chunk_count() && !model.contains_key(&(index + 1)) {
            assert_eq!(
                reader.read_chunk(index + 1).await.unwrap(),
                Chunk::Zero,
                "{name}: after {index}"
            );
        }
    }
}

/// The keys under a prefix.
pub async fn keys(bucket: &dyn Bucket, prefix: &str) -> Vec<String> {
    bucket
        .list(prefix)
        .await
        .unwrap()
        .into_iter()
        .map(|object| object.key)
        .collect()
}

/// A directory bucket of a simulated world, with counters and, on demand, bad days: operations that
/// fail before or after their effect.
pub struct Bad {
    inner: DirBucket,
    env: Env,
    sim: Sim,
    /// One operation in so many fails; 0 is never.
    pub one_in: Cell<u64>,
    /// Everything is Busy.
    pub down: Cell<bool>,
    /// How long each operation takes, beside what the disks below take.
    pub latency: Cell<Duration>,
    pub reads: Cell<u64>,
    pub read_bytes: Cell<u64>,
    pub puts: Rc<RefCell<Vec<String>>>,
}

impl Bad {
    pub fn new(sim: &Sim, env: &Env) -> Rc<Self> {
        Self::at(sim, env, "bucket", &Rc::default())
    }

    /// In a directory of its own; the puts go to a list that outlives the process.
    pub fn at(sim: &Sim, env: &Env, root: &str, puts: &Rc<RefCell<Vec<String>>>) -> Rc<Self> {
        Rc::new(Self {
            inner: DirBucket::new(env.clone(), root),
            env: env.clone(),
            sim: sim.clone(),
            one_in: Cell::new(0),
            down: Cell::new(false),
            latency: Cell::new(Duration::ZERO),
            reads: Cell::new(0),
            read_bytes: Cell::new(0),
            puts: puts.clone(),
        })
    }

    /// Makes a vault here.
    pub async fn create_vault(self: &Rc<Self>, env: &Env) -> Result<Vault> {
        Vault::create_with(env, self.clone(), options(self.sim.seed())).await
    }

    /// Opens the vault that is here.
    pub async fn open_vault(self: &Rc<Self>, env: &Env) -> Result<Vault> {
        Vault::open_with(env, self.clone(), options(self.sim.seed())).await
    }

    /// Opens the vault that is here, or makes one.
    pub async fn open_or_create_vault(self: &Rc<Self>, env: &Env) -> Result<Vault> {
        Vault::open_or_create_with(env, self.clone(), options(self.sim.seed())).await
    }

    fn error(&self, step: &'static str, key: &str, kind: BucketErrorKind) -> BucketError {
        BucketError {
            kind,
            step,
            key: key.into(),
            cause: "a bad day".into(),
        }
    }

    /// Whether to fail now: before the effect, or after it with a lost answer.
    async fn day<T>(
        &self,
        step: &'static str,
        key: &str,
        op: impl Future<Output = std::result::Result<T, BucketError>>,
    ) -> std::result::Result<T, BucketError> {
        if self.latency.get() > Duration::ZERO {
            self.env.clock.sleep(self.latency.get()).await;
        }
        let bad = self.one_in.get() > 0 && self.sim.below(self.one_in.get()) == 0;
        if self.down.get() || (bad && self.sim.below(2) == 0) {
            self.env.clock.sleep(Duration::from_millis(1)).await;
            return Err(self.error(step, key, BucketErrorKind::Busy));
        }
        let done = op.await;
        if bad && done.is_ok() {
            return Err(self.error(step, key, BucketErrorKind::Unknown));
        }
        done
    }

    pub fn forget_counts(&self) {
        self.reads.set(0);
        self.read_bytes.set(0);
        self.puts.borrow_mut().clear();
    }

    fn count(&self, bytes: &Bytes) {
        self.reads.set(self.reads.get() + 1);
        self.read_bytes.set(self.read_bytes.get() + bytes.len() as u64);
    }
}

impl Bucket for Bad {
    fn put(
        &self,
        key: &str,
        body: Vec<Bytes>,
        pre: Precondition,
    ) -> LocalFuture<'_, std::result::Result<(), BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            let done = self.day("put", &key, self.inner.put(&key, body, pre)).await;
            if done.is_ok() {
                self.puts.borrow_mut().push(key);
            }
            done
        })
    }

    fn adopt(&self, key: &str, file: &Path) -> LocalFuture<'_, std::result::Result<bool, BucketError>> {
        let (key, file) = (key.to_owned(), file.to_owned());
        Box::pin(async move {
            // Some buckets cannot.
            if self.sim.seed().is_multiple_of(2) {
                return Ok(false);
            }
            let done = self.day("adopt", &key, self.inner.adopt(&key, &file)).await;
            if let Ok(true) = done {
                self.puts.borrow_mut().push(key);
            }
            done
        })
    }

    fn get(&self, key: &str) -> LocalFuture<'_, std::result::Result<Bytes, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.day("get", &key, self.inner.get(&key))
                .await
                .inspect(|bytes| self.count(bytes))
        })
    }

    fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> LocalFuture<'_, std::result::Result<Bytes, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            let got = self
                .day("get range", &key, self.inner.get_range(&key, range))
                .await;
            got.inspect(|bytes| self.count(bytes))
        })
    }

    fn size(&self, key: &str) -> LocalFuture<'_, std::result::Result<u64, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move { self.day("size", &key, self.inner.size(&key)).await })
    }

    fn list(&self, prefix: &str) -> LocalFuture<'_, std::result::Result<Vec<ObjectInfo>, BucketError>> {
        let prefix = prefix.to_owned();
        Box::pin(async move { self.day("list", &prefix, self.inner.list(&prefix)).await })
    }

    fn delete(&self, key: &str) -> LocalFuture<'_, std::result::Result<(), BucketError>> {
        let key = key.to_owned();
        Box::pin(async move { self.day("delete", &key, self.inner.delete(&key)).await })
    }

    fn describe(&self) -> String {
        "a bucket with bad days".into()
    }
}
