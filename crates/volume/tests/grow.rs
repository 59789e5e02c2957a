//! A disk that grows: what it held stays, what is new reads as zeros and keeps what is written there, whatever the moment
//! of a power cut.

mod common;

use bytes::Bytes;
use common::config;
use roaring::RoaringBitmap;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::Sim;
use tidemark_env::{Env, LocalFuture, OpenMode};
use tidemark_units::{BLOCK_BYTES, CHUNK_BYTES, ChunkIndex, SnapshotId};
use tidemark_volume::{ChunkSource, CreateOptions, FrozenChunk, Volume, VolumeErrorKind};

/// Not a multiple of the chunk: the old end lies within one.
const SMALL: u64 = 20 * CHUNK_BYTES + 3 * BLOCK_BYTES;
const LARGE: u64 = 40 * CHUNK_BYTES;

/// A snapshot of a disk of [`SMALL`] bytes, all of it `0x11`.
struct Snapshot;

impl ChunkSource for Snapshot {
    fn read_chunk(&self, chunk: ChunkIndex) -> LocalFuture<'_, Result<Option<Bytes>, String>> {
        let own = SMALL
            .saturating_sub(u64::from(chunk.0) * CHUNK_BYTES)
            .min(CHUNK_BYTES);
        let mut bytes = vec![0; CHUNK_BYTES as usize];
        bytes[..own as usize].fill(0x11);
        // Past its end a snapshot has nothing.
        Box::pin(async move { Ok((own > 0).then(|| bytes.into())) })
    }

    fn nonzero(&self, range: std::ops::Range<u32>) -> LocalFuture<'_, Result<RoaringBitmap, String>> {
        Box::pin(async move { Ok(range.filter(|c| *c <= 20).collect()) })
    }
}

async fn create(env: &Env, lazy: bool) {
    let options = CreateOptions {
        name: "d-1".into(),
        size_bytes: SMALL,
        source: lazy.then(|| (b"root".to_vec(), SMALL)),
    };
    Volume::create(env, Path::new("v"), &options, &config())
        .await
        .unwrap();
}

async fn open(env: &Env, lazy: bool) -> Volume {
    let source = lazy.then(|| Rc::new(Snapshot) as Rc<dyn ChunkSource>);
    Volume::open(env, Path::new("v"), source, &config())
        .await
        .unwrap()
}

async fn byte_at(volume: &Volume, offset: u64) -> u8 {
    volume.read(offset, 1).await.unwrap().concat()[0]
}

async fn put(volume: &Volume, offset: u64, fill: u8) {
    let data = vec![fill; BLOCK_BYTES as usize].into();
    volume.write(offset, data, true).await.unwrap();
}

/// What every disk here must hold, whatever happened: `fill` below the old end, zeros above it but for a block.
async fn check(volume: &Volume, fill: u8, written: Option<(u64, u8)>) {
    assert_eq!(byte_at(volume, 0).await, fill);
    assert_eq!(byte_at(volume, SMALL - 1).await, fill);
    if volume.size_bytes() == SMALL {
        assert!(written.is_none(), "an acknowledged growth is lost");
        return;
    }
    for offset in (SMALL..LARGE).step_by(BLOCK_BYTES as usize) {
        let expected = match written {
            Some((at, value)) if at == offset => value,
            _ => 0,
        };
        assert_eq!(byte_at(volume, offset).await, expected, "at {offset}");
    }
}

