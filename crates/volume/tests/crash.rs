//! Nothing acknowledged is lost and no snapshot is wrong, whatever the moment of a power cut.
//!
//! One seed is one history: several writers on their own parts of a disk, flushes, marks with captures that
//! run while the writers go on, lazy content from a snapshot, rollbacks, power cuts at any await, failing syncs.
//! `SEED=n` runs one history; `SEEDS=n` that many.

mod common;

use bytes::Bytes;
use common::*;
use futures_util::FutureExt;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::Env;
use tidemark_env::sim::{FaultOp, Sim};
use tidemark_units::SnapshotId;
use tidemark_volume::{ChunkSource, CreateOptions, Volume, VolumeErrorKind};

const WRITERS: usize = 4;

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(default),
    }
}

struct World {
    sim: Sim,
    model: Rc<RefCell<Model>>,
    vault: SharedVault,
    snapshots: Rc<Cell<u64>>,
    sync_fails: Cell<bool>,
    /// Writes that met a full file system.
    refused: Cell<u64>,
    /// The mark that is being made, and where its window starts.
    marking: RefCell<Option<(SnapshotId, Vec<usize>)>>,
}

impl World {
    /// The mark that was being made has its place by now, if it ever gets one.
    fn end_marking(&self) {
        if let Some((id, start)) = self.marking.take() {
            let window = self.model.borrow().window(&start);
            self.vault.borrow_mut().windows.insert(id, window);
        }
    }
}

/// A writer that owns the sectors of every WRITERS-th 32 KiB.
async fn writer(env: Env, world: Rc<World>, volume: Volume, me: usize) {
    loop {
        let sim = &world.sim;
        let area = (sim.below((DISK / (32 << 10)) / WRITERS as u64) as usize * WRITERS + me) * 64;
        let (from, count) = match sim.below(4) {
            // Whole blocks, a whole area, or any sectors.
            0 => (area, 64),
            1 => (area + sim.below(60) as usize, 1 + sim.below(3) as usize),
            _ => (area + 8 * sim.below(7) as usize, 8),
        };
        let zero = sim.below(6) == 0;
        let fua = sim.below(8) == 0;
        let values = world.model.borrow_mut().issue(from, count, zero);
        let (offset, len) = (from as u64 * SECTOR, count as u64 * SECTOR);
        let before = world.model.borrow().before_flush();
        let done = match zero {
            true => volume.zero(offset, len, sim.below(2) == 0, fua).await,
            false => volume.write(offset, bytes_of(&values), fua).await,
        };
        if let Err(e) = done {
            if e.kind != VolumeErrorKind::Full {
                return;
            }
            // Refused: it may be there in part, as a write that was never answered may.
            world.refused.set(world.refused.get() + 1);
            env.clock.sleep(Duration::from_millis(1)).await;
            continue;
        }
        {
            let mut model = world.model.borrow_mut();
            model.acked(from, count);
            if fua {
                // The write itself and everything acknowledged before it was issued.
                let mut durable = before;
                let now = model.before_flush();
                durable[from..from + count].copy_from_slice(&now[from..from + count]);
                model.flushed(&durable);
            }
        }
        if sim.below(5) == 0 {
            let acked = world.model.borrow().before_flush();
            if volume.flush().await.is_err() {
                return;
            }
            world.model.borrow_mut().flushed(&acked);
        }
        if sim.below(5) == 0 {
            let bytes = match volume.read(offset, len).await {
                Ok(pieces) => pieces.concat(),
                Err(_) => return,
            };
            // A failing sync takes data from the cache a moment before it says so.
            if !world.sync_fails.get() {
                let read: Vec<u64> = bytes.chunks_exact(SECTOR as usize).map(value_of).collect();
                world.model.borrow().check_quiet(from, &read, "read back");
            }
        }
        env.clock.sleep(Duration::from_micros(sim.below(400))).await;
    }
}

