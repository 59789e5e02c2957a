//! What the entries of a head log add up to.
//!
//! A snapshot *exists*, is *deleted* (it does not exist, and can be brought back), or is *purged*:
//!
//! ```text
//!            drop                purge
//!  exists ─────────► deleted ─────────► purged
//!     ▲   undelete      │
//!     └─────────────────┘
//! ```
//! The first entry that moves it wins; an entry that does not fit the state it meets means nothing.
//!
//! A content is *needed* while a snapshot that is not purged has it, or a volume holds it: by a hold entry of its node,
//! or as one of the last two snapshots that were taken, not copied from another vault, while its node owned the disk. (Two: a volume learns of a
//! commit after the entry was made, and goes on from the snapshot before if it is stopped in between.) What is needed
//! stays needed by an unbroken chain of entries: that is what the collector relies on ([`crate::gc`]).

use super::HeadEntry;
use crate::id::CaptureId;
use crate::tree::Root;
use std::collections::{BTreeMap, HashMap, HashSet};
use tidemark_env::UnixMillis;
use tidemark_units::SnapshotId;

/// How many of an owner's latest commits are needed whatever became of the snapshots.
const RECENT_MAX: usize = 2;

/// A snapshot that is deleted and can still be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its content.
    pub root: Root,
    /// Not purged before this time, in milliseconds since 1970-01-01 UTC; `None` if that may be at once.
    pub until_ms: Option<UnixMillis>,
}

/// What has become of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It exists.
    Exists,
    /// It is deleted, and may be purged from then on.
    Deleted(Option<UnixMillis>),
    /// It is gone.
    Purged,
}

/// What one node's volume of the disk needs.
#[derive(Clone, Debug, Default)]
struct Held {
    roots: Vec<Root>,
    /// Committed since the last hold entry, the latest last.
    recent: Vec<Root>,
}

