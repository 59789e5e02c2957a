//! Collectors, writers and deleters in one bucket, each its own handle, each passed over at times for as long as it takes
//! the others to do a lot: whatever they do in whatever order, what is needed stays whole, and in the end what is not goes.

mod common;

use bytes::Bytes;
use common::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_env::{Bucket, BucketError, Env, LocalFuture, ObjectInfo, Precondition};
use tidemark_units::{DiskId, SnapshotId};
use tidemark_vault::{
    CaptureSpec, CollectOptions, RecordDraft, Root, Sample, SnapshotWriter, Vault, VaultErrorKind,
    VaultOptions,
};

const CHUNKS: u32 = 300;

/// A bucket whose user is stopped now and then, between any two requests, as by SIGSTOP.
struct Stopping {
    inner: Rc<dyn Bucket>,
    env: Env,
    sim: Sim,
    /// One request in so many waits long before it is sent.
    one_in: u64,
}

impl Stopping {
    async fn stop(&self) {
        if self.sim.below(self.one_in) == 0 {
            let ms = self.sim.below(20_000);
            self.env.clock.sleep(Duration::from_millis(ms)).await;
        }
    }
}

impl Bucket for Stopping {
    fn put(
        &self,
        key: &str,
        body: Vec<Bytes>,
        pre: Precondition,
    ) -> LocalFuture<'_, Result<(), BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.stop().await;
            self.inner.put(&key, body, pre).await
        })
    }
    fn get(&self, key: &str) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.stop().await;
            self.inner.get(&key).await
        })
    }
    fn get_range(&self, key: &str, range: Range<u64>) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move { self.inner.get_range(&key, range).await })
    }
    fn size(&self, key: &str) -> LocalFuture<'_, Result<u64, BucketError>> {
        let key = key.to_owned();
        Box::pin(async move { self.inner.size(&key).await })
    }
    fn list(&self, prefix: &str) -> LocalFuture<'_, Result<Vec<ObjectInfo>, BucketError>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            self.stop().await;
            self.inner.list(&prefix).await
        })
    }
    fn delete(&self, key: &str) -> LocalFuture<'_, Result<(), BucketError>> {
        let key = key.to_owned();
        Box::pin(async move {
            self.stop().await;
            self.inner.delete(&key).await
        })
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// One world: a bucket, and what its snapshots must hold.
struct World {
    sim: Sim,
    env: Env,
    bucket: SimBucket,
    snapshots: RefCell<BTreeMap<SnapshotId, (DiskId, Model)>>,
    running: Cell<usize>,
    freed: Cell<u64>,
    repacked: Cell<u64>,
}

impl World {
    async fn open(&self, node: &str) -> Vault {
        let bucket = Rc::new(Stopping {
            inner: self.bucket.client_of_run(),
            env: self.env.clone(),
            sim: self.sim.clone(),
            one_in: 12,
        });
        let options = VaultOptions {
            node: Some(node.into()),
            ..options(self.sim.seed())
        };
        Vault::open_or_create_with(&self.env, bucket, options)
            .await
            .unwrap()
    }

    async fn pause(&self) {
        self.env
            .clock
            .sleep(Duration::from_millis(self.sim.below(3000)))
            .await;
    }

    /// Some snapshot that is there now, by its model.
    fn any(&self) -> Option<(SnapshotId, DiskId, Model)> {
        let snapshots = self.snapshots.borrow();
        let n = self.sim.below(snapshots.len().max(1) as u64) as usize;
        let found = snapshots.iter().nth(n);
        found.map(|(id, (disk, model))| (id.clone(), disk.clone(), model.clone()))
    }

    fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        let world = Rc::clone(self);
        self.running.set(self.running.get() + 1);
        self.env.spawn(async move {
            work.await;
            world.running.set(world.running.get() - 1);
        });
    }

    /// A node: makes a disk, perhaps from a snapshot, snapshots it, deletes some, rolls back, and goes on.
    async fn node(self: Rc<Self>, name: &'static str) {
        let vault = self.open(name).await;
        for number in 0..3 {
            let of = disk(&format!("d-{name}-{number}"));
            let (mut model, mut parent) = (Model::new(), None);
            if let Some((id, _, content)) = self.any() {
                match vault.adopt(&of, &[], &id).await {
                    Ok(record) => (model, parent) = (content, Some(record.root)),
                    Err(error) => {
                        assert_eq!(error.kind, VaultErrorKind::Missing, "{error}");
                        vault.release(&of).await.unwrap();
                    }
                }
            }
            let owner = vault.head_log(&of).await.unwrap().claim(name, 1).await.unwrap();
            for turn in 0..4 {
                self.pause().await;
                let id = snapshot(&format!("s-{name}-{number}-{turn}"));
                parent = Some(self.capture(&vault, &id, &of, owner, parent, &mut model).await);
                if self.sim.below(3) == 0 {
                    // Back to one of its own, which may go away at this very moment.
                    let own = self
                        .snapshots
                        .borrow()
                        .iter()
                        .find(|(_, (disk, _))| *disk == of)
                        .map(|(id, (_, model))| (id.clone(), model.clone()));
                    let needed: Vec<Root> = parent.into_iter().collect();
                    if let Some((id, content)) = own
                        && let Ok(record) = vault.adopt(&of, &needed, &id).await
                    {
                        (model, parent) = (content, Some(record.root));
                    }
                }
                let since = vault.head_log(&of).await.unwrap().len();
                let needed: Vec<Root> = parent.into_iter().collect();
                assert!(vault.hold(&of, since, &needed).await.unwrap());
                // What the volume would read of it is there.
                if let Some(root) = parent {
                    assert_holds(&vault, root, &model, &format!("{of} on turn {turn}")).await;
                }
            }
            if self.sim.below(2) == 0 {
                vault.release(&of).await.unwrap();
            }
        }
    }

    async fn capture(
        &self,
        vault: &Vault,
        id: &SnapshotId,
        of: &DiskId,
        owner: u64,
        parent: Option<Root>,
        model: &mut Model,
    ) -> Root {
        let mut pending = Vec::new();
        for _ in 0..1 + self.sim.below(20) {
            let at = self.sim.below(60) as u32;
            pending.push(at);
            match self.sim.below(8) {
                0 => drop(model.remove(&at)),
                // Few different contents: equal nodes come about in several places.
                seed => drop(model.insert(at, seed * 2)),
            }
        }
        let spec = CaptureSpec {
            disk: of.clone(),
            ..spec(id.as_str(), of.as_str(), CHUNKS, parent, &pending)
        };
        let dir = PathBuf::from("spool").join(id.as_str());
        let writer = SnapshotWriter::begin(vault, &dir, spec.clone(), small())
            .await
            .unwrap();
        for index in &spec.pending {
            writer
                .put(index, chunk(model.get(&index).copied()))
                .await
                .unwrap();
        }
        let draft = RecordDraft {
            owner: Some(owner),
            ..draft()
        };
        let done = writer.finish(draft).await.unwrap();
        self.snapshots
            .borrow_mut()
            .insert(id.clone(), (of.clone(), model.clone()));
        done.root
    }

    /// Deletes snapshots, and brings some of them back.
    async fn user(self: Rc<Self>) {
        let vault = self.open("user").await;
        for _ in 0..20 {
            self.pause().await;
            let Some((id, of, model)) = self.any() else {
                continue;
            };
            self.snapshots.borrow_mut().remove(&id);
            let now = self.env.clock.unix_millis();
            let until = [None, Some(now + self.sim.below(20_000) as i64)][self.sim.below(2) as usize];
            vault.delete_snapshot(&of, &id, until).await.unwrap();
            assert!(vault.snapshot(&id).await.is_err());
            if self.sim.below(3) > 0 {
                continue;
            }
            self.pause().await;
            match vault.undelete_snapshot(&of, &id).await {
                Ok(_) => drop(self.snapshots.borrow_mut().insert(id, (of, model))),
                Err(error) => assert_eq!(error.kind, VaultErrorKind::Missing, "{error}"),
            }
        }
    }

    async fn collector(self: Rc<Self>, name: &'static str) {
        let vault = self.open(name).await;
        while self.running.get() > 2 {
            self.pause().await;
            let report = vault.collect(&CollectOptions::default()).await.unwrap();
            self.freed.set(self.freed.get() + report.freed_packs);
            self.repacked.set(self.repacked.get() + report.repacked_packs);
        }
    }

    async fn check(&self, vault: &Vault, when: &str) {
        let there = self.snapshots.borrow().clone();
        let listed: Vec<_> = vault.snapshots().await.unwrap();
        let ids: Vec<_> = listed.iter().map(|record| record.snapshot.clone()).collect();
        assert_eq!(ids, there.keys().cloned().collect::<Vec<_>>(), "{when}");
        for record in listed {
            let name = format!("{} {when}", record.snapshot);
            assert_holds(vault, record.root, &there[&record.snapshot].1, &name).await;
            let report = vault.verify(&record.root, Sample::All).await.unwrap();
            assert!(report.damage.is_empty(), "{name}: {:?}", report.damage);
        }
    }
}

