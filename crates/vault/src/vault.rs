//! [`Vault`]: one open vault, and bucket operations that try again.
//!
//! A vault handle belongs to one thread and is cheap to clone; all clones share the caches, the head
//! logs and the list of captures in flight.

use crate::crypt::{BoxKind, Crypt, KdfCost, KeySet, Learning, Secret, Unlocked, nonce};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::fetch::Fetcher;
use crate::format::Format;
use crate::head::HeadLog;
use crate::id::{ChunkId, NodeId, VaultId};
use crate::key;
use crate::locate::Locator;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::{Bucket, BucketError, BucketErrorKind, Env, LocalFuture, Precondition};
use tidemark_units::{DiskId, MIB};

/// Head logs that are remembered, some 300 bytes for each entry.
const HEAD_LOGS_MAX: usize = 1024;

/// How to open or create a vault.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Most bytes of decoded tree nodes in memory.
    pub node_cache_bytes: u64,
    /// Most bytes of decoded chunks in memory.
    pub chunk_cache_bytes: u64,
    /// What opens the vault; a vault that is created with one is encrypted, for good.
    pub secret: Option<Secret>,
    /// The cost of a passphrase's slot in a vault that is created.
    pub kdf: KdfCost,
    /// Who opens it: what this handle holds and captures is in this name. The same after a restart, and nobody else's;
    /// without one a handle gets a name of its own.
    pub node: Option<String>,
}

impl VaultOptions {
    /// These options, with at most `bytes` of decoded nodes and chunks in memory: a third of them nodes.
    #[must_use]
    pub fn with_cache(self, bytes: u64) -> Self {
        Self {
            node_cache_bytes: bytes / 3,
            chunk_cache_bytes: bytes - bytes / 3,
            ..self
        }
    }
}

impl Default for VaultOptions {
    fn default() -> Self {
        Self {
            node_cache_bytes: 16 * MIB,
            chunk_cache_bytes: 32 * MIB,
            secret: None,
            kdf: KdfCost::default(),
            node: None,
        }
    }
}

/// An open vault.
#[derive(Clone)]
pub struct Vault(Rc<Inner>);

struct Inner {
    store: Store,
    nodes: Fetcher<NodeId>,
    chunks: Fetcher<ChunkId>,
    heads: RefCell<HashMap<DiskId, Rc<HeadLog>>>,
    node: String,
    /// How it was opened, if it is encrypted.
    key_set: Option<KeySet>,
    locator: Rc<Locator>,
}

impl Vault {
    /// Makes a new vault, not encrypted, in an empty bucket.
    pub async fn create(env: &Env, bucket: Rc<dyn Bucket>) -> Result<Self> {
        Self::create_with(env, bucket, VaultOptions::default()).await
    }

    /// Makes a new vault in an empty bucket: encrypted if the options have a secret.
    pub async fn create_with(env: &Env, bucket: Rc<dyn Bucket>, options: VaultOptions) -> Result<Self> {
        let step = "create vault";
        let mut store = Store::new(env.clone(), bucket, VaultId(env.random()));
        if let Some(key) = store.anything(step).await? {
            let cause = format!(
                "there is something here already ({key}), and no vault's `format`. A new vault needs an empty place: name \
                 another directory or prefix. If a vault was here, put its `format` back: a node that knew it has a copy, \
                 the first two lines of `vault.format` in its data directory"
            );
            return Err(VaultError::other(step, store.describe(), cause));
        }
        let mut set = None;
        if let Some(secret) = &options.secret {
            let unlocked = Unlocked::create(env, store.vault, secret, options.kdf).await?;
            // Before the format object, which makes it count. The vault's id is its own: no other is there.
            let object = unlocked.set.encode()?;
            store.put_if_absent(step, &unlocked.set.key(), object).await?;
            store.crypt = unlocked.crypt;
            set = Some(unlocked.set);
        }
        let format = Format::new(store.vault, set.is_some());
        match store.put_if_absent(step, key::FORMAT, format.encode()?).await? {
            PutIfAbsent::Done => Ok(Self::with(store, set, &options)),
            PutIfAbsent::Exists(_) => Err(VaultError::other(
                step,
                store.describe(),
                "there is a vault already",
            )),
        }
    }

    /// Opens the vault in the bucket; [`VaultErrorKind::Missing`] when there is none.
    pub async fn open(env: &Env, bucket: Rc<dyn Bucket>) -> Result<Self> {
        Self::open_with(env, bucket, VaultOptions::default()).await
    }

