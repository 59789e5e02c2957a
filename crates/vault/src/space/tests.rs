//! Space accounting against the plain way: every snapshot's copies enumerated one by one, as sets.

use super::walk::Bounds;
use super::*;
use crate::capture::{CaptureOptions, CaptureSpec, RecordDraft, SnapshotWriter};
use crate::crypt::nonce;
use crate::gc::CollectOptions;
use crate::gc::forward::Forward;
use crate::id::PackId;
use crate::pack::{EntryKind, Footer, Location, PackBuilder, PackKind};
use crate::reader::Chunk;
use crate::tree::NodeRef;
use crate::vault::VaultOptions;
use crate::walk::{Place, children, leaf_entries};
use crate::{Secret, VaultErrorKind};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::Sim;
use tidemark_env::{DirBucket, Env, LocalFuture};
use tidemark_units::Lsn;

/// A stored copy: kind, pack and offset.
type Copy = (PackKind, PackId, u32);

#[derive(Clone, Debug)]
enum Step {
    /// Changes these chunks of a disk, then captures it.
    Capture {
        disk: usize,
        changes: Vec<(u32, u64)>,
        chunks: u32,
    },
    /// A disk starts over from a snapshot there is, of whatever disk: a rollback or a clone.
    Restart {
        disk: usize,
        which: prop::sample::Index,
    },
    Delete {
        which: prop::sample::Index,
    },
    /// Rewrites a pack under another id.
    Move {
        which: prop::sample::Index,
    },
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    let index = prop_oneof![0..8u32, 120..136u32, 32_760..32_776u32, 0..33_001u32];
    let changes = prop::collection::vec((index, 0..8u64), 1..20);
    let chunks = prop_oneof![Just(90u32), Just(1000), Just(33_001)];
    prop_oneof![
        6 => (0..3usize, changes, chunks).prop_map(|(disk, changes, chunks)| Step::Capture { disk, changes, chunks }),
        2 => (0..3usize, any::<prop::sample::Index>()).prop_map(|(disk, which)| Step::Restart { disk, which }),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::Delete { which }),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::Move { which }),
        1 => Just(Step::Collect),
    ]
}

fn disk(number: usize) -> DiskId {
    DiskId::new(format!("d-{number}")).unwrap()
}

/// Chunks of few kinds, so that captures find the same more than once; odd ones do not compress.
fn content(seed: u64) -> Chunk {
    let mut bytes = vec![seed as u8; CHUNK_BYTES as usize];
    if seed == 0 {
        return Chunk::Zero;
    }
    if !seed.is_multiple_of(2) {
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
    }
    Chunk::Data(bytes.into())
}

async fn capture(
    vault: &Vault,
    name: &SnapshotId,
    of: usize,
    parent: Option<Root>,
    chunks: u32,
    changes: &[(u32, u64)],
) -> Root {
    let contents: BTreeMap<u32, u64> = changes.iter().copied().filter(|(at, _)| *at < chunks).collect();
    let spec = CaptureSpec {
        snapshot: name.clone(),
        disk: disk(of),
        parent,
        size_bytes: u64::from(chunks) * CHUNK_BYTES,
        pending: contents.keys().copied().collect(),
        own_key: false,
    };
    let options = CaptureOptions {
        pack_bytes: 3 * CHUNK_BYTES,
        ..CaptureOptions::default()
    };
    let dir = Path::new("spool").join(name.to_string());
    let writer = SnapshotWriter::begin(vault, &dir, spec, options).await.unwrap();
    for (index, seed) in contents {
        writer.put(index, content(seed)).await.unwrap();
    }
    let draft = RecordDraft {
        created_ms: 0,
        parent: None,
        lsn: Lsn(1),
        owner: None,
        meta: serde_json::Value::Null,
    };
    writer.finish(draft).await.unwrap().root
}

async fn packs(vault: &Vault) -> Vec<(PackId, PackKind, u64)> {
    let mut packs = Vec::new();
    for kind in [PackKind::Data, PackKind::Tree] {
        let listed = vault.store().list("list", key::pack_prefix(kind)).await.unwrap();
        packs.extend(
            listed
                .iter()
                .map(|object| (key::parse_pack(kind, &object.key).unwrap(), kind, object.bytes)),
        );
    }
    packs.sort_unstable();
    packs
}

