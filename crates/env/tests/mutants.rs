//! The deliberate bugs of this crate break what they are named after; the feature `mutants` compiles them in.
#![cfg(feature = "mutants")]

use std::path::Path;
use tidemark_env::fs::{create_dir_durable, write_atomic};
use tidemark_env::sim::{Machine, Sim};
use tidemark_env::{Bucket, DirBucket, Env, OpenMode, Precondition, mutant};

/// Of 60 histories with a power cut after `work`, in how many `holds` is false afterwards.
fn broken(name: Option<&'static str>, work: impl AsyncFn(&Env), holds: impl AsyncFn(&Env) -> bool) -> u32 {
    let broken = |seed| {
        let sim = Sim::new(seed);
        sim.run(async |_| {
            let machine: Machine = sim.machine("a");
            work(&machine.boot().env()).await;
            machine.power_cut();
            !holds(&machine.boot().env()).await
        })
    };
    mutant::with(name, || (0..60).filter(|seed| broken(*seed)).count() as u32)
}

/// Without the bug never broken, with it in some histories.
fn check(name: &'static str, work: impl AsyncFn(&Env), holds: impl AsyncFn(&Env) -> bool) {
    assert_eq!(broken(None, &work, &holds), 0, "{name} is off");
    assert!(broken(Some(name), &work, &holds) > 5, "{name} is on");
}

async fn is_whole(env: &Env, path: &str) -> bool {
    let Ok(file) = env.fs.open(Path::new(path), OpenMode::Read).await else {
        return false;
    };
    matches!(file.read_at(0, 4).await, Ok(bytes) if bytes == "body")
}

#[test]
fn a_directory_is_made_without_syncing_its_parent() {
    check(
        "env-create-dir-without-sync",
        async |env| create_dir_durable(&*env.fs, Path::new("/a/b")).await.unwrap(),
        async |env| env.fs.exists(Path::new("/a/b")).await.unwrap(),
    );
}

#[test]
fn an_atomic_write_is_not_synced() {
    for name in ["env-atomic-without-sync", "env-atomic-without-dir-sync"] {
        check(
            name,
            async |env| {
                write_atomic(&*env.fs, Path::new("/f"), "body".into())
                    .await
                    .unwrap()
            },
            async |env| is_whole(env, "/f").await,
        );
    }
}

#[test]
fn a_put_object_is_not_synced() {
    check(
        "bucket-put-without-sync",
        async |env| {
            let bucket = DirBucket::new(env.clone(), "/vault");
            bucket
                .put("k", vec!["body".into()], Precondition::Absent)
                .await
                .unwrap();
        },
        async |env| is_whole(env, "/vault/k").await,
    );
}
