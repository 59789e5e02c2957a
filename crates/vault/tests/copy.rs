//! Copies between vaults: the same bytes, only what is new, whatever is killed, deleted or copied at the same time.

mod common;

use common::*;
use futures_util::future::{Either, join, select};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, Env, Precondition};
use tidemark_vault::{
    CollectOptions, CopyReport, CopyRequest, DiskCopier, Sample, Secret, Standing, Vault, VaultErrorKind,
    VaultOptions,
};

const CHUNKS: u32 = 2_000;

/// Vaults by name, each in its directory; in lower case not encrypted.
async fn open(env: &Env, bucket: Rc<Bad>, name: char) -> Vault {
    let key = name
        .is_uppercase()
        .then(|| Secret::key_file(&[name as u8; 32]).unwrap());
    let options = VaultOptions {
        secret: key,
        ..VaultOptions::default()
    };
    Vault::open_or_create_with(env, bucket, options).await.unwrap()
}

fn bucket(sim: &Sim, env: &Env, name: char) -> Rc<Bad> {
    Bad::at(sim, env, &format!("vault-{name}"), &Rc::default())
}

/// A vault in a bucket without bad days.
async fn vault(sim: &Sim, env: &Env, name: char) -> Vault {
    open(env, bucket(sim, env, name), name).await
}

/// Captures the models as snapshots `s-0`, `s-1`, … of `d-1`, each relative to the one before.
async fn history(vault: &Vault, models: &[Model]) {
    let (mut parent, mut before) = (None, Model::new());
    for (number, model) in models.iter().enumerate() {
        let changed = |index: &u32| model.get(index) != before.get(index);
        let pending: Vec<u32> = (0..CHUNKS).filter(changed).collect();
        let (name, dir) = (format!("s-{number}"), format!("spool/{}-{number}", vault.id()));
        let spec = spec(&name, "d-1", CHUNKS, parent, &pending);
        let writer = tidemark_vault::SnapshotWriter::begin(vault, Path::new(&dir), spec, small())
            .await
            .unwrap();
        for index in &pending {
            writer
                .put(*index, chunk(model.get(index).copied()))
                .await
                .unwrap();
        }
        let named = |number: usize| snapshot(&format!("s-{number}"));
        let draft = tidemark_vault::RecordDraft {
            parent: number.checked_sub(1).map(named),
            created_ms: 1_700_000_000_000 + number as i64,
            meta: serde_json::json!({ "name": name }),
            ..draft()
        };
        parent = Some(writer.finish(draft).await.unwrap().root);
        before = model.clone();
    }
}

/// A first model with so many chunks, then small changes, zeros among them.
fn models(count: usize, first: u32) -> Vec<Model> {
    let mut models: Vec<Model> = vec![(0..first).map(|at| (at * 3, u64::from(at) % 200 + 1)).collect()];
    for number in 1..count {
        let mut next = models[number - 1].clone();
        for at in 0..10 {
            next.insert(
                number as u32 * 100 + at,
                1000 + number as u64 * 10 + u64::from(at),
            );
        }
        next.remove(&(number as u32 * 30));
        models.push(next);
    }
    models
}

async fn copy(copier: &DiskCopier, name: &str, dir: &Path) -> Option<CopyReport> {
    let request = CopyRequest::new(snapshot(name));
    let begun = copier.begin(&request, dir, small()).await.unwrap()?;
    Some(begun.run().await.unwrap())
}

async fn check(vault: &Vault, name: &str, model: &Model) {
    let record = vault.snapshot(&snapshot(name)).await.unwrap();
    assert_holds(vault, record.root, model, name).await;
    let report = vault.verify(&record.root, Sample::All).await.unwrap();
    assert!(report.damage.is_empty(), "{name}: {:?}", report.damage);
}

