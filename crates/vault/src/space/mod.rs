//! How much space snapshots take, and what deleting some of them would give back.
//!
//! What is counted are *stored copies*: chunks and tree nodes as packs hold them, each copy once, however many places
//! refer to it. A copy is *held* by the snapshots whose trees reach it; a snapshot's exclusive bytes are those that it
//! alone holds, and deleting a set of snapshots frees exactly the copies whose holders are all in the set. Everything
//! is read from head logs and trees, nothing from data packs.
//!
//! A copy *counts* for one snapshot, the first of its holders: the oldest of the first disk. When that goes, the next one
//! takes it over. So these figures add up to what is held, over snapshots as over disks.
//!
//! Freed means: no tree refers to it any more. The bucket shrinks later and by steps, because copies lie in packs: one
//! with nothing live in it goes at the next collection, one that is less than half live is rewritten by a later
//! one, and what is dead in any other stays until more of that pack is ([`PackSpace`] tells these apart).
//!
//! Invariants: (1) a copy's holders are the union over every way to it: places of one tree, snapshots, disks; (2) a
//! copy that is not where a tree says (its pack was rewritten) is the one that the pack's forward leads to, or the packs' own
//! footers name; (3) a
//! node that cannot be read is an error: what is below it might be held by nobody else, or by everybody.
//!
//! Cost: each stored copy of a node is read once (per pass), all snapshots of the vault together, so snapshots that share
//! most of their trees cost about what differs. Memory: 12 bytes for each live row of a pack, at most
//! [`SpaceOptions::table_bytes`], beyond which the vault is walked in several passes, each about a part of the packs; some
//! 25 MiB of nodes on the way; 60 bytes per pack and per snapshot; 150 bytes for each copy that was moved.
//! Snapshots are what counts here. A deleted one holds its copies until it is purged, and a volume those of the
//! contents that it needs: what is freed is free once these let go as well.
//! Not here: garbage (what no snapshot holds is only seen as what is left of its pack), what a capture under way adds.

mod holders;
mod places;
mod sums;
#[cfg(test)]
mod tests;
mod walk;

use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::live_snapshots;
use crate::key;
use crate::tree::Root;
use crate::vault::Vault;
use places::Places;
use std::collections::{BTreeSet, HashMap};
use sums::Sums;
use tidemark_units::{CHUNK_BYTES, DiskId, MIB, SnapshotId};
use walk::Walk;

/// Tries when snapshots come and go, and packs with them, while their trees are walked.
const TRIES: u32 = 4;

/// What to find out, and with how much memory.
#[derive(Clone, Debug)]
pub struct SpaceOptions {
    /// Reckon what deleting all of these together would free; empty for nothing.
    pub delete: BTreeSet<SnapshotId>,
    /// Most bytes of the table of stored copies in memory.
    pub table_bytes: u64,
    /// Disks whose snapshots share copies, in the order in which these count for them; all others come after, by id.
    pub first: Vec<DiskId>,
}

impl Default for SpaceOptions {
    fn default() -> Self {
        Self {
            delete: BTreeSet::new(),
            table_bytes: 256 * MIB,
            first: Vec::new(),
        }
    }
}

/// A snapshot's share of the space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSpace {
    /// The disk whose head log it stands in.
    pub disk: DiskId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The disk's size in bytes.
    pub size_bytes: u64,
    /// Plain bytes of its chunks that are not zeros: what a full copy would move.
    pub full_bytes: u64,
    /// Stored bytes that it holds, alone or with others.
    pub stored_bytes: u64,
    /// Stored bytes that it alone holds: what deleting just this one frees.
    pub exclusive_bytes: u64,
    /// Stored bytes that count for it: those that no older snapshot of its disk holds, and none of a disk before that
    /// ([`SpaceOptions::first`]). Over all snapshots they add up to what is held, each copy once.
    pub counted_bytes: u64,
}

/// A disk's chain of snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// The disk.
    pub disk: DiskId,
    /// How many snapshots of it exist.
    pub snapshots: u64,
    /// Stored bytes that any of them holds.
    pub stored_bytes: u64,
    /// Stored bytes that only they hold: what deleting the whole chain frees.
    pub exclusive_bytes: u64,
    /// Stored bytes that count for them ([`SnapshotSpace::counted_bytes`]).
    pub counted_bytes: u64,
}

/// Some packs, as objects in the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackGroup {
    /// How many.
    pub packs: u64,
    /// Bytes of the objects, their headers and tables included.
    pub object_bytes: u64,
    /// Bytes of the copies in them that snapshots hold.
    pub live_bytes: u64,
}

/// All packs of the vault, by what a collection does about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackSpace {
    /// Nothing in them is held by a snapshot: freed whole by the next collection, unless a capture under way, a volume or
    /// a deleted snapshot that can be brought back needs them.
    pub empty: PackGroup,
    /// Less than half live: rewritten by later collections.
    pub sparse: PackGroup,
    /// At least half live: what is dead in them stays.
    pub dense: PackGroup,
}

impl PackSpace {
    /// All of them together.
    pub fn all(&self) -> PackGroup {
        let groups = [self.empty, self.sparse, self.dense];
        groups.iter().fold(PackGroup::default(), |all, group| PackGroup {
            packs: all.packs + group.packs,
            object_bytes: all.object_bytes + group.object_bytes,
            live_bytes: all.live_bytes + group.live_bytes,
        })
    }

