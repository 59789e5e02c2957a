//! The keys of encrypted vaults: who can open one, and what changes of keys do.

mod common;

use bytes::Bytes;
use common::locked::*;
use common::*;
use std::collections::BTreeMap;
use std::path::Path;
use tidemark_env::Bucket;
use tidemark_env::sim::Sim;
use tidemark_vault::{CollectOptions, Sample, Secret, SnapshotWriter, Vault, VaultErrorKind, VaultOptions};

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