impl Held {
    fn roots(&self) -> impl Iterator<Item = &Root> {
        self.roots.iter().chain(&self.recent)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct HeadState {
    /// In the order of their making.
    snapshots: Vec<(SnapshotId, Root, Stage)>,
    places: HashMap<SnapshotId, usize>,
    held: BTreeMap<String, Held>,
    owner: Option<String>,
    ended: HashSet<CaptureId>,
}

impl HeadState {
    /// What these entries, from number 0 on, add up to.
    pub fn of(entries: &[HeadEntry]) -> Self {
        let mut state = Self::default();
        entries.iter().for_each(|entry| state.learn(entry));
        state
    }

    pub(super) fn learn(&mut self, entry: &HeadEntry) {
        match entry {
            HeadEntry::Own { node, .. } => self.owner = Some(node.clone()),
            HeadEntry::Fence { .. } => self.owner = None,
            HeadEntry::Snapshot { id, root, copied } => {
                if self.places.contains_key(id) {
                    return;
                }
                self.places.insert(id.clone(), self.snapshots.len());
                self.snapshots.push((id.clone(), *root, Stage::Exists));
                if let Some(owner) = self.owner.as_ref().filter(|_| !copied) {
                    let recent = &mut self.held.entry(owner.clone()).or_default().recent;
                    recent.push(*root);
                    let over = recent.len().saturating_sub(RECENT_MAX);
                    recent.drain(..over);
                }
            }
            HeadEntry::Drop { id, until_ms } => self.step(id, |stage| match stage {
                Stage::Exists => Stage::Deleted(*until_ms),
                other => other,
            }),
            HeadEntry::Undelete { id } => self.step(id, |stage| match stage {
                Stage::Deleted(_) => Stage::Exists,
                other => other,
            }),
            HeadEntry::Purge { id } => self.step(id, |stage| match stage {
                Stage::Deleted(_) => Stage::Purged,
                other => other,
            }),
            HeadEntry::Hold { node, roots } => {
                let roots = roots.clone();
                let recent = Vec::new();
                self.held.insert(node.clone(), Held { roots, recent });
            }
            HeadEntry::End { capture } => drop(self.ended.insert(*capture)),
        }
    }

    fn step(&mut self, id: &SnapshotId, to: impl Fn(Stage) -> Stage) {
        if let Some(place) = self.places.get(id) {
            let stage = &mut self.snapshots[*place].2;
            *stage = to(*stage);
        }
    }

    /// The snapshot's content and what has become of it; `None` if it was never committed.
    pub(crate) fn snapshot(&self, id: &SnapshotId) -> Option<(Root, Stage)> {
        let (_, root, stage) = &self.snapshots[*self.places.get(id)?];
        Some((*root, *stage))
    }

    /// The snapshots that exist, in the order of their making.
    pub fn live(&self) -> Vec<(SnapshotId, Root)> {
        let live = self
            .snapshots
            .iter()
            .filter(|(.., stage)| *stage == Stage::Exists);
        live.map(|(id, root, _)| (id.clone(), *root)).collect()
    }

    /// The snapshots that are deleted and not purged, in the order of their making.
    pub fn deleted(&self) -> Vec<DeletedSnapshot> {
        let deleted = self.snapshots.iter().filter_map(|(id, root, stage)| match stage {
            Stage::Deleted(until_ms) => Some(DeletedSnapshot {
                id: id.clone(),
                root: *root,
                until_ms: *until_ms,
            }),
            Stage::Exists | Stage::Purged => None,
        });
        deleted.collect()
    }

    /// Every content that is needed.
    pub fn needed(&self) -> impl Iterator<Item = &Root> {
        let snapshots = self
            .snapshots
            .iter()
            .filter(|(.., stage)| *stage != Stage::Purged);
        let held = self.held.values().flat_map(Held::roots);
        snapshots.map(|(_, root, _)| root).chain(held)
    }

    /// Whether a snapshot that exists has the content, stored where this root says.
    pub(crate) fn has_snapshot_of(&self, root: &Root) -> bool {
        let mut snapshots = self
            .snapshots
            .iter()
            .filter(|(.., stage)| *stage == Stage::Exists);
        snapshots.any(|(_, of, _)| of == root)
    }

    /// Whether the content, stored where this root says, is needed; one of zeros always is.
    pub fn needs(&self, root: &Root) -> bool {
        root.top().is_none() || self.needed().any(|needed| needed == root)
    }

    /// What the disk's volume on `node` holds.
    pub fn held_by(&self, node: &str) -> Vec<Root> {
        let held = self.held.get(node);
        held.into_iter().flat_map(Held::roots).copied().collect()
    }

    /// Nodes whose volumes of the disk hold something, and how many contents.
    pub fn holders(&self) -> Vec<(String, usize)> {
        let held = self
            .held
            .iter()
            .map(|(node, held)| (node.clone(), held.roots().count()));
        held.filter(|(_, count)| *count > 0).collect()
    }

    /// Whether the capture was given up for good.
    pub fn has_ended(&self, capture: CaptureId) -> bool {
        self.ended.contains(&capture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::NodeRef;

    fn root(n: u8) -> Root {
        let at = crate::pack::Location {
            pack: crate::id::PackId([n; 16]),
            offset: 32,
            stored_len: 100,
            ordinal: 0,
            codec: crate::Codec::Raw,
        };
        let node = NodeRef {
            id: crate::id::NodeId([n; 32]),
            chunks: 1,
            at,
        };
        Root::new(Some(node), 1 << 20)
    }

    fn id(text: &str) -> SnapshotId {
        SnapshotId::new(text).unwrap()
    }

    fn commit(n: u8) -> HeadEntry {
        HeadEntry::Snapshot {
            id: id(&format!("s-{n}")),
            root: root(n),
            copied: false,
        }
    }

    fn needed(entries: &[HeadEntry]) -> Vec<u8> {
        let state = HeadState::of(entries);
        let all = (0..10).filter(|n| state.needs(&root(*n)));
        all.collect()
    }

    fn own(node: &str) -> HeadEntry {
        HeadEntry::Own {
            epoch: 1,
            node: node.into(),
        }
    }

    fn gone(n: u8) -> [HeadEntry; 2] {
        let id = id(&format!("s-{n}"));
        let until_ms = Some(5);
        [
            HeadEntry::Drop {
                id: id.clone(),
                until_ms,
            },
            HeadEntry::Purge { id },
        ]
    }

    #[test]
    fn a_deleted_snapshot_is_needed_until_it_is_purged() {
        let id = id("s-1");
        let drop = HeadEntry::Drop {
            id: id.clone(),
            until_ms: Some(5),
        };
        let (back, purge) = (HeadEntry::Undelete { id: id.clone() }, HeadEntry::Purge { id });
        let of = |entries: &[&HeadEntry]| {
            let entries: Vec<_> = [&commit(1)]
                .into_iter()
                .chain(entries.iter().copied())
                .cloned()
                .collect();
            let state = HeadState::of(&entries);
            (state.live().len(), state.deleted().len(), needed(&entries).len())
        };
        assert_eq!(of(&[]), (1, 0, 1));
        assert_eq!(of(&[&drop]), (0, 1, 1));
        assert_eq!(of(&[&drop, &back]), (1, 0, 1));
        assert_eq!(of(&[&drop, &purge]), (0, 0, 0));
        assert_eq!(of(&[&drop, &purge, &back]), (0, 0, 0), "purged is for good");
        assert_eq!(
            of(&[&drop, &back, &purge]),
            (1, 0, 1),
            "what exists is not purged"
        );
        assert_eq!(of(&[&drop, &purge, &commit(1)]), (0, 0, 0), "an id is used once");
    }

    #[test]
    fn a_volume_holds_what_its_node_says_and_its_last_two_commits() {
        let hold = |node: &str, roots: &[u8]| HeadEntry::Hold {
            node: node.into(),
            roots: roots.iter().map(|n| root(*n)).collect(),
        };
        let mut log = vec![hold("a", &[9]), own("a"), commit(1), commit(2), commit(3)];
        for n in 1..4 {
            log.extend(gone(n));
        }
        assert_eq!(needed(&log), [2, 3, 9]);
        log.push(hold("b", &[3]));
        log.push(hold("a", &[]));
        assert_eq!(needed(&log), [3], "another node's volume still needs it");
        log.push(commit(4));
        log.extend(gone(4));
        assert_eq!(needed(&log), [3, 4]);
        log.extend([own("b"), commit(5), hold("a", &[]), hold("b", &[])]);
        log.extend(gone(5));
        assert_eq!(needed(&log), [] as [u8; 0]);
        assert_eq!(HeadState::of(&log).holders(), []);
    }

    #[test]
    fn copies_do_not_push_out_what_a_volume_goes_on_from() {
        let copy = |n: u8| HeadEntry::Snapshot {
            id: id(&format!("s-{n}")),
            root: root(n),
            copied: true,
        };
        let mut log = vec![own("a"), commit(1), copy(2), copy(3), copy(4)];
        for n in 1..5 {
            log.extend(gone(n));
        }
        assert_eq!(needed(&log), [1]);
    }

    #[test]
    fn a_commit_without_an_owner_holds_nothing() {
        let mut log = vec![commit(1)];
        log.extend(gone(1));
        assert_eq!(needed(&log), [] as [u8; 0]);
    }
}