/// Plain and encrypted vaults, to each other and back: equal content, and only the change is sent.
#[test]
fn copies_hold_the_same_and_send_the_change_only() {
    for (from, to) in [('a', 'b'), ('a', 'B'), ('A', 'b'), ('A', 'B')] {
        let sim = Sim::new(1);
        let world = sim.clone();
        sim.run(|env| async move {
            let (source, target) = (vault(&world, &env, from).await, vault(&world, &env, to).await);
            let models = models(5, 600);
            history(&source, &models).await;
            let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
            assert_eq!(copier.snapshots().len(), models.len());
            for (number, model) in models.iter().enumerate() {
                let name = format!("s-{number}");
                let report = copy(&copier, &name, Path::new("spool/copy")).await.unwrap();
                let record = source.snapshot(&snapshot(&name)).await.unwrap();
                let made = &report.record;
                assert_eq!(made.origin.unwrap().vault, source.id());
                assert_eq!((made.created_ms, made.lsn), (record.created_ms, record.lsn));
                assert_eq!((&made.meta, &made.parent), (&record.meta, &record.parent));
                let captured = made.stats.captured_chunks;
                if number == 0 {
                    assert_eq!((report.basis, captured), (None, 600), "{from}{to}");
                } else {
                    assert_eq!(
                        report.basis,
                        Some(snapshot(&format!("s-{}", number - 1))),
                        "{from}{to}"
                    );
                    assert!(
                        (10..=11).contains(&captured),
                        "{from}{to} {name}: {captured} chunks"
                    );
                }
                check(&target, &name, model).await;
            }
            // Again: nothing to do, not even with new handles. Back to a third: what two others got from one is the same.
            let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
            assert!(copy(&copier, "s-3", Path::new("spool/copy")).await.is_none());
            let back = DiskCopier::open(&target, &source, &disk("d-1")).await.unwrap();
            assert!(copy(&back, "s-3", Path::new("spool/copy")).await.is_none());
            for third in ['c', 'C'] {
                let third = vault(&world, &env, third).await;
                let onward = DiskCopier::open(&target, &third, &disk("d-1")).await.unwrap();
                copy(&onward, "s-2", Path::new("spool/copy")).await.unwrap();
                let from_first = DiskCopier::open(&source, &third, &disk("d-1")).await.unwrap();
                assert!(copy(&from_first, "s-2", Path::new("spool/copy")).await.is_none());
                let report = copy(&from_first, "s-4", Path::new("spool/copy")).await.unwrap();
                assert_eq!(
                    report.basis,
                    Some(snapshot("s-2")),
                    "its parent is not there, the nearest is"
                );
                assert_eq!(report.record.parent, None, "what is not there is not named");
                check(&third, "s-4", &models[4]).await;
            }
        });
    }
}

/// Objects that were put under `packs/`.
fn data_packs(puts: &RefCell<Vec<String>>) -> usize {
    puts.borrow()
        .iter()
        .filter(|key| key.starts_with("packs/"))
        .count()
}

/// One life of a program that copies everything, on buckets with bad days.
async fn live(
    env: Env,
    sim: Sim,
    names: (char, char),
    puts: Rc<RefCell<Vec<String>>>,
    resumed: Rc<Cell<u32>>,
) {
    let (from, to) = (
        bucket(&sim, &env, names.0),
        Bad::at(&sim, &env, &format!("vault-{}", names.1), &puts),
    );
    from.one_in.set(40);
    to.one_in.set(40);
    let (source, target) = (open(&env, from, names.0).await, open(&env, to, names.1).await);
    let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
    for name in copier.snapshots() {
        let dir = PathBuf::from(format!("spool/cp/{name}"));
        let request = CopyRequest::new(name);
        let begun = loop {
            match copier.begin(&request, &dir, small()).await {
                Err(error) if error.kind == VaultErrorKind::Busy => {}
                begun => break begun.unwrap(),
            }
        };
        let Some(begun) = begun else { continue };
        resumed.set(resumed.get() + u32::from(begun.is_resumed()));
        while let Err(error) = begun.run().await {
            assert_eq!(error.kind, VaultErrorKind::Busy, "{error}");
        }
    }
}

