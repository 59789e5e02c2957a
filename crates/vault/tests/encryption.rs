//! Encrypted vaults: who can open one, what an owner of the bucket sees, and what becomes of what he changes.

mod common;

use bytes::Bytes;
use common::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, Env, Precondition};
use tidemark_units::CHUNK_BYTES;
use tidemark_vault::{
    Chunk, CollectOptions, DiskKey, KdfCost, Reader, RecordDraft, Result, Root, Sample, Secret,
    SnapshotWriter, Vault, VaultError, VaultErrorKind, VaultOptions,
};

/// So little work that tests need not wait for it.
const CHEAP: KdfCost = KdfCost {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};

fn passphrase(text: &str) -> Secret {
    Secret::passphrase(text).unwrap()
}

fn with(secret: &Secret) -> VaultOptions {
    VaultOptions {
        secret: Some(secret.clone()),
        kdf: CHEAP,
        ..VaultOptions::default()
    }
}

async fn open(env: &Env, bucket: &Rc<Bad>, secret: &Secret) -> Result<Vault> {
    Vault::open_with(env, bucket.clone(), with(secret)).await
}

async fn create(env: &Env, bucket: &Rc<Bad>, secret: &Secret) -> Vault {
    Vault::create_with(env, bucket.clone(), with(secret))
        .await
        .unwrap()
}

async fn objects(bucket: &Bad) -> BTreeMap<String, Bytes> {
    let mut all = BTreeMap::new();
    for key in keys(bucket, "").await {
        let body = bucket.get(&key).await.unwrap();
        all.insert(key, body);
    }
    all
}

async fn replace(bucket: &Bad, key: &str, body: impl Into<Bytes>) {
    bucket
        .put(key, vec![body.into()], Precondition::None)
        .await
        .unwrap();
}

/// An object of text with its hash put right, as somebody would who changes it on purpose.
fn forged(object: &Bytes, change: impl FnOnce(&mut serde_json::Value)) -> Bytes {
    let line = object.split(|byte| *byte == b'\n').next().unwrap();
    let mut json = serde_json::from_slice(line).unwrap();
    change(&mut json);
    let text = format!("{json}\n");
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{text}blake3:{hash}\n").into()
}

fn expect_error<T>(result: Result<T>, kind: VaultErrorKind, words: &[&str]) {
    let error = match result {
        Ok(_) => panic!("no error, where one with {words:?} belongs"),
        Err(error) => error,
    };
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error} does not say {word:?}");
    }
}

