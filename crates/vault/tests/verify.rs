//! Verification of many snapshots: damage of every kind is told with exactly what it hits, what is shared is read once,
//! and what only looks like damage is none.

mod common;

use bytes::Bytes;
use common::*;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, Env, LocalFuture, Precondition};
use tidemark_units::CHUNK_BYTES;
use tidemark_vault::{
    CollectOptions, Damage, FullSpeed, Inventory, Part, Reader, Root, Sample, Vault, VaultErrorKind,
    VerifyReport, Watch,
};

/// Chunks of each disk.
const CHUNKS: u32 = 300;
/// The content that is there twice.
const TWICE: u64 = 39;

/// Two disks, the second made from a snapshot of the first, with three snapshots that share most chunks.
struct Shared {
    bucket: Rc<Bad>,
    vault: Vault,
    models: BTreeMap<&'static str, (Root, Model)>,
}

async fn shared(sim: &Sim, env: &Env) -> Shared {
    let bucket = Bad::new(sim, env);
    let vault = bucket.create_vault(env).await.unwrap();
    let mut model: Model = [0, 1, 2, 5, 40, 127, 128, 129, 250, 299]
        .map(|at| (at, u64::from(at) * 7 + 3))
        .into();
    // The same content twice, and noise, which is stored as it is: one place in the vault, two on the disk.
    model.extend([(5, TWICE), (6, TWICE)]);
    let all: Vec<u32> = model.keys().copied().collect();
    let mut models = BTreeMap::new();
    let first = capture(
        &vault,
        Path::new("spool/s-1"),
        spec("s-1", "d-1", CHUNKS, None, &all),
        &model,
    )
    .await
    .unwrap();
    models.insert("s-1", (first.root, model.clone()));
    for (name, of, at, seed) in [("s-2", "d-1", 2, 1001), ("s-3", "d-2", 250, 1003)] {
        let mut changed = model.clone();
        changed.insert(at, seed);
        if of == "d-2" {
            vault.adopt(&disk(of), &[], &snapshot("s-1")).await.unwrap();
        }
        let spec = spec(name, of, CHUNKS, Some(first.root), &[at]);
        let done = capture(&vault, &Path::new("spool").join(name), spec, &changed)
            .await
            .unwrap();
        models.insert(name, (done.root, changed));
    }
    Shared {
        bucket,
        vault,
        models,
    }
}

impl Shared {
    async fn objects(&self) -> BTreeMap<String, Bytes> {
        let mut all = BTreeMap::new();
        for key in keys(&*self.bucket, "").await {
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

    /// What a vault that was just opened finds.
    async fn verified(&self, env: &Env) -> (Inventory, VerifyReport) {
        let vault = self.bucket.open_vault(env).await.unwrap();
        let found = vault.inventory().await.unwrap();
        let report = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap();
        (found, report)
    }

    /// The chunks that readers cannot have, by snapshot.
    async fn unreadable(&self, env: &Env) -> BTreeSet<(String, u64)> {
        let vault = self.bucket.open_vault(env).await.unwrap();
        let mut lost = BTreeSet::new();
        for (name, (root, model)) in &self.models {
            let reader = Reader::open(&vault, *root);
            for index in 0..CHUNKS {
                match reader.read_chunk(index).await {
                    Ok(found) => assert!(
                        found == chunk(model.get(&index).copied()),
                        "{name}: chunk {index}"
                    ),
                    Err(_) => drop(lost.insert((name.to_string(), u64::from(index)))),
                }
            }
        }
        lost
    }
}

/// What damage says is lost, in the terms of [`Shared::unreadable`].
fn told(found: &Inventory, damage: &[Damage]) -> BTreeSet<(String, u64)> {
    let lost = damage.iter().filter(|damage| damage.lost);
    let each = lost.flat_map(|damage| {
        let within = damage.chunks.start..damage.chunks.end.min(CHUNKS.into());
        damage.hits.iter().flat_map(move |hit| {
            let snapshot = found.targets[*hit as usize].snapshot.to_string();
            within.clone().map(move |chunk| (snapshot.clone(), chunk))
        })
    });
    each.collect()
}

#[test]
fn what_is_shared_is_read_once() {
    for seed in [1, ENCRYPTED + 1] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let shared = shared(&world, &env).await;
            shared.bucket.forget_counts();
            let (found, report) = shared.verified(&env).await;
            assert_eq!(found.targets.len(), 3);
            assert!(
                found.damage.is_empty() && report.damage.is_empty(),
                "{:?}",
                report.damage
            );
            // Ten contents and two changes; a chunk that is there twice is stored once.
            assert_eq!((report.chunks, report.bytes), (12, 12 * CHUNK_BYTES));
            // Three leaves and a top, and for each later snapshot a leaf and a top.
            assert_eq!(report.nodes, 4 + 2 + 2);
            assert!(
                shared.bucket.read_bytes.get() < 14 * CHUNK_BYTES + 400 * 1024,
                "{}",
                shared.bucket.read_bytes.get()
            );
        });
    }
}