fn crash_story(seed: u64, resumed: &Rc<Cell<u32>>) {
    let sim = Sim::new(seed);
    let names = [('a', 'b'), ('a', 'B'), ('A', 'b'), ('A', 'B')][(seed % 4) as usize];
    let models = Rc::new(models(4, 60));
    let (world, made) = (sim.clone(), models.clone());
    sim.run(|env| async move {
        history(&vault(&world, &env, names.0).await, &made).await;
    });
    let puts = Rc::new(RefCell::default());
    let mut lives = 0;
    loop {
        lives += 1;
        let steps = 100 + sim.below(150 * lives * lives);
        let (world, puts, resumed) = (sim.clone(), puts.clone(), resumed.clone());
        let done = sim.run_steps(steps, |env| live(env, world, names, puts, resumed));
        if sim.below(3) > 0 {
            sim.crash();
        }
        if done.is_some() {
            break;
        }
    }
    let (world, sent) = (sim.clone(), data_packs(&puts));
    sim.run(|env| async move {
        // Once more, in case the power cut came right behind the end.
        live(env.clone(), world.clone(), names, Rc::default(), Rc::default()).await;
        let target = vault(&world, &env, names.1).await;
        for (number, model) in models.iter().enumerate() {
            check(&target, &format!("s-{number}"), model).await;
        }
        let report = target.collect(&CollectOptions::default()).await.unwrap();
        let kept = keys(&*bucket(&world, &env, names.1), "packs/").await.len() as u64;
        // A pack that was being sent when its life ended may be sent again; none that had arrived is.
        let most = kept + report.freed_packs + lives * small().upload_width as u64;
        assert!(
            sent as u64 <= most,
            "seed {seed}: {sent} packs sent in {lives} lives, {kept} needed"
        );
        for (number, model) in models.iter().enumerate() {
            check(&target, &format!("s-{number}"), model).await;
        }
        let spools = env.fs.list(Path::new("spool/cp")).await.unwrap();
        assert_eq!(spools, [], "seed {seed}: nothing stays behind");
    });
}

#[test]
fn a_copy_that_is_killed_goes_on() {
    let resumed = Rc::default();
    for seed in 0..16 {
        crash_story(seed, &resumed);
    }
    assert!(resumed.get() > 0, "the test is about copies that go on");
}

/// Two programs copy the same into one vault, each with a handle and a spool of its own.
#[test]
fn two_copies_at_once_make_one_snapshot() {
    let mut races = 0;
    for seed in 0..16 {
        let sim = Sim::new(seed);
        let world = sim.clone();
        let to = if seed % 2 == 0 { 'b' } else { 'B' };
        let by_another = sim.run(|env| async move {
            let source = vault(&world, &env, 'a').await;
            let models = models(3, 60);
            history(&source, &models).await;
            drop(vault(&world, &env, to).await);
            let one = |which: u32| {
                let (env, world, source) = (env.clone(), world.clone(), source.clone());
                async move {
                    let target = vault(&world, &env, to).await;
                    let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
                    let mut by_another = 0;
                    for name in copier.snapshots() {
                        let dir = PathBuf::from(format!("spool/cp-{which}"));
                        let report = copy(&copier, name.as_str(), &dir).await;
                        by_another += u32::from(report.is_some_and(|report| report.made_by_another));
                    }
                    by_another
                }
            };
            let (a, b) = join(one(1), one(2)).await;
            let target = vault(&world, &env, to).await;
            target.collect(&CollectOptions::default()).await.unwrap();
            let found = bucket(&world, &env, to);
            let fresh = open(&env, found.clone(), to).await;
            for (number, model) in models.iter().enumerate() {
                check(&fresh, &format!("s-{number}"), model).await;
            }
            let entries = keys(&*found, "d/d-1/h/").await;
            assert_eq!(entries.len(), models.len(), "each is committed once");
            a + b
        });
        races += by_another;
    }
    assert!(races > 0, "the test is about copies that meet");
}

