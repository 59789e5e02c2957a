//! Many captures of several disks against plain maps: every snapshot that was not deleted reads back
//! as its model, whatever was captured, deleted and swept before.

mod common;

use common::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tidemark_env::sim::Sim;
use tidemark_vault::{CollectOptions, Root, Sample, Vault};

#[derive(Clone, Debug)]
enum Step {
    /// Changes these chunks of a disk, then captures it.
    Capture {
        disk: usize,
        changes: Vec<(u32, u64)>,
        chunks: u32,
    },
    /// Deletes one of the snapshots there are.
    Delete {
        which: prop::sample::Index,
    },
    Collect,
}

/// Sizes on both sides of a level's edge, the last leaf cut.
fn chunks() -> impl Strategy<Value = u32> {
    prop_oneof![Just(90u32), Just(128), Just(1000), Just(32_768), Just(33_001)]
}

/// Near each other, at edges of leaves and levels, or anywhere.
fn index() -> impl Strategy<Value = u32> {
    prop_oneof![0..12u32, 120..136u32, 32_760..32_776u32, 0..33_001u32]
}

fn step() -> impl Strategy<Value = Step> {
    let changes = prop::collection::vec((index(), 0..12u64), 0..30);
    prop_oneof![
        4 => (0..2usize, changes, chunks()).prop_map(|(disk, changes, chunks)| Step::Capture { disk, changes, chunks }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Delete { which }),
        1 => Just(Step::Collect),
    ]
}

#[derive(Default, Clone)]
struct Disk {
    model: Model,
    last: Option<Root>,
}

async fn play(vault: &Vault, steps: Vec<Step>) {
    let mut disks = [Disk::default(), Disk::default()];
    for disk in 0..disks.len() {
        // What an owner committed last stays, also when the snapshot goes: the next one is relative to it.
        let log = vault.head_log(&common::disk(&format!("d-{disk}"))).await.unwrap();
        log.claim(vault.node(), 1).await.unwrap();
    }
    let mut snapshots: BTreeMap<String, (usize, Root, Model)> = BTreeMap::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Capture {
                disk,
                changes,
                chunks,
            } => {
                let at = &mut disks[disk];
                let mut pending: BTreeSet<u32> = BTreeSet::new();
                at.model.retain(|index, _| *index < chunks);
                for (index, seed) in changes.into_iter().filter(|(index, _)| *index < chunks) {
                    pending.insert(index);
                    at.model.insert(index, seed);
                    if seed == 0 {
                        at.model.remove(&index);
                    }
                }
                let name = format!("s-{number}");
                let pending: Vec<u32> = pending.into_iter().collect();
                let spec = spec(&name, &format!("d-{disk}"), chunks, at.last, &pending);
                let done = capture(vault, Path::new("spool").join(&name).as_path(), spec, &at.model)
                    .await
                    .unwrap();
                assert_eq!(done.stats.captured_chunks, pending.len() as u64);
                at.last = Some(done.root);
                snapshots.insert(name, (disk, done.root, at.model.clone()));
            }
            Step::Delete { which } => {
                if let Some(name) = snapshots.keys().nth(which.index(snapshots.len().max(1))).cloned() {
                    let (disk, _, _) = snapshots.remove(&name).unwrap();
                    vault
                        .delete_snapshot(&common::disk(&format!("d-{disk}")), &snapshot(&name), None)
                        .await
                        .unwrap();
                    assert!(
                        vault.snapshot(&snapshot(&name)).await.is_err(),
                        "{name} is deleted"
                    );
                }
            }
            Step::Collect => {
                vault.collect(&CollectOptions::default()).await.unwrap();
            }
        }
    }
    let listed: Vec<String> = vault
        .snapshots()
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.snapshot.to_string())
        .collect();
    assert_eq!(listed, snapshots.keys().cloned().collect::<Vec<_>>());
    for (name, (_, root, model)) in &snapshots {
        assert_holds(vault, *root, model, name).await;
        let report = vault.verify(root, Sample::All).await.unwrap();
        assert!(report.damage.is_empty(), "{name}: {:?}", report.damage);
    }
    check_differences(
        vault,
        snapshots
            .into_values()
            .map(|(_, root, model)| (root, model))
            .collect(),
    )
    .await;
    for disk in disks {
        if let Some(root) = disk.last {
            assert_holds(vault, root, &disk.model, "a root that was kept").await;
        }
    }
}

async fn check_differences(vault: &Vault, snapshots: Vec<(Root, Model)>) {
    for pair in snapshots.windows(2) {
        let [(a, a_model), (b, b_model)] = pair else {
            continue;
        };
        let differing: Vec<u32> = vault.diff(Some(a), Some(b)).await.unwrap().iter().collect();
        let all: BTreeSet<u32> = a_model.keys().chain(b_model.keys()).copied().collect();
        let expected: Vec<u32> = all
            .into_iter()
            .filter(|index| a_model.get(index) != b_model.get(index))
            .collect();
        assert_eq!(differing, expected);
        let from_zeros: Vec<u32> = vault.diff(None, Some(b)).await.unwrap().iter().collect();
        assert_eq!(from_zeros, b_model.keys().copied().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_reads_back(seed in prop_oneof![0..ENCRYPTED, ENCRYPTED..2 * ENCRYPTED], steps in prop::collection::vec(step(), 1..14)) {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let vault = bucket.create_vault(&env).await.unwrap();
            bucket.one_in.set(40);
            play(&vault, steps).await;
        });
    }
}

#[test]
fn a_vault_is_made_once_and_opens_again() {
    for seed in [1, ENCRYPTED] {
        made_once(seed);
    }
}

fn made_once(seed: u64) {
    let sim = Sim::new(seed);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        assert!(bucket.open_vault(&env).await.is_err());
        let id = bucket.open_or_create_vault(&env).await.unwrap().id();
        assert!(bucket.create_vault(&env).await.is_err());
        assert_eq!(bucket.open_or_create_vault(&env).await.unwrap().id(), id);
    });
}