/// Gives how many packs were freed and repacked while others were at work.
fn play(seed: u64) -> (u64, u64) {
    let sim = Sim::new(seed);
    let bucket = SimBucket::new(&sim);
    let of = sim.clone();
    sim.run(|env| async move {
        let world = Rc::new(World {
            sim: of,
            env: env.clone(),
            bucket,
            snapshots: RefCell::default(),
            running: Cell::new(0),
            freed: Cell::new(0),
            repacked: Cell::new(0),
        });
        drop(world.open("maker").await);
        world.spawn(Rc::clone(&world).node("a"));
        world.spawn(Rc::clone(&world).node("b"));
        world.spawn(Rc::clone(&world).user());
        world.spawn(Rc::clone(&world).collector("c-1"));
        world.spawn(Rc::clone(&world).collector("c-2"));
        while world.running.get() > 0 {
            env.clock.sleep(Duration::from_secs(1)).await;
        }
        let bucket = world.bucket.client_of_run();
        let vault = Vault::open_with(&env, bucket.clone(), options(seed))
            .await
            .unwrap();
        world.check(&vault, "at the end").await;
        let all = CollectOptions {
            purge_all: true,
            ..CollectOptions::default()
        };
        vault.collect(&all).await.unwrap();
        audit(&vault).await;
        let fresh = Vault::open_with(&env, bucket.clone(), options(seed))
            .await
            .unwrap();
        world.check(&fresh, "after the last collection").await;
        // All goes when nobody needs it any more.
        for (id, (of, _)) in world.snapshots.take() {
            vault.delete_snapshot(&of, &id, None).await.unwrap();
        }
        for node in ["a", "b"] {
            for number in 0..3 {
                let of = disk(&format!("d-{node}-{number}"));
                vault.release_of(&of, node).await.unwrap();
            }
        }
        vault.collect(&all).await.unwrap();
        vault.collect(&all).await.unwrap();
        for prefix in ["packs/", "nodes/", "moved/", "w/", "snapshots/"] {
            let left = keys(&*bucket, prefix).await;
            assert_eq!(left, [] as [String; 0], "seed {seed}");
        }
        (world.freed.get(), world.repacked.get())
    })
}

/// The collector's counts are what a look at every chunk of every snapshot finds.
async fn audit(vault: &Vault) {
    let live = vault.live_packs().await.unwrap();
    for record in vault.snapshots().await.unwrap() {
        for (pack, ordinal) in vault.stored_rows(&record.root).await.unwrap() {
            let live = live
                .get(&pack)
                .unwrap_or_else(|| panic!("{pack} is said to be garbage"));
            assert!(live.has(ordinal), "row {ordinal} of {pack} is said to be garbage");
        }
    }
}

#[test]
fn whatever_the_order_nothing_needed_is_freed() {
    let (mut freed, mut repacked) = (0, 0);
    for seed in (0..40).chain(ENCRYPTED..ENCRYPTED + 8) {
        let (f, r) = play(seed);
        freed += f;
        repacked += r;
    }
    assert!(
        freed > 100 && repacked > 10,
        "only {freed} packs freed, {repacked} repacked"
    );
}

/// A world with one vault and a snapshot of 40 chunks, each in a pack with four others.
async fn mostly_deleted(env: &Env, bucket: &Rc<Bad>) -> (Vault, Root, Model) {
    let vault = bucket.create_vault(env).await.unwrap();
    let model: Model = (0..40).map(|at| (at, u64::from(at) * 2 + 3)).collect();
    let all: Vec<u32> = model.keys().copied().collect();
    let first = spec("s-0", "d-1", CHUNKS, None, &all);
    let first = capture(&vault, Path::new("spool/s-0"), first, &model)
        .await
        .unwrap();
    // Three of four chunks change: the packs of the first snapshot are mostly for itself alone.
    let mut changed = model.clone();
    let pending: Vec<u32> = (0..40).filter(|at| at % 4 != 0).collect();
    for at in &pending {
        changed.insert(*at, 1001 + u64::from(*at) * 2);
    }
    let second = spec("s-1", "d-1", CHUNKS, Some(first.root), &pending);
    let second = capture(&vault, Path::new("spool/s-1"), second, &changed)
        .await
        .unwrap();
    vault
        .delete_snapshot(&disk("d-1"), &snapshot("s-0"), None)
        .await
        .unwrap();
    (vault, second.root, changed)
}