/// Whatever is done to a pack: what is told is exactly what readers cannot have.
#[test]
fn damage_to_packs_is_told_exactly() {
    for seed in [2, ENCRYPTED + 2] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let shared = shared(&world, &env).await;
            let all = shared.objects().await;
            let packs: Vec<&String> = all
                .keys()
                .filter(|key| key.starts_with("packs/") || key.starts_with("nodes/"))
                .collect();
            assert!(packs.len() >= 7, "{packs:?}");
            let mut told_something = 0;
            for key in &packs {
                let body = &all[*key];
                let mut ways: Vec<(&str, Option<Bytes>)> =
                    vec![("gone", None), ("empty", Some(Bytes::new()))];
                for part in [2, 3, 8] {
                    ways.push(("cut", Some(body.slice(..body.len() - body.len() / part))));
                    let mut bad = body.to_vec();
                    let at = body.len() / part + world.below(body.len() as u64 / 10) as usize;
                    bad[at] ^= 1;
                    ways.push(("flipped", Some(bad.into())));
                }
                let other = packs
                    .iter()
                    .find(|other| *other != key && other[..5] == key[..5])
                    .unwrap();
                ways.push(("swapped", Some(all[*other].clone())));
                for (way, bad) in ways {
                    match bad {
                        Some(bad) => shared.put(key, bad).await,
                        None => shared.bucket.delete(key).await.unwrap(),
                    }
                    let (found, report) = shared.verified(&env).await;
                    let truth = shared.unreadable(&env).await;
                    assert_eq!(
                        told(&found, &report.damage),
                        truth,
                        "{key} {way}: {:?}",
                        report.damage
                    );
                    for damage in &report.damage {
                        assert_eq!(&damage.object, *key, "{way}: {damage:?}");
                        assert!(!damage.error.to_string().is_empty());
                    }
                    told_something += u32::from(!truth.is_empty());
                    shared.put(key, body.clone()).await;
                }
            }
            assert!(told_something > 30, "{told_something}");
            let (_, report) = shared.verified(&env).await;
            assert_eq!(report.damage_count, 0);
        });
    }
}

#[test]
fn a_shared_chunk_is_told_of_for_all_snapshots_and_disks() {
    let sim = Sim::new(3);
    let world = sim.clone();
    sim.run(|env| async move {
        let shared = shared(&world, &env).await;
        let needle = &content(TWICE)[..64];
        for (key, body) in shared.objects().await {
            if let Some(at) = body.windows(64).position(|bytes| bytes == needle) {
                let mut bad = body.to_vec();
                bad[at] ^= 1;
                shared.put(&key, bad).await;
            }
        }
        let (found, report) = shared.verified(&env).await;
        let hits: Vec<(u64, Vec<String>, usize)> = report
            .damage
            .iter()
            .map(|damage| {
                let of = |hit: &u32| {
                    format!(
                        "{} {}",
                        found.targets[*hit as usize].disk, found.targets[*hit as usize].snapshot
                    )
                };
                assert!(matches!(damage.part, Part::Chunk(_)) && damage.lost);
                (
                    damage.chunks.start,
                    damage.hits.iter().map(of).collect(),
                    (damage.chunks.end - damage.chunks.start) as usize,
                )
            })
            .collect();
        let everybody = || ["d-1 s-1", "d-1 s-2", "d-2 s-3"].map(String::from).to_vec();
        assert_eq!(hits, [(5, everybody(), 1), (6, everybody(), 1)]);
        assert_eq!(
            report.chunks, 11,
            "the damaged one is no chunk that was read well"
        );
    });
}

