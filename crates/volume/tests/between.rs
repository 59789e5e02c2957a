//! What comes between two steps: a power cut, a failing or full medium, a slow source, a log that is full.
//!
//! Each test is one sequence of events that a random history meets too rarely.

mod common;

use bytes::Bytes;
use common::{DISK, config};
use roaring::RoaringBitmap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::{FaultOp, Sim};
use tidemark_env::{Env, LocalFuture, OpenMode};
use tidemark_units::{CHUNK_BYTES, ChunkIndex, SnapshotId};
use tidemark_volume::{ChunkSource, CreateOptions, FrozenChunk, Volume, VolumeConfig, VolumeErrorKind};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

/// A source whose every chunk is filled with one byte, after a while.
struct Slow {
    env: Env,
    fill: u8,
    millis: u64,
}

impl ChunkSource for Slow {
    fn read_chunk(&self, _: ChunkIndex) -> LocalFuture<'_, Result<Option<Bytes>, String>> {
        Box::pin(async move {
            self.env.clock.sleep(Duration::from_millis(self.millis)).await;
            Ok(Some(vec![self.fill; CHUNK_BYTES as usize].into()))
        })
    }

    fn nonzero(&self, range: std::ops::Range<u32>) -> LocalFuture<'_, Result<RoaringBitmap, String>> {
        Box::pin(async move { Ok(range.collect()) })
    }
}

fn source(env: &Env, fill: u8, millis: u64) -> Rc<dyn ChunkSource> {
    Rc::new(Slow {
        env: env.clone(),
        fill,
        millis,
    })
}

async fn create(env: &Env, source: Option<(Vec<u8>, u64)>) {
    create_with(env, source, &config()).await;
}

async fn create_with(env: &Env, source: Option<(Vec<u8>, u64)>, config: &VolumeConfig) {
    let options = CreateOptions {
        name: "d-1".into(),
        size_bytes: DISK,
        source,
    };
    Volume::create(env, Path::new("v"), &options, config)
        .await
        .unwrap();
}

async fn open(env: &Env, source: Option<Rc<dyn ChunkSource>>) -> Volume {
    Volume::open(env, Path::new("v"), source, &config())
        .await
        .unwrap()
}

fn id(name: &str) -> SnapshotId {
    SnapshotId::new(name).unwrap()
}

fn chunks(of: &[u32]) -> RoaringBitmap {
    of.iter().copied().collect()
}

async fn write_chunk(volume: &Volume, chunk: u64, fill: u8) {
    let data = vec![fill; CHUNK_BYTES as usize].into();
    volume.write(chunk * CHUNK_BYTES, data, true).await.unwrap();
}

async fn byte_of_chunk(volume: &Volume, chunk: u64) -> u8 {
    let bytes = volume
        .read(chunk * CHUNK_BYTES, CHUNK_BYTES)
        .await
        .unwrap()
        .concat();
    assert!(bytes.iter().all(|b| *b == bytes[0]), "a chunk of one fill");
    bytes[0]
}

/// The latest snapshots are deleted while the last one's mark is still only in the log.
#[test]
fn changes_that_a_deleted_snapshot_held_are_known_after_a_crash() {
    let sim = Sim::new(1);
    sim.run(|env| async move {
        create(&env, None).await;
        let volume = open(&env, None).await;
        write_chunk(&volume, 3, 1).await;
        volume.mark(&id("s-1")).await.unwrap();
        volume.commit(&id("s-1"), b"s-1".to_vec(), None).await.unwrap();
        volume.checkpoint().await.unwrap();
        write_chunk(&volume, 5, 1).await;
        volume.mark(&id("s-2")).await.unwrap();
        volume.commit(&id("s-2"), b"s-2".to_vec(), None).await.unwrap();
        // Both snapshots go: the next one starts from nothing and has to hold both chunks.
        volume
            .reparent(Some(b"s-2"), None, &chunks(&[3, 5]))
            .await
            .unwrap();
    });
    sim.crash();
    sim.run(|env| async move {
        let volume = open(&env, None).await;
        // The mark is in the log's tail; its snapshot is gone, so its changes belong to the next.
        volume.fail(&id("s-2")).await.unwrap();
        assert_eq!(volume.parent(), None);
        assert_eq!(volume.changed_chunks(), chunks(&[3, 5]));
    });
}