/// A disk that shrank and grew between its snapshots, in sizes on both sides of a tree's level.
#[test]
fn sizes_change_along_the_way() {
    for to in ['b', 'B'] {
        let sim = Sim::new(4);
        let world = sim.clone();
        sim.run(|env| async move {
            let (source, target) = (vault(&world, &env, 'a').await, vault(&world, &env, to).await);
            let mut model: Model = (0..90).map(|at| (at * 20, u64::from(at) + 1)).collect();
            let sizes = [2_000, 100, 40_000];
            let mut made = Vec::new();
            for (number, chunks) in sizes.into_iter().enumerate() {
                model.retain(|index, _| *index < chunks);
                model.insert(chunks - 1, 9_000 + number as u64);
                let pending: Vec<u32> = model.keys().copied().collect();
                let name = format!("s-{number}");
                let spec = spec(&name, "d-1", chunks, None, &pending);
                capture(&source, Path::new("spool/source"), spec, &model)
                    .await
                    .unwrap();
                made.push(model.clone());
            }
            let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
            for (name, base) in [("s-1", None), ("s-0", Some("s-1")), ("s-2", Some("s-1"))] {
                let report = copy(&copier, name, Path::new("spool/cp")).await.unwrap();
                assert_eq!(report.basis, base.map(snapshot), "{name}");
            }
            for (number, model) in made.iter().enumerate() {
                check(&target, &format!("s-{number}"), model).await;
            }
        });
    }
}

#[test]
fn what_is_there_is_not_replaced_and_what_was_deleted_stays_away() {
    let sim = Sim::new(3);
    let world = sim.clone();
    sim.run(|env| async move {
        let (source, target) = (vault(&world, &env, 'a').await, vault(&world, &env, 'b').await);
        let models = models(3, 60);
        history(&source, &models).await;
        let other: Model = [(1, 5)].into();
        let spec = spec("s-1", "d-1", CHUNKS, None, &[1]);
        capture(&target, Path::new("spool/other"), spec, &other)
            .await
            .unwrap();

        let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
        let mut request = CopyRequest::new(snapshot("s-1"));
        assert_eq!(copier.standing(&request).await.unwrap(), Standing::Other);
        let refused = copier
            .begin(&request, Path::new("spool/cp"), small())
            .await
            .err()
            .unwrap();
        assert!(refused.to_string().contains("other content"), "{refused}");
        check(&target, "s-1", &other).await;
        // Under another name it is welcome.
        request.as_snapshot = snapshot("s-1-copy");
        request.meta = Some(serde_json::json!({"name": "a copy"}));
        let begun = copier
            .begin(&request, Path::new("spool/cp"), small())
            .await
            .unwrap()
            .unwrap();
        let made = begun.run().await.unwrap().record;
        assert_eq!(made.meta, serde_json::json!({"name": "a copy"}));
        check(&target, "s-1-copy", &models[1]).await;

        copy(&copier, "s-2", Path::new("spool/cp")).await.unwrap();
        target
            .delete_snapshot(&disk("d-1"), &snapshot("s-2"), None)
            .await
            .unwrap();
        let request = CopyRequest::new(snapshot("s-2"));
        assert_eq!(copier.standing(&request).await.unwrap(), Standing::Deleted);
        let refused = copier
            .begin(&request, Path::new("spool/cp"), small())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.kind, VaultErrorKind::Missing);
        assert!(refused.to_string().contains("undelete"), "{refused}");
        // Brought back it is the same again; gone for good it stays away.
        target
            .undelete_snapshot(&disk("d-1"), &snapshot("s-2"))
            .await
            .unwrap();
        assert_eq!(copier.standing(&request).await.unwrap(), Standing::Same);
        check(&target, "s-2", &models[2]).await;
        target
            .delete_snapshot(&disk("d-1"), &snapshot("s-2"), None)
            .await
            .unwrap();
        target.collect(&CollectOptions::default()).await.unwrap();
        assert_eq!(copier.standing(&request).await.unwrap(), Standing::Purged);
        let refused = copier
            .begin(&request, Path::new("spool/cp"), small())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.kind, VaultErrorKind::Missing);
        assert!(refused.to_string().contains("not used again"), "{refused}");

        let missing = CopyRequest::new(snapshot("s-none"));
        let refused = copier
            .begin(&missing, Path::new("spool/cp"), small())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.kind, VaultErrorKind::Missing);
    });
}