#[test]
fn each_way_of_not_opening_has_its_own_words() {
    let sim = Sim::new(1);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let right = passphrase("high water");
        let vault = create(&env, &bucket, &right).await;
        assert!(vault.is_encrypted());
        let id = vault.id();
        assert_eq!(open(&env, &bucket, &right).await.unwrap().id(), id);
        let before = objects(&bucket).await;
        assert_eq!(before.len(), 2, "the format and a key set");

        let none = Vault::open(&env, bucket.clone()).await;
        expect_error(
            none,
            VaultErrorKind::Locked,
            &["encrypted", "no key was given", "passphrase"],
        );
        let wrong = open(&env, &bucket, &passphrase("low water")).await;
        expect_error(wrong, VaultErrorKind::Locked, &["wrong passphrase"]);
        let file = Secret::key_file(&[1; 32]).unwrap();
        let other = open(&env, &bucket, &file).await;
        expect_error(
            other,
            VaultErrorKind::Locked,
            &["no key file slot", "opens with a passphrase"],
        );

        let (set, body) = before.iter().find(|(key, _)| key.starts_with("keys/")).unwrap();
        let mut flipped = body.to_vec();
        flipped[body.len() / 2] ^= 1;
        replace(&bucket, set, flipped).await;
        expect_error(
            open(&env, &bucket, &right).await,
            VaultErrorKind::Corrupt,
            &[set, "hash"],
        );
        let wrapped = forged(body, |json| {
            let slot = &mut json["slots"][0];
            slot["wrapped"] = "00".repeat(48).into();
        });
        replace(&bucket, set, wrapped).await;
        expect_error(
            open(&env, &bucket, &right).await,
            VaultErrorKind::Corrupt,
            &[set, "slot", "does not open"],
        );
        let costly = forged(body, |json| {
            json["slots"][0]["argon2id"]["memory_kib"] = u32::MAX.into()
        });
        replace(&bucket, set, costly).await;
        expect_error(
            open(&env, &bucket, &right).await,
            VaultErrorKind::Corrupt,
            &[set, "4294967295 KiB"],
        );
        let newer = forged(body, |json| json["version"] = 2.into());
        replace(&bucket, set, newer).await;
        expect_error(
            open(&env, &bucket, &right).await,
            VaultErrorKind::Other,
            &["version 2"],
        );
        bucket.delete(set).await.unwrap();
        expect_error(
            open(&env, &bucket, &right).await,
            VaultErrorKind::Corrupt,
            &["key sets are gone"],
        );
        replace(&bucket, set, body.clone()).await;

        let newer = forged(&before["format"], |json| {
            json["crypto"] = serde_json::json!(["aes512"])
        });
        replace(&bucket, "format", newer).await;
        expect_error(
            open(&env, &bucket, &right).await,
            VaultErrorKind::Other,
            &["aes512", "newer release"],
        );
        replace(&bucket, "format", before["format"].clone()).await;
        open(&env, &bucket, &right).await.unwrap();
        assert_eq!(objects(&bucket).await, before, "trying changes nothing");
    });
}

#[test]
fn a_key_for_a_plain_vault_is_refused_and_so_is_a_vault_that_lost_its_encryption() {
    let sim = Sim::new(2);
    let world = sim.clone();
    sim.run(|env| async move {
        let plain = Bad::new(&world, &env);
        let vault = Vault::create(&env, plain.clone()).await.unwrap();
        let secret = passphrase("high water");
        expect_error(
            open(&env, &plain, &secret).await,
            VaultErrorKind::Other,
            &["not encrypted"],
        );
        expect_error(vault.key_slots().await, VaultErrorKind::Other, &["not encrypted"]);
        expect_error(
            vault.create_disk_key(&disk("d-1")).await,
            VaultErrorKind::Other,
            &["not encrypted"],
        );
        let own_key = tidemark_vault::CaptureSpec {
            own_key: true,
            ..spec("s-1", "d-1", 10, None, &[1])
        };
        let begun = SnapshotWriter::begin(&vault, Path::new("spool"), own_key, small()).await;
        expect_error(begun, VaultErrorKind::Other, &["not encrypted"]);
        for key in keys(&*plain, "").await {
            plain.delete(&key).await.unwrap();
        }
        // Whoever knows the vault notices that its owner made it say that it is plain.
        let vault = create(&env, &plain, &secret).await;
        let known = vault.format().unwrap();
        let format = objects(&plain).await["format"].clone();
        replace(
            &plain,
            "format",
            forged(&format, |json| json["crypto"] = serde_json::json!([])),
        )
        .await;
        let opened = Vault::open_known(&env, plain.clone(), Some(&known), with(&secret)).await;
        expect_error(
            opened,
            VaultErrorKind::Other,
            &["not encrypted, but it was encrypted"],
        );
    });
}