/// Between looking at the parent and acting on it, a capture that was under way is committed.
#[test]
fn what_was_found_out_about_an_older_parent_is_refused() {
    let sim = Sim::new(3);
    sim.run(|env| async move {
        create(&env, None).await;
        let volume = open(&env, None).await;
        let commit = async |name: &str| {
            volume.mark(&id(name)).await.unwrap();
            let root = name.as_bytes().to_vec();
            volume.commit(&id(name), root, None).await.unwrap();
        };
        write_chunk(&volume, 3, 1).await;
        commit("s-1").await;
        let looked_at = volume.parent();
        write_chunk(&volume, 5, 1).await;
        commit("s-2").await;
        // Nobody told it of chunk 5: the next snapshot would lack it, and a rollback would keep it.
        let reparented = volume.reparent(looked_at.as_deref(), None, &chunks(&[3])).await;
        assert_eq!(reparented.unwrap_err().kind, VolumeErrorKind::Busy);
        let rolled = volume
            .rollback(
                looked_at.as_deref(),
                b"s-0".to_vec(),
                &chunks(&[3]),
                source(&env, 2, 1),
            )
            .await;
        assert_eq!(rolled.unwrap_err().kind, VolumeErrorKind::Busy);
        assert_eq!(volume.parent().as_deref(), Some(&b"s-2"[..]));
        assert_eq!(byte_of_chunk(&volume, 5).await, 1);
        volume
            .reparent(Some(b"s-2"), None, &chunks(&[3, 5]))
            .await
            .unwrap();
        assert_eq!(volume.changed_chunks(), chunks(&[3, 5]));
    });
}

/// What a rollback undoes is not written to the base first: that can be all that the log holds.
#[test]
fn a_rollback_moves_only_what_it_keeps_to_the_base() {
    let sim = Sim::new(6);
    sim.run(|env| async move {
        create(&env, None).await;
        let volume = open(&env, None).await;
        write_chunk(&volume, 3, 1).await;
        volume.mark(&id("s-1")).await.unwrap();
        volume.commit(&id("s-1"), b"s-1".to_vec(), None).await.unwrap();
        write_chunk(&volume, 5, 7).await;
        volume
            .zero(6 * CHUNK_BYTES, CHUNK_BYTES, false, false)
            .await
            .unwrap();
        volume
            .rollback(Some(b"s-1"), b"s-1".to_vec(), &chunks(&[]), source(&env, 2, 1))
            .await
            .unwrap();
        let base = env
            .fs
            .open(Path::new("v/base/0000.raw"), OpenMode::Read)
            .await
            .unwrap();
        let found = base.next_data(0, DISK).await.unwrap();
        assert_eq!(found, Some((3 * CHUNK_BYTES, 4 * CHUNK_BYTES)));
        assert_eq!(base.next_data(4 * CHUNK_BYTES, DISK).await.unwrap(), None);
        drop(base);
        let content = async |volume: &Volume| {
            [
                byte_of_chunk(volume, 3).await,
                byte_of_chunk(volume, 5).await,
                byte_of_chunk(volume, 6).await,
            ]
        };
        assert_eq!(content(&volume).await, [1, 2, 2]);
    });
}

