//! Records after the commit: changed, listed, damaged.

mod common;

use common::*;
use futures_util::future::join;
use std::path::Path;
use std::time::Duration;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_env::{Bucket, Precondition};
use tidemark_vault::{CollectOptions, Vault};

fn fields(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().cloned().unwrap()
}

async fn two_snapshots(vault: &Vault) {
    for name in ["s-1", "s-2"] {
        let model: Model = [(3, 7)].into();
        let dir = format!("spool/{name}");
        capture(vault, Path::new(&dir), spec(name, "d-1", 10, None, &[3]), &model)
            .await
            .unwrap();
    }
}

#[test]
fn meta_changes_and_nothing_else_does() {
    for seed in [1, ENCRYPTED] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let vault = bucket.create_vault(&env).await.unwrap();
            two_snapshots(&vault).await;
            let id = snapshot("s-1");
            let before = vault.snapshot(&id).await.unwrap();
            let change = fields(serde_json::json!({"tags": ["t"], "name": "y"}));
            assert!(vault.update_record_meta(&id, &change).await.unwrap());
            let change = fields(serde_json::json!({"name": "z"}));
            assert!(vault.update_record_meta(&id, &change).await.unwrap());
            let after = bucket
                .open_vault(&env)
                .await
                .unwrap()
                .snapshot(&id)
                .await
                .unwrap();
            assert_eq!(after.meta, serde_json::json!({"name": "z", "tags": ["t"]}));
            assert_eq!(
                after,
                tidemark_vault::SnapshotRecord {
                    meta: after.meta.clone(),
                    ..before
                }
            );

            vault.delete_snapshot(&disk("d-1"), &id, None).await.unwrap();
            assert!(!vault.update_record_meta(&id, &change).await.unwrap());
            assert!(
                !vault
                    .update_record_meta(&snapshot("s-none"), &change)
                    .await
                    .unwrap()
            );
            // Killed between its put and its look: the next try finds what means nothing, and removes it.
            let other = vault.snapshot(&snapshot("s-2")).await.unwrap();
            assert_eq!(other.meta, serde_json::json!({"name": "x"}));
        });
    }
}

/// However a change meets a deletion and a collector, no record outlives its snapshot.
#[test]
fn a_change_brings_no_deleted_snapshot_back() {
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let bucket = SimBucket::new(&sim);
        sim.run(|env| async move {
            let vault = Vault::open_or_create(&env, bucket.client_of_run()).await.unwrap();
            two_snapshots(&vault).await;
            let (id, of) = (snapshot("s-1"), disk("d-1"));
            let theirs = Vault::open(&env, bucket.client_of_run()).await.unwrap();
            let change = fields(serde_json::json!({"name": "late"}));
            let deleting = async {
                env.clock.sleep(Duration::from_micros(400 * (seed % 50))).await;
                theirs.delete_snapshot(&of, &id, None).await.unwrap();
                theirs.collect(&CollectOptions::default()).await.unwrap();
            };
            let (changed, ()) = join(vault.update_record_meta(&id, &change), deleting).await;
            changed.unwrap();
            let records = keys(&*bucket.client_of_run(), "snapshots/").await;
            assert_eq!(records, ["snapshots/s-2"], "seed {seed}");
        });
    }
}

#[test]
fn a_change_that_was_cut_off_leaves_a_record_that_its_repetition_removes() {
    let sim = Sim::new(2);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        two_snapshots(&vault).await;
        let record = bucket.get("snapshots/s-1").await.unwrap();
        vault
            .delete_snapshot(&disk("d-1"), &snapshot("s-1"), None)
            .await
            .unwrap();
        let change = fields(serde_json::json!({"name": "late"}));
        assert!(!vault.update_record_meta(&snapshot("s-1"), &change).await.unwrap());
        assert_eq!(
            bucket.get("snapshots/s-1").await.unwrap(),
            record,
            "it may be brought back"
        );
        vault.collect(&CollectOptions::default()).await.unwrap();
        assert_eq!(keys(&*bucket, "snapshots/").await, ["snapshots/s-2"]);
        bucket
            .put("snapshots/s-1", vec![record], Precondition::None)
            .await
            .unwrap();
        assert!(!vault.update_record_meta(&snapshot("s-1"), &change).await.unwrap());
        assert_eq!(keys(&*bucket, "snapshots/").await, ["snapshots/s-2"]);
    });
}

#[test]
fn what_cannot_be_read_is_named_and_hides_nothing() {
    for seed in [4, ENCRYPTED + 4] {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let vault = bucket.create_vault(&env).await.unwrap();
            two_snapshots(&vault).await;
            let model: Model = [(3, 9)].into();
            for (name, of) in [("s-3", "d-2"), ("s-4", "d-3"), ("s-5", "d-3")] {
                let dir = format!("spool/{name}");
                capture(&vault, Path::new(&dir), spec(name, of, 10, None, &[3]), &model)
                    .await
                    .unwrap();
            }
            let whole = vault.listing(None).await.unwrap();
            let ids = |of: &[tidemark_vault::SnapshotRecord]| {
                of.iter().map(|r| r.snapshot.to_string()).collect::<Vec<_>>()
            };
            assert_eq!(ids(&whole.snapshots), ["s-1", "s-2", "s-3", "s-4", "s-5"]);
            assert!(whole.unreadable.is_empty());
            assert_eq!(
                ids(&vault.listing(Some(&disk("d-3"))).await.unwrap().snapshots),
                ["s-4", "s-5"]
            );

            bucket.delete("snapshots/s-1").await.unwrap();
            bucket
                .put("snapshots/s-2", vec!["noise\n".into()], Precondition::None)
                .await
                .unwrap();
            let entry = "d/d-2/h/00000000000000000000";
            bucket
                .put(entry, vec!["noise\n".into()], Precondition::None)
                .await
                .unwrap();
            let vault = bucket.open_vault(&env).await.unwrap();
            let found = vault.listing(None).await.unwrap();
            assert_eq!(ids(&found.snapshots), ["s-4", "s-5"]);
            let named: Vec<_> = found
                .unreadable
                .iter()
                .map(|u| (u.disk.to_string(), u.snapshot.clone().map(|s| s.to_string())))
                .collect();
            let s = |name: &str| Some(name.to_string());
            assert_eq!(
                named,
                [
                    ("d-1".into(), s("s-1")),
                    ("d-1".into(), s("s-2")),
                    ("d-2".into(), None)
                ]
            );
            assert!(
                found.unreadable[0].error.to_string().contains("record is gone"),
                "{}",
                found.unreadable[0].error
            );

            bucket.down.set(true);
            vault.listing(None).await.unwrap_err();
        });
    }
}