#[test]
fn damage_to_heads_and_records_is_named_and_the_rest_is_verified() {
    for seed in [4, ENCRYPTED + 4] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let shared = shared(&world, &env).await;
            let all = shared.objects().await;
            for (key, body) in all
                .iter()
                .filter(|(key, _)| key.starts_with("d/") || key.starts_with("snapshots/"))
            {
                let mut flipped = body.to_vec();
                flipped[body.len() / 2] ^= 1;
                for bad in [
                    None,
                    Some(Bytes::from(flipped)),
                    Some(body.slice(..body.len() / 2)),
                    Some(Bytes::new()),
                ] {
                    let is_gone = bad.is_none();
                    match bad {
                        Some(bad) => shared.put(key, bad).await,
                        None => shared.bucket.delete(key).await.unwrap(),
                    }
                    let (found, report) = shared.verified(&env).await;
                    assert_eq!(report.damage_count, 0, "the content is whole");
                    // That a log had a last entry is known to nobody else.
                    let is_last = all.keys().filter(|other| other.starts_with(&key[..6])).max() == Some(key);
                    if is_gone && key.starts_with("d/") && is_last {
                        shared.put(key, body.clone()).await;
                        continue;
                    }
                    assert_eq!(found.damage.len(), 1, "{key}: {:?}", found.damage);
                    assert_eq!(&found.damage[0].object, key);
                    match &found.damage[0].part {
                        Part::Head(disk) => assert!(key.starts_with(&format!("d/{disk}/h/"))),
                        Part::Record(snapshot) => {
                            assert_eq!(key, &format!("snapshots/{snapshot}"));
                            assert_eq!(found.targets.len(), 3, "it still exists, and is verified");
                            assert_eq!(found.damage[0].hits.len(), 1);
                        }
                        other => panic!("{key}: {other:?}"),
                    }
                    shared.put(key, body.clone()).await;
                }
            }
            shared.put("d/d-1/h/junk", Bytes::from_static(b"?")).await;
            let (found, _) = shared.verified(&env).await;
            assert_eq!((found.damage.len(), &found.damage[0].part), (1, &Part::Stranger));
        });
    }
}

#[test]
fn a_bucket_that_cannot_be_reached_or_is_gone_is_no_damage() {
    let sim = Sim::new(5);
    let world = sim.clone();
    sim.run(|env| async move {
        let shared = shared(&world, &env).await;
        let vault = &shared.vault;
        let found = vault.inventory().await.unwrap();
        shared.bucket.down.set(true);
        let error = vault.inventory().await.unwrap_err();
        assert_eq!(error.kind, VaultErrorKind::Busy);
        let error = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap_err();
        assert_eq!(error.kind, VaultErrorKind::Busy);
        shared.bucket.down.set(false);
        for key in keys(&*shared.bucket, "").await {
            shared.bucket.delete(&key).await.unwrap();
        }
        let error = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not where it was"), "{error}");
    });
}

#[test]
fn what_was_deleted_and_freed_meanwhile_is_no_damage() {
    let sim = Sim::new(6);
    let world = sim.clone();
    sim.run(|env| async move {
        let shared = shared(&world, &env).await;
        let found = shared.vault.inventory().await.unwrap();
        shared
            .vault
            .delete_snapshot(&disk("d-2"), &snapshot("s-3"), None)
            .await
            .unwrap();
        assert!(
            shared
                .vault
                .collect(&CollectOptions::default())
                .await
                .unwrap()
                .freed_packs
                > 0
        );
        let vault = shared.bucket.open_vault(&env).await.unwrap();
        let report = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap();
        assert_eq!(report.damage_count, 0, "{:?}", report.damage);
        // The same loss hits somebody who is still there.
        for key in keys(&*shared.bucket, "packs/").await {
            shared.bucket.delete(&key).await.unwrap();
        }
        let report = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap();
        assert!(report.damage_count > 0);
        let gone = found
            .targets
            .iter()
            .position(|target| target.snapshot == snapshot("s-3"))
            .unwrap();
        assert!(
            report
                .damage
                .iter()
                .all(|damage| !damage.hits.contains(&(gone as u32)))
        );
    });
}

/// Stops at every opportunity, and counts what it is asked for.
#[derive(Default)]
struct Stopper {
    parts: RefCell<Vec<f64>>,
    asked: Cell<u64>,
}

