//! Repairing packs with what disks still have: to the last byte, or not at all.

mod common;

use bytes::Bytes;
use common::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, Env, LocalFuture, Precondition};
use tidemark_units::DiskId;
use tidemark_vault::{
    CaptureSpec, Chunk, CollectOptions, Donor, FullSpeed, Inventory, Reader, RepairReport, Root, Sample,
    Vault, VerifyReport,
};

const CHUNKS: u32 = 300;

/// A disk that holds a model.
struct Disk {
    disk: DiskId,
    model: Model,
    asked: Cell<u32>,
}

impl Disk {
    fn new(name: &str, model: &Model) -> Rc<Self> {
        Rc::new(Self {
            disk: disk(name),
            model: model.clone(),
            asked: Cell::new(0),
        })
    }
}

impl Donor for Disk {
    fn disk(&self) -> &DiskId {
        &self.disk
    }

    fn read(&self, index: u32) -> LocalFuture<'_, Option<Bytes>> {
        self.asked.set(self.asked.get() + 1);
        let seed = self.model.get(&index).copied();
        Box::pin(async move { seed.map(content) })
    }
}

struct Ill {
    bucket: Rc<Bad>,
    model: Model,
    root: Root,
}

impl Ill {
    async fn new(sim: &Sim, env: &Env) -> Self {
        let bucket = Bad::new(sim, env);
        let vault = bucket.create_vault(env).await.unwrap();
        // Odd: noise, stored as it is. Even: compressed.
        let model: Model = (0..40).map(|at| (at * 7, u64::from(at) + 11)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let spec = spec("s-1", "d-1", CHUNKS, None, &all);
        let root = capture(&vault, Path::new("spool"), spec, &model)
            .await
            .unwrap()
            .root;
        Self { bucket, model, root }
    }

    async fn verified(&self, env: &Env) -> (Vault, Inventory, VerifyReport) {
        let vault = self.bucket.open_vault(env).await.unwrap();
        let found = vault.inventory().await.unwrap();
        let report = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap();
        (vault, found, report)
    }

    async fn repaired(&self, env: &Env, disks: &[Rc<Disk>]) -> (VerifyReport, RepairReport) {
        let (vault, found, report) = self.verified(env).await;
        let donors: Vec<Rc<dyn Donor>> = disks
            .iter()
            .map(|disk| Rc::clone(disk) as Rc<dyn Donor>)
            .collect();
        let repaired = vault
            .repair(&found.targets, &report.damage, &donors)
            .await
            .unwrap();
        (report, repaired)
    }

    async fn packs(&self) -> BTreeMap<String, Bytes> {
        let mut all = BTreeMap::new();
        for key in keys(&*self.bucket, "packs/").await {
            all.insert(key.clone(), self.bucket.get(&key).await.unwrap());
        }
        all
    }

    async fn put(&self, key: &str, body: impl Into<Bytes>) {
        self.bucket
            .put(key, vec![body.into()], Precondition::None)
            .await
            .unwrap();
    }

    /// All is as it was, also for a collector.
    async fn assert_whole(&self, env: &Env, name: &str) {
        let (vault, _, report) = self.verified(env).await;
        assert!(report.damage.is_empty(), "{name}: {:?}", report.damage);
        assert_holds(&vault, self.root, &self.model, name).await;
        let options = CollectOptions {
            repack_percent: 0,
            ..CollectOptions::default()
        };
        let swept = vault.collect(&options).await.unwrap();
        assert_eq!(swept.freed_packs, 0, "{name}");
        let fresh = self.bucket.open_vault(env).await.unwrap();
        assert_holds(&fresh, self.root, &self.model, name).await;
    }
}

#[test]
fn every_kind_of_damage_to_a_data_pack_is_repaired_in_place() {
    for seed in [1, ENCRYPTED + 1] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let ill = Ill::new(&world, &env).await;
            let all = ill.packs().await;
            assert!(all.len() >= 4);
            for (key, body) in &all {
                let other = all.iter().find(|(other, _)| *other != key).unwrap().1;
                let flipped = |at: usize| {
                    let mut bad = body.to_vec();
                    bad[at] ^= 0x10;
                    Some(Bytes::from(bad))
                };
                let ways = [
                    ("a flipped bit", flipped(100)),
                    ("another", flipped(body.len() / 2)),
                    ("a flipped bit in the header", flipped(20)),
                    ("a flipped bit in the footer", flipped(body.len() - 20)),
                    ("a flipped bit in the tail", flipped(body.len() - 2)),
                    ("cut short", Some(body.slice(..body.len() / 2))),
                    ("its end cut off", Some(body.slice(..body.len() - 3))),
                    ("empty", Some(Bytes::new())),
                    ("another pack", Some(other.clone())),
                    ("zeros", Some(vec![0; body.len()].into())),
                    ("gone", None),
                ];
                for (name, bad) in ways {
                    match bad {
                        Some(bad) => ill.put(key, bad).await,
                        None => ill.bucket.delete(key).await.unwrap(),
                    }
                    let (report, repaired) = ill.repaired(&env, &[Disk::new("d-1", &ill.model)]).await;
                    assert!(!report.damage.is_empty(), "{name}");
                    assert!(
                        report.damage.iter().all(|damage| repaired.has_repaired(damage)),
                        "{name}: {repaired:?}"
                    );
                    assert_eq!((repaired.packs, repaired.left.len()), (1, 0), "{name}");
                    ill.assert_whole(&env, name).await;
                    if seed < ENCRYPTED
                        && name.contains("flipped bit")
                        && !name.contains("footer")
                        && !name.contains("tail")
                    {
                        assert_eq!(
                            &ill.bucket.get(key).await.unwrap(),
                            body,
                            "{name}: the very same bytes"
                        );
                    }
                    // What was written anew is whole in itself: its damage is repaired like anybody's.
                    ill.put(key, body.clone()).await;
                }
            }
        });
    }
}