#[test]
fn slots_come_and_go_and_data_stays() {
    let sim = Sim::new(3);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let (first, second) = (passphrase("first"), Secret::key_file(&[9; 32]).unwrap());
        let vault = create(&env, &bucket, &first).await;
        let model: Model = (0..9).map(|at| (at, u64::from(at) + 1)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let done = capture(
            &vault,
            Path::new("spool/s-1"),
            spec("s-1", "d-1", 20, None, &all),
            &model,
        );
        let root = done.await.unwrap().root;
        let packs = |all: BTreeMap<String, Bytes>| -> BTreeMap<String, Bytes> {
            all.into_iter()
                .filter(|(key, _)| !key.starts_with("keys/"))
                .collect()
        };
        let before = packs(objects(&bucket).await);

        let added = vault.add_key(&second, "the safe's", CHEAP).await.unwrap();
        let slots = vault.key_slots().await.unwrap();
        assert_eq!(slots.len(), 2);
        assert_eq!(
            (slots[1].id.as_str(), slots[1].label.as_str()),
            (added.as_str(), "the safe's")
        );
        assert_holds(
            &open(&env, &bucket, &second).await.unwrap(),
            root,
            &model,
            "by the second",
        )
        .await;
        vault.remove_key(&slots[0].id).await.unwrap();
        assert_eq!(
            keys(&*bucket, "keys/").await.len(),
            1,
            "what the old set wraps is gone with it"
        );
        expect_error(
            open(&env, &bucket, &first).await,
            VaultErrorKind::Locked,
            &["no passphrase slot"],
        );
        expect_error(
            vault.remove_key(&added).await,
            VaultErrorKind::Other,
            &["last slot", &added],
        );
        expect_error(
            vault.remove_key("nobody").await,
            VaultErrorKind::Missing,
            &["nobody", &added],
        );
        let opened = open(&env, &bucket, &second).await.unwrap();
        assert_holds(&opened, root, &model, "after all that").await;
        assert_eq!(packs(objects(&bucket).await), before, "no data was written again");
    });
}

/// Two processes change the keys at once, on a bucket whose answers get lost: no change is lost.
#[test]
fn concurrent_changes_lose_no_slot() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let first = Secret::key_file(&[0; 32]).unwrap();
            create(&env, &bucket, &first).await;
            bucket.one_in.set(8);
            let mut workers = Vec::new();
            for number in 1..5u8 {
                let (env, bucket, first) = (env.clone(), bucket.clone(), first.clone());
                workers.push(async move {
                    let vault = open(&env, &bucket, &first).await.unwrap();
                    let secret = Secret::key_file(&[number; 32]).unwrap();
                    let id = vault.add_key(&secret, "one of many", CHEAP).await.unwrap();
                    if number % 2 == 0 {
                        vault.remove_key(&id).await.unwrap();
                    }
                });
            }
            futures_util::future::join_all(workers).await;
            bucket.one_in.set(0);
            for number in 0..5u8 {
                let secret = Secret::key_file(&[number; 32]).unwrap();
                let opened = open(&env, &bucket, &secret).await;
                assert_eq!(
                    opened.is_ok(),
                    number == 0 || number % 2 == 1,
                    "seed {seed}: secret {number}"
                );
            }
            let vault = open(&env, &bucket, &first).await.unwrap();
            assert_eq!(vault.key_slots().await.unwrap().len(), 3);
        });
    }
}

