//! The simulated power cut: what was synced always survives, the rest may or may not, and both occur.

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemark_env::fs::create_dir_durable;
use tidemark_env::sim::{FaultOp, Sim};
use tidemark_env::{Bucket, BucketErrorKind, DirBucket, Env, File, OpenMode, Precondition};

const SECTOR: usize = 512;
const SECTORS: usize = 64;

async fn create_durable(env: &Env, name: &str) -> std::rc::Rc<dyn File> {
    let file = env.fs.open(Path::new(name), OpenMode::Create).await.unwrap();
    file.sync().await.unwrap();
    env.fs.sync_dir(Path::new("/")).await.unwrap();
    file
}

async fn content(env: &Env, name: &str) -> Vec<u8> {
    let file = env.fs.open(Path::new(name), OpenMode::Read).await.unwrap();
    let size = file.size().await.unwrap() as usize;
    file.read_at(0, size).await.unwrap().into()
}

#[derive(Clone, Debug)]
enum Step {
    Write { sector: usize, sectors: usize, byte: u8 },
    Punch { sector: usize, sectors: usize },
    SetSize { sectors: usize },
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..SECTORS, 1..20usize, 1u8..).prop_map(|(sector, sectors, byte)| Step::Write { sector, sectors, byte }),
        1 => (0..SECTORS, 1..20usize).prop_map(|(sector, sectors)| Step::Punch { sector, sectors }),
        1 => (0..SECTORS).prop_map(|sectors| Step::SetSize { sectors }),
        2 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..30)
}

/// What each sector may hold after a crash: its value at the last sync, and every one since.
struct Model {
    now: Vec<u8>,
    may_hold: Vec<BTreeSet<u8>>,
    sizes: BTreeSet<usize>,
}

impl Model {
    fn new() -> Self {
        Self {
            now: Vec::new(),
            may_hold: vec![BTreeSet::from([0]); 2 * SECTORS],
            sizes: BTreeSet::from([0]),
        }
    }

    fn set(&mut self, sector: usize, byte: u8) {
        self.now[sector] = byte;
        self.may_hold[sector].insert(byte);
    }

    fn resize(&mut self, sectors: usize) {
        for sector in sectors..self.now.len() {
            self.may_hold[sector].insert(0);
        }
        self.now.resize(sectors, 0);
        self.sizes.insert(sectors);
    }

    fn synced(&mut self) {
        self.sizes = BTreeSet::from([self.now.len()]);
        for (sector, may_hold) in self.may_hold.iter_mut().enumerate() {
            *may_hold = BTreeSet::from([self.now.get(sector).copied().unwrap_or(0)]);
        }
    }
}