async fn snapshotter(env: Env, world: Rc<World>, volume: Volume) {
    loop {
        env.clock.sleep(Duration::from_millis(world.sim.below(60))).await;
        let number = world.snapshots.get();
        world.snapshots.set(number + 1);
        let id = SnapshotId::new(format!("s-{number}")).unwrap();
        let start = world.model.borrow().window_start();
        // Known before the call: the mark may be durable although we never hear of it. Its window ends with the answer,
        // or with the crash.
        *world.marking.borrow_mut() = Some((id.clone(), start));
        let marked = volume.mark(&id).await;
        world.end_marking();
        match marked {
            Ok(_) => {}
            Err(e) if e.kind == VolumeErrorKind::Busy => continue,
            Err(_) => return,
        }
        if world.sim.below(6) == 0 {
            // The user cancels: the changes must turn up in the next snapshot.
            if volume.fail(&id).await.is_err() {
                return;
            }
            world.vault.borrow_mut().taken.remove(&id);
            continue;
        }
        capture(&env, &world.sim, &volume, &world.vault, &id).await;
    }
}

async fn hydrator(env: Env, world: Rc<World>, volume: Volume) {
    while let Some(chunk) = volume.absent_chunks().min() {
        if volume.hydrate(tidemark_units::ChunkIndex(chunk)).await.is_err() {
            return;
        }
        if world.sim.below(8) == 0 && volume.checkpoint().await.is_err() {
            return;
        }
        env.clock.sleep(Duration::from_millis(world.sim.below(20))).await;
    }
}

/// Opens the disk, checks it against the model, finishes what was pending.
async fn reopen(env: &Env, world: &Rc<World>) -> Volume {
    world.end_marking();
    let dir = Path::new("v");
    let root = Volume::source_of(env, dir)
        .await
        .expect("a superblock is readable");
    let source = root.map(|root| {
        let image = image_of(&world.vault, &root);
        Rc::new(ImageSource {
            env: env.clone(),
            sim: world.sim.clone(),
            image,
        }) as Rc<dyn ChunkSource>
    });
    let volume = Volume::open(env, dir, source, &config())
        .await
        .expect("a crash leaves an openable volume");
    // What the next snapshot is relative to is the volume's to say: a rollback may or may not have happened.
    let parent = volume
        .parent()
        .map(|root| SnapshotId::new(String::from_utf8(root).unwrap()).unwrap());
    // Marks that a replay brought back come oldest first, and each is relative to the one before.
    world.vault.borrow_mut().parent = parent;
    let values = read_all(&volume).await;
    world.model.borrow_mut().pin_after_crash(&values);
    let pending_marks = volume.pending_marks();
    let newest = pending_marks.last().map(|p| p.mark.snapshot.clone());
    for pending in pending_marks {
        let id = pending.mark.snapshot;
        if world.vault.borrow().images.contains_key(&id) {
            // Its head exists: the crash came before the commit was noted.
            let root = id.as_str().as_bytes().to_vec();
            noted(volume.commit(&id, root, None).await);
            world.vault.borrow_mut().parent = Some(id);
        } else if newest.as_ref() != Some(&id) {
            // One capture at a time: a mark with a later one behind it had failed before the crash.
            noted(volume.fail(&id).await);
            world.vault.borrow_mut().taken.remove(&id);
        } else {
            capture(env, &world.sim, &volume, &world.vault, &id).await;
        }
    }
    volume
}

/// What is over counts at once; a full file system only delays its note.
fn noted(done: tidemark_volume::Result<()>) {
    if let Err(e) = done {
        assert_eq!(e.kind, VolumeErrorKind::Full, "{e}");
    }
}