/// Between two lives of a copy, the snapshot that it is relative to is deleted and purged: it begins again.
#[test]
fn a_basis_that_goes_takes_no_copy_with_it() {
    for during in [false, true] {
        let sim = Sim::new(5);
        let world = sim.clone();
        sim.run(|env| async move {
            let (source, target) = (vault(&world, &env, 'A').await, vault(&world, &env, 'b').await);
            let models = models(2, 60);
            history(&source, &models).await;
            let dir = Path::new("spool/cp");
            let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
            copy(&copier, "s-0", dir).await.unwrap();
            let request = CopyRequest::new(snapshot("s-1"));
            let begun = copier.begin(&request, dir, small()).await.unwrap().unwrap();
            assert_eq!(begun.basis(), Some(&snapshot("s-0")));
            let elsewhere = vault(&world, &env, 'b').await;
            elsewhere
                .delete_snapshot(&disk("d-1"), &snapshot("s-0"), None)
                .await
                .unwrap();
            elsewhere.collect(&CollectOptions::default()).await.unwrap();
            if during {
                let lost = begun.run().await.unwrap_err();
                assert_eq!(lost.kind, VaultErrorKind::Stale, "{lost}");
            }
            begun.close().await;
            drop(begun);
            let begun = copier.begin(&request, dir, small()).await.unwrap().unwrap();
            assert!(begun.basis().is_none() && !begun.is_resumed());
            begun.run().await.unwrap();
            elsewhere.collect(&CollectOptions::default()).await.unwrap();
            check(&vault(&world, &env, 'b').await, "s-1", &models[1]).await;
        });
    }
}

/// A spool that was tampered with, or of which a cleaner of temporary files took a part, only costs time.
#[test]
fn a_spool_that_is_damaged_is_begun_again() {
    let sim = Sim::new(8);
    let world = sim.clone();
    sim.run(|env| async move {
        let (source, target) = (vault(&world, &env, 'a').await, vault(&world, &env, 'b').await);
        let models = models(1, 60);
        history(&source, &models).await;
        let dir = Path::new("spool/cp");
        let theirs = bucket(&world, &env, 'b');
        interrupt(&env, &source, &theirs, "s-0", dir).await;
        assert_eq!(keys(&*theirs, "w/").await.len(), 1);
        let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
        let request = CopyRequest::new(snapshot("s-0"));
        tidemark_env::fs::write_atomic(&*env.fs, &dir.join("capture"), "nonsense".into())
            .await
            .unwrap();
        let begun = copier.begin(&request, dir, small()).await.unwrap().unwrap();
        assert!(!begun.is_resumed());
        begun.run().await.unwrap();
        check(&target, "s-0", &models[0]).await;
        // Nor does what it had stored stay until an operator comes.
        let freed = target.collect(&CollectOptions::default()).await.unwrap();
        assert!(freed.freed_packs > 0);
        assert_eq!(keys(&*theirs, "w/").await, [] as [String; 0]);
    });
}