/// What a collector does to a pack that it rewrites, all of it live.
async fn rewrite(vault: &Vault, kind: PackKind, pack: PackId) {
    let (store, env) = (vault.store(), vault.env());
    let footer = store.footer(kind, pack).await.unwrap();
    let object = store.get("read", &key::pack(kind, pack)).await.unwrap();
    let mut moved = PackBuilder::new(vault.id(), kind, PackId(env.random()), u64::MAX);
    for entry in footer.entries {
        let (EntryKind::Stored { .. } | EntryKind::Node { .. }, Some(at)) = (entry.kind, entry.at) else {
            continue;
        };
        let stored = object.slice(at.offset as usize..at.end() as usize);
        moved.store(entry.id, entry.kind, at.codec, stored);
    }
    let (id, encrypter) = (moved.id(), vault.encrypter(&disk(0), false).await.unwrap());
    let (_, body): (Footer, Vec<Bytes>) = moved.finish(&encrypter, nonce(env));
    store.put("move", &key::pack(kind, id), body).await.unwrap();
    store.delete("move", &key::pack(kind, pack)).await.unwrap();
}

#[derive(Default)]
struct Model {
    sizes: BTreeMap<Copy, u64>,
    holders: BTreeMap<Copy, BTreeSet<usize>>,
}

/// Where things are: packs in the order of their ids, with their footers.
struct Footers(Vec<(PackId, PackKind, u64, Footer)>, Vec<Forward>);

impl Footers {
    async fn read(vault: &Vault) -> Self {
        let mut footers = Vec::new();
        for (pack, kind, bytes) in packs(vault).await {
            footers.push((pack, kind, bytes, vault.store().footer(kind, pack).await.unwrap()));
        }
        let mut forwards = Vec::new();
        for object in vault.store().list("list", key::FORWARDS).await.unwrap() {
            let pack = key::parse_forward(&object.key).unwrap();
            forwards.push(vault.store().forward(pack).await.unwrap().unwrap());
        }
        Self(footers, forwards)
    }

    fn place(&self, kind: PackKind, id: [u8; 32], at: Location) -> Location {
        if self
            .0
            .iter()
            .any(|(pack, of, ..)| (*pack, *of) == (at.pack, kind))
        {
            return at;
        }
        let forward = self.1.iter().find(|forward| forward.from == at.pack);
        if let Some(next) = forward.and_then(|forward| forward.find(&id)) {
            return self.place(kind, id, next);
        }
        let of_kind = self.0.iter().filter(|(_, of, ..)| *of == kind);
        let mut entries = of_kind.flat_map(|(.., footer)| &footer.entries);
        let is = |kind: EntryKind| matches!(kind, EntryKind::Stored { .. } | EntryKind::Node { .. });
        entries
            .find(|entry| entry.id == id && is(entry.kind))
            .unwrap()
            .at
            .unwrap()
    }
}

impl Model {
    fn visit<'a>(
        &'a mut self,
        vault: &'a Vault,
        footers: &'a Footers,
        by: usize,
        place: Place,
        mut node: NodeRef,
    ) -> LocalFuture<'a, ()> {
        Box::pin(async move {
            node.at = footers.place(PackKind::Tree, node.id.0, node.at);
            self.hold(PackKind::Tree, node.at, by);
            let mut loaded = vault.nodes().get_exact(&[(node.id, node.at)]).await;
            let loaded = loaded.pop().unwrap().unwrap();
            if place.level == 0 {
                for entry in leaf_entries(place, &loaded).unwrap().iter().flatten() {
                    let at = footers.place(PackKind::Data, entry.id.0, entry.at);
                    self.hold(PackKind::Data, at, by);
                }
                return;
            }
            for (slot, child) in children(place, &loaded).unwrap().iter().enumerate() {
                if let Some(child) = child {
                    self.visit(vault, footers, by, place.child(slot), *child).await;
                }
            }
        })
    }

    fn hold(&mut self, kind: PackKind, at: Location, by: usize) {
        let copy = (kind, at.pack, at.offset);
        self.sizes.insert(copy, at.stored_len.into());
        self.holders.entry(copy).or_default().insert(by);
    }

    fn bytes(&self, which: impl Fn(&Copy, &BTreeSet<usize>) -> bool) -> u64 {
        let held = self.holders.iter().filter(|(copy, holders)| which(copy, holders));
        held.map(|(copy, _)| self.sizes[copy]).sum()
    }

    /// The packs, if only copies that `live` says so of are live.
    fn packs(&self, footers: &Footers, live: impl Fn(&BTreeSet<usize>) -> bool) -> PackSpace {
        let mut space = PackSpace::default();
        for (pack, kind, object_bytes, _) in &footers.0 {
            let live_bytes = self.bytes(|copy, by| (copy.0, copy.1) == (*kind, *pack) && live(by));
            let group = if live_bytes == 0 {
                &mut space.empty
            } else if live_bytes < object_bytes.div_ceil(2) {
                &mut space.sparse
            } else {
                &mut space.dense
            };
            group.packs += 1;
            group.object_bytes += object_bytes;
            group.live_bytes += live_bytes;
        }
        space
    }
}