async fn apply(file: &dyn File, model: &mut Model, step: &Step) {
    match *step {
        Step::Write {
            sector,
            sectors,
            byte,
        } => {
            let data = Bytes::from(vec![byte; sectors * SECTOR]);
            file.write_at((sector * SECTOR) as u64, vec![data]).await.unwrap();
            if sector + sectors > model.now.len() {
                model.resize(sector + sectors);
            }
            (sector..sector + sectors).for_each(|sector| model.set(sector, byte));
        }
        Step::Punch { sector, sectors } => {
            file.punch((sector * SECTOR) as u64, (sectors * SECTOR) as u64)
                .await
                .unwrap();
            let end = (sector + sectors).min(model.now.len());
            (sector..end).for_each(|sector| model.set(sector, 0));
        }
        Step::SetSize { sectors } => {
            file.set_size((sectors * SECTOR) as u64).await.unwrap();
            model.resize(sectors);
        }
        Step::Sync => {
            file.sync().await.unwrap();
            model.synced();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Before the crash the file reads as written; after it every sector holds its last synced value
    /// or one written since, and the size is the synced one or one since.
    #[test]
    fn a_crash_keeps_what_was_synced_and_invents_nothing(seed: u64, steps in steps()) {
        let sim = Sim::new(seed);
        let mut model = Model::new();
        sim.run(async |env: Env| {
            let file = create_durable(&env, "f").await;
            for step in &steps {
                apply(&*file, &mut model, step).await;
            }
            let seen = content(&env, "f").await;
            let expected: Vec<u8> = model.now.iter().flat_map(|byte| [*byte; SECTOR]).collect();
            assert_eq!(seen, expected);
        });
        sim.crash();
        let survived = sim.run(async |env: Env| content(&env, "f").await);
        prop_assert!(model.sizes.contains(&(survived.len() / SECTOR)), "{} not in {:?}", survived.len(), model.sizes);
        for (sector, bytes) in survived.chunks(SECTOR).enumerate() {
            prop_assert!(bytes.iter().all(|byte| *byte == bytes[0]), "sector {sector} is torn");
            // A size that was kept without the data behind it shows zeros.
            let may_hold = &model.may_hold[sector];
            prop_assert!(may_hold.contains(&bytes[0]), "sector {sector} holds {}, not one of {may_hold:?}", bytes[0]);
        }
    }
}

#[test]
fn unsynced_sectors_are_kept_and_lost_each_for_itself() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..60 {
        let sim = Sim::new(seed);
        sim.run(async |env: Env| {
            let file = create_durable(&env, "f").await;
            file.write_at(0, vec![vec![1; 4 * SECTOR].into()]).await.unwrap();
            file.sync().await.unwrap();
            file.write_at(0, vec![vec![2; 4 * SECTOR].into()]).await.unwrap();
        });
        sim.crash();
        let survived = sim.run(async |env: Env| content(&env, "f").await);
        assert_eq!(survived.len(), 4 * SECTOR);
        outcomes.insert(
            survived
                .chunks(SECTOR)
                .map(|sector| sector[0])
                .collect::<Vec<_>>(),
        );
    }
    assert!(
        outcomes.contains(&vec![1; 4]) && outcomes.contains(&vec![2; 4]),
        "all and nothing occur"
    );
    assert!(outcomes.len() >= 8, "so do mixtures: {outcomes:?}");
}

#[test]
fn an_unsynced_size_is_kept_or_lost() {
    let mut sizes = BTreeSet::new();
    for seed in 0..60 {
        let sim = Sim::new(seed);
        sim.run(async |env: Env| {
            let file = create_durable(&env, "f").await;
            file.set_size(1000).await.unwrap();
            file.sync().await.unwrap();
            file.set_size(10).await.unwrap();
            file.set_size(1 << 40).await.unwrap();
        });
        sim.crash();
        sizes.insert(sim.run(async |env: Env| {
            env.fs
                .open(Path::new("f"), OpenMode::Read)
                .await
                .unwrap()
                .size()
                .await
                .unwrap()
        }));
    }
    assert_eq!(sizes, BTreeSet::from([10, 1000, 1 << 40]));
}

/// How often each set of names was left after doing `work` and a crash.
fn names_after(work: impl AsyncFn(Env)) -> BTreeMap<Vec<String>, u32> {
    let mut outcomes = BTreeMap::new();
    for seed in 0..100 {
        let sim = Sim::new(seed);
        sim.run(|env| work(env));
        sim.crash();
        let names = sim.run(async |env: Env| {
            let entries = env.fs.list(Path::new("/")).await.unwrap();
            entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
        });
        *outcomes.entry(names).or_default() += 1;
    }
    outcomes
}

fn sets(names: &[&[&str]]) -> BTreeSet<Vec<String>> {
    names
        .iter()
        .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
        .collect()
}

#[test]
fn a_created_name_needs_its_directory_synced() {
    let outcomes = names_after(async |env| {
        let file = env.fs.open(Path::new("f"), OpenMode::CreateNew).await.unwrap();
        file.sync().await.unwrap();
    });
    assert_eq!(
        outcomes.into_keys().collect::<BTreeSet<_>>(),
        sets(&[&[], &["f"]]),
        "syncing the file is not enough"
    );
    let outcomes = names_after(async |env| drop(create_durable(&env, "f").await));
    assert_eq!(outcomes.into_keys().collect::<BTreeSet<_>>(), sets(&[&["f"]]));
}

#[test]
fn a_rename_is_kept_or_lost_as_one() {
    let outcomes = names_after(async |env| {
        create_durable(&env, "old").await;
        env.fs.rename(Path::new("old"), Path::new("new")).await.unwrap();
    });
    assert_eq!(
        outcomes.into_keys().collect::<BTreeSet<_>>(),
        sets(&[&["old"], &["new"]])
    );
}

#[test]
fn removes_and_links_are_kept_or_lost_each_for_itself() {
    let outcomes = names_after(async |env| {
        create_durable(&env, "a").await;
        env.fs.link_new(Path::new("a"), Path::new("b")).await.unwrap();
        env.fs.remove_file(Path::new("a")).await.unwrap();
    });
    let seen: BTreeSet<_> = outcomes.into_keys().collect();
    assert_eq!(seen, sets(&[&["a"], &["a", "b"], &["b"], &[]]));
}

#[test]
fn an_older_change_of_a_name_does_not_come_back_over_a_synced_one() {
    let outcomes = names_after(async |env| {
        let fs = &env.fs;
        fs.create_dir_all(Path::new("d")).await.unwrap();
        fs.sync_dir(Path::new("/")).await.unwrap();
        drop(fs.open(Path::new("x"), OpenMode::CreateNew).await.unwrap());
        fs.rename(Path::new("x"), Path::new("d/y")).await.unwrap();
        // Makes the rename durable, with the creation before it still unsynced in the root.
        fs.sync_dir(Path::new("d")).await.unwrap();
    });
    assert_eq!(outcomes.into_keys().collect::<BTreeSet<_>>(), sets(&[&["d"]]));
}

#[test]
fn after_a_failed_sync_a_second_one_proves_nothing() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..60 {
        let sim = Sim::new(seed);
        sim.run(async |env: Env| {
            let file = create_durable(&env, "f").await;
            sim.fail_next(FaultOp::Sync, |path| path == Path::new("f"));
            file.write_at(0, vec![vec![1; SECTOR].into()]).await.unwrap();
            assert!(file.sync().await.is_err());
            file.sync().await.unwrap();
        });
        sim.crash();
        match sim.run(async |env: Env| content(&env, "f").await) {
            content if content == [1; SECTOR] => kept += 1,
            _ => lost += 1,
        }
    }
    assert!(kept > 5 && lost > 5, "{kept} kept, {lost} lost");
}

