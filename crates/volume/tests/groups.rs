//! Groups: one instant across two disks, whatever the moment of a power cut.
//!
//! A program writes a token to disk A, waits for the acknowledgement, and writes the same token to disk B. No group may
//! ever have a token in B's snapshot that A's has not. A group exists when its record is durable; every member of
//! one that exists gets its snapshot, and a void one leaves nothing but its changes, in the next snapshot.
//! `SEED=n` runs one history; `SEEDS=n` that many.

mod common;

use bytes::Bytes;
use common::*;
use futures_util::FutureExt;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::Env;
use tidemark_env::sim::{FaultOp, Sim};
use tidemark_units::SnapshotId;
use tidemark_volume::{CreateOptions, Volume, VolumeErrorKind};

const DISKS: [&str; 2] = ["a", "b"];
/// Blocks that hold tokens, from the start of each disk; token `n` goes to block `n % SLOTS`. Noise goes behind them.
const SLOTS: u64 = 128;
const BLOCK: u64 = 4096;
const SECTORS_PER_BLOCK: u64 = BLOCK / SECTOR;

struct World {
    sim: Sim,
    /// The last token; those up to `lost` were written before a crash, which may have taken them from A and left them in B.
    token: Cell<u64>,
    lost: Cell<u64>,
    /// By number: the value of `lost` when the group was begun.
    groups: RefCell<BTreeMap<u64, u64>>,
    vaults: [SharedVault; 2],
    /// Blocks in which a comparison had a token to look at.
    compared: Cell<u64>,
    voided: Cell<u64>,
}

fn snapshot(group: u64) -> SnapshotId {
    SnapshotId::new(format!("s-{group}")).unwrap()
}

fn record_of(group: &str) -> PathBuf {
    Path::new("groups").join(group)
}

fn micros(sim: &Sim, below: u64) -> Duration {
    Duration::from_micros(sim.below(below))
}

async fn tokens(env: Env, world: Rc<World>, disks: [Volume; 2]) {
    loop {
        let token = world.token.get() + 1;
        world.token.set(token);
        for disk in &disks {
            let data = bytes_of(&[token; SECTORS_PER_BLOCK as usize]);
            if disk.write(token % SLOTS * BLOCK, data, false).await.is_err() {
                return;
            }
        }
        if world.sim.below(4) == 0 {
            env.clock.sleep(micros(&world.sim, 200)).await;
        }
    }
}

/// Fills the log, so that checkpoints run and segments are recycled.
async fn noise(env: Env, world: Rc<World>, disk: Volume) {
    let behind = DISK / BLOCK - SLOTS;
    loop {
        let count = 1 + world.sim.below(16);
        let at = SLOTS + world.sim.below(behind - count);
        let values = vec![1 + world.sim.below(1 << 40); (count * SECTORS_PER_BLOCK) as usize];
        let done = disk
            .write(at * BLOCK, bytes_of(&values), world.sim.below(4) == 0)
            .await;
        if done.is_err() {
            return;
        }
        env.clock.sleep(micros(&world.sim, 1500)).await;
    }
}

/// As the node does it: the steps of `volume::group`, and the record in between. `None`: the group is void.
async fn take_group(env: &Env, world: &World, disks: &[Volume; 2], number: u64) -> Option<()> {
    let sim = &world.sim;
    let (name, id) = (format!("g-{number}"), snapshot(number));
    world.groups.borrow_mut().insert(number, world.lost.get());
    let order = if sim.below(2) == 0 { [0, 1] } else { [1, 0] };
    let mut holds = Vec::new();
    for at in order {
        holds.push(
            disks[at]
                .hold_acks(Duration::from_millis(1 + sim.below(20)))
                .ok()?,
        );
        env.clock.sleep(micros(sim, 300)).await;
    }
    let mut prepared = Vec::new();
    for at in order {
        prepared.push(disks[at].prepare(&id, &name).ok()?);
        // Now and then longer than a lease.
        let most = if sim.below(8) == 0 { 40_000 } else { 500 };
        env.clock.sleep(micros(sim, most)).await;
    }
    // Every hold is released, whatever the others say.
    let held: Vec<bool> = holds.into_iter().map(|hold| hold.release()).collect();
    if held.contains(&false) {
        return None;
    }
    for mark in prepared {
        mark.durable().await.ok()?;
    }
    let record = record_of(&name);
    tidemark_env::fs::write_atomic(&*env.fs, &record, Bytes::from_static(b"commit"))
        .await
        .expect("no fault was asked for there");
    Some(())
}

