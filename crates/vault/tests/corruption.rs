//! Damage: any byte of any object changed, cut or missing. Every read is right or an error.

mod common;

use bytes::Bytes;
use common::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tidemark_env::fs::write_atomic;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, Env, OpenMode};
use tidemark_units::CHUNK_BYTES;
use tidemark_vault::{
    Chunk, CollectOptions, Reader, Result, Root, Sample, SnapshotWriter, VaultError, VaultErrorKind,
};

/// A vault of two snapshots of one disk whose objects are small.
struct Small {
    bucket: Rc<Bad>,
    roots: Vec<(Root, Model)>,
}

async fn small_vault(sim: &Sim, env: &Env, seeds: &[u64]) -> Small {
    let bucket = Bad::new(sim, env);
    let vault = bucket.create_vault(env).await.unwrap();
    let mut model: Model = seeds
        .iter()
        .zip([0, 1, 130, 200])
        .map(|(seed, index)| (index, *seed))
        .collect();
    let mut roots: Vec<(Root, Model)> = Vec::new();
    for name in ["s-0", "s-1"] {
        let pending: Vec<u32> = if roots.is_empty() {
            model.keys().copied().collect()
        } else {
            vec![1, 2]
        };
        if !roots.is_empty() {
            model.extend([(1, 20), (2, seeds[4])]);
        }
        let parent = roots.last().map(|(root, _)| *root);
        let (dir, spec) = (
            Path::new("spool").join(name),
            spec(name, "d-1", 300, parent, &pending),
        );
        let done = capture(&vault, &dir, spec, &model).await.unwrap();
        roots.push((done.root, model.clone()));
    }
    Small { bucket, roots }
}