#[test]
fn a_repaired_pack_is_repaired_again() {
    let sim = Sim::new(2);
    let world = sim.clone();
    sim.run(|env| async move {
        let ill = Ill::new(&world, &env).await;
        let donor = Disk::new("d-1", &ill.model);
        for key in ill.packs().await.keys() {
            for round in 0..3 {
                if round == 0 {
                    ill.bucket.delete(key).await.unwrap();
                } else {
                    let mut bad = ill.bucket.get(key).await.unwrap().to_vec();
                    bad[60] ^= 1;
                    ill.put(key, bad).await;
                }
                let (_, repaired) = ill.repaired(&env, &[Rc::clone(&donor)]).await;
                assert_eq!(repaired.packs, 1);
                ill.assert_whole(&env, "repaired again").await;
            }
        }
    });
}

#[test]
fn wrong_content_is_never_written() {
    for seed in [3, ENCRYPTED + 3] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let ill = Ill::new(&world, &env).await;
            let (key, body) = ill.packs().await.pop_first().unwrap();
            let mut bad = body.to_vec();
            bad[100] ^= 1;
            // Written to since the snapshot: all of it, a chunk at its neighbour's place, and nothing at all.
            let later: Model = ill.model.iter().map(|(at, seed)| (*at, seed + 1000)).collect();
            let moved: Model = ill.model.iter().map(|(at, seed)| (at + 7, *seed)).collect();
            for bad in [Some(Bytes::from(bad)), None] {
                match &bad {
                    Some(bad) => ill.put(&key, bad.clone()).await,
                    None => ill.bucket.delete(&key).await.unwrap(),
                }
                for model in [&later, &moved, &Model::new()] {
                    let donor = Disk::new("d-1", model);
                    ill.bucket.forget_counts();
                    let (report, repaired) = ill.repaired(&env, &[Rc::clone(&donor)]).await;
                    assert!(donor.asked.get() > 0 && report.damage_count > 0);
                    assert_eq!(
                        (repaired.packs, repaired.chunks.len(), repaired.left.len()),
                        (0, 0, 1)
                    );
                    assert!(
                        ill.bucket.puts.borrow().is_empty(),
                        "{:?}",
                        ill.bucket.puts.borrow()
                    );
                    let there = ill.bucket.get(&key).await.ok();
                    assert_eq!(there, bad, "it is as it was");
                }
            }
        });
    }
}