/// A fetch from the old content is under way when the disk is rolled back.
#[test]
fn what_was_fetched_before_a_rollback_does_not_land_after_it() {
    let sim = Sim::new(2);
    sim.run(|env| async move {
        create(&env, Some((b"old".to_vec(), DISK))).await;
        let volume = open(&env, Some(source(&env, 1, 1000))).await;
        let fetching = volume.clone();
        env.spawn(async move {
            let _ = fetching.hydrate(ChunkIndex(4)).await;
        });
        env.clock.sleep(Duration::from_millis(100)).await;
        volume
            .rollback(
                volume.parent().as_deref(),
                b"new".to_vec(),
                &chunks(&[4, 5]),
                source(&env, 2, 1),
            )
            .await
            .unwrap();
        assert_eq!(
            byte_of_chunk(&volume, 4).await,
            2,
            "a read joins no fetch of old content"
        );
        env.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(byte_of_chunk(&volume, 4).await, 2);
        assert_eq!(byte_of_chunk(&volume, 5).await, 2);
    });
}

/// A fetch is under way when the volume is closed, and its directory has another owner when it ends.
#[test]
fn nothing_lands_after_a_close() {
    let sim = Sim::new(3);
    sim.run(|env| async move {
        create(&env, Some((b"old".to_vec(), DISK))).await;
        let volume = open(&env, Some(source(&env, 1, 1000))).await;
        let fetching = volume.clone();
        env.spawn(async move {
            let _ = fetching.hydrate(ChunkIndex(4)).await;
        });
        env.clock.sleep(Duration::from_millis(100)).await;
        volume.close().await.unwrap();
        let volume = open(&env, Some(source(&env, 1, 1))).await;
        write_chunk(&volume, 4, 9).await;
        volume.checkpoint().await.unwrap();
        env.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(byte_of_chunk(&volume, 4).await, 9);
    });
}

#[test]
fn failing_superblock_writes_never_cost_both_slots() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        sim.run(|env| {
            let sim = sim.clone();
            async move {
                create(&env, None).await;
                let volume = open(&env, None).await;
                write_chunk(&volume, 3, 7).await;
                for n in 0..3u8 {
                    let from = volume.parent();
                    volume
                        .reparent(from.as_deref(), Some(vec![n; 9000]), &chunks(&[]))
                        .await
                        .unwrap();
                }
                sim.fail_always(FaultOp::Sync, |path| path.to_string_lossy().contains("super."));
                for n in 3..6u8 {
                    let from = volume.parent();
                    let done = volume
                        .reparent(from.as_deref(), Some(vec![n; 9000]), &chunks(&[]))
                        .await;
                    assert!(done.is_err());
                }
            }
        });
        sim.clear_faults();
        sim.crash();
        sim.run(|env| async move {
            let volume = open(&env, None).await;
            assert_eq!(byte_of_chunk(&volume, 3).await, 7);
        });
    }
}

#[test]
fn one_write_larger_than_the_log_completes() {
    let sim = Sim::new(4);
    let done = sim.run_for(LONG, |env| async move {
        create(&env, None).await;
        let volume = open(&env, None).await;
        volume
            .write(0, vec![5; DISK as usize].into(), true)
            .await
            .unwrap();
        assert_eq!(byte_of_chunk(&volume, 31).await, 5);
    });
    assert!(done.is_some(), "the write waits for ever");
}

#[test]
fn a_quiet_disk_with_many_snapshots_does_not_gather_layers() {
    let sim = Sim::new(5);
    sim.run(|env| async move {
        let roomy = VolumeConfig {
            segments_max: Some(64),
            ..config()
        };
        create_with(&env, None, &roomy).await;
        let volume = open(&env, None).await;
        for n in 0..20u8 {
            let snapshot = id(&format!("s-{n}"));
            volume.write(0, vec![n; 4096].into(), false).await.unwrap();
            volume.mark(&snapshot).await.unwrap();
            volume.commit(&snapshot, vec![n], None).await.unwrap();
        }
        env.clock.sleep(Duration::from_secs(1)).await;
        let info = volume.info();
        assert!(
            info.checkpoint_lsn.0 > 20,
            "checkpointed up to {} of {}",
            info.checkpoint_lsn,
            info.last_lsn
        );
    });
}