#[test]
fn a_power_cut_leaves_the_old_size_or_the_new_and_all_that_was_acknowledged() {
    for seed in 0..150 {
        let sim = Sim::new(seed);
        let lazy = seed % 2 == 0;
        let fill = if lazy { 0x11 } else { 0x22 };
        sim.run(|env| async move {
            create(&env, lazy).await;
            let volume = open(&env, lazy).await;
            if !lazy {
                volume
                    .write(0, vec![fill; SMALL as usize].into(), true)
                    .await
                    .unwrap();
            }
            volume.close().await.unwrap();
        });
        let (grown, written) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(None)));
        for _ in 0..3 {
            let steps = 20 + sim.below(400);
            let (grown, written) = (Rc::clone(&grown), Rc::clone(&written));
            let random = sim.clone();
            sim.run_steps(steps, |env| async move {
                let volume = open(&env, lazy).await;
                volume.grow(LARGE).await.unwrap();
                assert_eq!(volume.size_bytes(), LARGE);
                grown.set(true);
                if written.borrow().is_none() {
                    let at = SMALL + random.below((LARGE - SMALL) / BLOCK_BYTES) * BLOCK_BYTES;
                    let data = vec![0x33; BLOCK_BYTES as usize].into();
                    // Before the call: it may be there although its answer never came.
                    *written.borrow_mut() = Some((at, false));
                    volume.write(at, data, true).await.unwrap();
                    *written.borrow_mut() = Some((at, true));
                    volume.checkpoint().await.unwrap();
                }
                env.clock.sleep(Duration::from_secs(1)).await;
            });
            sim.crash();
        }
        let (grown, written) = (grown.get(), *written.borrow());
        sim.run(|env| async move {
            let volume = open(&env, lazy).await;
            assert!(
                !grown || volume.size_bytes() == LARGE,
                "seed {seed}: a growth is lost"
            );
            let block = match written {
                Some((at, true)) => Some((at, 0x33)),
                Some((at, false)) => Some((at, byte_at(&volume, at).await)),
                None => None,
            };
            check(&volume, fill, block).await;
            volume.close().await.unwrap();
        });
    }
}

#[test]
fn the_loss_of_a_slot_costs_neither_the_size_nor_what_lies_past_the_old_end() {
    for slot in 0..2 {
        let sim = Sim::new(7);
        sim.run(|env| async move {
            create(&env, false).await;
            let volume = open(&env, false).await;
            volume.grow(LARGE).await.unwrap();
            put(&volume, LARGE - BLOCK_BYTES, 0x33).await;
        });
        // Not closed: what lies past the old end is in the log only.
        sim.run(|env| async move {
            let path = Path::new("v").join(format!("super.{slot}"));
            let file = env.fs.open(&path, OpenMode::ReadWrite).await.unwrap();
            file.write_at(100, vec![Bytes::from_static(&[0xff; 64])])
                .await
                .unwrap();
            file.sync().await.unwrap();
            let volume = open(&env, false).await;
            assert_eq!(volume.size_bytes(), LARGE);
            assert_eq!(byte_at(&volume, LARGE - 1).await, 0x33);
        });
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    Sim::new(1).run(|env| async move {
        create(&env, false).await;
        let volume = open(&env, false).await;
        for (size, kind) in [
            (SMALL - BLOCK_BYTES, VolumeErrorKind::Invalid),
            (SMALL + 1, VolumeErrorKind::Invalid),
            (u64::MAX, VolumeErrorKind::Invalid),
        ] {
            assert_eq!(volume.grow(size).await.unwrap_err().kind, kind, "{size}");
        }
        volume.grow(SMALL).await.unwrap();
        put(&volume, 0, 1).await;
        let id = SnapshotId::new("s-1").unwrap();
        volume.mark(&id).await.unwrap();
        assert_eq!(
            volume.grow(LARGE).await.unwrap_err().kind,
            VolumeErrorKind::Busy,
            "the snapshot has the size of its mark"
        );
        assert_eq!(volume.size_bytes(), SMALL);
        volume.fail(&id).await.unwrap();
        volume.grow(LARGE).await.unwrap();
    });
}

#[test]
fn what_is_written_past_the_old_end_is_in_the_next_snapshot_and_gone_after_a_rollback() {
    Sim::new(3).run(|env| async move {
        create(&env, true).await;
        let volume = open(&env, true).await;
        volume.grow(LARGE).await.unwrap();
        put(&volume, LARGE - CHUNK_BYTES, 0x44).await;
        let id = SnapshotId::new("s-1").unwrap();
        volume.mark(&id).await.unwrap();
        let pending = volume.pending_marks().remove(0);
        assert_eq!(pending.chunks, [39].into_iter().collect());
        let FrozenChunk::Data(bytes) = volume.read_frozen(&id, ChunkIndex(39)).await.unwrap() else {
            panic!("it was written");
        };
        assert_eq!(bytes[0], 0x44);
        volume.fail(&id).await.unwrap();
        // Back to the snapshot that the disk was made from, which is smaller: the size stays, the tail is zeros.
        volume
            .rollback(
                Some(b"root"),
                b"root".to_vec(),
                &RoaringBitmap::new(),
                Rc::new(Snapshot),
            )
            .await
            .unwrap();
        assert_eq!(volume.size_bytes(), LARGE);
        check(&volume, 0x11, None).await;
        volume.close().await.unwrap();
        check(&open(&env, true).await, 0x11, None).await;
    });
}