/// The disk was written to since: what it still has is repaired, the rest stays lost, and the next repair goes on.
#[test]
fn what_is_left_of_a_disk_repairs_what_is_left() {
    for seed in [4, ENCRYPTED + 4] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let ill = Ill::new(&world, &env).await;
            for (key, _) in ill.packs().await {
                ill.bucket.delete(&key).await.unwrap();
            }
            let half: Model = ill
                .model
                .iter()
                .filter(|(at, _)| **at % 2 == 0)
                .map(|(at, seed)| (*at, *seed))
                .collect();
            let (before, repaired) = ill.repaired(&env, &[Disk::new("d-1", &half)]).await;
            assert_eq!(
                (before.damage.len(), repaired.chunks.len()),
                (ill.model.len(), half.len())
            );
            let (vault, _, report) = ill.verified(&env).await;
            let mut lost: Vec<u32> = report
                .damage
                .iter()
                .map(|damage| damage.chunks.start as u32)
                .collect();
            lost.sort_unstable();
            let odd: Vec<u32> = ill.model.keys().copied().filter(|at| at % 2 == 1).collect();
            assert_eq!(lost, odd);
            let reader = Reader::open(&vault, ill.root);
            for (at, seed) in &half {
                assert_eq!(reader.read_chunk(*at).await.unwrap(), chunk(Some(*seed)));
            }
            // A clone, made before: it has the other half.
            let rest: Model = ill
                .model
                .iter()
                .filter(|(at, _)| **at % 2 == 1)
                .map(|(at, seed)| (*at, *seed))
                .collect();
            let clones = [Disk::new("d-1", &half), Disk::new("d-2", &rest)];
            let (_, repaired) = ill.repaired(&env, &clones).await;
            assert_eq!(repaired.chunks.len(), rest.len());
            ill.assert_whole(&env, "both halves").await;
        });
    }
}

#[test]
fn another_pack_repairs_without_any_disk() {
    let sim = Sim::new(5);
    let world = sim.clone();
    sim.run(|env| async move {
        let ill = Ill::new(&world, &env).await;
        let (key, body) = ill.packs().await.pop_first().unwrap();
        let vault = ill.bucket.open_vault(&env).await.unwrap();
        let all: Vec<u32> = ill.model.keys().copied().collect();
        let spec = spec("s-2", "d-2", CHUNKS, None, &all);
        capture(&vault, Path::new("spool/2"), spec, &ill.model)
            .await
            .unwrap();
        let mut bad = body.to_vec();
        bad[100] ^= 1;
        ill.put(&key, bad).await;
        let (report, repaired) = ill.repaired(&env, &[]).await;
        assert_eq!(report.damage.len(), 1);
        assert!(!report.damage[0].lost, "it can be read from the other pack");
        assert!(repaired.has_repaired(&report.damage[0]));
        assert_eq!(ill.bucket.get(&key).await.unwrap(), body);
    });
}

#[test]
fn what_was_deleted_meanwhile_does_not_come_back() {
    let sim = Sim::new(6);
    let world = sim.clone();
    sim.run(|env| async move {
        let ill = Ill::new(&world, &env).await;
        let key = ill.packs().await.pop_first().unwrap().0;
        ill.bucket.delete(&key).await.unwrap();
        let (vault, found, report) = ill.verified(&env).await;
        assert!(report.damage_count > 0);
        vault
            .delete_snapshot(&disk("d-1"), &snapshot("s-1"), None)
            .await
            .unwrap();
        vault.collect(&CollectOptions::default()).await.unwrap();
        let donor: Rc<dyn Donor> = Disk::new("d-1", &ill.model);
        let repaired = vault
            .repair(&found.targets, &report.damage, &[donor])
            .await
            .unwrap();
        assert_eq!(repaired.packs, 0);
        assert!(keys(&*ill.bucket, "packs/").await.is_empty());
    });
}