    /// As [`Vault::open`], with the key of an encrypted vault ([`VaultErrorKind::Locked`] without) and caches of a
    /// chosen size.
    pub async fn open_with(env: &Env, bucket: Rc<dyn Bucket>, options: VaultOptions) -> Result<Self> {
        // The id is not known yet; reading the format object does not need it.
        let mut store = Store::new(env.clone(), bucket, VaultId([0; 16]));
        let object = store.get("open vault", key::FORMAT).await?;
        let format = Format::decode(&object)?;
        store.vault = format.vault();
        let set = match format.is_encrypted() {
            true => Some(store.key_set().await?),
            false => None,
        };
        Self::unlock(store, set, &options).await
    }

    /// As [`Vault::open_or_create`], for somebody who keeps what [`Vault::format`] said in an earlier life: a bucket
    /// that cannot be reached now is opened all the same, and one that holds another vault by now is refused.
    pub async fn open_known(
        env: &Env,
        bucket: Rc<dyn Bucket>,
        known: Option<&[u8]>,
        options: VaultOptions,
    ) -> Result<Self> {
        let Some(known) = known else {
            return Self::open_or_create_with(env, bucket, options).await;
        };
        let (format, mut set) = Format::decode_known(known)?;
        let store = Store::new(env.clone(), bucket, format.vault());
        let away = |error: &VaultError| {
            let bucket = store.describe();
            tracing::warn!(bucket, %error, "the vault cannot be reached; going on without it");
        };
        // The one try has no patience: what needs the bucket later tries again by itself.
        match store.bucket.get(key::FORMAT).await {
            Ok(object) => {
                format.expect(&Format::decode(&object)?, &store.describe())?;
                if let Some(set) = &mut set {
                    match store.key_set().await {
                        Ok(found) => {
                            if found.is_before(set) {
                                let bucket = store.describe();
                                tracing::warn!(
                                    bucket,
                                    "the bucket's key set is older than the one that was known: somebody put an old state back"
                                );
                            }
                            *set = found;
                        }
                        Err(error) if error.kind == VaultErrorKind::Busy => away(&error),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) if may_repeat(error.kind) => away(&VaultError::bucket("open vault", error)),
            Err(error) if error.kind == BucketErrorKind::Missing => {
                return Err(format.gone(&store.describe()));
            }
            Err(error) => return Err(VaultError::bucket("open vault", error)),
        }
        Self::unlock(store, set, &options).await
    }

    /// What [`Vault::open_known`] wants to know of this vault. Changes when its keys do; holds no open key.
    pub fn format(&self) -> Result<Bytes> {
        let format = Format::new(self.id(), self.is_encrypted()).encode()?;
        match &self.0.key_set {
            Some(set) => Ok([format, set.encode()?].concat().into()),
            None => Ok(format),
        }
    }

    /// Opens the vault in the bucket, or makes one, not encrypted, if there is none.
    pub async fn open_or_create(env: &Env, bucket: Rc<dyn Bucket>) -> Result<Self> {
        Self::open_or_create_with(env, bucket, VaultOptions::default()).await
    }

    /// Opens the vault in the bucket, or makes one as [`Vault::create_with`] does if there is none.
    pub async fn open_or_create_with(
        env: &Env,
        bucket: Rc<dyn Bucket>,
        options: VaultOptions,
    ) -> Result<Self> {
        match Self::open_with(env, bucket.clone(), options.clone()).await {
            Err(error) if error.kind == VaultErrorKind::Missing => {}
            done => return done,
        }
        match Self::create_with(env, bucket.clone(), options.clone()).await {
            // Somebody may have been quicker: theirs is as good.
            Err(refused) if refused.kind == VaultErrorKind::Other => {
                match Self::open_with(env, bucket, options).await {
                    Err(error) if error.kind == VaultErrorKind::Missing => Err(refused),
                    done => done,
                }
            }
            done => done,
        }
    }

    /// The vault of this store, whose key set (`None`: not encrypted) opens with the options' secret.
    async fn unlock(mut store: Store, set: Option<KeySet>, options: &VaultOptions) -> Result<Self> {
        let Some(set) = set else {
            if options.secret.is_some() {
                let cause = "the vault is not encrypted, and a key for it was given; that is chosen when it is created";
                return Err(VaultError::other("open vault", store.describe(), cause));
            }
            return Ok(Self::with(store, None, options));
        };
        let unlocked = Unlocked::open(&store.env, set, options.secret.as_ref()).await?;
        store.crypt = unlocked.crypt;
        Ok(Self::with(store, Some(unlocked.set), options))
    }

    fn with(store: Store, key_set: Option<KeySet>, options: &VaultOptions) -> Self {
        let locator = Rc::new(Locator::default());
        let nameless = || format!("handle-{:016x}", u64::from_le_bytes(store.env.random()));
        let node = options.node.clone().unwrap_or_else(nameless);
        Self(Rc::new(Inner {
            nodes: Fetcher::new(store.clone(), locator.clone(), options.node_cache_bytes),
            chunks: Fetcher::new(store.clone(), locator.clone(), options.chunk_cache_bytes),
            heads: RefCell::default(),
            node,
            key_set,
            locator,
            store,
        }))
    }

    /// The vault's id.
    pub fn id(&self) -> VaultId {
        self.0.store.vault
    }

    /// Where it is, for people.
    pub fn describe(&self) -> String {
        self.0.store.describe()
    }

    pub(crate) fn env(&self) -> &Env {
        &self.0.store.env
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn nodes(&self) -> &Fetcher<NodeId> {
        &self.0.nodes
    }

    pub(crate) fn chunks(&self) -> &Fetcher<ChunkId> {
        &self.0.chunks
    }

    /// In whose name this handle holds and captures: [`VaultOptions::node`].
    pub fn node(&self) -> &str {
        &self.0.node
    }

    pub(crate) fn locator(&self) -> &Locator {
        &self.0.locator
    }

    /// Bytes of decoded tree nodes and chunks in memory, and the most that there may be of both together.
    pub fn cached_bytes(&self) -> (u64, u64) {
        let ((nodes, nodes_max), (chunks, chunks_max)) =
            (self.0.nodes.cached_bytes(), self.0.chunks.cached_bytes());
        (nodes + chunks, nodes_max + chunks_max)
    }

    /// The disk's head log, with what others have appended by now, durable.
    pub async fn head_log(&self, disk: &DiskId) -> Result<Rc<HeadLog>> {
        let log = self.known_head_log(disk);
        log.refresh().await?;
        Ok(log)
    }

    /// The disk's head log for looking only: see [`HeadLog::look`].
    pub(crate) async fn look_at_head_log(&self, disk: &DiskId) -> Result<Rc<HeadLog>> {
        let log = self.known_head_log(disk);
        log.look().await?;
        Ok(log)
    }

    /// Disks whose head logs are known, and how long these are at least: so much of them was durable once.
    pub(crate) fn known_head_lengths(&self) -> Vec<(DiskId, u64)> {
        let heads = self.0.heads.borrow();
        heads
            .iter()
            .map(|(disk, log)| (disk.clone(), log.settled_len()))
            .collect()
    }

    /// Fails unless the bucket still has the vault's format object: a directory that is not mounted has nothing of it.
    pub async fn check_format(&self) -> Result<()> {
        self.store()
            .size("look for the vault", key::FORMAT)
            .await
            .map(drop)
    }

    /// The disk's head log as far as it has been read; everybody on this thread shares one. Entries never change, so it
    /// is kept for the next time: a log of years would cost a request for each entry.
    pub(crate) fn known_head_log(&self, disk: &DiskId) -> Rc<HeadLog> {
        let mut heads = self.0.heads.borrow_mut();
        if let Some(log) = heads.get(disk) {
            return log.clone();
        }
        if heads.len() >= HEAD_LOGS_MAX {
            heads.retain(|_, log| Rc::strong_count(log) > 1);
        }
        let log = Rc::new(HeadLog::new(self.0.store.clone(), disk.clone()));
        heads.insert(disk.clone(), log.clone());
        log
    }
}

/// The bucket, with patience. Every operation that can be repeated is, on Busy and Unknown.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) env: Env,
    pub(crate) bucket: Rc<dyn Bucket>,
    pub(crate) vault: VaultId,
    pub(crate) crypt: Crypt,
    pub(crate) learning: Learning,
}

/// How a put that demands an absent key ended.
pub(crate) enum PutIfAbsent {
    /// Our bytes are there.
    Done,
    /// These other bytes are there.
    Exists(Bytes),
}

/// Tries before Busy is handed to the caller.
const TRIES: u32 = 6;
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(20);

/// How long to wait before try number `tries` (from 1), spread at random by half.
pub(crate) fn back_off(env: &Env, tries: u32) -> Duration {
    let full = BACK_OFF_FIRST
        .saturating_mul(1 << tries.min(16))
        .min(BACK_OFF_MAX);
    let [random] = env.random::<1>();
    full / 2 + full / 2 * u32::from(random) / 255
}

fn may_repeat(kind: BucketErrorKind) -> bool {
    matches!(kind, BucketErrorKind::Busy | BucketErrorKind::Unknown)
}

impl Store {
    fn new(env: Env, bucket: Rc<dyn Bucket>, vault: VaultId) -> Self {
        Self {
            env,
            bucket,
            vault,
            crypt: Crypt::default(),
            learning: Learning::default(),
        }
    }

    pub(crate) fn describe(&self) -> String {
        self.bucket.describe()
    }

    /// The object for `key`, encrypted if the vault is encrypted.
    pub(crate) fn encrypted(&self, kind: BoxKind, key: &str, plain: Bytes) -> Bytes {
        self.crypt.encrypt_object(kind, key, || nonce(&self.env), plain)
    }

    async fn repeat<'a, T>(
        &self,
        step: &'static str,
        mut op: impl FnMut() -> LocalFuture<'a, Result<T, BucketError>>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            match op().await {
                Ok(done) => return Ok(done),
                Err(error) if may_repeat(error.kind) && tries + 1 < TRIES => {
                    tries += 1;
                    self.env.clock.sleep(back_off(&self.env, tries)).await;
                }
                Err(error) => return Err(VaultError::bucket(step, error)),
            }
        }
    }

    pub(crate) async fn get(&self, step: &'static str, key: &str) -> Result<Bytes> {
        self.repeat(step, || self.bucket.get(key)).await
    }

    /// `None` when there is no such object.
    pub(crate) async fn get_opt(&self, step: &'static str, key: &str) -> Result<Option<Bytes>> {
        match self.get(step, key).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.kind == VaultErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn get_range(&self, step: &'static str, key: &str, from: u64, to: u64) -> Result<Bytes> {
        let bytes = self.repeat(step, || self.bucket.get_range(key, from..to)).await?;
        if bytes.len() as u64 != to - from {
            let cause = format!("{} bytes where {} were asked for", bytes.len(), to - from);
            return Err(VaultError::corrupt(step, key, cause));
        }
        Ok(bytes)
    }

    pub(crate) async fn size(&self, step: &'static str, key: &str) -> Result<u64> {
        self.repeat(step, || self.bucket.size(key)).await
    }

    pub(crate) async fn list(
        &self,
        step: &'static str,
        prefix: &str,
    ) -> Result<Vec<tidemark_env::ObjectInfo>> {
        self.repeat(step, || self.bucket.list(prefix)).await
    }

    /// The key of something that is here although no vault is; `None`: a vault may be made. Key sets do not count: one
    /// without a `format` is what is left of a making that was interrupted, and no vault but its own reads it.
    async fn anything(&self, step: &'static str) -> Result<Option<String>> {
        let any = self.repeat(step, || self.bucket.any("")).await?;
        if !any.as_deref().is_some_and(|key| key.starts_with(key::KEYS)) {
            return Ok(any);
        }
        let all = self.list(step, "").await?;
        let mut keys = all.into_iter().map(|object| object.key);
        Ok(keys.find(|key| !key.starts_with(key::KEYS)))
    }

    pub(crate) async fn delete(&self, step: &'static str, key: &str) -> Result<()> {
        self.repeat(step, || self.bucket.delete(key)).await
    }

    /// Stores an object; whatever is at the key is replaced.
    pub(crate) async fn put(&self, step: &'static str, key: &str, body: Vec<Bytes>) -> Result<()> {
        self.repeat(step, || self.bucket.put(key, body.clone(), Precondition::None))
            .await
    }

    /// Stores an object where none may be. An answer that got lost is settled by trying again and
    /// reading: `object` must hold something that no other writer's would.
    pub(crate) async fn put_if_absent(
        &self,
        step: &'static str,
        key: &str,
        object: Bytes,
    ) -> Result<PutIfAbsent> {
        let put = || async {
            self.bucket
                .put(key, vec![object.clone()], Precondition::Absent)
                .await
        };
        let mut tries = 0;
        loop {
            let error = match put().await {
                Ok(()) => return Ok(PutIfAbsent::Done),
                Err(error) => error,
            };
            // Only a refusal proves that what is there is durable: a lost answer is asked for again.
            if error.kind == BucketErrorKind::Exists {
                match self.get_opt(step, key).await? {
                    Some(found) if found == object => return Ok(PutIfAbsent::Done),
                    Some(found) => return Ok(PutIfAbsent::Exists(found)),
                    None => {}
                }
            } else if !may_repeat(error.kind) {
                return Err(VaultError::bucket(step, error));
            }
            tries += 1;
            if tries == TRIES {
                return Err(VaultError::bucket(step, error));
            }
            self.env.clock.sleep(back_off(&self.env, tries)).await;
        }
    }
}