/// What can be destroyed with a disk's key can be so in the copy, or there is no copy.
#[test]
fn a_disk_with_a_key_of_its_own_stays_destroyable() {
    let sim = Sim::new(6);
    let world = sim.clone();
    sim.run(|env| async move {
        let source = vault(&world, &env, 'A').await;
        source.create_disk_key(&disk("d-1")).await.unwrap();
        let model: Model = (0..20).map(|at| (at, 7 + u64::from(at))).collect();
        let pending: Vec<u32> = model.keys().copied().collect();
        let spec = tidemark_vault::CaptureSpec {
            own_key: true,
            ..spec("s-0", "d-1", CHUNKS, None, &pending)
        };
        capture(&source, Path::new("spool/one"), spec, &model)
            .await
            .unwrap();

        let plain = vault(&world, &env, 'b').await;
        let refused = DiskCopier::open(&source, &plain, &disk("d-1"))
            .await
            .err()
            .unwrap();
        assert_eq!(refused.kind, VaultErrorKind::Denied);
        let target = vault(&world, &env, 'B').await;
        let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
        copy(&copier, "s-0", Path::new("spool/cp")).await.unwrap();
        check(&target, "s-0", &model).await;
        let root = target.snapshot(&snapshot("s-0")).await.unwrap().root;
        target
            .delete_snapshot(&disk("d-1"), &snapshot("s-0"), None)
            .await
            .unwrap();
        // As whoever has kept an older copy of the bucket has them.
        let found = bucket(&world, &env, 'B');
        let mut packs = keys(&*found, "packs/").await;
        packs.extend(keys(&*found, "nodes/").await);
        let mut kept = Vec::new();
        for key in packs {
            kept.push((found.get(&key).await.unwrap(), key));
        }
        target.collect(&CollectOptions::default()).await.unwrap();
        target.destroy_disk_key(&disk("d-1")).await.unwrap();
        for (object, key) in kept {
            found.put(&key, vec![object], Precondition::None).await.unwrap();
        }
        let late = vault(&world, &env, 'B').await;
        let report = late.verify(&root, Sample::All).await.unwrap();
        assert!(
            !report.damage.is_empty(),
            "its packs are there, and nobody can read them"
        );
    });
}

/// Copying changes nothing in the source: rights to read are enough.
#[test]
fn the_source_is_only_read() {
    let sim = Sim::new(7);
    let world = sim.clone();
    sim.run(|env| async move {
        let from = bucket(&world, &env, 'A');
        let source = open(&env, from.clone(), 'A').await;
        history(&source, &models(2, 60)).await;
        from.forget_counts();
        let source = open(&env, from.clone(), 'A').await;
        let target = vault(&world, &env, 'b').await;
        let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
        for name in copier.snapshots() {
            copy(&copier, name.as_str(), Path::new("spool/cp")).await.unwrap();
        }
        assert_eq!(*from.puts.borrow(), [] as [String; 0]);
        let listed: BTreeMap<_, _> = source
            .listing(None)
            .await
            .unwrap()
            .snapshots
            .into_iter()
            .map(|r| (r.snapshot.clone(), r))
            .collect();
        assert_eq!(listed.len(), 2);
        assert_eq!(*from.puts.borrow(), [] as [String; 0]);
    });
}

/// Begins a copy and stops it when some of its packs are in the target.
async fn interrupt(env: &Env, source: &Vault, bucket: &Rc<Bad>, name: &str, dir: &Path) {
    let target = open(env, bucket.clone(), 'b').await;
    let copier = DiskCopier::open(source, &target, &disk("d-1")).await.unwrap();
    let request = CopyRequest::new(snapshot(name));
    let copy = copier.begin(&request, dir, small()).await.unwrap().unwrap();
    bucket.latency.set(Duration::from_millis(20));
    let some_are_there = async {
        while copy.progress().uploaded_bytes < 8 * 65_536 {
            env.clock.sleep(Duration::from_millis(1)).await;
        }
    };
    match select(pin!(copy.run()), pin!(some_are_there)).await {
        Either::Left((done, _)) => panic!("too quick: {done:?}"),
        Either::Right(_) => {}
    }
    copy.close().await;
    bucket.latency.set(Duration::ZERO);
}