/// One history. `clone`: the disk starts from an image, lazily. `tight`: the file system is too small, and its free
/// space changes. Gives the number of writes that were refused for lack of space.
fn history(seed: u64, clone: bool, tight: bool) -> u64 {
    let sim = Sim::new(seed);
    let initial = move |s: usize| {
        if clone && !(s / 128).is_multiple_of(3) {
            1 + s as u64
        } else {
            0
        }
    };
    let world = Rc::new(World {
        sim: sim.clone(),
        model: Rc::new(RefCell::new(Model::new(initial))),
        vault: SharedVault::default(),
        snapshots: Rc::new(Cell::new(1)),
        sync_fails: Cell::new(false),
        refused: Cell::new(0),
        marking: RefCell::default(),
    });
    let origin = SnapshotId::new("s-0").unwrap();
    if clone {
        let image: Image = (0..SECTORS).map(initial).collect();
        world
            .vault
            .borrow_mut()
            .images
            .insert(origin.clone(), Rc::new(image));
        world.vault.borrow_mut().parent = Some(origin.clone());
    }
    let source = clone.then(|| (origin.as_str().as_bytes().to_vec(), DISK));
    sim.run(|env| async move {
        let options = CreateOptions {
            name: "d-1".into(),
            size_bytes: DISK,
            source,
        };
        Volume::create(&env, Path::new("v"), &options, &config())
            .await
            .unwrap();
    });
    for _ in 0..4 {
        let steps = 2_000 + sim.below(30_000);
        let fail_sync = sim.below(4) == 0;
        let here = Rc::clone(&world);
        sim.run_steps(steps, |env| async move {
            let volume = reopen(&env, &here).await;
            if here.sim.below(3) == 0 {
                rollback(&env, &here, &volume).await;
            }
            for me in 0..WRITERS {
                env.spawn(writer(env.clone(), Rc::clone(&here), volume.clone(), me));
            }
            env.spawn(snapshotter(env.clone(), Rc::clone(&here), volume.clone()));
            env.spawn(hydrator(env.clone(), Rc::clone(&here), volume.clone()));
            if tight {
                env.spawn(neighbour(env.clone(), Rc::clone(&here)));
            }
            if fail_sync {
                env.clock.sleep(Duration::from_millis(here.sim.below(100))).await;
                here.sync_fails.set(true);
                here.sim
                    .fail_next(FaultOp::Sync, |path| path.extension().is_some_and(|e| e == "seg"));
            }
            // Long enough for every step that this run may take; a poisoned disk has nothing left to do.
            env.clock.sleep(Duration::from_secs(60)).await;
        });
        sim.clear_faults();
        // Now and then the next start meets a full file system as well.
        if sim.below(2) == 0 {
            sim.set_capacity(None);
        }
        world.sync_fails.set(false);
        match sim.below(3) {
            0 => {} // a killed process: the kernel keeps what was written
            _ => sim.crash(),
        }
    }
    let here = Rc::clone(&world);
    sim.set_capacity(None);
    sim.run(|env| async move {
        let volume = reopen(&env, &here).await;
        volume.close().await.unwrap();
    });
    world.refused.get()
}

/// Others use the same file system: sometimes little is left, sometimes nothing.
async fn neighbour(env: Env, world: Rc<World>) {
    loop {
        let capacity = (1 << 20) + world.sim.below(3 << 20);
        world
            .sim
            .set_capacity(Some(capacity).filter(|_| world.sim.below(4) > 0));
        let millis = world.sim.below(60);
        env.clock.sleep(Duration::from_millis(millis)).await;
    }
}

/// Rolls back to the latest snapshot or an earlier one, and checks that the disk is that snapshot.
async fn rollback(env: &Env, world: &Rc<World>, volume: &Volume) {
    let target = {
        let vault = world.vault.borrow();
        if vault.images.is_empty() || !volume.pending_marks().is_empty() {
            return;
        }
        let at = world.sim.below(vault.images.len() as u64) as usize;
        vault.images.keys().nth(at).unwrap().clone()
    };
    let image = Rc::clone(&world.vault.borrow().images[&target]);
    let parent = world
        .vault
        .borrow()
        .parent
        .clone()
        .map(|p| Rc::clone(&world.vault.borrow().images[&p]));
    let differing = (0..(SECTORS / 128) as u32)
        .filter(|c| {
            let range = *c as usize * 128..(*c as usize + 1) * 128;
            match &parent {
                Some(parent) => parent[range.clone()] != image[range],
                None => image[range].iter().any(|v| *v != 0),
            }
        })
        .collect();
    // From here on a crash may leave either content.
    world.model.borrow_mut().rollback_begins(&image);
    let source: Rc<dyn ChunkSource> = Rc::new(ImageSource {
        env: env.clone(),
        sim: world.sim.clone(),
        image: Rc::clone(&image),
    });
    volume
        .rollback(
            volume.parent().as_deref(),
            target.as_str().as_bytes().to_vec(),
            &differing,
            source,
        )
        .await
        .expect("a quiet disk rolls back");
    world.vault.borrow_mut().parent = Some(target);
    world.model.borrow_mut().rollback_done(&image);
    if world.sim.below(2) == 0 {
        assert_eq!(read_all(volume).await, *image, "the disk is the snapshot");
    }
}