/// Compares all figures with the model's.
async fn compare(vault: &Vault, delete: &[prop::sample::Index], tight: bool) {
    // Not all of them, not by id, and one that is not there.
    let first = vec![disk(2), disk(9), disk(1)];
    let live = vault.live(&first).await.unwrap();
    let footers = Footers::read(vault).await;
    let mut model = Model::default();
    for (number, one) in live.iter().enumerate() {
        if let Some(top) = one.root.top() {
            model
                .visit(vault, &footers, number, Place::top_of(&one.root), *top)
                .await;
        }
    }
    let doomed: BTreeSet<usize> = match live.len() {
        0 => BTreeSet::new(),
        len => delete.iter().map(|which| which.index(len)).collect(),
    };
    let options = SpaceOptions {
        delete: doomed.iter().map(|at| live[*at].snapshot.clone()).collect(),
        table_bytes: if tight { 300 } else { u64::MAX },
        first,
    };
    let bounds = if tight { Bounds::tiny() } else { Bounds::default() };
    let report = vault.space_within(&options, bounds).await.unwrap();

    assert_eq!(report.snapshots.len(), live.len());
    let mut by_id: Vec<(usize, &Live)> = live.iter().enumerate().collect();
    by_id.sort_by(|(_, a), (_, b)| a.disk.cmp(&b.disk));
    for (found, (number, one)) in report.snapshots.iter().zip(by_id) {
        let expected = SnapshotSpace {
            disk: one.disk.clone(),
            snapshot: one.snapshot.clone(),
            size_bytes: one.root.size_bytes(),
            full_bytes: one.root.data_chunks() * CHUNK_BYTES,
            stored_bytes: model.bytes(|_, by| by.contains(&number)),
            exclusive_bytes: model.bytes(|_, by| *by == BTreeSet::from([number])),
            counted_bytes: model.bytes(|_, by| by.first() == Some(&number)),
        };
        assert_eq!(found, &expected);
    }
    let of_disk = |disk: &DiskId| -> BTreeSet<usize> {
        let numbers = live.iter().enumerate();
        let numbers = numbers.filter(|(_, one)| one.disk == *disk);
        numbers.map(|(number, _)| number).collect()
    };
    let disks: BTreeSet<DiskId> = live.iter().map(|one| one.disk.clone()).collect();
    let expected: Vec<DiskSpace> = disks
        .into_iter()
        .map(|disk| {
            let own = of_disk(&disk);
            DiskSpace {
                snapshots: own.len() as u64,
                stored_bytes: model.bytes(|_, by| !by.is_disjoint(&own)),
                exclusive_bytes: model.bytes(|_, by| by.is_subset(&own)),
                counted_bytes: model.bytes(|_, by| by.first().is_some_and(|first| own.contains(first))),
                disk,
            }
        })
        .collect();
    assert_eq!(report.disks, expected);
    assert_eq!(report.packs, model.packs(&footers, |_| true));
    let counted: u64 = report.snapshots.iter().map(|one| one.counted_bytes).sum();
    assert_eq!(counted, report.packs.all().live_bytes);
    assert_eq!(report.missing_chunks, 0);
    let deletion = (!doomed.is_empty()).then(|| DeletionSpace {
        snapshots: doomed.len() as u64,
        freed_bytes: model.bytes(|_, by| by.is_subset(&doomed)),
        packs: model.packs(&footers, |by| !by.is_subset(&doomed)),
    });
    assert_eq!(report.deletion, deletion);
    if tight && footers.0.len() > 8 && model.holders.len() > 100 {
        assert!(report.passes > 1, "one pass over {} packs", footers.0.len());
    }
}