fn decide(world: &World, disk: &Volume, id: &SnapshotId, exists: bool) -> tidemark_volume::Result<()> {
    let decided = match exists {
        true => disk.commit_prepared(id)?,
        false => disk.abort_prepared(id)?,
    };
    // Whether anybody waits for a decision to be durable changes nothing.
    if world.sim.below(2) == 0 {
        let _ = decided.durable().now_or_never();
    }
    Ok(())
}

async fn groups(env: Env, world: Rc<World>, disks: [Volume; 2]) {
    loop {
        env.clock.sleep(micros(&world.sim, 30_000)).await;
        let number = world.groups.borrow().len() as u64;
        let decided = take_group(&env, &world, &disks, number).await.is_some();
        if !decided {
            world.voided.set(world.voided.get() + 1);
        }
        for disk in &disks {
            if decide(&world, disk, &snapshot(number), decided).is_err() {
                return;
            }
            env.clock.sleep(micros(&world.sim, 2000)).await;
        }
        finish(&env, &world, &disks).await;
    }
}

/// Captures what is pending, and compares the snapshots of every group that has both.
async fn finish(env: &Env, world: &World, disks: &[Volume; 2]) {
    for (disk, vault) in disks.iter().zip(&world.vaults) {
        for pending in disk.pending_marks() {
            let id = pending.mark.snapshot;
            let kept = vault.borrow().images.contains_key(&id);
            if kept {
                // Its head exists: the crash came before the commit was noted.
                let _ = disk.commit(&id, id.as_str().as_bytes().to_vec(), None).await;
            } else {
                let parent = disk.parent().map(|p| String::from_utf8(p).unwrap());
                vault.borrow_mut().parent = parent.map(|p| SnapshotId::new(p).unwrap());
                capture(env, &world.sim, disk, vault, &id).await;
            }
        }
    }
    for (number, lost) in &*world.groups.borrow() {
        let id = snapshot(*number);
        let image = |at: usize| world.vaults[at].borrow().images.get(&id).cloned();
        let (Some(a), Some(b)) = (image(0), image(1)) else {
            continue;
        };
        for slot in 0..SLOTS {
            let first = (slot * SECTORS_PER_BLOCK) as usize;
            if b[first] > *lost {
                world.compared.set(world.compared.get() + 1);
                assert!(
                    a[first] >= b[first],
                    "group {number}: B has token {}, A has {} in its place",
                    b[first],
                    a[first]
                );
            }
        }
    }
}

/// Opens both disks and decides about what is in doubt, as the node does.
async fn reopen(env: &Env, world: &World) -> [Volume; 2] {
    let mut disks = Vec::new();
    for (name, vault) in DISKS.iter().zip(&world.vaults) {
        let disk = Volume::open(env, Path::new(name), None, &config())
            .await
            .expect("a crash leaves an openable volume");
        for (mark, group) in disk.prepared_marks() {
            let decided = env.fs.exists(&record_of(&group)).await.unwrap();
            decide(world, &disk, &mark.snapshot, decided).unwrap();
        }
        assert!(disk.prepared_marks().is_empty());
        let numbers: Vec<u64> = world.groups.borrow().keys().copied().collect();
        for number in &numbers {
            let exists = env.fs.exists(&record_of(&format!("g-{number}"))).await.unwrap();
            let here = disk
                .pending_marks()
                .iter()
                .any(|p| p.mark.snapshot == snapshot(*number))
                || vault.borrow().images.contains_key(&snapshot(*number));
            assert_eq!(here, exists, "group {number} on disk {name}");
        }
        disks.push(disk);
    }
    let disks = disks.try_into().ok().expect("two disks");
    finish(env, world, &disks).await;
    world.lost.set(world.token.get());
    disks
}