    fn add(&mut self, object_bytes: u64, live_bytes: u64) {
        let group = match live_bytes {
            0 => &mut self.empty,
            live if is_sparse(object_bytes, live) => &mut self.sparse,
            _ => &mut self.dense,
        };
        group.packs += 1;
        group.object_bytes += object_bytes;
        group.live_bytes += live_bytes;
    }
}

/// Whether so little of a pack is live that a collection rewrites it.
fn is_sparse(object_bytes: u64, live_bytes: u64) -> bool {
    live_bytes.saturating_mul(2) < object_bytes
}

/// What deleting some snapshots would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletionSpace {
    /// How many snapshots.
    pub snapshots: u64,
    /// Stored bytes that only they hold.
    pub freed_bytes: u64,
    /// The packs as they would be then.
    pub packs: PackSpace,
}

/// Where a vault's space is.
#[derive(Clone, Debug)]
pub struct SpaceReport {
    /// Every snapshot that exists: by disk, then in the order of their making.
    pub snapshots: Vec<SnapshotSpace>,
    /// Every disk that has one, by id.
    pub disks: Vec<DiskSpace>,
    /// The packs as they are.
    pub packs: PackSpace,
    /// What was asked about a deletion.
    pub deletion: Option<DeletionSpace>,
    /// Chunks that no pack holds although a tree names them: damage, to be looked into with a verification. They count for
    /// nothing here.
    pub missing_chunks: u64,
    /// How often the trees were walked.
    pub passes: u32,
}

/// A snapshot that exists. Its place among all is its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Live {
    disk: DiskId,
    snapshot: SnapshotId,
    root: Root,
}

impl Vault {
    /// Says how much space each snapshot, each disk's chain and the whole vault takes, and what a deletion would free.
    /// Only reads; a service may use the vault meanwhile. [`VaultErrorKind::Missing`] when a snapshot to be deleted does
    /// not exist; any node that cannot be read is an error.
    pub async fn space(&self, options: &SpaceOptions) -> Result<SpaceReport> {
        self.space_within(options, walk::Bounds::default()).await
    }

    async fn space_within(&self, options: &SpaceOptions, bounds: walk::Bounds) -> Result<SpaceReport> {
        let mut tries = 1;
        loop {
            let live = self.live(&options.first).await?;
            let error = match self.space_of(&live, options, bounds).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            // A snapshot that was deleted meanwhile may have taken its packs with it.
            if tries == TRIES || live == self.live(&options.first).await? {
                return Err(error);
            }
            tries += 1;
        }
    }

    /// Every snapshot that exists, by disk and in the order of their making. The disks named come first, the others by id.
    async fn live(&self, first: &[DiskId]) -> Result<Vec<Live>> {
        let listed = self.store().list("list disks", key::DISKS).await?;
        let disks: BTreeSet<DiskId> = listed
            .iter()
            .filter_map(|object| Some(key::parse_head(&object.key)?.0))
            .collect();
        let place: HashMap<&DiskId, usize> = first.iter().zip(0..).collect();
        let mut disks: Vec<DiskId> = disks.into_iter().collect();
        disks.sort_by_key(|disk| place.get(disk).copied().unwrap_or(usize::MAX));
        let mut live = Vec::new();
        for disk in disks {
            let head = self.look_at_head_log(&disk).await?;
            let of_disk = live_snapshots(&head.entries()).into_iter();
            live.extend(of_disk.map(|(snapshot, root)| Live {
                disk: disk.clone(),
                snapshot,
                root,
            }));
        }
        Ok(live)
    }

    async fn space_of(
        &self,
        live: &[Live],
        options: &SpaceOptions,
        bounds: walk::Bounds,
    ) -> Result<SpaceReport> {
        let doomed = doomed(live, &options.delete)?;
        // After the head logs: a pack that a snapshot refers to was there before its head entry.
        let mut places = Places::list(self).await?;
        let mut sums = Sums::new(live, doomed);
        let (mut from, mut passes) = (0, 0);
        loop {
            passes += 1;
            let mut walk = Walk::new(self, &mut places, from, options.table_bytes, bounds);
            walk.run(live).await?;
            let table = walk.table;
            if places.has_unknown() {
                // Trees name packs that are gone. What they held may be elsewhere, and there is more below it.
                places.find_unknown(self).await?;
                continue;
            }
            from = table.end();
            sums.add(&table, &places);
            if from == places.pack_count() {
                return Ok(sums.report(live, places.missing_chunks(), passes));
            }
        }
    }
}

/// For each snapshot whether it is to be deleted.
fn doomed(live: &[Live], delete: &BTreeSet<SnapshotId>) -> Result<Vec<bool>> {
    if let Some(unknown) = delete
        .iter()
        .find(|id| live.iter().all(|one| one.snapshot != **id))
    {
        let subject = format!("snapshot {unknown}");
        let cause = "there is no such snapshot";
        return Err(VaultError::new(
            VaultErrorKind::Missing,
            "reckon a deletion",
            subject,
            cause,
        ));
    }
    Ok(live.iter().map(|one| delete.contains(&one.snapshot)).collect())
}

/// What a snapshot would move if it were copied in full.
fn full_bytes(root: &Root) -> u64 {
    root.data_chunks() * CHUNK_BYTES
}