/// Reads everything in every way. Wrong data is a panic, an error is an answer.
async fn read_all(env: &Env, small: &Small) -> Result<()> {
    let vault = small.bucket.open_vault(env).await?;
    let mut first_error = None;
    match vault.snapshots().await {
        Ok(records) => {
            let found: Vec<Root> = records.into_iter().map(|record| record.root).collect();
            assert!(
                found
                    .iter()
                    .all(|root| small.roots.iter().any(|(known, _)| known.same_content(root)))
            );
            assert_eq!(
                found.len(),
                small.roots.len(),
                "a snapshot vanished without an error"
            );
        }
        Err(error) => first_error = Some(error),
    }
    for (root, model) in &small.roots {
        let reader = Reader::open(&vault, *root);
        for index in (0..4).chain(128..132).chain(199..202) {
            match reader.read_chunk(index).await {
                Ok(found) => assert!(
                    found == chunk(model.get(&index).copied()),
                    "chunk {index} is wrong"
                ),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        match reader.non_zero_chunks(0..300).await {
            Ok(found) => assert_eq!(
                found.iter().collect::<Vec<_>>(),
                model.keys().copied().collect::<Vec<_>>()
            ),
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    first_error.map_or(Ok(()), Err)
}

#[test]
fn any_changed_byte_is_right_or_an_error() {
    for sim in both(1) {
        let world = sim.clone();
        sim.run(|env| async move {
            let small = small_vault(&world, &env, &[2, 4, 6, 2, 2]).await;
            read_all(&env, &small).await.unwrap();
            let mut harmless = 0;
            let mut flips = 0;
            for (key, body) in objects(&small.bucket).await {
                // Each structure's own tests change every byte; here a third of them does.
                for at in (world.below(3) as usize..body.len()).step_by(3) {
                    let mut bad = body.to_vec();
                    bad[at] ^= 1 << world.below(8);
                    replace(&small.bucket, &key, bad).await;
                    flips += 1;
                    harmless += u32::from(read_all(&env, &small).await.is_ok());
                }
                replace(&small.bucket, &key, body).await;
            }
            // Only packs have bytes that a read does not need: headers and footers.
            assert!(
                flips > 700 && harmless < flips * 9 / 10,
                "{harmless} of {flips} flips went unnoticed"
            );
            read_all(&env, &small).await.unwrap();
        });
    }
}

#[test]
fn noise_that_changed_is_never_data() {
    for sim in both(2) {
        let world = sim.clone();
        sim.run(|env| async move {
            let small = small_vault(&world, &env, &[1, 3, 5, 7, 22]).await;
            for (key, body) in objects(&small.bucket).await {
                // The second pack is small; of the first, all but the ends are chunks.
                if key.starts_with("packs/") && body.len() as u64 > 4 * CHUNK_BYTES {
                    for _ in 0..60 {
                        let at = 32 + world.below(4 * CHUNK_BYTES) as usize;
                        let mut bad = body.to_vec();
                        bad[at] ^= 0x40;
                        replace(&small.bucket, &key, bad).await;
                        let error = read_all(&env, &small).await.unwrap_err();
                        assert_eq!(error.kind, VaultErrorKind::Corrupt);
                        let (pack, text) = (key.rsplit('/').next().unwrap(), error.to_string());
                        assert!(text.contains(pack) && text.contains("chunk"), "{text}");
                    }
                    replace(&small.bucket, &key, body).await;
                }
            }
        });
    }
}

#[test]
fn cut_missing_and_exchanged_objects_are_errors() {
    for sim in both(3) {
        let world = sim.clone();
        sim.run(|env| async move {
            let small = small_vault(&world, &env, &[2, 4, 6, 2, 2]).await;
            let all = objects(&small.bucket).await;
            for (key, body) in &all {
                for cut in [0, 1, body.len() / 2, body.len() - 1] {
                    replace(&small.bucket, key, body.slice(..cut)).await;
                    // A pack that lost its end only is still read by its locations.
                    if !key.starts_with("packs/") && !key.starts_with("nodes/") || cut < body.len() / 2 {
                        read_all(&env, &small).await.unwrap_err();
                    } else {
                        let _ = read_all(&env, &small).await;
                    }
                }
                small.bucket.delete(key).await.unwrap();
                // That the head log had a last entry is known to nobody else.
                if !key.starts_with("d/d-1/h/00000000000000000001") {
                    read_all(&env, &small).await.unwrap_err();
                }
                for (other, other_body) in &all {
                    let prefix = |key: &str| key.split('/').next().map(str::to_owned);
                    if other != key && prefix(other) == prefix(key) {
                        replace(&small.bucket, key, other_body.clone()).await;
                        read_all(&env, &small).await.unwrap_err();
                    }
                }
                replace(&small.bucket, key, body.clone()).await;
            }
        });
    }
}

#[test]
fn a_collector_that_cannot_read_everything_frees_nothing() {
    for sim in both(4) {
        let world = sim.clone();
        sim.run(|env| async move {
            let small = small_vault(&world, &env, &[2, 4, 6, 2, 2]).await;
            let vault = small.bucket.open_vault(&env).await.unwrap();
            vault
                .delete_snapshot(&disk("d-1"), &snapshot("s-0"), None)
                .await
                .unwrap();
            let all = objects(&small.bucket).await;
            for key in all
                .keys()
                .filter(|key| key.starts_with("d/") || key.starts_with("nodes/"))
            {
                small.bucket.delete(key).await.unwrap();
                let vault = small.bucket.open_vault(&env).await.unwrap();
                let swept = vault.collect(&CollectOptions::default()).await;
                replace(&small.bucket, key, all[key].clone()).await;
                // The last drop entry is the only object whose loss merely brings a snapshot back.
                if swept.is_ok() {
                    assert!(key.ends_with("2"), "{key}");
                }
                // A snapshot whose time had come may have been purged: that is in the log, and frees nothing by itself.
                let mut now = objects(&small.bucket).await;
                now.retain(|key, _| !key.starts_with("d/"));
                let before = all
                    .iter()
                    .filter(|(key, _)| !key.starts_with("d/") && *key != "snapshots/s-0");
                for (name, object) in before {
                    assert!(now.get(name) == Some(object), "{name} went with {key}");
                }
            }
        });
    }
}

/// Two disks with the same content, stored twice: whatever is cached, deleted and swept in whatever
/// order, what is left stays whole.
#[test]
fn equal_content_in_two_places_outlives_either() {
    for seed in (0..8).chain(ENCRYPTED..ENCRYPTED + 8) {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let vault = bucket.create_vault(&env).await.unwrap();
            let model: Model = (0..200).map(|at| (at, u64::from(at % 50) * 2 + 2)).collect();
            let all: Vec<u32> = model.keys().copied().collect();
            let mut roots = Vec::new();
            for (name, of) in [("s-0", "d-0"), ("s-1", "d-1")] {
                let spec = spec(name, of, 300, None, &all);
                roots.push(
                    capture(&vault, &Path::new("spool").join(name), spec, &model)
                        .await
                        .unwrap()
                        .root,
                );
            }
            assert!(roots[0].same_content(&roots[1]));
            let (kept, gone) = if seed % 2 == 0 { (0, 1) } else { (1, 0) };
            let warm = [kept, gone][(seed / 2 % 2) as usize];
            assert_holds(&vault, roots[warm], &model, "before").await;
            let names = [("d-0", "s-0"), ("d-1", "s-1")];
            vault
                .delete_snapshot(&disk(names[gone].0), &snapshot(names[gone].1), None)
                .await
                .unwrap();
            assert!(
                vault
                    .collect(&CollectOptions::default())
                    .await
                    .unwrap()
                    .freed_packs
                    > 0
            );
            assert_holds(&vault, roots[kept], &model, "after one run").await;
            if seed % 8 < 4 {
                // The parent's nodes come from the cache, perhaps as the copy that is gone.
                let mut changed = model.clone();
                changed.insert(3, 5);
                let spec = spec("s-2", names[kept].0, 300, Some(roots[kept]), &[3, 4]);
                let root = capture(&vault, Path::new("spool/s-2"), spec, &changed)
                    .await
                    .unwrap()
                    .root;
                vault.collect(&CollectOptions::default()).await.unwrap();
                vault
                    .delete_snapshot(&disk(names[kept].0), &snapshot(names[kept].1), None)
                    .await
                    .unwrap();
                vault.collect(&CollectOptions::default()).await.unwrap();
                let fresh = bucket.open_vault(&env).await.unwrap();
                assert_holds(&fresh, root, &changed, "the child").await;
                assert_eq!(fresh.verify(&root, Sample::All).await.unwrap().damage_count, 0);
                return;
            }
            vault.collect(&CollectOptions::default()).await.unwrap();
            assert_holds(&vault, roots[kept], &model, "after two").await;
            let fresh = bucket.open_vault(&env).await.unwrap();
            assert_holds(&fresh, roots[kept], &model, "opened anew").await;
        });
    }
}

/// A pack that is gone is no loss while another holds the same chunks.
#[test]
fn a_lost_pack_is_found_elsewhere() {
    for sim in both(6) {
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let vault = bucket.create_vault(&env).await.unwrap();
            let model: Model = (0..40).map(|at| (at, u64::from(at) * 2 + 2)).collect();
            let all: Vec<u32> = model.keys().copied().collect();
            let first = capture(
                &vault,
                Path::new("spool/s-0"),
                spec("s-0", "d-0", 300, None, &all),
                &model,
            )
            .await
            .unwrap();
            let packs = [keys(&*bucket, "packs/").await, keys(&*bucket, "nodes/").await].concat();
            capture(
                &vault,
                Path::new("spool/s-1"),
                spec("s-1", "d-1", 300, None, &all),
                &model,
            )
            .await
            .unwrap();
            for pack in packs {
                bucket.delete(&pack).await.unwrap();
            }
            let vault = bucket.open_vault(&env).await.unwrap();
            assert_holds(&vault, first.root, &model, "s-0").await;
            assert_eq!(
                vault.verify(&first.root, Sample::All).await.unwrap().damage_count,
                0
            );
            assert_eq!(
                Reader::open(&vault, first.root).read_chunk(41).await.unwrap(),
                Chunk::Zero
            );
            assert!(
                Reader::open(&vault, first.root).read_chunk(300).await.is_err(),
                "past the end"
            );
        });
    }
}

