//! Bad input, one row per case: what a user, or whoever can write to the bucket, may do wrong. Each has its own kind and
//! words, which say what is wrong, where, and what to do; and in no case is anything in the vault changed.
//!
//! Not here: stores that refuse us (`s3/tests/faults.rs`, and `tests/e2e/test_bad_input.py`, which has such rows for the whole service).

mod common;

use bytes::Bytes;
use common::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::Sim;
use tidemark_env::{Bucket, Env};
use tidemark_vault::{Reader, Result, Root, Sample, Secret, Vault, VaultErrorKind, VaultOptions};

use VaultErrorKind::{Corrupt, Lost, Missing, Other};

/// Every object by its key.
type Objects = BTreeMap<String, Bytes>;

/// What is done with the vault once it was harmed.
#[derive(Clone, Copy, Debug)]
enum Use {
    /// A service's first start: opens, or makes a vault where none is.
    FirstStart,
    /// A later start of a service that knows the vault.
    LaterStart,
    /// The list of all snapshots.
    List,
    /// Every byte of every snapshot.
    Read,
}

/// One row.
struct Case {
    name: &'static str,
    harm: fn(&mut Objects),
    then: Use,
    kind: VaultErrorKind,
    /// In the message; `{pack}` is the first data pack's id, `{node}` the first tree pack's, `{vault}` the vault's.
    says: &'static [&'static str],
    /// What it says instead in an encrypted vault, where a box that is out of its place does not even open.
    encrypted_says: Option<&'static [&'static str]>,
}

fn key_below(objects: &Objects, prefix: &str, at: usize) -> String {
    let mut keys = objects.keys().filter(|key| key.starts_with(prefix));
    keys.nth(at).unwrap_or_else(|| panic!("{prefix}: {at}")).clone()
}

fn cut(objects: &mut Objects, key: &str) {
    let body = objects.get_mut(key).unwrap();
    *body = body.slice(..body.len() / 2);
}

fn swap(objects: &mut Objects, one: &str, other: &str) {
    let (first, second) = (objects[one].clone(), objects[other].clone());
    objects.extend([(one.to_owned(), second), (other.to_owned(), first)]);
}

fn forge(objects: &mut Objects, key: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let object = forged(&objects[key], change);
    objects.insert(key.to_owned(), object);
}

const FIRST_ENTRY: &str = "d/d-1/h/00000000000000000000";