fn history(seed: u64) -> (u64, u64) {
    let sim = Sim::new(seed);
    let world = Rc::new(World {
        sim: sim.clone(),
        token: Cell::new(0),
        lost: Cell::new(0),
        groups: RefCell::default(),
        vaults: [SharedVault::default(), SharedVault::default()],
        compared: Cell::new(0),
        voided: Cell::new(0),
    });
    sim.run(|env| async move {
        tidemark_env::fs::create_dir_durable(&*env.fs, Path::new("groups"))
            .await
            .unwrap();
        for name in DISKS {
            let options = CreateOptions {
                name: name.into(),
                size_bytes: DISK,
                source: None,
            };
            Volume::create(&env, Path::new(name), &options, &config())
                .await
                .unwrap();
        }
    });
    for _ in 0..4 {
        let steps = 2_000 + sim.below(30_000);
        let fail_sync = sim.below(6) == 0;
        let here = Rc::clone(&world);
        sim.run_steps(steps, |env| async move {
            let disks = reopen(&env, &here).await;
            env.spawn(tokens(env.clone(), Rc::clone(&here), disks.clone()));
            for disk in &disks {
                env.spawn(noise(env.clone(), Rc::clone(&here), disk.clone()));
            }
            env.spawn(groups(env.clone(), Rc::clone(&here), disks));
            if fail_sync {
                env.clock.sleep(micros(&here.sim, 100_000)).await;
                here.sim
                    .fail_next(FaultOp::Sync, |path| path.extension().is_some_and(|e| e == "seg"));
            }
            env.clock.sleep(Duration::from_secs(60)).await;
        });
        sim.clear_faults();
        match sim.below(3) {
            0 => {} // a killed process: the kernel keeps what was written
            _ => sim.crash(),
        }
    }
    let here = Rc::clone(&world);
    sim.run(|env| async move {
        let disks = reopen(&env, &here).await;
        // A void group must have lost no change: the next snapshot of each disk is the disk.
        let last = snapshot(1 << 20);
        for (disk, vault) in disks.iter().zip(&here.vaults) {
            disk.mark(&last).await.unwrap();
            let now = read_all(disk).await;
            finish(&env, &here, &disks).await;
            assert_eq!(*vault.borrow().images[&last], now);
            disk.close().await.unwrap();
        }
    });
    (world.compared.get(), world.voided.get())
}

