//! What an owner of the bucket sees of an encrypted vault, and what becomes of what he changes.

mod common;

use bytes::Bytes;
use common::locked::*;
use common::*;
use futures_util::future::join;
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, BucketError, Env, LocalFuture, ObjectInfo, Precondition};
use tidemark_units::CHUNK_BYTES;
use tidemark_vault::{
    CaptureSpec, Chunk, CollectOptions, DiskKey, Reader, RecordDraft, Result, Root, Sample, Secret,
    SnapshotWriter, Vault, VaultError, VaultErrorKind,
};

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
                // Headers and footers are for finding things again: only a verification looks at them.
                if pack && (at < 32 || at >= footer) {
                    if let Err(error) = read {
                        names(key, &error);
                    }
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
            replace(&bucket, key, object.clone()).await;
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

fn own_spec(name: &str, of: &str, chunks: u32, parent: Option<Root>, pending: &[u32]) -> CaptureSpec {
    CaptureSpec {
        own_key: true,
        ..spec(name, of, chunks, parent, pending)
    }
}

/// A disk's key is destroyed (its snapshots are gone) while somebody makes a snapshot under it: `vault cp`, say.
#[test]
fn a_key_is_not_destroyed_under_a_capture_that_is_committed() {
    let (mut whole, mut refused) = (0, 0);
    for wait in (0..3000).step_by(60) {
        let sim = Sim::new(ENCRYPTED + wait);
        let world = sim.clone();
        let committed = sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let node = bucket.create_vault(&env).await.unwrap();
            let all: Vec<u32> = (0..40).collect();
            let model: Model = all.iter().map(|at| (*at, u64::from(*at) * 2 + 1)).collect();
            // Another disk, so that the look at all that is needed takes its time.
            let other = spec("s-y", "y", 100, None, &all);
            capture(&node, Path::new("spool/y"), other, &model).await.unwrap();
            node.create_disk_key(&disk("x")).await.unwrap();
            let copier = bucket.open_vault(&env).await.unwrap();
            bucket.latency.set(Duration::from_millis(20));
            let of = disk("x");
            let copying = async {
                env.clock.sleep(Duration::from_millis(wait)).await;
                copier.create_disk_key(&of).await.unwrap();
                let spec = own_spec("s-x", "x", 100, None, &all);
                let next = model.iter().map(|(at, seed)| (*at, seed + 1000)).collect();
                capture(&copier, Path::new("spool/x"), spec, &next).await
            };
            let (_, done) = join(node.destroy_disk_key(&of), copying).await;
            bucket.latency.set(Duration::ZERO);
            let fresh = bucket.open_vault(&env).await.unwrap();
            match done {
                Ok(done) => {
                    let report = fresh.verify(&done.root, Sample::All).await.unwrap();
                    assert!(report.damage.is_empty(), "after {wait} ms: {:?}", report.damage);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind, VaultErrorKind::Stale, "after {wait} ms: {error}");
                    assert!(fresh.snapshot(&snapshot("s-x")).await.is_err());
                    false
                }
            }
        });
        match committed {
            true => whole += 1,
            false => refused += 1,
        }
    }
    assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
}

/// A bucket in which another node's collector comes at the first question for the size of a pack.
struct Visited {
    inner: Rc<Bad>,
    other: RefCell<Option<Vault>>,
}

type Answer<'a, T> = LocalFuture<'a, std::result::Result<T, BucketError>>;