#[test]
fn zeros_that_shall_keep_their_space_on_a_full_file_system_stall_nothing() {
    let sim = Sim::new(6);
    let done = sim.run_for(LONG, |env| {
        let sim = sim.clone();
        async move {
            create(&env, None).await;
            let volume = open(&env, None).await;
            write_chunk(&volume, 3, 7).await;
            volume.checkpoint().await.unwrap();
            sim.set_capacity(Some(1 << 20));
            volume.zero(0, DISK, false, true).await.unwrap();
            volume.checkpoint().await.unwrap();
            assert_eq!(byte_of_chunk(&volume, 3).await, 0);
            volume.close().await.unwrap();
        }
    });
    assert!(done.is_some(), "the checkpoint waits for ever");
}

#[test]
fn a_volume_closes_while_its_log_is_full_and_a_capture_needs_the_base() {
    let sim = Sim::new(7);
    let done = sim.run_for(LONG, |env| async move {
        create(&env, None).await;
        let volume = open(&env, None).await;
        for chunk in 0..DISK / CHUNK_BYTES {
            write_chunk(&volume, chunk, 1).await;
        }
        volume.mark(&id("s-1")).await.unwrap();
        // Nobody takes a chunk, so the base cannot change and the log fills up.
        for chunk in 0..DISK / CHUNK_BYTES {
            let volume = volume.clone();
            env.spawn(async move {
                let data = vec![2; CHUNK_BYTES as usize].into();
                let _ = volume.write(chunk * CHUNK_BYTES, data, false).await;
            });
        }
        let large = volume.clone();
        env.spawn(async move {
            let _ = large.write(0, vec![2; DISK as usize].into(), false).await;
        });
        env.clock.sleep(Duration::from_secs(10)).await;
        let _ = volume.close().await;
        // Whatever was not acknowledged may be there or not; what was marked is still to be captured.
        let volume = open(&env, None).await;
        assert_eq!(volume.pending_marks().len(), 1);
        let frozen = volume.read_frozen(&id("s-1"), ChunkIndex(9)).await.unwrap();
        assert_eq!(
            frozen,
            tidemark_volume::FrozenChunk::Data(vec![1; CHUNK_BYTES as usize].into())
        );
    });
    assert!(done.is_some(), "close waits for ever");
}

#[test]
fn what_follows_a_torn_tail_and_a_checkpoint_is_found_again() {
    for seed in 0..40 {
        let sim = Sim::new(seed);
        sim.run(|env| async move {
            create(&env, None).await;
            let volume = open(&env, None).await;
            write_chunk(&volume, 1, 1).await;
            // Never flushed: of some batch the header may survive without its payload, which burns its position.
            let torn = vec![2; CHUNK_BYTES as usize].into();
            volume.write(2 * CHUNK_BYTES, torn, false).await.unwrap();
        });
        sim.crash();
        sim.run(|env| async move {
            // The checkpoint of the close covers the burnt position, though the log holds no such record.
            let volume = open(&env, None).await;
            volume.close().await.unwrap();
            let volume = open(&env, None).await;
            write_chunk(&volume, 3, 3).await;
        });
        sim.run(|env| async move {
            let volume = open(&env, None).await;
            assert_eq!(byte_of_chunk(&volume, 1).await, 1);
            assert_eq!(
                byte_of_chunk(&volume, 3).await,
                3,
                "seed {seed}: flushed and lost"
            );
        });
    }
}

/// A source that is down until it is told otherwise.
struct Down {
    up: std::cell::Cell<bool>,
}

impl ChunkSource for Down {
    fn read_chunk(&self, _: ChunkIndex) -> LocalFuture<'_, Result<Option<Bytes>, String>> {
        Box::pin(async move {
            match self.up.get() {
                true => Ok(Some(vec![5; CHUNK_BYTES as usize].into())),
                false => Err("the bucket does not answer".into()),
            }
        })
    }

    fn nonzero(&self, range: std::ops::Range<u32>) -> LocalFuture<'_, Result<RoaringBitmap, String>> {
        Box::pin(async move { Ok(range.collect()) })
    }
}

