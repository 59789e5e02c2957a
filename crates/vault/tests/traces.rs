//! Boot traces: kept with a snapshot, found by its descendants, gone with its record, and never in the way.

mod common;

use common::*;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, Env, Precondition};
use tidemark_vault::{BootTrace, CollectOptions, RecordDraft, Root, SnapshotWriter, Vault};

fn in_worlds<F: Future<Output = ()> + 'static>(test: impl Fn(Sim, Env) -> F) {
    for seed in [1, 2, ENCRYPTED + 1] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| test(world, env));
    }
}

/// A snapshot of one chunk, relative to another.
async fn taken(vault: &Vault, name: &str, parent: Option<(&str, Root)>) -> Root {
    let dir = Path::new("spool").join(name);
    let spec = spec(
        name,
        "d-1",
        1000,
        parent.map(|(_, root)| root),
        &[name.len() as u32],
    );
    let writer = SnapshotWriter::begin(vault, &dir, spec, small()).await.unwrap();
    writer
        .put(name.len() as u32, chunk(Some(name.len() as u64)))
        .await
        .unwrap();
    let draft = RecordDraft {
        parent: parent.map(|(name, _)| snapshot(name)),
        ..draft()
    };
    writer.finish(draft).await.unwrap().root
}

/// Deletes a snapshot for good.
async fn purge(vault: &Vault, name: &str) {
    vault
        .delete_snapshot(&disk("d-1"), &snapshot(name), None)
        .await
        .unwrap();
    let all = CollectOptions {
        purge_all: true,
        ..CollectOptions::default()
    };
    vault.collect(&all).await.unwrap();
}

fn boot() -> BootTrace {
    BootTrace::new([0, 1, 900, 3, 4, 5, 600])
}

async fn traces(bucket: &Rc<Bad>) -> Vec<String> {
    keys(&**bucket, "traces/").await
}

#[test]
fn a_trace_is_kept_and_goes_with_its_snapshot() {
    in_worlds(|world, env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        taken(&vault, "s-1", None).await;
        assert_eq!(
            vault.boot_trace(&snapshot("s-1")).await.unwrap(),
            BootTrace::default()
        );
        assert!(vault.keep_trace(&snapshot("s-1"), &boot()).await.unwrap());
        let vault = bucket.open_vault(&env).await.unwrap();
        assert_eq!(vault.boot_trace(&snapshot("s-1")).await.unwrap(), boot());
        assert_eq!(traces(&bucket).await, ["traces/s-1"]);
        purge(&vault, "s-1").await;
        assert_eq!(traces(&bucket).await, [""; 0]);
        // Nothing keeps a trace of what is not there.
        assert!(!vault.keep_trace(&snapshot("s-1"), &boot()).await.unwrap());
        assert_eq!(traces(&bucket).await, [""; 0]);
    });
}

#[test]
fn the_longer_trace_stays_and_a_scan_is_none() {
    in_worlds(|world, env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        taken(&vault, "s-1", None).await;
        let id = snapshot("s-1");
        assert!(
            !vault.keep_trace(&id, &BootTrace::new(0..500)).await.unwrap(),
            "a scan"
        );
        assert!(!vault.keep_trace(&id, &BootTrace::default()).await.unwrap());
        assert!(vault.keep_trace(&id, &boot()).await.unwrap());
        assert!(!vault.keep_trace(&id, &BootTrace::new([900, 0])).await.unwrap());
        assert_eq!(vault.boot_trace(&id).await.unwrap(), boot());
        let longer = BootTrace::new((0..100).rev().map(|at| at * 9));
        assert!(vault.keep_trace(&id, &longer).await.unwrap());
        assert_eq!(vault.boot_trace(&id).await.unwrap(), longer);
    });
}

#[test]
fn a_snapshot_without_one_has_its_ancestor_s() {
    in_worlds(|world, env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let one = taken(&vault, "s-1", None).await;
        let two = taken(&vault, "s-22", Some(("s-1", one))).await;
        taken(&vault, "s-333", Some(("s-22", two))).await;
        assert!(vault.keep_trace(&snapshot("s-1"), &boot()).await.unwrap());
        assert_eq!(vault.boot_trace(&snapshot("s-333")).await.unwrap(), boot());
        let own = BootTrace::new([7, 700, 6, 5]);
        assert!(vault.keep_trace(&snapshot("s-22"), &own).await.unwrap());
        assert_eq!(vault.boot_trace(&snapshot("s-333")).await.unwrap(), own);
        assert_eq!(vault.boot_trace(&snapshot("s-1")).await.unwrap(), boot());
        // A deleted ancestor ends the search.
        purge(&vault, "s-22").await;
        assert_eq!(
            vault.boot_trace(&snapshot("s-333")).await.unwrap(),
            BootTrace::default()
        );
    });
}

#[test]
fn a_damaged_trace_is_none_and_is_replaced() {
    in_worlds(|world, env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        taken(&vault, "s-1", None).await;
        let id = snapshot("s-1");
        assert!(vault.keep_trace(&id, &boot()).await.unwrap());
        let good = bucket.get("traces/s-1").await.unwrap();
        let mut flipped = good.to_vec();
        flipped[good.len() / 2] ^= 4;
        for bad in [flipped, Vec::new(), vec![b'x'; 300], vec![0; 4 << 20]] {
            bucket
                .put("traces/s-1", vec![bad.into()], Precondition::None)
                .await
                .unwrap();
            bucket.forget_counts();
            assert_eq!(vault.boot_trace(&id).await.unwrap(), BootTrace::default());
            assert!(bucket.read_bytes.get() < 1 << 20, "a huge one is not even read");
            assert!(vault.keep_trace(&id, &boot()).await.unwrap());
            assert_eq!(vault.boot_trace(&id).await.unwrap(), boot());
        }
    });
}

#[test]
fn a_trace_stored_while_its_snapshot_goes_does_not_stay() {
    for seed in 0..40 {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let vault = bucket.create_vault(&env).await.unwrap();
            taken(&vault, "s-1", None).await;
            let id = snapshot("s-1");
            let other = bucket.open_vault(&env).await.unwrap();
            let keep = async {
                env.clock
                    .sleep(std::time::Duration::from_micros(world.below(3000)))
                    .await;
                other.keep_trace(&id, &boot()).await.unwrap();
            };
            let remove = async {
                env.clock
                    .sleep(std::time::Duration::from_micros(world.below(3000)))
                    .await;
                purge(&vault, "s-1").await;
            };
            futures_util::join!(keep, remove);
            assert_eq!(traces(&bucket).await, [""; 0]);
        });
    }
}