#[test]
fn packs_that_are_mostly_garbage_are_rewritten_and_found() {
    for seed in [1, ENCRYPTED + 1] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let (vault, root, model) = mostly_deleted(&env, &bucket).await;
            let before = stored(&bucket).await;
            let dry = CollectOptions {
                dry_run: true,
                purge_all: true,
                ..CollectOptions::default()
            };
            vault.collect(&dry).await.unwrap();
            assert_eq!(stored(&bucket).await, before, "a dry run changes nothing");
            let report = vault.collect(&CollectOptions::default()).await.unwrap();
            assert!(report.repacked_packs >= 7, "{report:?}");
            let after = stored(&bucket).await;
            assert!(after < before * 7 / 10, "{before} bytes became {after}");
            assert_eq!(report.stored_bytes, after);
            // Readers that knew the old places, and new ones.
            assert_holds(&vault, root, &model, "s-1").await;
            let fresh = bucket.open_vault(&env).await.unwrap();
            assert_holds(&fresh, root, &model, "s-1 anew").await;
            assert_eq!(fresh.verify(&root, Sample::All).await.unwrap().damage_count, 0);
            let again = fresh.collect(&CollectOptions::default()).await.unwrap();
            assert_eq!((again.freed_packs, again.repacked_packs), (0, 0));
            // A row that moved twice is found through both forwards.
            let mut changed = model.clone();
            let pending: Vec<u32> = (0..40).filter(|at| at % 8 == 0).collect();
            for at in &pending {
                changed.insert(*at, 5001 + u64::from(*at) * 2);
            }
            let third = spec("s-2", "d-1", CHUNKS, Some(root), &pending);
            let third = capture(&fresh, Path::new("spool/s-2"), third, &changed)
                .await
                .unwrap();
            fresh
                .delete_snapshot(&disk("d-1"), &snapshot("s-1"), None)
                .await
                .unwrap();
            fresh.collect(&CollectOptions::default()).await.unwrap();
            let last = bucket.open_vault(&env).await.unwrap();
            assert_holds(&last, third.root, &changed, "s-2").await;
            last.delete_snapshot(&disk("d-1"), &snapshot("s-2"), None)
                .await
                .unwrap();
            last.collect(&CollectOptions::default()).await.unwrap();
            last.collect(&CollectOptions::default()).await.unwrap();
            assert_eq!(keys(&*bucket, "moved/").await, [] as [String; 0]);
        });
    }
}

async fn stored(bucket: &Rc<Bad>) -> u64 {
    let mut bytes = 0;
    for prefix in ["packs/", "nodes/"] {
        let listed = bucket.list(prefix).await.unwrap();
        bytes += listed.iter().map(|object| object.bytes).sum::<u64>();
    }
    bytes
}

/// A collector is killed at any of its requests; another one goes on, or the same again.
#[test]
fn a_collector_may_die_at_any_request() {
    for seed in (0..60).chain(ENCRYPTED..ENCRYPTED + 20) {
        let sim = Sim::new(seed);
        let world = sim.clone();
        let (root, model) = sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let (_, root, model) = mostly_deleted(&env, &bucket).await;
            (root, model)
        });
        for _ in 0..3 {
            let world = sim.clone();
            sim.run_steps(sim.below(900), |env| async move {
                let vault = Bad::new(&world, &env).open_vault(&env).await.unwrap();
                vault.collect(&CollectOptions::default()).await.unwrap();
            });
            if sim.below(2) == 0 {
                sim.crash();
            }
        }
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let vault = bucket.open_vault(&env).await.unwrap();
            assert_holds(&vault, root, &model, &format!("seed {seed}")).await;
            vault.collect(&CollectOptions::default()).await.unwrap();
            let last = vault.collect(&CollectOptions::default()).await.unwrap();
            assert_eq!(
                (last.freed_packs, last.repacked_packs, last.failed_packs),
                (0, 0, 0),
                "seed {seed}"
            );
            assert_holds(&vault, root, &model, &format!("seed {seed} in the end")).await;
            assert_eq!(
                keys(&*bucket, "snapshots/").await,
                ["snapshots/s-1"],
                "seed {seed}"
            );
        });
    }
}