/// In a plain and in an encrypted vault.
const CASES: &[Case] = &[
    Case {
        name: "the format object is cut",
        harm: |objects| cut(objects, "format"),
        then: Use::FirstStart,
        kind: Corrupt,
        says: &["format", "hash", "cut or changed"],
        encrypted_says: None,
    },
    Case {
        name: "the format object is gone, and nobody here knows the vault",
        harm: |objects| drop(objects.remove("format")),
        then: Use::FirstStart,
        kind: Other,
        says: &["something here already", "empty place", "put its `format` back"],
        encrypted_says: None,
    },
    Case {
        name: "the format object is gone from a vault that is known",
        harm: |objects| drop(objects.remove("format")),
        then: Use::LaterStart,
        kind: Missing,
        says: &[
            "`format` is gone",
            "{vault}",
            "put the object back",
            "vault.format",
        ],
        encrypted_says: None,
    },
    Case {
        name: "somebody else's things are in the place",
        harm: |objects| {
            objects.clear();
            objects.insert("holiday/2025.jpg".into(), Bytes::from_static(b"\xff\xd8\xff"));
        },
        then: Use::FirstStart,
        kind: Other,
        says: &["holiday/2025.jpg", "empty place", "another directory or prefix"],
        encrypted_says: None,
    },
    Case {
        name: "another vault is in the place",
        harm: |objects| {
            forge(objects, "format", |format| {
                format["vault"] = "ab".repeat(16).into()
            })
        },
        then: Use::LaterStart,
        kind: Other,
        says: &["it holds vault abababab", "this data belongs to vault {vault}"],
        encrypted_says: None,
    },
    Case {
        name: "the vault's format is of a newer version",
        harm: |objects| forge(objects, "format", |format| format["version"] = 2.into()),
        then: Use::FirstStart,
        kind: Other,
        says: &["format", "version 2", "newer release"],
        encrypted_says: None,
    },
    Case {
        name: "the vault has larger chunks than this release knows",
        harm: |objects| {
            forge(objects, "format", |format| {
                format["chunk_bytes"] = (256 << 10).into()
            })
        },
        then: Use::FirstStart,
        kind: Other,
        says: &["262144", "newer release"],
        encrypted_says: None,
    },
    Case {
        name: "the vault is encrypted in a way that this release does not know",
        harm: |objects| {
            forge(objects, "format", |format| {
                format["crypto"] = serde_json::json!(["aes512"])
            })
        },
        then: Use::FirstStart,
        kind: Other,
        says: &["aes512", "newer release"],
        encrypted_says: None,
    },
    Case {
        name: "a head entry is cut",
        harm: |objects| cut(objects, FIRST_ENTRY),
        then: Use::List,
        kind: Corrupt,
        says: &[FIRST_ENTRY, "hash"],
        encrypted_says: Some(&[FIRST_ENTRY, "decrypt"]),
    },
    Case {
        name: "a head entry is gone",
        harm: |objects| drop(objects.remove(FIRST_ENTRY)),
        then: Use::List,
        kind: Corrupt,
        says: &["d/d-1/h/", "entry 0 is missing"],
        encrypted_says: None,
    },
    Case {
        name: "a head entry is another disk's",
        harm: |objects| swap(objects, FIRST_ENTRY, "d/d-2/h/00000000000000000000"),
        then: Use::List,
        kind: Corrupt,
        says: &[FIRST_ENTRY, "it is entry 0 of disk d-2"],
        encrypted_says: Some(&[FIRST_ENTRY, "decrypt"]),
    },
    Case {
        name: "a snapshot's record is cut",
        harm: |objects| cut(objects, "snapshots/s-1"),
        then: Use::List,
        kind: Corrupt,
        says: &["snapshots/s-1", "hash"],
        encrypted_says: Some(&["snapshots/s-1", "decrypt"]),
    },
    Case {
        name: "a snapshot's record is gone",
        harm: |objects| drop(objects.remove("snapshots/s-1")),
        then: Use::List,
        kind: Corrupt,
        says: &["snapshot s-1", "its record is gone"],
        encrypted_says: None,
    },
    Case {
        name: "a snapshot's record is another's",
        harm: |objects| swap(objects, "snapshots/s-1", "snapshots/s-3"),
        then: Use::List,
        kind: Corrupt,
        says: &["snapshots/s-1", "s-3"],
        encrypted_says: Some(&["snapshots/s-1", "decrypt"]),
    },
    Case {
        name: "a data pack is cut",
        harm: |objects| {
            let key = key_below(objects, "packs/", 0);
            // Its first chunk goes: half of a pack that ends early is still read by its locations.
            let body = objects[&key].slice(..40);
            objects.insert(key, body);
        },
        then: Use::Read,
        kind: Corrupt,
        says: &["{pack}"],
        encrypted_says: None,
    },
    Case {
        name: "a data pack is gone",
        harm: |objects| {
            let key = key_below(objects, "packs/", 0);
            objects.remove(&key);
        },
        then: Use::Read,
        kind: Corrupt,
        says: &["{pack}"],
        encrypted_says: None,
    },
    Case {
        name: "two data packs are exchanged",
        harm: |objects| {
            let (one, other) = (key_below(objects, "packs/", 0), key_below(objects, "packs/", 1));
            swap(objects, &one, &other);
        },
        then: Use::Read,
        kind: Corrupt,
        // Whichever of the two is met first.
        says: &["read pack", "pack "],
        encrypted_says: Some(&["pack "]),
    },
    Case {
        name: "a tree pack is cut",
        harm: |objects| {
            let key = key_below(objects, "nodes/", 0);
            let body = objects[&key].slice(..40);
            objects.insert(key, body);
        },
        then: Use::Read,
        kind: Corrupt,
        says: &["{node}"],
        encrypted_says: None,
    },
    Case {
        name: "a tree pack is gone",
        harm: |objects| {
            let key = key_below(objects, "nodes/", 0);
            objects.remove(&key);
        },
        then: Use::Read,
        kind: Corrupt,
        says: &["{node}"],
        encrypted_says: None,
    },
    Case {
        name: "two tree packs are exchanged",
        harm: |objects| {
            let (one, other) = (key_below(objects, "nodes/", 0), key_below(objects, "nodes/", 1));
            swap(objects, &one, &other);
        },
        then: Use::Read,
        kind: Corrupt,
        says: &["pack "],
        encrypted_says: Some(&["pack "]),
    },
];