#[test]
fn a_new_generation_reads_what_the_old_one_wrote() {
    let sim = Sim::new(4);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let (first, second) = (passphrase("first"), passphrase("second"));
        let vault = create(&env, &bucket, &first).await;
        vault.add_key(&second, "second", CHEAP).await.unwrap();
        let mut model: Model = (0..9).map(|at| (at, u64::from(at) + 1)).collect();
        let all: Vec<u32> = model.keys().copied().collect();
        let done = capture(
            &vault,
            Path::new("spool/s-1"),
            spec("s-1", "d-1", 300, None, &all),
            &model,
        );
        let old = done.await.unwrap().root;
        let old_model = model.clone();
        for generation in 1..4 {
            let vault = open(&env, &bucket, &second).await.unwrap();
            let rotated = vault
                .rotate_keys(&[(second.clone(), "again".into())], CHEAP)
                .await
                .unwrap();
            assert_eq!((rotated.generation, rotated.slots.len()), (generation, 1));
            assert!(rotated.dropped.iter().any(|slot| slot.label != "again") == (generation == 1));
            expect_error(
                open(&env, &bucket, &first).await,
                VaultErrorKind::Locked,
                &["wrong passphrase"],
            );
            // The process that rotated does not go on changing keys that it does not have.
            expect_error(
                vault.add_key(&first, "", CHEAP).await,
                VaultErrorKind::Lost,
                &["rotated"],
            );
            let vault = open(&env, &bucket, &second).await.unwrap();
            model.insert(200, u64::from(generation) * 2 + 100);
            let name = format!("s-{}", generation + 1);
            let spec = spec(&name, "d-1", 300, Some(old), &[200]);
            let new = capture(&vault, &Path::new("spool").join(&name), spec, &model)
                .await
                .unwrap()
                .root;
            assert_holds(&vault, new, &model, "new").await;
            assert_holds(&vault, old, &old_model, "old").await;
            assert_eq!(vault.verify(&old, Sample::All).await.unwrap().damage_count, 0);
        }
        let vault = open(&env, &bucket, &second).await.unwrap();
        assert_eq!(vault.snapshots().await.unwrap().len(), 4);
        vault.collect(&CollectOptions::default()).await.unwrap();
        assert_holds(&vault, old, &old_model, "after a collection").await;
    });
}

#[test]
fn a_known_vault_opens_while_the_bucket_is_down() {
    let sim = Sim::new(5);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let (first, second) = (passphrase("first"), passphrase("second"));
        let vault = create(&env, &bucket, &first).await;
        vault.add_key(&second, "second", CHEAP).await.unwrap();
        let known = open(&env, &bucket, &first).await.unwrap().format().unwrap();
        let text = String::from_utf8(known.to_vec()).unwrap();
        assert_eq!(text.lines().count(), 4, "two objects of text");
        bucket.down.set(true);
        let opening = |secret| Vault::open_known(&env, bucket.clone(), Some(&known), secret);
        for secret in [&first, &second] {
            let vault = opening(with(secret)).await.unwrap();
            // Chunks are taken: they are durable here, and encrypted.
            let dir = Path::new("spool").join(format!("{}", secret.kind()));
            let writer = SnapshotWriter::begin(&vault, &dir, spec("s-1", "d-1", 20, None, &[1]), small())
                .await
                .unwrap();
            writer.put(1, chunk(Some(4))).await.unwrap();
            assert_eq!(writer.seal().await.unwrap().len(), 1);
            writer.close().await;
            drop(writer);
            env.fs.remove_dir_all(&dir).await.unwrap();
        }
        expect_error(
            opening(with(&passphrase("third"))).await,
            VaultErrorKind::Locked,
            &["wrong passphrase"],
        );
        expect_error(
            opening(VaultOptions::default()).await,
            VaultErrorKind::Locked,
            &["no key was given"],
        );
        // A copy without its keys is no copy.
        let half = text
            .lines()
            .take(2)
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        let opened = Vault::open_known(&env, bucket.clone(), Some(half.as_bytes()), with(&first)).await;
        expect_error(opened, VaultErrorKind::Corrupt, &["does not fit"]);
        bucket.down.set(false);
        // What was changed meanwhile counts as soon as the bucket is back.
        let slots = vault.key_slots().await.unwrap();
        vault.remove_key(&slots[0].id).await.unwrap();
        expect_error(
            opening(with(&first)).await,
            VaultErrorKind::Locked,
            &["wrong passphrase"],
        );
        opening(with(&second)).await.unwrap();
    });
}