impl Bucket for Visited {
    fn put(&self, key: &str, body: Vec<Bytes>, pre: Precondition) -> Answer<'_, ()> {
        self.inner.put(key, body, pre)
    }

    fn get(&self, key: &str) -> Answer<'_, Bytes> {
        self.inner.get(key)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Answer<'_, Bytes> {
        self.inner.get_range(key, range)
    }

    fn size(&self, key: &str) -> Answer<'_, u64> {
        let key = key.to_owned();
        Box::pin(async move {
            let other = self.other.borrow_mut().take();
            if let Some(other) = other {
                let report = other.collect(&CollectOptions::default()).await.unwrap();
                assert!(report.repacked_packs > 0, "{report:?}");
            }
            self.inner.size(&key).await
        })
    }

    fn list(&self, prefix: &str) -> Answer<'_, Vec<ObjectInfo>> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> Answer<'_, ()> {
        self.inner.delete(key)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// What of a disk's packs another disk needs is rewritten between the look at what is needed and the look at its packs;
/// or one of those packs is damaged where nothing but its key proves it.
#[test]
fn a_key_stays_while_it_is_not_known_that_nothing_needs_it() {
    for rewritten in [true, false] {
        let seed = ENCRYPTED + 1;
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let visited = Rc::new(Visited {
                inner: bucket.clone(),
                other: RefCell::default(),
            });
            let vault = Vault::create_with(&env, visited.clone(), options(seed))
                .await
                .unwrap();
            let model: Model = (0..40).map(|at| (at * 7, u64::from(at) + 11)).collect();
            let all: Vec<u32> = model.keys().copied().collect();
            vault.create_disk_key(&disk("x")).await.unwrap();
            let first = own_spec("s-x", "x", 300, None, &all);
            let root = capture(&vault, Path::new("spool/1"), first, &model)
                .await
                .unwrap()
                .root;
            // A clone that overwrites all but one chunk.
            vault.adopt(&disk("y"), &[], &snapshot("s-x")).await.unwrap();
            let clone: Model = model
                .iter()
                .map(|(at, seed)| (*at, if *at == 0 { *seed } else { seed + 1000 }))
                .collect();
            let next = spec("s-y", "y", 300, Some(root), &all[1..]);
            let kept = capture(&vault, Path::new("spool/2"), next, &clone)
                .await
                .unwrap()
                .root;
            vault.release(&disk("y")).await.unwrap();
            vault
                .delete_snapshot(&disk("x"), &snapshot("s-x"), None)
                .await
                .unwrap();
            let no_repack = CollectOptions {
                purge_all: true,
                repack_percent: 0,
                ..CollectOptions::default()
            };
            vault.collect(&no_repack).await.unwrap();
            assert!(vault.destroy_disk_key(&disk("x")).await.is_err(), "needed");
            if rewritten {
                *visited.other.borrow_mut() = Some(bucket.open_vault(&env).await.unwrap());
            } else {
                // The first byte of the footer's box: the key that it says it is under.
                for key in keys(&*bucket, "packs/").await {
                    let mut pack = bucket.get(&key).await.unwrap().to_vec();
                    let len = u32::from_le_bytes(*pack.last_chunk().unwrap()) as usize;
                    let at = pack.len() - len;
                    pack[at] ^= 1;
                    replace(&bucket, &key, pack).await;
                }
            }
            let refused = vault.destroy_disk_key(&disk("x")).await;
            assert!(refused.is_err(), "rewritten {rewritten}");
            let fresh = bucket.open_vault(&env).await.unwrap();
            assert!(fresh.disk_key(&disk("x")).await.unwrap().is_some());
            if rewritten {
                assert_holds(&fresh, kept, &clone, "the clone").await;
            }
        });
    }
}

/// A vault that was put back from an older copy may lack the key of a disk that goes on: its node has it, too.
#[test]
fn a_key_that_was_kept_is_put_back() {
    let seed = ENCRYPTED + 2;
    let sim = Sim::new(seed);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        let vault = bucket.create_vault(&env).await.unwrap();
        let kept = vault.create_disk_key(&disk("x")).await.unwrap();
        let name = keys(&*bucket, "diskkeys/").await.remove(0);
        bucket.delete(&name).await.unwrap();
        let model: Model = [(0, 3), (1, 5)].into();
        let next = || own_spec("s-x", "x", 100, None, &[0, 1]);
        let refused = capture(&vault, Path::new("spool/1"), next(), &model).await;
        expect_error(refused, VaultErrorKind::Stale, &["disk x", "key"]);
        vault.restore_disk_key(&disk("x"), &kept).await.unwrap();
        vault.restore_disk_key(&disk("x"), &kept).await.unwrap();
        let done = capture(&vault, Path::new("spool/2"), next(), &model)
            .await
            .unwrap();
        let fresh = bucket.open_vault(&env).await.unwrap();
        assert_holds(&fresh, done.root, &model, "s-x").await;
        expect_error(
            vault.restore_disk_key(&disk("y"), &kept).await,
            VaultErrorKind::Corrupt,
            &["does not decrypt"],
        );
    });
}