#[test]
fn a_capture_that_needs_a_source_which_is_down_can_try_again() {
    Sim::new(5).run(|env| async move {
        create(&env, Some((b"root".to_vec(), DISK))).await;
        let down = Rc::new(Down {
            up: std::cell::Cell::new(false),
        });
        let source: Rc<dyn ChunkSource> = Rc::clone(&down) as Rc<dyn ChunkSource>;
        let volume = Volume::open(&env, Path::new("v"), Some(source), &config())
            .await
            .unwrap();
        // Part of an absent chunk: the snapshot's chunk is this and the source's.
        volume.write(0, vec![9; 4096].into(), false).await.unwrap();
        let id = SnapshotId::new("s-1").unwrap();
        volume.mark(&id).await.unwrap();
        for _ in 0..2 {
            let refused = volume.read_frozen(&id, ChunkIndex(0)).await.unwrap_err();
            assert_eq!(refused.kind, VolumeErrorKind::Unavailable, "{refused}");
        }
        volume
            .write(4096, vec![8; 4096].into(), true)
            .await
            .expect("the guest goes on");
        assert_eq!(volume.info().poisoned, None);
        down.up.set(true);
        let FrozenChunk::Data(bytes) = volume.read_frozen(&id, ChunkIndex(0)).await.unwrap() else {
            panic!("it is not zeros");
        };
        assert!(bytes[..4096].iter().all(|b| *b == 9) && bytes[4096..].iter().all(|b| *b == 5));
        volume.close().await.unwrap();
    });
}

#[test]
fn no_segment_is_made_after_a_close() {
    for seed in 0..40 {
        let sim = Sim::new(seed);
        sim.run(|env| {
            let sim = sim.clone();
            async move {
                create(&env, None).await;
                let volume = Volume::open(&env, Path::new("v"), None, &config()).await.unwrap();
                for n in 0..1 + sim.below(40) {
                    volume.write(n * 4096, vec![1; 4096].into(), false).await.unwrap();
                }
                volume.close().await.unwrap();
                let log = Path::new("v/log");
                let closed = env.fs.list_sizes(log).await.unwrap();
                env.clock.sleep(LONG).await;
                assert_eq!(env.fs.list_sizes(log).await.unwrap(), closed);
            }
        });
    }
}

#[test]
fn writes_that_come_at_once_each_have_their_space() {
    let mut refused = 0;
    for seed in 0..40 {
        let sim = Sim::new(seed);
        refused += sim.run(|env| {
            let sim = sim.clone();
            async move {
                let config = VolumeConfig {
                    reserve_step_bytes: 4096,
                    checkpoint_percent: 90,
                    ..config()
                };
                create_with(&env, None, &config).await;
                let volume = Volume::open(&env, Path::new("v"), None, &config).await.unwrap();
                // Nothing but the writes themselves shall want space while it is tight.
                volume.write(0, vec![1; 4096].into(), true).await.unwrap();
                volume.checkpoint().await.unwrap();
                let used = env.fs.space(Path::new("v")).await.unwrap();
                let in_use = used.total_bytes - used.available_bytes;
                sim.set_capacity(Some(in_use + (160 << 10) + sim.below(64 << 10)));
                let write = |n: u64| volume.write((1 + n * 2) * 4096, vec![2; 4096].into(), false);
                let answers = futures_util::future::join_all((0..80).map(write)).await;
                let full = answers.iter().filter(|a| a.is_err()).count();
                for answer in answers.iter().filter_map(|a| a.as_ref().err()) {
                    assert_eq!(answer.kind, VolumeErrorKind::Full, "{answer}");
                }
                let checkpoint = Box::pin(volume.checkpoint());
                let waited = Box::pin(env.clock.sleep(Duration::from_millis(200)));
                match futures_util::future::select(checkpoint, waited).await {
                    futures_util::future::Either::Left((done, _)) => {
                        done.expect("what was acknowledged has its space");
                    }
                    futures_util::future::Either::Right(_) => {
                        panic!("seed {seed}: the checkpoint waits for space")
                    }
                }
                sim.set_capacity(None);
                volume.close().await.unwrap();
                full
            }
        });
    }
    assert!(refused > 0, "there was meant to be too little space");
}

