//! A capture is given up while its commit is under way, or long after it: the snapshot is there and whole, or it never
//! comes, and what others need stays.

mod common;

use common::*;
use futures_util::future::{Either, select};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_env::{Env, OpenMode};
use tidemark_vault::{CollectOptions, Sample, SnapshotWriter, Vault, VaultErrorKind};

#[test]
fn an_entry_that_is_under_way_does_not_get_through_later() {
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let bucket = SimBucket::new(&sim);
        sim.run(|env| async move {
            let vault = Vault::open_or_create(&env, bucket.client_of_run()).await.unwrap();
            let dir = Path::new("spool/s-1");
            let spec = spec("s-1", "d-1", 10, None, &[3]);
            let writer = SnapshotWriter::begin(&vault, dir, spec, small()).await.unwrap();
            writer.put(3, chunk(Some(7))).await.unwrap();
            {
                // Dropped while one of its requests is under way: what was sent was sent.
                let finishing = pin!(writer.finish(draft()));
                let moment = env.clock.sleep(Duration::from_micros(500 * seed));
                if let Either::Left((done, _)) = select(finishing, moment).await {
                    done.unwrap();
                }
            }
            writer.close().await;
            drop(writer);
            if let Some(again) = SnapshotWriter::resume(&vault, dir, small()).await.unwrap() {
                // Refused if it was committed.
                let _ = again.abandon().await;
            }
            env.clock.sleep(Duration::from_secs(60)).await;
            let theirs = Vault::open(&env, bucket.client_of_run()).await.unwrap();
            let log = theirs.head_log(&disk("d-1")).await.unwrap();
            for (id, root) in tidemark_vault::head::live_snapshots(&log.entries()) {
                let report = theirs.verify(&root, Sample::All).await.unwrap();
                assert!(report.damage.is_empty(), "seed {seed}: {:?}", report.damage);
                assert!(
                    theirs.snapshot(&id).await.is_ok(),
                    "seed {seed}: {id} has no record"
                );
            }
            if log.is_empty() {
                let gone = theirs.snapshot(&snapshot("s-1")).await.unwrap_err();
                assert_eq!(gone.kind, VaultErrorKind::Missing);
            }
        });
    }
}

/// What a process that is killed now leaves of a spool.
async fn copy_dir(env: &Env, from: &Path, to: &Path) {
    tidemark_env::fs::create_dir_durable(&*env.fs, to).await.unwrap();
    for entry in env.fs.list(from).await.unwrap() {
        let file = env
            .fs
            .open(&from.join(&entry.name), OpenMode::Read)
            .await
            .unwrap();
        let size = file.size().await.unwrap();
        let bytes = file.read_at(0, size as usize).await.unwrap();
        let path = to.join(&entry.name);
        tidemark_env::fs::write_atomic(&*env.fs, &path, bytes)
            .await
            .unwrap();
    }
}

/// Killed right behind its head entry, the capture's spool is found again once the snapshot has been deleted, and given up.
/// The next snapshot is relative to it: it needs most of those packs.
fn left_over(seed: u64, is_copy: bool, until_ms: Option<i64>) {
    let sim = Sim::new(seed);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let all: Vec<u32> = (0..60).collect();
        let model: Model = all.iter().map(|at| (*at, u64::from(*at) * 2 + 1)).collect();
        let dir = Path::new("spool/s-1");
        let first = spec("s-1", "d-1", 100, None, &all);
        let writer = SnapshotWriter::begin(&vault, dir, first, small()).await.unwrap();
        for at in &all {
            writer.put(*at, chunk(model.get(at).copied())).await.unwrap();
        }
        writer.seal().await.unwrap();
        while writer.progress().spool_bytes > 0 {
            env.clock.sleep(Duration::from_millis(5)).await;
        }
        let left = Path::new("spool/left");
        copy_dir(&env, dir, left).await;
        let first = writer.finish(draft()).await.unwrap().root;
        let mut next = model.clone();
        next.insert(3, 9999);
        let second = spec("s-2", "d-1", 100, Some(first), &[3]);
        let second = capture(&vault, Path::new("spool/s-2"), second, &next)
            .await
            .unwrap();
        vault
            .delete_snapshot(&disk("d-1"), &snapshot("s-1"), until_ms)
            .await
            .unwrap();
        vault.collect(&CollectOptions::default()).await.unwrap();
        assert_holds(&vault, second.root, &next, "before").await;

        let again = SnapshotWriter::resume(&vault, left, small())
            .await
            .unwrap()
            .unwrap();
        let refused = match is_copy {
            true => again.abandon_copy().await,
            false => again.abandon().await,
        };
        let refused = refused.expect_err("what was committed is not given up");
        assert_eq!(refused.kind, VaultErrorKind::Other, "{refused}");
        assert!(!env.fs.exists(left).await.unwrap(), "nothing of it is of use");
        let fresh = bucket.open_vault(&env).await.unwrap();
        assert_holds(&fresh, second.root, &next, "the snapshot that is relative to it").await;
        if until_ms.is_some() {
            let back = fresh.undelete_snapshot(&disk("d-1"), &snapshot("s-1")).await;
            assert_holds(&fresh, back.unwrap().root, &model, "brought back").await;
        }
    });
}

#[test]
fn what_is_left_of_a_capture_whose_snapshot_was_deleted_takes_nothing_along() {
    for seed in [1, ENCRYPTED + 1] {
        for is_copy in [false, true] {
            left_over(seed, is_copy, None);
            left_over(seed, is_copy, Some(i64::MAX));
        }
    }
}

/// As above, cut off at any moment of the commit; then the snapshot is deleted, and can be brought back for a day.
#[test]
fn a_commit_that_nobody_saw_is_not_given_up_once_its_snapshot_is_deleted() {
    let mut met = 0;
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let bucket = SimBucket::new(&sim);
        met += sim.run(|env| async move {
            let vault = Vault::open_or_create(&env, bucket.client_of_run()).await.unwrap();
            let dir = Path::new("spool/s-1");
            let spec = spec("s-1", "d-1", 10, None, &[3]);
            let writer = SnapshotWriter::begin(&vault, dir, spec, small()).await.unwrap();
            writer.put(3, chunk(Some(7))).await.unwrap();
            {
                let finishing = pin!(writer.finish(draft()));
                let moment = env.clock.sleep(Duration::from_micros(500 * seed));
                if let Either::Left((done, _)) = select(finishing, moment).await {
                    done.unwrap();
                }
            }
            writer.close().await;
            drop(writer);
            env.clock.sleep(Duration::from_secs(60)).await;
            let log = vault.head_log(&disk("d-1")).await.unwrap();
            if log.state().live().is_empty() {
                return 0;
            }
            let until = env.clock.unix_millis() + 86_400_000;
            vault
                .delete_snapshot(&disk("d-1"), &snapshot("s-1"), Some(until))
                .await
                .unwrap();
            let Some(again) = SnapshotWriter::resume(&vault, dir, small()).await.unwrap() else {
                return 0;
            };
            let _ = again.abandon().await;
            let theirs = Vault::open(&env, bucket.client_of_run()).await.unwrap();
            let back = theirs
                .undelete_snapshot(&disk("d-1"), &snapshot("s-1"))
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let report = theirs.verify(&back.root, Sample::All).await.unwrap();
            assert!(report.damage.is_empty(), "seed {seed}: {:?}", report.damage);
            1
        });
    }
    assert!(met > 0, "no spool outlived its commit");
}