/// Two disks whose every part would be known again, each with a snapshot; the second has a key of its own.
async fn marked_vault(env: &Env, bucket: &Rc<Bad>, secret: &Secret) -> Vec<(Root, Model)> {
    let vault = create(env, bucket, secret).await;
    vault.create_disk_key(&disk("d-own")).await.unwrap();
    let mut roots = Vec::new();
    for (name, of, seed) in [("s-first", "d-first", 2), ("s-own", "d-own", 8)] {
        // Other content on each: what is equal would be found in the other's packs when it is damaged.
        let model: Model = [(0, seed), (1, seed + 2), (130, seed + 4)].into();
        let all: Vec<u32> = model.keys().copied().collect();
        let spec = tidemark_vault::CaptureSpec {
            own_key: of == "d-own",
            ..spec(name, of, 300, None, &all)
        };
        let dir = Path::new("spool").join(name);
        let writer = SnapshotWriter::begin(&vault, &dir, spec, small()).await.unwrap();
        for (index, seed) in &model {
            let mut bytes = content(*seed).to_vec();
            bytes[777..777 + NEEDLE.len()].copy_from_slice(NEEDLE);
            writer.put(*index, Chunk::Data(bytes.into())).await.unwrap();
        }
        let draft = RecordDraft {
            meta: serde_json::json!({"SnapshotName": "the-name-of-it", "Tags": {"the-tag-key": "the-tag-value"}}),
            ..draft()
        };
        roots.push((writer.finish(draft).await.unwrap().root, model));
    }
    roots
}

const NEEDLE: &[u8] = b"what only the guest may know";

#[test]
fn nothing_of_the_guest_or_of_names_and_tags_is_in_any_object() {
    let sim = Sim::new(6);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let secret = passphrase("the passphrase itself");
        marked_vault(&env, &bucket, &secret).await;
        let chunk: Vec<u8> = content(2).to_vec();
        let words: [&[u8]; 9] = [
            NEEDLE,
            &chunk[..32],
            b"the-name",
            b"the-tag",
            b"SnapshotName",
            b"passphrase itself",
            b"TMTN",
            b"\"root\"",
            &zstd_magic(),
        ];
        let all = objects(&bucket).await;
        assert_eq!(all.len(), 2 + 1 + 2 * 4, "{:?}", all.keys());
        for (key, body) in &all {
            for word in words {
                let there = body.windows(word.len()).any(|bytes| bytes == word);
                assert!(!there, "{key} holds {:?}", String::from_utf8_lossy(word));
            }
        }
        // Nor can the owner look for a chunk that he knows by its hash.
        let hash = blake3::hash(&chunk);
        assert!(
            !all.values()
                .any(|body| body.windows(32).any(|bytes| bytes == hash.as_bytes()))
        );
    });
}

fn zstd_magic() -> [u8; 4] {
    0xfd2f_b528u32.to_le_bytes()
}

/// Reads everything; data that is not the model's is a panic.
async fn read_all(env: &Env, bucket: &Rc<Bad>, secret: &Secret, roots: &[(Root, Model)]) -> Result<()> {
    let vault = open(env, bucket, secret).await?;
    let records = vault.snapshots().await?;
    if records.len() != roots.len() {
        panic!("a snapshot vanished without an error");
    }
    for record in &records {
        assert_eq!(record.meta["SnapshotName"], "the-name-of-it");
        assert!(roots.iter().any(|(root, _)| root == &record.root));
    }
    for (root, model) in roots {
        let reader = Reader::open(&vault, *root);
        for index in model.keys() {
            match reader.read_chunk(*index).await? {
                Chunk::Data(bytes) => assert_eq!(&bytes[777..777 + NEEDLE.len()], NEEDLE),
                Chunk::Zero => panic!("chunk {index} is zeros"),
            }
        }
        let report = vault.verify(root, Sample::All).await?;
        if let Some(damage) = report.damage.first() {
            return Err(damage.error.clone());
        }
    }
    Ok(())
}