#[test]
fn a_token_in_the_second_disk_is_in_the_first_one_whatever_happens() {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(25),
    };
    let (mut compared, mut voided) = (0, 0);
    for seed in seeds.clone() {
        let ran = std::panic::catch_unwind(|| run_history(|| history(seed)));
        let (c, v) = ran.unwrap_or_else(|panic| {
            eprintln!("groups: failed with SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        compared += c;
        voided += v;
    }
    if seeds.count() >= 25 {
        assert!(
            compared > 1000 && voided > 5,
            "{compared} compared, {voided} void"
        );
    }
}

/// Opens a fresh volume in a quiet world and runs `test` on it.
fn with_volume<F: Future<Output = ()>>(test: impl FnOnce(Env, Volume) -> F) {
    Sim::new(7).run(|env| async move {
        let options = CreateOptions {
            name: "a".into(),
            size_bytes: DISK,
            source: None,
        };
        Volume::create(&env, Path::new("a"), &options, &config())
            .await
            .unwrap();
        let volume = Volume::open(&env, Path::new("a"), None, &config()).await.unwrap();
        test(env, volume).await;
    });
}

#[test]
fn nothing_is_acknowledged_while_held_and_nobody_waits_longer_than_the_lease() {
    with_volume(|env, volume| async move {
        let lease = Duration::from_millis(40);
        let hold = volume.hold_acks(lease).unwrap();
        let busy = volume.hold_acks(lease).err().expect("one hold at a time");
        assert_eq!(busy.kind, VolumeErrorKind::Busy);
        let data = || bytes_of(&[1; 8]);
        let requests: Vec<tidemark_env::LocalFuture<'_, tidemark_volume::Result<()>>> = vec![
            Box::pin(volume.write(0, data(), false)),
            Box::pin(volume.write(4096 + 512, bytes_of(&[1]), true)),
            Box::pin(volume.zero(8192, 4096, true, false)),
            Box::pin(volume.trim(16384, 4096, false)),
            Box::pin(volume.flush()),
        ];
        let answered = Cell::new(0);
        let answers = requests.into_iter().map(async |request| {
            request.await.unwrap();
            answered.set(answered.get() + 1);
        });
        let mut all = Box::pin(futures_util::future::join_all(answers));
        let held = Box::pin(env.clock.sleep(Duration::from_millis(39)));
        let _ = futures_util::future::select(&mut all, held).await;
        assert_eq!(answered.get(), 0, "acknowledged while held");
        assert!(!hold.expired());
        // All of it was in the log long ago: nothing but the lease was in the way.
        let over = Box::pin(env.clock.sleep(Duration::from_millis(2)));
        let _ = futures_util::future::select(&mut all, over).await;
        assert_eq!(answered.get(), 5);
        assert_eq!(volume.read(0, 4096).await.unwrap().concat(), data());
        assert!(hold.expired() && !hold.release());

        let hold = volume.hold_acks(lease).unwrap();
        let mut write = Box::pin(volume.write(0, data(), false));
        env.clock.sleep(Duration::from_millis(2)).await;
        assert!((&mut write).now_or_never().is_none());
        assert!(hold.release());
        write.await.unwrap();
    });
}

#[test]
fn a_prepared_mark_blocks_others_until_the_decision_and_the_decision_stays() {
    with_volume(|_, volume| async move {
        let (one, two) = (snapshot(1), snapshot(2));
        volume.write(0, bytes_of(&[1; 8]), false).await.unwrap();
        let refused = volume.prepare(&one, "").err().expect("a group has a name");
        assert_eq!(refused.kind, VolumeErrorKind::Invalid);
        let lsn = volume.prepare(&one, "g-1").unwrap().durable().await.unwrap();
        let prepared = volume.prepared_marks();
        assert_eq!(
            (prepared.len(), prepared[0].0.lsn, &*prepared[0].1),
            (1, lsn, "g-1")
        );
        assert!(volume.pending_marks().is_empty());
        for refused in [
            volume.mark(&two).await.map(drop),
            volume.prepare(&two, "g-2").map(drop),
            volume.reparent(None, None, &Default::default()).await,
        ] {
            assert_eq!(refused.unwrap_err().kind, VolumeErrorKind::Busy);
        }
        let decided = volume.commit_prepared(&one).unwrap();
        let again = volume.commit_prepared(&one).expect("again is fine");
        assert_eq!(volume.pending_marks()[0].mark, prepared[0].0);
        decided.durable().await.unwrap();
        again.durable().await.unwrap();
        let refused = volume.abort_prepared(&one).err().expect("the group exists");
        assert_eq!(refused.kind, VolumeErrorKind::Invalid);
        volume.fail(&one).await.unwrap();
        let refused = volume.commit_prepared(&two).err().expect("there is none");
        assert_eq!(refused.kind, VolumeErrorKind::Invalid);

        // Aborted right after its place was fixed, before it is written.
        let placed = volume.prepare(&two, "g-2").unwrap();
        let decided = volume.abort_prepared(&two).unwrap();
        placed.durable().await.expect("it was prepared all the same");
        decided.durable().await.unwrap();
        assert!(volume.prepared_marks().is_empty());
        assert_eq!(
            volume.changed_chunks().len(),
            1,
            "its changes are the next snapshot's"
        );
    });
}