fn run(name: &str, clone: bool, tight: bool, count: u64) {
    let mut refused = 0;
    for seed in seeds(count) {
        let ran = std::panic::catch_unwind(|| run_history(|| history(seed, clone, tight)));
        refused += ran.unwrap_or_else(|panic| {
            eprintln!("{name}: failed with SEED={seed}");
            std::panic::resume_unwind(panic)
        });
    }
    assert!(tight || refused == 0, "{name}: {refused} writes were refused");
}

#[test]
fn an_empty_disk_under_writers_marks_and_power_cuts() {
    run("empty", false, false, 25);
}

#[test]
fn a_lazy_disk_under_writers_marks_and_power_cuts() {
    run("lazy", true, false, 25);
}

#[test]
fn a_file_system_that_fills_up_and_empties_loses_nothing_acknowledged() {
    run("tight", false, true, 25);
    run("tight and lazy", true, true, 25);
}

#[test]
fn a_full_file_system_refuses_before_the_acknowledgement_and_recovers() {
    for seed in seeds(10) {
        let sim = Sim::new(seed);
        sim.run(|env| {
            let sim = sim.clone();
            async move {
                let options = CreateOptions {
                    name: "d-1".into(),
                    size_bytes: DISK,
                    source: None,
                };
                Volume::create(&env, Path::new("v"), &options, &config())
                    .await
                    .unwrap();
                let volume = Volume::open(&env, Path::new("v"), None, &config()).await.unwrap();
                let mut model = vec![0u64; SECTORS];
                let mut refused = 0;
                sim.set_capacity(Some(1 << 20));
                for round in 0..400u64 {
                    let from = sim.below(SECTORS as u64 / 8) as usize * 8;
                    let value = 1000 + round;
                    match volume
                        .write(from as u64 * SECTOR, bytes_of(&[value; 8]), false)
                        .await
                    {
                        Ok(()) => model[from..from + 8].fill(value),
                        Err(e) => {
                            assert_eq!(e.kind, VolumeErrorKind::Full, "{e}");
                            refused += 1;
                        }
                    }
                }
                assert!(refused > 0, "the file system was meant to be too small");
                assert_eq!(read_all(&volume).await, model, "what was refused left no trace");
                sim.set_capacity(None);
                env.clock.sleep(Duration::from_secs(5)).await;
                for from in (0..SECTORS).step_by(8) {
                    volume
                        .write(from as u64 * SECTOR, bytes_of(&[7; 8]), false)
                        .await
                        .expect("there is room again");
                }
                volume.close().await.unwrap();
                let volume = Volume::open(&env, Path::new("v"), None, &config()).await.unwrap();
                assert_eq!(read_all(&volume).await, vec![7; SECTORS]);
                assert!(
                    volume.flush().now_or_never().is_some(),
                    "nothing to flush after a clean open"
                );
            }
        });
    }
}

/// A power cut that leaves a valid batch behind a lost one, then lives in which nothing is written: the chain of segments
/// must hold over the records that the base has and the log has not.
#[test]
fn a_skipped_tail_and_quiet_lives_keep_the_log_readable() {
    for seed in seeds(60) {
        let sim = Sim::new(seed);
        let dir = Path::new("v");
        sim.run(|env| async move {
            let options = CreateOptions {
                name: "v".into(),
                size_bytes: DISK,
                source: None,
            };
            Volume::create(&env, dir, &options, &config()).await.unwrap();
        });
        for life in 0..9 {
            let here = sim.clone();
            sim.run(|env| async move {
                let volume = Volume::open(&env, dir, None, &config())
                    .await
                    .expect("nothing was damaged");
                if life % 3 == 1 {
                    return volume.close().await.unwrap();
                }
                for n in 0..2 + here.below(4) {
                    let block = Bytes::from(vec![life as u8 + 1; 4096]);
                    volume.write(n * 4096, block, false).await.unwrap();
                }
                if life % 3 == 2 {
                    volume.flush().await.unwrap();
                    volume.write(0, Bytes::from(vec![99; 4096]), true).await.unwrap();
                }
            });
            sim.crash();
        }
    }
}