/// Two disks, three snapshots.
async fn used_vault(bucket: &Rc<Bad>, env: &Env) -> Vault {
    let vault = bucket.create_vault(env).await.unwrap();
    let mut parent: Option<Root> = None;
    for (name, of, seed) in [("s-1", "d-1", 2), ("s-2", "d-1", 8), ("s-3", "d-2", 20)] {
        let model: Model = [(0, seed), (1, seed + 2), (130, seed + 4)].into();
        let all: Vec<u32> = model.keys().copied().collect();
        let parent_of = parent.filter(|_| name == "s-2");
        let spec = spec(name, of, 300, parent_of, &all);
        let dir = Path::new("spool").join(name);
        parent = Some(capture(&vault, &dir, spec, &model).await.unwrap().root);
    }
    vault
}

/// Makes the bucket hold exactly these objects.
async fn set(bucket: &Bad, wanted: &Objects) {
    for (key, body) in objects(bucket).await {
        if !wanted.contains_key(&key) {
            bucket.delete(&key).await.unwrap();
        } else if wanted[&key] != body {
            replace(bucket, &key, wanted[&key].clone()).await;
        }
    }
    for (key, body) in wanted {
        if !keys(bucket, "").await.contains(key) {
            replace(bucket, key, body.clone()).await;
        }
    }
}

/// Does what the row says, to its first error.
async fn attempt(
    bucket: &Rc<Bad>,
    env: &Env,
    known: &[u8],
    roots: &[Root],
    options: VaultOptions,
    what: Use,
) -> Result<()> {
    let vault = match what {
        Use::LaterStart => {
            return Vault::open_known(env, bucket.clone(), Some(known), options)
                .await
                .map(drop);
        }
        _ => Vault::open_or_create_with(env, bucket.clone(), options).await?,
    };
    if matches!(what, Use::List | Use::Read) {
        vault.snapshots().await?;
    }
    if matches!(what, Use::Read) {
        for root in roots {
            let report = vault.verify(root, Sample::All).await?;
            if let Some(damage) = report.damage.first() {
                return Err(damage.error.clone());
            }
        }
    }
    Ok(())
}

#[test]
fn each_case_has_its_own_words_and_changes_nothing() {
    for sim in both(1) {
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let encrypted = world.seed() >= ENCRYPTED;
            let vault = used_vault(&bucket, &env).await;
            let (known, id) = (vault.format().unwrap(), vault.id().to_string());
            let roots: Vec<Root> = vault
                .snapshots()
                .await
                .unwrap()
                .iter()
                .map(|record| record.root)
                .collect();
            let whole = objects(&bucket).await;
            let first = |prefix: &str| {
                key_below(&whole, prefix, 0)
                    .rsplit('/')
                    .next()
                    .unwrap()
                    .to_owned()
            };
            let names = [
                ("{pack}", first("packs/")),
                ("{node}", first("nodes/")),
                ("{vault}", id),
            ];
            let mut wrong = Vec::new();
            for case in CASES {
                let mut harmed = whole.clone();
                (case.harm)(&mut harmed);
                assert_ne!(harmed, whole, "{}", case.name);
                set(&bucket, &harmed).await;
                let options = options(world.seed());
                let done = attempt(&bucket, &env, &known, &roots, options, case.then).await;
                let says = case.encrypted_says.filter(|_| encrypted).unwrap_or(case.says);
                let said = |word: &&str| {
                    names
                        .iter()
                        .fold((*word).to_owned(), |word, (name, is)| word.replace(name, is))
                };
                let words: Vec<String> = says.iter().map(said).collect();
                let told = match done {
                    Ok(()) => "no error at all".to_owned(),
                    Err(error) if error.kind != case.kind => format!("{:?}: {error}", error.kind),
                    Err(error) => error.to_string(),
                };
                if let Some(word) = words.iter().find(|word| !told.contains(*word)) {
                    wrong.push(format!("{}: {told}: {word:?} is not said", case.name));
                }
                if objects(&bucket).await != harmed {
                    wrong.push(format!("{}: something was changed", case.name));
                }
            }
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            set(&bucket, &whole).await;
            attempt(&bucket, &env, &known, &roots, options(world.seed()), Use::Read)
                .await
                .unwrap();
        });
    }
}