/// As the command does it: what turns out to be of no use is begun again.
async fn copy_after_all(source: &Vault, target: &Vault, dir: &Path) -> CopyReport {
    let copier = DiskCopier::open(source, target, &disk("d-1")).await.unwrap();
    let request = CopyRequest::new(snapshot("s-1"));
    for _ in 0..2 {
        let copy = copier.begin(&request, dir, small()).await.unwrap().unwrap();
        match copy.run().await {
            Ok(report) => return report,
            Err(error) => assert_eq!(error.kind, VaultErrorKind::Stale, "{error}"),
        }
        copy.close().await;
    }
    panic!("it cannot be copied");
}

/// Two drives have one vault (`cp -a`). A copy to the first is interrupted, and goes on into the second: in one case with
/// the drives swapped, in the other after the first was put back as it had been when the copy was half done.
fn twins(half: bool) {
    let sim = Sim::new(2 + u64::from(half));
    let world = sim.clone();
    sim.run(|env| async move {
        let source = vault(&world, &env, 'a').await;
        let one = noise(60, 0);
        let other = noise(60, 1000);
        history(&source, &[one, other.clone()]).await;
        let (first, second) = (bucket(&world, &env, 'b'), bucket(&world, &env, 'c'));
        let target = open(&env, first.clone(), 'b').await;
        let copier = DiskCopier::open(&source, &target, &disk("d-1")).await.unwrap();
        copy(&copier, "s-0", Path::new("spool/s-0")).await.unwrap();
        let dir = Path::new("spool/s-1");
        if half {
            interrupt(&env, &source, &first, "s-1", dir).await;
        }
        for (key, body) in objects(&first).await {
            second.put(&key, vec![body], Precondition::None).await.unwrap();
        }
        if half {
            // One pack more than the state that is put back has.
            let packs = keys(&*second, "packs/").await;
            let theirs = objects(&first).await;
            let latest = first
                .puts
                .borrow()
                .iter()
                .rev()
                .find(|key| key.starts_with("packs/"))
                .cloned();
            let latest = latest.unwrap();
            assert!(packs.contains(&latest) && theirs.contains_key(&latest));
            second.delete(&latest).await.unwrap();
        } else {
            interrupt(&env, &source, &first, "s-1", dir).await;
        }
        let target = open(&env, second.clone(), 'b').await;
        copy_after_all(&source, &target, dir).await;
        let fresh = open(&env, second, 'b').await;
        check(&fresh, "s-1", &other).await;
    });
}

#[test]
fn a_copy_that_goes_on_in_another_vault_of_the_same_id_sends_everything() {
    twins(false);
}

#[test]
fn a_copy_that_goes_on_in_a_vault_that_was_put_back_sends_what_it_lacks() {
    twins(true);
}

/// An operator says that whoever made the copy is gone (`gc --forget-node`), and is wrong.
#[test]
fn a_copy_whose_capture_was_ended_begins_again() {
    let sim = Sim::new(8);
    let world = sim.clone();
    sim.run(|env| async move {
        let source = vault(&world, &env, 'a').await;
        let other = noise(60, 1000);
        history(&source, &[noise(60, 0), other.clone()]).await;
        let (bucket, dir) = (bucket(&world, &env, 'b'), Path::new("spool/s-1"));
        interrupt(&env, &source, &bucket, "s-1", dir).await;
        let operator = open(&env, bucket.clone(), 'b').await;
        for one in operator.registered_captures().await.unwrap() {
            operator.end_capture(one.capture).await.unwrap();
        }
        let freed = operator.collect(&CollectOptions::default()).await.unwrap();
        assert!(freed.freed_packs > 0);
        let target = open(&env, bucket.clone(), 'b').await;
        copy_after_all(&source, &target, dir).await;
        let fresh = open(&env, bucket, 'b').await;
        check(&fresh, "s-1", &other).await;
    });
}

fn noise(count: u32, salt: u64) -> Model {
    (0..count)
        .map(|at| (at, (u64::from(at) + salt) * 2 + 1))
        .collect()
}