/// A process is killed after any of its steps and leaves a log that has grown, or a superblock that is new. The next one
/// builds on it; then the power goes.
#[test]
fn what_a_killed_process_left_unsynced_is_made_durable_before_it_is_built_upon() {
    for seed in 0..400 {
        common::run_history(|| built_upon_what_was_left(seed));
    }
}

fn built_upon_what_was_left(seed: u64) {
    let sim = Sim::new(seed);
    sim.run(|env| async move { create(&env, None).await });
    sim.run_steps(sim.below(120), |env| async move {
        let volume = open(&env, None).await;
        volume.note_connected().await.unwrap();
        for n in 0..32 {
            let data = vec![1; 4096].into();
            volume.write(n * 4096, data, false).await.unwrap();
        }
        volume.checkpoint().await.unwrap();
    });
    // Few records: the making of another segment would sync the names of all.
    sim.run(|env| async move {
        let volume = open(&env, None).await;
        for fill in 2..6 {
            write_chunk(&volume, 1, fill).await;
            volume.checkpoint().await.unwrap();
        }
        write_chunk(&volume, 2, 7).await;
    });
    sim.crash();
    sim.run(|env| async move {
        let opened = Volume::open(&env, Path::new("v"), None, &config()).await;
        let volume = opened.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(byte_of_chunk(&volume, 1).await, 5, "seed {seed}");
        assert_eq!(byte_of_chunk(&volume, 2).await, 7, "seed {seed}");
    });
}

#[test]
fn a_connection_that_could_not_be_noted_is_noted_with_the_next() {
    let sim = Sim::new(1);
    let world = sim.clone();
    sim.run(|env| async move {
        create(&env, None).await;
        let volume = open(&env, None).await;
        world.fail_next(FaultOp::Sync, |path| path.ends_with("super.1"));
        volume.note_connected().await.unwrap_err();
        volume.note_connected().await.unwrap();
    });
    sim.crash();
    sim.run(|env| async move {
        assert!(open(&env, None).await.info().ever_connected);
    });
}

/// What is read for somebody else's sake must not make the volume ask its source: that may be who asks.
#[test]
fn a_chunk_is_given_away_only_if_all_of_it_is_local() {
    let sim = Sim::new(1);
    sim.run(|env| async move {
        let data = CHUNK_BYTES - 4096;
        create(&env, Some((vec![9], DISK))).await;
        let volume = open(&env, Some(source(&env, 7, 60_000))).await;
        let local = async |chunk| volume.read_local(ChunkIndex(chunk)).await.unwrap();
        let before = env.clock.now();
        assert_eq!(local(3).await, None, "absent");
        volume
            .write(3 * CHUNK_BYTES, vec![1; data as usize].into(), true)
            .await
            .unwrap();
        assert_eq!(local(3).await, None, "partly valid");
        volume.checkpoint().await.unwrap();
        assert_eq!(local(3).await, None, "in the base, too");
        assert!(
            env.clock.now() - before < Duration::from_secs(30),
            "nothing was fetched"
        );
        volume
            .write(3 * CHUNK_BYTES + data, vec![1; 4096].into(), true)
            .await
            .unwrap();
        assert_eq!(local(3).await.unwrap(), vec![1; CHUNK_BYTES as usize]);
        volume.hydrate(ChunkIndex(4)).await.unwrap();
        assert_eq!(local(4).await.unwrap(), vec![7; CHUNK_BYTES as usize]);
        assert_eq!(local((DISK / CHUNK_BYTES) as u32 + 5).await, None, "past the end");
    });
}