/// The wrong key for an encrypted vault, and a key for one that is not: `encryption_keys.rs` has the other ways.
#[test]
fn a_wrong_key_changes_nothing() {
    for sim in both(2) {
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            used_vault(&bucket, &env).await;
            let before = objects(&bucket).await;
            let wrong = VaultOptions {
                secret: Some(Secret::passphrase("low water").unwrap()),
                ..VaultOptions::default()
            };
            let opened = Vault::open_or_create_with(&env, bucket.clone(), wrong).await;
            match world.seed() >= ENCRYPTED {
                true => expect_error(
                    opened,
                    VaultErrorKind::Locked,
                    &["no passphrase slot", "key file"],
                ),
                false => expect_error(opened, Other, &["not encrypted", "when it is created"]),
            }
            assert_eq!(objects(&bucket).await, before);
        });
    }
}

/// Two services with one disk: the one that claimed it last goes on, the other is told so, and loses no data.
#[test]
fn a_second_writer_is_told_and_the_first_goes_on() {
    for sim in both(3) {
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let ours = used_vault(&bucket, &env).await;
            let theirs = bucket.open_vault(&env).await.unwrap();
            let claim = ours
                .head_log(&disk("d-1"))
                .await
                .unwrap()
                .claim("node-a", 1)
                .await
                .unwrap();
            theirs
                .head_log(&disk("d-1"))
                .await
                .unwrap()
                .claim("node-b", 2)
                .await
                .unwrap();
            let before = objects(&bucket).await;

            let model: Model = [(5, 40)].into();
            let begun = tidemark_vault::SnapshotWriter::begin(
                &ours,
                Path::new("spool"),
                spec("s-4", "d-1", 300, None, &[5]),
                small(),
            );
            let writer = begun.await.unwrap();
            writer.put(5, chunk(model.get(&5).copied())).await.unwrap();
            let draft = tidemark_vault::RecordDraft {
                owner: Some(claim),
                ..draft()
            };
            let lost = writer.finish(draft).await;
            expect_error(
                lost,
                Lost,
                &[
                    "disk d-1",
                    "node node-b has taken the disk over",
                    "stop one of them",
                ],
            );
            let after = objects(&bucket).await;
            for (key, body) in &before {
                assert_eq!(after.get(key), Some(body), "{key}");
            }
            let log = |all: &Objects| all.keys().filter(|key| key.starts_with("d/")).count();
            assert_eq!(log(&after), log(&before), "no entry was made");
            assert_eq!(theirs.snapshots().await.unwrap().len(), 3);
            for record in theirs.snapshots().await.unwrap() {
                let reader = Reader::open(&theirs, record.root);
                assert_eq!(reader.non_zero_chunks(0..300).await.unwrap().len(), 3);
            }
        });
    }
}

/// What an interrupted making leaves behind does not make a place unusable: nothing can be in it.
#[test]
fn a_making_that_was_interrupted_can_be_repeated() {
    let sim = Sim::new(ENCRYPTED + 4);
    let world = sim.clone();
    sim.run(|env| async move {
        let bucket = Bad::new(&world, &env);
        bucket.create_vault(&env).await.unwrap();
        bucket.delete("format").await.unwrap();
        assert_eq!(keys(&*bucket, "").await.len(), 1, "a key set");
        let vault = bucket.open_or_create_vault(&env).await.unwrap();
        assert!(vault.is_encrypted());
        // Two at once are fine: the second opens what the first has made.
        assert_eq!(bucket.open_or_create_vault(&env).await.unwrap().id(), vault.id());
    });
}