#[test]
fn faults_strike_what_they_match_once_or_always() {
    let sim = Sim::new(9);
    sim.run(async |env: Env| {
        let (f, g) = (create_durable(&env, "f").await, create_durable(&env, "g").await);
        sim.fail_next(FaultOp::Write, |path| path.ends_with("f"));
        sim.fail_always(FaultOp::Read, |path| path.ends_with("g"));
        sim.fail_next(FaultOp::SyncDir, |_| true);
        sim.fail_next(FaultOp::Name, |path| path.ends_with("h"));
        let data = || vec![Bytes::from_static(&[1; 8])];
        g.write_at(0, data()).await.unwrap();
        assert_eq!(f.write_at(0, data()).await.unwrap_err().raw_os_error(), Some(5));
        f.write_at(0, data()).await.unwrap();
        assert!(g.read_at(0, 1).await.is_err() && g.read_at(0, 1).await.is_err());
        assert!(f.read_at(0, 8).await.is_ok());
        assert!(
            env.fs.sync_dir(Path::new("/")).await.is_err() && env.fs.sync_dir(Path::new("/")).await.is_ok()
        );
        assert!(env.fs.open(Path::new("h"), OpenMode::Create).await.is_err());
        assert!(!env.fs.exists(Path::new("h")).await.unwrap());
        sim.clear_faults();
        assert!(g.read_at(0, 1).await.is_ok());
    });
}