/// The files of a capture whose packs could not be uploaded yet.
fn waiting_capture(sim: &Sim, model: &Model) -> BTreeMap<PathBuf, Bytes> {
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        bucket.down.set(true);
        let pending: Vec<u32> = (0..10).collect();
        let spec = spec("s-1", "d-1", 300, None, &pending);
        let writer = SnapshotWriter::begin(&vault, Path::new("spool"), spec, small())
            .await
            .unwrap();
        for index in 0..7 {
            writer
                .put(index, chunk(model.get(&index).copied()))
                .await
                .unwrap();
        }
        assert_eq!(writer.seal().await.unwrap().len(), 7);
        writer.close().await;
        let mut files = BTreeMap::new();
        for entry in env.fs.list(Path::new("spool")).await.unwrap() {
            let path = Path::new("spool").join(entry.name);
            let file = env.fs.open(&path, OpenMode::Read).await.unwrap();
            let size = file.size().await.unwrap() as usize;
            files.insert(path, file.read_at(0, size).await.unwrap());
        }
        files
    })
}

#[test]
fn a_damaged_spool_is_an_error_or_harmless() {
    for seed in [7, ENCRYPTED + 7] {
        damaged_spool(seed);
    }
}

fn damaged_spool(seed: u64) {
    let model: Model = (0..10).map(|at| (at, u64::from(at) * 2)).collect();
    let files = waiting_capture(&Sim::new(seed), &model);
    assert_eq!(files.len(), 2, "the capture file and one pack");
    let mut harmless = 0;
    let mut flips = 0;
    for (path, body) in &files {
        for at in (0..body.len()).step_by(3) {
            let sim = Sim::new(seed);
            assert_eq!(&waiting_capture(&sim, &model), &files);
            let (world, model, path) = (sim.clone(), model.clone(), path.clone());
            let mut bad = body.to_vec();
            bad[at] ^= 1 << (at % 8);
            let done = sim.run(|env| async move {
                write_atomic(&*env.fs, &path, bad.into()).await.unwrap();
                let bucket = Bad::new(&world, &env);
                let vault = bucket.open_vault(&env).await.unwrap();
                let writer = SnapshotWriter::resume(&vault, Path::new("spool"), small()).await?;
                let writer = writer.expect("the capture is there, damaged or not");
                for index in 7..10 {
                    writer.put(index, chunk(model.get(&index).copied())).await?;
                }
                let done = writer.finish(draft()).await?;
                assert_holds(&vault, done.root, &model, "made from a damaged spool").await;
                Ok::<(), VaultError>(())
            });
            flips += 1;
            harmless += u32::from(done.is_ok());
        }
    }
    // A zstd frame has bits without a meaning.
    assert!(harmless <= 7, "{harmless} of {flips} flips went unnoticed");
}
