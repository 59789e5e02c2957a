//! What a bucket that fails for a moment, or lacks something, must not lead collectors, repairs and verifications to.

mod common;

use bytes::Bytes;
use common::*;
use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_env::{Bucket, BucketError, BucketErrorKind, LocalFuture, ObjectInfo, Precondition};
use tidemark_vault::{CollectOptions, Donor, FullSpeed, Root, Sample, Vault, VaultErrorKind};

struct Hook {
    inner: Rc<dyn Bucket>,
    /// Reads of packs fail as a medium's do (EIO), sizes are known.
    eio: Cell<bool>,
    /// Listings of heads and registrations find nothing.
    blind: Cell<bool>,
}

impl Hook {
    fn new(inner: Rc<dyn Bucket>) -> Rc<Self> {
        Rc::new(Self {
            inner,
            eio: Cell::new(false),
            blind: Cell::new(false),
        })
    }
    fn ill(&self, key: &str) -> Result<(), BucketError> {
        if self.eio.get() && key.starts_with("packs/") {
            return Err(BucketError {
                kind: BucketErrorKind::Other,
                step: "get",
                key: key.into(),
                cause: "input/output error (os error 5)".into(),
            });
        }
        Ok(())
    }
}

impl Bucket for Hook {
    fn put(
        &self,
        key: &str,
        body: Vec<Bytes>,
        pre: Precondition,
    ) -> LocalFuture<'_, Result<(), BucketError>> {
        self.inner.put(key, body, pre)
    }
    fn get(&self, key: &str) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.ill(&key)?;
            self.inner.get(&key).await
        })
    }
    fn get_range(&self, key: &str, range: Range<u64>) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.ill(&key)?;
            self.inner.get_range(&key, range).await
        })
    }
    fn size(&self, key: &str) -> LocalFuture<'_, Result<u64, BucketError>> {
        self.inner.size(key)
    }
    fn list(&self, prefix: &str) -> LocalFuture<'_, Result<Vec<ObjectInfo>, BucketError>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            if self.blind.get() && (prefix == "d/" || prefix == "w/") {
                return Ok(Vec::new());
            }
            self.inner.list(&prefix).await
        })
    }
    fn delete(&self, key: &str) -> LocalFuture<'_, Result<(), BucketError>> {
        self.inner.delete(key)
    }
    fn describe(&self) -> String {
        "hook".into()
    }
}

fn no_repack() -> CollectOptions {
    CollectOptions {
        purge_all: true,
        repack_percent: 0,
        ..CollectOptions::default()
    }
}

fn forty() -> Model {
    (0..40).map(|at| (at * 7, u64::from(at) + 11)).collect()
}

/// Commits forty chunks as s-1 of disk d-1.
async fn first_of_d1(vault: &Vault) -> (Model, Root) {
    let model = forty();
    let all: Vec<u32> = model.keys().copied().collect();
    let spec = spec("s-1", "d-1", 300, None, &all);
    let made = capture(vault, Path::new("spool/1"), spec, &model).await;
    (model, made.unwrap().root)
}

async fn lost(vault: &Vault) -> u64 {
    let found = vault.inventory().await.unwrap();
    let report = vault
        .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
        .await
        .unwrap();
    report.damage_count
}

/// A medium that answers EIO for a moment while the scrub repairs.
#[test]
fn a_repair_never_writes_zeros_over_what_could_not_be_read_for_a_moment() {
    let sim = Sim::new(3);
    let bucket = SimBucket::new(&sim);
    sim.run(|env| async move {
        let hook = Hook::new(bucket.client_of_run());
        let vault = Vault::create(&env, hook.clone()).await.unwrap();
        let (model, root) = first_of_d1(&vault).await;
        hook.eio.set(true);
        let found = vault.inventory().await.unwrap();
        let report = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap();
        assert!(report.damage_count > 0);
        let none: Vec<Rc<dyn Donor>> = Vec::new();
        let done = vault.repair(&found.targets, &report.damage, &none).await.unwrap();
        hook.eio.set(false);
        assert_eq!((done.packs, done.left.is_empty()), (0, false), "{done:?}");
        let fresh = Vault::open(&env, bucket.client_of_run()).await.unwrap();
        assert_eq!(lost(&fresh).await, 0, "good chunks were overwritten");
        assert_holds(&fresh, root, &model, "after the medium recovered").await;
    });
}

#[test]
fn adopting_does_not_bring_garbage_back() {
    let sim = Sim::new(5);
    let bucket = SimBucket::new(&sim);
    sim.run(|env| async move {
        let vault = Vault::create(&env, bucket.client_of_run()).await.unwrap();
        let (model, one) = first_of_d1(&vault).await;
        let other: Model = [(3, 1001)].into();
        capture(
            &vault,
            Path::new("spool/2"),
            spec("s-2", "d-1", 300, None, &[3]),
            &other,
        )
        .await
        .unwrap();
        assert_eq!(vault.verify(&one, Sample::All).await.unwrap().damage_count, 0);
        assert_holds(&vault, one, &model, "warm").await;
        vault
            .delete_snapshot(&disk("d-1"), &snapshot("s-1"), None)
            .await
            .unwrap();
        assert!(vault.collect(&no_repack()).await.unwrap().freed_packs > 0);
        let log = vault.head_log(&disk("d-1")).await.unwrap();
        assert!(!log.state().needs(&one));
        // What a rollback does: the volume still says that its parent is `one`.
        vault.adopt(&disk("d-1"), &[one], &snapshot("s-2")).await.unwrap();
        assert!(!log.state().needs(&one), "garbage is needed again");
        // The rollback did not happen; the next snapshot is relative to what may be gone.
        let mut next = model.clone();
        next.insert(5, 77);
        let spec = spec("s-3", "d-1", 300, Some(one), &[5]);
        let made = capture(&vault, Path::new("spool/3"), spec, &next).await;
        assert_eq!(made.map(drop).unwrap_err().kind, VaultErrorKind::Stale);
        vault.collect(&no_repack()).await.unwrap();
    });
}