/// What was under a disk's key stays under it: repaired from any disk, and never under the vault's.
#[test]
fn a_disks_key_is_kept() {
    let sim = Sim::new(ENCRYPTED + 7);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        vault.create_disk_key(&disk("d-1")).await.unwrap();
        let model: Model = (0..10).map(|at| (at, u64::from(at) + 11)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let spec = CaptureSpec {
            own_key: true,
            ..spec("s-1", "d-1", CHUNKS, None, &all)
        };
        let root = capture(&vault, Path::new("spool"), spec, &model)
            .await
            .unwrap()
            .root;
        let ill = Ill { bucket, model, root };
        let (key, body) = ill.packs().await.pop_first().unwrap();
        let mut bad = body.to_vec();
        bad[100] ^= 1;
        ill.put(&key, bad).await;
        let donor = Disk::new("d-1", &ill.model);
        let (_, repaired) = ill.repaired(&env, &[Rc::clone(&donor)]).await;
        assert_eq!(repaired.packs, 1);
        let now = ill.bucket.get(&key).await.unwrap();
        assert_eq!(now.len(), body.len());
        assert_eq!(now[32..48], body[32..48], "the first box names the same key");
        ill.assert_whole(&env, "under the disk's key").await;
        // Nothing is left that says whose it was.
        ill.bucket.delete(&key).await.unwrap();
        let (_, repaired) = ill.repaired(&env, &[donor]).await;
        assert_eq!(repaired.packs, 0);
        assert!(repaired.left[&key].contains("own key"), "{:?}", repaired.left);
        let fresh = ill.bucket.open_vault(&env).await.unwrap();
        assert!(fresh.verify(&ill.root, Sample::All).await.unwrap().damage_count > 0);
        assert_eq!(
            Reader::open(&fresh, ill.root).read_chunk(20).await.unwrap(),
            Chunk::Zero
        );
    });
}

/// The collector has moved what was left of a pack: what counts is where it is now.
#[test]
fn what_was_moved_is_verified_and_repaired_where_it_is_now() {
    for seed in [8, ENCRYPTED + 8] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let old = Ill::new(&world, &env).await;
            let vault = old.bucket.open_vault(&env).await.unwrap();
            let mut model = old.model.clone();
            let changed: Vec<u32> = model.keys().copied().filter(|at| at % 3 != 0).collect();
            model.extend(changed.iter().map(|at| (*at, u64::from(*at) + 501)));
            let spec = spec("s-2", "d-1", CHUNKS, Some(old.root), &changed);
            let root = capture(&vault, Path::new("spool/2"), spec, &model)
                .await
                .unwrap()
                .root;
            vault
                .delete_snapshot(&disk("d-1"), &snapshot("s-1"), None)
                .await
                .unwrap();
            let all = CollectOptions {
                repack_percent: 100,
                ..CollectOptions::default()
            };
            assert!(vault.collect(&all).await.unwrap().repacked_packs > 0);
            vault.collect(&all).await.unwrap();
            let ill = Ill {
                bucket: old.bucket,
                model,
                root,
            };
            ill.assert_whole(&env, "moved").await;
            let (mut hurt, before) = (0, ill.packs().await);
            for (key, body) in &before {
                for bad in [Some(100), None] {
                    match bad {
                        Some(at) => {
                            let mut bad = body.to_vec();
                            bad[at] ^= 1;
                            ill.put(key, bad).await;
                        }
                        None => ill.bucket.delete(key).await.unwrap(),
                    }
                    let (report, repaired) = ill.repaired(&env, &[Disk::new("d-1", &ill.model)]).await;
                    for damage in &report.damage {
                        assert_eq!(&damage.object, key, "where it is, not where it was");
                        assert!(repaired.has_repaired(damage), "{repaired:?}");
                    }
                    hurt += report.damage.len();
                    ill.assert_whole(&env, "repaired where it is").await;
                }
            }
            assert!(hurt >= before.len(), "{hurt}");
        });
    }
}