impl Watch for Stopper {
    fn may_read(&self, bytes: u64) -> LocalFuture<'_, ()> {
        self.asked.set(self.asked.get() + bytes);
        Box::pin(async {})
    }

    fn passed(&self, _: u64, part: f64, _: &VerifyReport) -> bool {
        self.parts.borrow_mut().push(part);
        false
    }

    fn window_chunks(&self) -> usize {
        1
    }
}

#[test]
fn a_walk_goes_on_where_it_was_stopped() {
    let sim = Sim::new(7);
    let world = sim.clone();
    sim.run(|env| async move {
        let shared = shared(&world, &env).await;
        let found = shared.vault.inventory().await.unwrap();
        let (mut from, mut chunks, mut steps) = (0, 0, 0);
        loop {
            let stopper = Stopper::default();
            let report = shared
                .vault
                .verify_snapshots(&found.targets, Sample::All, from, &stopper)
                .await
                .unwrap();
            chunks += report.chunks;
            steps += 1;
            assert!(stopper.asked.get() > 0 || report.chunks == 0);
            assert!(
                stopper
                    .parts
                    .borrow()
                    .iter()
                    .all(|part| (0.0..=1.0).contains(part))
            );
            match report.next {
                Some(next) => assert!(std::mem::replace(&mut from, next) < next),
                None => break,
            }
        }
        assert_eq!((chunks, steps), (12, 4), "three leaves with chunks, and the end");
    });
}

#[test]
fn a_sample_has_about_its_share_and_all_nodes() {
    let sim = Sim::new(8);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let model: Model = (0..1000).map(|at| (at, u64::from(at) * 2 + 2)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let root = capture(
            &vault,
            Path::new("spool"),
            spec("s-1", "d-1", 1000, None, &all),
            &model,
        )
        .await
        .unwrap()
        .root;
        let of = async |sample| vault.verify(&root, sample).await.unwrap();
        let (whole, none) = (of(Sample::All).await, of(Sample::TreeOnly).await);
        assert_eq!((whole.chunks, none.chunks), (1000, 0));
        let mut sizes = BTreeSet::new();
        for _ in 0..10 {
            let tenth = of(Sample::PerMillion(100_000)).await;
            assert!((50..200).contains(&tenth.chunks), "{}", tenth.chunks);
            assert_eq!(tenth.nodes, whole.nodes);
            sizes.insert(tenth.chunks);
        }
        assert!(sizes.len() > 1, "other chunks each time");
    });
}

/// Hundreds of snapshots cost what they changed, not what they hold.
#[test]
fn many_snapshots_cost_what_differs() {
    let sim = Sim::new(9);
    let world = sim.clone();
    sim.run(|env| async move {
        const SNAPSHOTS: u32 = 200;
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let mut model: Model = (0..2000).map(|at| (at * 20, u64::from(at) * 2 + 2)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let chunks = 40_000;
        let mut root = capture(
            &vault,
            Path::new("spool/s"),
            spec("s", "d-1", chunks, None, &all),
            &model,
        )
        .await
        .unwrap()
        .root;
        for at in 0..SNAPSHOTS {
            let index = at * 190;
            model.insert(index, u64::from(at) * 2 + 1_000_002);
            let (name, dir) = (format!("s-{at}"), Path::new("spool").join(at.to_string()));
            root = capture(
                &vault,
                &dir,
                spec(&name, "d-1", chunks, Some(root), &[index]),
                &model,
            )
            .await
            .unwrap()
            .root;
        }
        let found = vault.inventory().await.unwrap();
        assert_eq!(found.targets.len(), SNAPSHOTS as usize + 1);
        bucket.forget_counts();
        let report = vault
            .verify_snapshots(&found.targets, Sample::All, 0, &FullSpeed)
            .await
            .unwrap();
        assert_eq!(
            (report.damage_count, report.chunks),
            (0, 2000 + u64::from(SNAPSHOTS))
        );
        // 40,000 chunks: a top, two nodes below it, 313 leaves. Each snapshot: a path of three.
        assert_eq!(report.nodes, 1 + 2 + 313 + 3 * u64::from(SNAPSHOTS));
        assert!(bucket.reads.get() < 3000, "{} reads", bucket.reads.get());
    });
}