/// A volume whose last snapshot was of an empty disk adopts another content all the same.
#[test]
fn adopting_after_a_snapshot_of_zeros_comes_to_an_end() {
    let sim = Sim::new(6);
    let bucket = SimBucket::new(&sim);
    sim.run(|env| async move {
        let vault = Vault::create(&env, bucket.client_of_run()).await.unwrap();
        let log = vault.head_log(&disk("d-1")).await.unwrap();
        log.claim(vault.node(), 1).await.unwrap();
        capture(
            &vault,
            Path::new("spool/1"),
            spec("s-1", "d-1", 300, None, &[]),
            &Model::new(),
        )
        .await
        .unwrap();
        let one: Model = [(3, 7)].into();
        let root = capture(
            &vault,
            Path::new("spool/2"),
            spec("s-2", "d-2", 300, None, &[3]),
            &one,
        )
        .await
        .unwrap()
        .root;
        vault.adopt(&disk("d-1"), &[], &snapshot("s-2")).await.unwrap();
        assert!(log.state().needs(&root));
    });
}

#[test]
fn a_damaged_forward_is_told_of() {
    let sim = Sim::new(9);
    let bucket = SimBucket::new(&sim);
    sim.run(|env| async move {
        let client = bucket.client_of_run();
        let vault = Vault::create(&env, client.clone()).await.unwrap();
        let (model, root) = first_of_d1(&vault).await;
        let changed: Vec<u32> = model.keys().copied().skip(1).collect();
        let next: Model = model
            .iter()
            .map(|(at, seed)| (*at, if *at == 0 { *seed } else { seed + 1000 }))
            .collect();
        capture(
            &vault,
            Path::new("spool/2"),
            spec("s-2", "d-1", 300, Some(root), &changed),
            &next,
        )
        .await
        .unwrap();
        vault
            .delete_snapshot(&disk("d-1"), &snapshot("s-1"), None)
            .await
            .unwrap();
        assert!(
            vault
                .collect(&CollectOptions::default())
                .await
                .unwrap()
                .repacked_packs
                > 0
        );
        let moved = keys(&*client, "moved/").await;
        assert!(!moved.is_empty());
        for key in &moved {
            client
                .put(key, vec![Bytes::from_static(b"rot")], Precondition::None)
                .await
                .unwrap();
        }
        let fresh = Vault::open(&env, client.clone()).await.unwrap();
        assert!(lost(&fresh).await > 0, "a verification says that all is good");
        // What it led to is found all the same, and space is freed as ever.
        fresh.collect(&CollectOptions::default()).await.unwrap();
        let all = fresh.snapshots().await.unwrap();
        assert_holds(&fresh, all[0].root, &next, "past the forward").await;
    });
}

#[test]
fn a_listing_that_lacks_known_logs_frees_nothing() {
    let sim = Sim::new(11);
    let bucket = SimBucket::new(&sim);
    sim.run(|env| async move {
        let hook = Hook::new(bucket.client_of_run());
        let vault = Vault::create(&env, hook.clone()).await.unwrap();
        let (_, root) = first_of_d1(&vault).await;
        hook.blind.set(true);
        let swept = vault.collect(&CollectOptions::default()).await;
        assert_eq!(swept.unwrap_err().kind, VaultErrorKind::Corrupt);
        hook.blind.set(false);
        let fresh = Vault::open(&env, bucket.client_of_run()).await.unwrap();
        assert_eq!(fresh.verify(&root, Sample::All).await.unwrap().damage_count, 0);
    });
}

/// A small disk beside a large one whose beginning is empty.
#[test]
fn a_small_disk_is_read_beside_a_large_one() {
    let sim = Sim::new(13);
    let bucket = SimBucket::new(&sim);
    sim.run(|env| async move {
        let client = bucket.client_of_run();
        let vault = Vault::create(&env, client.clone()).await.unwrap();
        let small_one: Model = [(3, 7)].into();
        capture(
            &vault,
            Path::new("spool/1"),
            spec("s-small", "d-small", 10, None, &[3]),
            &small_one,
        )
        .await
        .unwrap();
        let packs = keys(&*client, "packs/").await;
        let large: Model = [(33_000, 9)].into();
        capture(
            &vault,
            Path::new("spool/2"),
            spec("s-large", "d-large", 40_000, None, &[33_000]),
            &large,
        )
        .await
        .unwrap();
        for key in &packs {
            client.delete(key).await.unwrap();
        }
        let fresh = Vault::open(&env, client.clone()).await.unwrap();
        let found = fresh.inventory().await.unwrap();
        let report = fresh
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap();
        assert!(
            report.damage_count > 0,
            "all packs of s-small are gone, and it is called good"
        );
    });
}