async fn play(env: &Env, secret: Option<Secret>, steps: Vec<Step>, delete: Vec<prop::sample::Index>) {
    let bucket: Rc<dyn tidemark_env::Bucket> = Rc::new(DirBucket::new(env.clone(), "bucket"));
    let options = VaultOptions {
        secret,
        node: Some("n-1".into()),
        ..VaultOptions::default()
    };
    let mut vault = Vault::create_with(env, bucket.clone(), options.clone())
        .await
        .unwrap();
    let mut last: [Option<Root>; 3] = [None; 3];
    for (number, step) in steps.into_iter().enumerate() {
        let live = vault.live(&[]).await.unwrap();
        let chosen = |which: &prop::sample::Index| (!live.is_empty()).then(|| &live[which.index(live.len())]);
        match step {
            Step::Capture {
                disk,
                changes,
                chunks,
            } => {
                let name = SnapshotId::new(format!("s-{number}")).unwrap();
                last[disk] = Some(capture(&vault, &name, disk, last[disk], chunks, &changes).await);
            }
            Step::Restart { disk: of, which } => {
                if let Some(one) = chosen(&which) {
                    vault.adopt(&disk(of), &[], &one.snapshot).await.unwrap();
                    last[of] = Some(one.root);
                }
            }
            Step::Delete { which } => {
                if let Some(one) = chosen(&which) {
                    vault
                        .delete_snapshot(&one.disk, &one.snapshot, None)
                        .await
                        .unwrap();
                }
            }
            Step::Move { which } => {
                let packs = packs(&vault).await;
                if !packs.is_empty() {
                    let (pack, kind, _) = packs[which.index(packs.len())];
                    rewrite(&vault, kind, pack).await;
                    // What it knew of places is out of date.
                    vault = Vault::open_with(env, bucket.clone(), options.clone())
                        .await
                        .unwrap();
                }
            }
            Step::Collect => {
                for (of, root) in last.iter().enumerate() {
                    let since = vault.head_log(&disk(of)).await.unwrap().len();
                    let needed: Vec<Root> =
                        root.iter().filter(|root| root.top().is_some()).copied().collect();
                    vault.hold(&disk(of), since, &needed).await.unwrap();
                }
                let options = CollectOptions {
                    purge_all: true,
                    ..CollectOptions::default()
                };
                vault.collect(&options).await.unwrap();
            }
        }
    }
    compare(&vault, &delete, false).await;
    compare(&vault, &delete, true).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn figures_are_those_of_an_enumeration(
        seed in any::<u64>(),
        encrypted in prop::bool::weighted(0.2),
        steps in prop::collection::vec(step(), 1..24),
        delete in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let sim = Sim::new(seed);
        let secret = encrypted.then(|| Secret::key_file(&[7; 32]).unwrap());
        sim.run(|env| async move { play(&env, secret, steps, delete).await });
    }
}

async fn two_snapshots(env: &Env) -> (Vault, Root) {
    let bucket = Rc::new(DirBucket::new(env.clone(), "bucket"));
    let vault = Vault::create(env, bucket).await.unwrap();
    let names = ["s-0", "s-1"].map(|name| SnapshotId::new(name).unwrap());
    let first = capture(&vault, &names[0], 0, None, 1000, &[(1, 1), (900, 3)]).await;
    let second = capture(&vault, &names[1], 0, Some(first), 1000, &[(1, 5)]).await;
    (vault, second)
}

#[test]
fn a_snapshot_that_is_not_there_cannot_be_reckoned_away() {
    let sim = Sim::new(1);
    sim.run(|env| async move {
        let (vault, _) = two_snapshots(&env).await;
        let options = SpaceOptions {
            delete: BTreeSet::from([SnapshotId::new("s-9").unwrap()]),
            ..SpaceOptions::default()
        };
        let error = vault.space(&options).await.unwrap_err();
        assert_eq!(error.kind, VaultErrorKind::Missing);
        assert!(error.to_string().contains("s-9"), "{error}");
    });
}

/// A chunk that is nowhere is counted as missing; a node that is nowhere leaves nothing to count on.
#[test]
fn what_is_lost_is_told() {
    for kind in [PackKind::Data, PackKind::Tree] {
        let sim = Sim::new(2);
        sim.run(|env| async move {
            let (vault, root) = two_snapshots(&env).await;
            let tree_pack = root.top().unwrap().at.pack;
            let lost = match kind {
                PackKind::Tree => tree_pack,
                PackKind::Data => packs(&vault).await[..]
                    .iter()
                    .find(|(_, of, bytes)| *of == kind && *bytes > 2 * CHUNK_BYTES)
                    .map(|(pack, ..)| *pack)
                    .unwrap(),
            };
            vault
                .store()
                .delete("lose", &key::pack(kind, lost))
                .await
                .unwrap();
            let found = vault.space(&SpaceOptions::default()).await;
            match kind {
                PackKind::Data => assert_eq!(found.unwrap().missing_chunks, 2),
                PackKind::Tree => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains("no pack holds it"), "{error}");
                }
            }
        });
    }
}