/// Every bit of what is encrypted matters, and so does where it is: an error that names the object, never other bytes.
#[test]
fn whatever_is_changed_cut_or_swapped_is_an_error_that_names_it() {
    let sim = Sim::new(7);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let secret = Secret::key_file(&[3; 32]).unwrap();
        let roots = marked_vault(&env, &bucket, &secret).await;
        read_all(&env, &bucket, &secret, &roots).await.unwrap();
        let all = objects(&bucket).await;
        let names = |key: &str, error: &VaultError| {
            // A pack is named by its id, a head entry and a record by their keys.
            let name = key.rsplit('/').next().unwrap();
            let text = error.to_string();
            assert!(text.contains(key) || text.contains(name), "{key}: {text}");
        };
        for (key, body) in &all {
            let pack = key.starts_with("packs/") || key.starts_with("nodes/");
            let footer = if pack { footer_of(body) } else { 0 };
            for at in 0..body.len() {
                // Big objects: some of their bytes.
                if at > 80 && at + 90 < body.len() && !world.below(body.len() as u64).is_multiple_of(9) {
                    continue;
                }
                let mut bad = body.to_vec();
                bad[at] ^= 1 << world.below(8);
                replace(&bucket, key, bad).await;
                let read = read_all(&env, &bucket, &secret, &roots).await;
                // Headers and footers are for finding things again.
                if pack && (at < 32 || at >= footer) {
                    read.unwrap();
                    continue;
                }
                let error = read.expect_err(&format!("{key} byte {at} was changed unnoticed"));
                assert_ne!(error.kind, VaultErrorKind::Busy);
                if !key.starts_with("diskkeys/") {
                    names(key, &error);
                }
            }
            for cut in [0, 1, body.len() / 2, body.len() - 1] {
                replace(&bucket, key, body.slice(..cut)).await;
                let read = read_all(&env, &bucket, &secret, &roots).await;
                assert!(read.is_err() || (pack && cut >= footer), "{key} cut at {cut}");
            }
            for (other, other_body) in all.iter().filter(|(other, _)| *other != key) {
                replace(&bucket, key, other_body.clone()).await;
                replace(&bucket, other, body.clone()).await;
                let error = read_all(&env, &bucket, &secret, &roots).await;
                assert!(error.is_err(), "{key} and {other} were swapped unnoticed");
                replace(&bucket, other, other_body.clone()).await;
            }
            replace(&bucket, key, body.clone()).await;
        }
        read_all(&env, &bucket, &secret, &roots).await.unwrap();
    });
}

/// Where a pack's footer starts.
fn footer_of(pack: &Bytes) -> usize {
    let len = u32::from_le_bytes(pack[pack.len() - 4..].try_into().unwrap());
    pack.len() - len as usize
}