#[test]
fn a_deleted_snapshot_comes_back_until_its_time_has_come() {
    let sim = Sim::new(3);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let model: Model = (0..10).map(|at| (at, 7)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let first = spec("s-0", "d-1", CHUNKS, None, &all);
        let root = capture(&vault, Path::new("spool/s-0"), first, &model)
            .await
            .unwrap()
            .root;
        let until = env.clock.unix_millis() + 60_000;
        let (of, id) = (disk("d-1"), snapshot("s-0"));
        vault.delete_snapshot(&of, &id, Some(until)).await.unwrap();
        assert!(vault.snapshots().await.unwrap().is_empty());
        let deleted = vault.deleted_snapshots().await.unwrap();
        assert_eq!(deleted.len(), 1);
        assert_eq!(
            (&deleted[0].0, &deleted[0].1.id, deleted[0].1.until_ms),
            (&of, &id, Some(until))
        );
        vault.collect(&CollectOptions::default()).await.unwrap();
        let record = vault.undelete_snapshot(&of, &id).await.unwrap();
        assert_eq!(record.root, root);
        assert_eq!(
            vault.undelete_snapshot(&of, &id).await.unwrap(),
            record,
            "again is fine"
        );
        assert_holds(&vault, root, &model, "s-0").await;
        vault.delete_snapshot(&of, &id, Some(until)).await.unwrap();
        env.clock.sleep(Duration::from_secs(61)).await;
        // Late, and nobody has collected yet: it is still there.
        vault.undelete_snapshot(&of, &id).await.unwrap();
        vault.delete_snapshot(&of, &id, Some(until)).await.unwrap();
        let report = vault.collect(&CollectOptions::default()).await.unwrap();
        assert_eq!(report.purged, std::slice::from_ref(&id));
        assert!(report.freed_packs > 0);
        let gone = vault.undelete_snapshot(&of, &id).await.unwrap_err();
        assert_eq!(gone.kind, VaultErrorKind::Missing);
        assert!(gone.to_string().contains("for good"), "{gone}");
        assert_eq!(keys(&*bucket, "snapshots/").await, [] as [String; 0]);
    });
}

#[test]
fn a_capture_on_content_that_may_be_freed_is_refused() {
    let sim = Sim::new(4);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let model: Model = (0..10).map(|at| (at, 7)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let first = spec("s-0", "d-1", CHUNKS, None, &all);
        let root = capture(&vault, Path::new("spool/s-0"), first, &model)
            .await
            .unwrap()
            .root;
        let next = spec("s-1", "d-1", CHUNKS, Some(root), &[3]);
        let writer = SnapshotWriter::begin(&vault, Path::new("spool/s-1"), next, small())
            .await
            .unwrap();
        writer.put(3, chunk(Some(9))).await.unwrap();
        writer.seal().await.unwrap();
        let theirs = bucket.open_vault(&env).await.unwrap();
        theirs
            .delete_snapshot(&disk("d-1"), &snapshot("s-0"), None)
            .await
            .unwrap();
        theirs.collect(&CollectOptions::default()).await.unwrap();
        let refused = writer.finish(draft()).await.unwrap_err();
        // Its parent's tree may be gone before it gets to its commit.
        assert!(
            matches!(refused.kind, VaultErrorKind::Stale | VaultErrorKind::Missing),
            "{refused}"
        );
        writer.abandon().await.unwrap();
        vault.collect(&CollectOptions::default()).await.unwrap();
        assert_eq!(keys(&*bucket, "packs/").await, [] as [String; 0]);
        assert_eq!(keys(&*bucket, "w/").await, [] as [String; 0]);
    });
}

#[test]
fn an_ended_capture_is_never_committed() {
    let sim = Sim::new(5);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let pending: Vec<u32> = (0..30).collect();
        let next = spec("s-1", "d-1", CHUNKS, None, &pending);
        let writer = SnapshotWriter::begin(&vault, Path::new("spool/s-1"), next, small())
            .await
            .unwrap();
        for at in &pending {
            writer
                .put(*at, chunk(Some(u64::from(*at) * 2 + 1)))
                .await
                .unwrap();
        }
        writer.seal().await.unwrap();
        env.clock.sleep(Duration::from_secs(10)).await;
        let theirs = bucket.open_vault(&env).await.unwrap();
        let registered = theirs.registered_captures().await.unwrap();
        assert_eq!(registered.len(), 1);
        assert_eq!(registered[0].capture, writer.id());
        theirs.end_capture(writer.id()).await.unwrap();
        theirs.collect(&CollectOptions::default()).await.unwrap();
        assert_eq!(keys(&*bucket, "packs/").await, [] as [String; 0]);
        let refused = writer.finish(draft()).await.unwrap_err();
        assert_eq!(refused.kind, VaultErrorKind::Lost, "{refused}");
        assert!(vault.snapshots().await.unwrap().is_empty());
        writer.abandon().await.unwrap();
        theirs.collect(&CollectOptions::default()).await.unwrap();
        for prefix in ["packs/", "nodes/", "w/"] {
            assert_eq!(keys(&*bucket, prefix).await, [] as [String; 0]);
        }
    });
}