#[test]
fn a_full_file_system_refuses_what_was_not_reserved() {
    let sim = Sim::new(10);
    sim.set_capacity(Some(1 << 20));
    sim.run(async |env: Env| {
        let (reserved, other) = (
            create_durable(&env, "reserved").await,
            create_durable(&env, "other").await,
        );
        reserved.allocate(0, 512 << 10).await.unwrap();
        assert_eq!(
            env.fs.space(Path::new("/")).await.unwrap().available_bytes,
            512 << 10
        );
        let too_much = vec![Bytes::from(vec![1; 513 << 10])];
        assert_eq!(
            other.write_at(0, too_much).await.unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        other.punch(0, 1 << 20).await.unwrap();
        other
            .write_at(0, vec![Bytes::from(vec![1; 512 << 10])])
            .await
            .unwrap();
        assert_eq!(
            other.allocate(512 << 10, 1).await.unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        reserved
            .write_at(0, vec![Bytes::from(vec![2; 512 << 10])])
            .await
            .unwrap();
        other
            .write_at(0, vec![Bytes::from(vec![3; 512 << 10])])
            .await
            .unwrap();
        env.fs.remove_file(Path::new("other")).await.unwrap();
        assert_eq!(
            env.fs.space(Path::new("/")).await.unwrap().available_bytes,
            0,
            "an open file keeps its space"
        );
        drop(other);
        assert_eq!(
            env.fs.space(Path::new("/")).await.unwrap().available_bytes,
            512 << 10
        );
        reserved.set_size(4096).await.unwrap();
        assert_eq!(
            env.fs.space(Path::new("/")).await.unwrap().available_bytes,
            (1 << 20) - 4096
        );
    });
}

#[test]
fn what_is_in_flight_at_the_end_of_a_run_happens_or_not() {
    let (mut happened, mut not) = (0, 0);
    for seed in 0..60 {
        let sim = Sim::new(seed);
        sim.run(async |env: Env| drop(create_durable(&env, "f").await));
        let cut = sim.run_for(Duration::from_micros(50), async |env: Env| {
            let file = env.fs.open(Path::new("f"), OpenMode::ReadWrite).await.unwrap();
            file.write_at(0, vec![vec![1; SECTOR].into()]).await.unwrap();
            std::future::pending::<()>().await;
        });
        assert!(cut.is_none());
        match sim.run(async |env: Env| content(&env, "f").await).len() {
            0 => not += 1,
            _ => happened += 1,
        }
    }
    assert!(happened > 2 && not > 2, "{happened} happened, {not} did not");
}

/// Puts until the world is cut off at any step, cuts the power, and looks what is left: acknowledged
/// objects are there and whole, create-only ones were created once.
#[test]
fn a_directory_bucket_keeps_what_it_acknowledged() {
    let (mut cut_midway, mut unacknowledged_kept) = (0, 0);
    for seed in 0..300 {
        let sim = Sim::new(seed);
        let steps = 5 + sim.below(100);
        let acknowledged = std::cell::RefCell::new(BTreeMap::new());
        let body = |key: &str| vec![Bytes::from(key.repeat(700)), Bytes::from(key.repeat(30))];
        let keys = ["packs/a/1", "packs/a/2", "packs/b/1", "d/x/h/1", "d/x/h/2"];
        let ended = sim.run_steps(steps, async |env: Env| {
            let bucket = DirBucket::new(env, "/data/vault");
            for key in keys {
                bucket.put(key, body(key), Precondition::Absent).await.unwrap();
                acknowledged.borrow_mut().insert(key, true);
            }
            bucket.delete(keys[0]).await.unwrap();
            acknowledged.borrow_mut().insert(keys[0], false);
            bucket
                .put(keys[1], body("new"), Precondition::None)
                .await
                .unwrap();
            acknowledged.borrow_mut().remove(keys[1]);
        });
        cut_midway += u32::from(ended.is_none());
        sim.crash();
        sim.run(async |env: Env| {
            let bucket = DirBucket::new(env, PathBuf::from("/data/vault"));
            let acknowledged = acknowledged.take();
            for key in keys {
                let wanted = acknowledged.get(key);
                match bucket.get(key).await {
                    Ok(got) => {
                        let whole =
                            got == body(key).concat() || key == keys[1] && got == body("new").concat();
                        assert!(whole, "seed {seed}: {key} is damaged");
                        assert_ne!(wanted, Some(&false), "seed {seed}: {key} was deleted");
                        unacknowledged_kept += u32::from(wanted.is_none());
                        let again = bucket.put(key, vec![], Precondition::Absent).await;
                        assert_eq!(again.unwrap_err().kind, BucketErrorKind::Exists);
                    }
                    Err(error) => {
                        assert_eq!(error.kind, BucketErrorKind::Missing);
                        // Asked to be deleted when the power went: either answer is right.
                        let deleting = key == keys[0] && acknowledged.len() == keys.len();
                        assert!(wanted != Some(&true) || deleting, "seed {seed}: {key} is lost");
                    }
                }
            }
        });
    }
    assert!(
        cut_midway > 100 && unacknowledged_kept > 5,
        "{cut_midway} {unacknowledged_kept}"
    );
}

/// Directories made durable in runs that are killed at any step, and in one that is not, survive.
#[test]
fn a_durable_directory_is_durable_though_its_maker_was_killed_before() {
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let deep = Path::new("/a/b/c/d");
        for _ in 0..3 {
            let steps = 1 + sim.below(12);
            sim.run_steps(steps, async |env: Env| {
                create_dir_durable(&*env.fs, deep).await.unwrap()
            });
        }
        sim.run(async |env: Env| create_dir_durable(&*env.fs, deep).await.unwrap());
        sim.crash();
        assert!(
            sim.run(async |env: Env| env.fs.exists(deep).await.unwrap()),
            "seed {seed}"
        );
    }
}