/// A clone's tree points into another disk's packs. What is needed is not destroyed; what is destroyed is gone.
#[test]
fn a_disks_key_goes_with_its_content_and_not_before() {
    let sim = Sim::new(8);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let secret = Secret::key_file(&[3; 32]).unwrap();
        let vault = create(&env, &bucket, &secret).await;
        let own = |name: &str, of: &str, parent, pending: &[u32]| tidemark_vault::CaptureSpec {
            own_key: true,
            ..spec(name, of, 300, parent, pending)
        };
        let dir = |name: &str| Path::new("spool").join(name);
        let begun = SnapshotWriter::begin(&vault, &dir("s-0"), own("s-0", "d-1", None, &[1]), small()).await;
        expect_error(begun, VaultErrorKind::Missing, &["d-1", "never made"]);

        let kept = vault.create_disk_key(&disk("d-1")).await.unwrap();
        assert_eq!(
            vault.create_disk_key(&disk("d-1")).await.unwrap(),
            kept,
            "once is enough"
        );
        let model: Model = [(0, 3), (1, 5), (130, 6)].into();
        let first = capture(&vault, &dir("s-1"), own("s-1", "d-1", None, &[0, 1, 130]), &model)
            .await
            .unwrap()
            .root;
        vault.create_disk_key(&disk("d-2")).await.unwrap();
        vault.adopt(&disk("d-2"), &[], &snapshot("s-1")).await.unwrap();
        let mut cloned = model.clone();
        cloned.insert(1, 8);
        let clone = capture(&vault, &dir("s-2"), own("s-2", "d-2", Some(first), &[1]), &cloned)
            .await
            .unwrap()
            .root;
        let vault = open(&env, &bucket, &secret).await.unwrap();
        assert_holds(&vault, first, &model, "the source").await;
        assert_holds(&vault, clone, &cloned, "the clone").await;

        let refused = vault.destroy_disk_key(&disk("d-1")).await;
        expect_error(
            refused,
            VaultErrorKind::Other,
            &["d-1", "1 snapshots of the disk"],
        );
        vault
            .delete_snapshot(&disk("d-1"), &snapshot("s-1"), None)
            .await
            .unwrap();
        let refused = vault.destroy_disk_key(&disk("d-1")).await;
        expect_error(
            refused,
            VaultErrorKind::Other,
            &["d-1", "1 snapshots of the disk"],
        );
        vault
            .delete_snapshot(&disk("d-2"), &snapshot("s-2"), None)
            .await
            .unwrap();
        // Deleted is not gone: it could be brought back, until a collector purges it.
        let refused = vault.destroy_disk_key(&disk("d-1")).await;
        expect_error(
            refused,
            VaultErrorKind::Other,
            &["d-1", "1 snapshots of the disk"],
        );
        vault.collect(&CollectOptions::default()).await.unwrap();
        // The clone's volume still reads from it.
        let refused = vault.destroy_disk_key(&disk("d-1")).await;
        expect_error(refused, VaultErrorKind::Other, &["still needed"]);

        let before = objects(&bucket).await;
        // By the name of the handle that made it, which is gone.
        let holders = vault.head_log(&disk("d-2")).await.unwrap().state().holders();
        assert_eq!(holders.len(), 1);
        vault.release_of(&disk("d-2"), &holders[0].0).await.unwrap();
        vault.collect(&CollectOptions::default()).await.unwrap();
        // As if the store had kept a copy of every pack.
        for (key, object) in before
            .iter()
            .filter(|(key, _)| key.starts_with("packs/") || key.starts_with("nodes/"))
        {
            let pre = tidemark_env::Precondition::None;
            bucket.put(key, vec![object.clone()], pre).await.unwrap();
        }
        let packs = objects(&bucket).await;
        vault.destroy_disk_key(&disk("d-1")).await.unwrap();
        vault.destroy_disk_key(&disk("d-1")).await.unwrap();
        let after = objects(&bucket).await;
        assert_eq!(packs.len(), after.len() + 1, "one small object is all that went");
        // The master key alone reads nothing of it any more.
        let vault = open(&env, &bucket, &secret).await.unwrap();
        let read = Reader::open(&vault, first).read_chunk(0).await;
        expect_error(read, VaultErrorKind::Corrupt, &["encrypted under key"]);
        assert!(vault.verify(&first, Sample::All).await.unwrap().damage_count > 0);
        assert!(Reader::open(&vault, clone).read_chunk(0).await.is_err());
        // Another disk's key is no help, and a copy that was kept is the key.
        expect_error(
            vault.learn_disk_key(&disk("d-2"), &kept),
            VaultErrorKind::Corrupt,
            &["does not decrypt"],
        );
        vault
            .learn_disk_key(&disk("d-1"), &DiskKey(kept.0.clone()))
            .unwrap();
        let Chunk::Data(bytes) = Reader::open(&vault, first).read_chunk(0).await.unwrap() else {
            panic!("chunk 0 is zeros");
        };
        assert_eq!(bytes.len() as u64, CHUNK_BYTES);
        vault.collect(&CollectOptions::default()).await.unwrap();
        assert_eq!(keys(&*bucket, "packs/").await, [] as [String; 0]);
    });
}
