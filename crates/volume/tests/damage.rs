//! Damage on the medium is named, never served and never truncated away; looking does not change anything.

mod common;

use common::{DISK, Image, ImageSource, SECTORS, bytes_of, config, value_of};
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::{FaultOp, Sim};
use tidemark_env::{Env, OpenMode};
use tidemark_units::SnapshotId;
use tidemark_volume::{CreateOptions, Volume, VolumeErrorKind};

const DIR: &str = "v";

async fn create(env: &Env) -> tidemark_volume::Result<()> {
    let options = CreateOptions {
        name: "d-1".into(),
        size_bytes: DISK,
        source: None,
    };
    Volume::create(env, Path::new(DIR), &options, &config()).await
}

async fn open(env: &Env) -> tidemark_volume::Result<Volume> {
    Volume::open(env, Path::new(DIR), None, &config()).await
}

/// A volume that was killed with a few synced writes and a prepared mark in its log.
fn killed(sim: &Sim) {
    sim.run(|env| async move {
        create(&env).await.unwrap();
        let volume = open(&env).await.unwrap();
        for n in 0..6 {
            volume.write(n * 4096, bytes_of(&[n + 1; 8]), true).await.unwrap();
        }
        let group = SnapshotId::new("s-g").unwrap();
        volume.prepare(&group, "ssg-1").unwrap().durable().await.unwrap();
    });
}

async fn flip(env: &Env, path: &str, at: u64) {
    let file = env.fs.open(Path::new(path), OpenMode::ReadWrite).await.unwrap();
    let byte = file.read_at(at, 1).await.unwrap()[0] ^ 0x10;
    file.write_at(at, vec![vec![byte].into()]).await.unwrap();
}

#[test]
fn a_healthy_volume_has_no_problems_and_looking_changes_nothing() {
    let sim = Sim::new(1);
    killed(&sim);
    sim.run(|env| async move {
        for _ in 0..2 {
            let report = Volume::check(&env, Path::new(DIR)).await.unwrap();
            assert!(report.problems.is_empty(), "{report:?}");
            let log = report.log.unwrap();
            assert_eq!((log.records, log.last_lsn.0), (7, 7));
            assert_eq!((log.prepared.len(), &*log.prepared[0].1), (1, "ssg-1"));
            assert_eq!(report.volume.unwrap().name, "d-1");
        }
        let volume = open(&env).await.unwrap();
        let busy = Volume::check(&env, Path::new(DIR)).await.unwrap_err();
        assert_eq!(busy.kind, VolumeErrorKind::Busy);
        assert_eq!(volume.prepared_marks().len(), 1);
    });
}

#[test]
fn damage_in_synced_records_is_refused_and_named() {
    let sim = Sim::new(2);
    killed(&sim);
    sim.run(|env| async move {
        // Segment 0 is from the creation, 1 the first one written to: block 0 is its header, block 1 the first batch's, block 2 its payload.
        flip(&env, "v/log/00000001.seg", 2 * 4096 + 100).await;
        let refused = open(&env).await.err().expect("synced data is gone");
        assert_eq!(refused.kind, VolumeErrorKind::Corrupt);
        for part in [
            "d-1",
            "v",
            "records 1 to",
            "00000001.seg",
            "from byte 4096",
            "doctor",
        ] {
            assert!(refused.message.contains(part), "{part}: {refused}");
        }
        let report = Volume::check(&env, Path::new(DIR)).await.unwrap();
        assert!(
            report.problems.iter().any(|p| p.contains("records 1 to")),
            "{report:?}"
        );
    });
}

#[test]
fn a_volume_whose_superblocks_are_both_damaged_is_not_made_anew() {
    let sim = Sim::new(3);
    killed(&sim);
    sim.run(|env| async move {
        let volume = open(&env).await.unwrap();
        volume.note_connected().await.unwrap();
    });
    sim.run(|env| async move {
        for slot in ["v/super.0", "v/super.1"] {
            flip(&env, slot, 70).await;
        }
        let refused = open(&env).await.err().unwrap();
        assert_eq!(refused.kind, VolumeErrorKind::Corrupt);
        for part in ["volume in v", "slot 0", "slot 1", "restored"] {
            assert!(refused.message.contains(part), "{part}: {refused}");
        }
        assert_eq!(create(&env).await.unwrap_err().kind, VolumeErrorKind::Corrupt);
        let report = Volume::check(&env, Path::new(DIR)).await.unwrap();
        assert!(report.slots.iter().all(|s| s.problem.is_some()) && !report.problems.is_empty());
    });
}

async fn first_value(volume: &Volume) -> u64 {
    value_of(&volume.read(0, 512).await.unwrap().concat())
}

#[test]
fn a_new_volume_survives_the_loss_of_either_slot_and_then_of_the_other() {
    for (first, second) in [("v/super.0", "v/super.1"), ("v/super.1", "v/super.0")] {
        let sim = Sim::new(4);
        sim.run(|env| async move { create(&env).await.unwrap() });
        sim.crash();
        sim.run(|env| async move {
            flip(&env, first, 70).await;
            let volume = open(&env).await.unwrap();
            volume.write(0, bytes_of(&[7; 8]), true).await.unwrap();
        });
        sim.crash();
        sim.run(|env| async move {
            // The opening has replaced what was lost.
            flip(&env, second, 70).await;
            assert_eq!(first_value(&open(&env).await.unwrap()).await, 7);
        });
    }
}

fn full_of(env: &Env, sim: &Sim, value: u64) -> Rc<ImageSource> {
    let image: Image = vec![value; SECTORS];
    Rc::new(ImageSource {
        env: env.clone(),
        sim: sim.clone(),
        image: Rc::new(image),
    })
}

async fn roll_back(env: &Env, world: &Sim, volume: &Volume, value: u64) -> tidemark_volume::Result<()> {
    let parent = volume.parent();
    let (root, differing) = (vec![value as u8], [0].into_iter().collect());
    volume
        .rollback(parent.as_deref(), root, &differing, full_of(env, world, value))
        .await
}

/// Whichever slot is lost right after a rollback was answered, and after a crash that came before its answer.
#[test]
fn no_loss_of_a_superblock_slot_undoes_a_rollback() {
    for slot in ["v/super.0", "v/super.1"] {
        for answered in [true, false] {
            let sim = Sim::new(5);
            let world = sim.clone();
            sim.run(|env| async move {
                create(&env).await.unwrap();
                let volume = open(&env).await.unwrap();
                volume.write(0, bytes_of(&[7; 8]), true).await.unwrap();
                volume.checkpoint().await.unwrap();
                if !answered {
                    // Generation 5, the second of the two that a rollback writes.
                    world.fail_next(FaultOp::Sync, |path| path.ends_with("super.1"));
                }
                let rolled = roll_back(&env, &world, &volume, 9).await;
                assert_eq!(rolled.is_ok(), answered, "{rolled:?}");
            });
            if !answered {
                // Somebody sees the new content before the slot is lost.
                let world = sim.clone();
                sim.run(|env| async move {
                    let source = full_of(&env, &world, 9);
                    let volume = Volume::open(&env, Path::new(DIR), Some(source), &config())
                        .await
                        .unwrap();
                    assert_eq!(first_value(&volume).await, 9);
                });
            }
            let world = sim.clone();
            sim.run(|env| async move {
                flip(&env, slot, 70).await;
                let source = full_of(&env, &world, 9);
                let volume = Volume::open(&env, Path::new(DIR), Some(source), &config())
                    .await
                    .unwrap();
                assert_eq!(first_value(&volume).await, 9, "{slot}, answered {answered}");
            });
        }
    }
}
