//! Reading snapshots through, to know that they are whole: many at once, each stored thing once.
//!
//! The trees of all snapshots are walked together, in the order of the disks' chunks ([`union`]): where snapshots share
//! a node or a chunk, there is one of it to read, and the set of those that share it is known. Chunks are gathered into
//! windows and read from the packs in the packs' order ([`chunks`]). What cannot be read as it was written is [`Damage`],
//! with every snapshot and the range of chunks that it hits.
//!
//! What must stay true: (1) everything is read where the trees say that it is, past the caches: what is asked is what the
//! bucket holds; (2) a bucket that cannot be reached, refuses or is empty altogether is an error, not damage; (3) a
//! snapshot that was deleted meanwhile is not damaged; (4) memory does not grow with the disks or with what is stored: a
//! window, and a node of each snapshot for each level of the tree where snapshots differ; (5) a walk may be stopped and
//! gone on with at a chunk's index, whatever was snapshotted and deleted in between.
//! Not here: repairing ([`crate::repair`]); how fast, and what people are told ([`Watch`] is the caller's).

mod chunks;
mod inventory;
mod losses;
mod read;
mod rows;
mod union;

pub use inventory::{Inventory, Target};
pub use losses::{Loss, LossKind, losses};
pub(crate) use rows::{Rows, rows_of};
pub(crate) use union::walk;

use crate::error::{Result, VaultError, VaultErrorKind};
use crate::id::ChunkId;
use crate::pack::Location;
use crate::tree::Root;
use crate::vault::Vault;
use crate::{head, key};
pub(crate) use chunks::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use tidemark_env::LocalFuture;
use tidemark_units::{DiskId, SnapshotId};

/// Reads under way at once, where nobody says otherwise.
const VERIFY_WIDTH: usize = 8;
/// Chunks gathered, where nobody says otherwise: 16 GiB of disk.
const VERIFY_WINDOW: usize = 1 << 18;
/// Damage that is listed; more is counted.
const DAMAGE_MAX: usize = 1 << 16;

/// Which chunks to read. Tree nodes are always read, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// All of them.
    All,
    /// So many of a million, each time other ones.
    PerMillion(u32),
    /// None: tree nodes only.
    TreeOnly,
}

/// What of an object is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An entry of a disk's head log: which of its snapshots exist is not certain.
    Head(DiskId),
    /// A snapshot's record.
    Record(SnapshotId),
    /// Something that is no head entry among head entries.
    Stranger,
    /// A pack's header or footer. Only needed to find what is not where the trees say.
    Frame,
    /// What tells where a rewritten pack's content has gone. Only needed to find it soon.
    Forward,
    /// A tree node of this level; 0 is a leaf.
    Node(u8),
    /// A chunk.
    Chunk(ChunkId),
}

/// Something that cannot be read as it was written.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The object's key in the bucket.
    pub object: String,
    /// What of it.
    pub part: Part,
    /// Where in its pack; of chunks and nodes.
    pub at: Option<Location>,
    /// Which chunks of the disks it hits; empty where no content is hit. May go past the end of a disk.
    pub chunks: Range<u64>,
    /// Whose content it hits: indexes of the snapshots that were asked for.
    pub hits: Arc<[u32]>,
    /// Whether content is lost. `false`: it can still be read, from another place or without the damaged part.
    pub lost: bool,
    /// What is wrong.
    pub error: VaultError,
}

/// What was read and found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Tree nodes read.
    pub nodes: u64,
    /// Chunks read.
    pub chunks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// Bytes read from the bucket.
    pub read_bytes: u64,
    /// The first finds, some tens of thousands.
    pub damage: Vec<Damage>,
    /// All finds.
    pub damage_count: u64,
    /// The chunk at which to go on, if the caller stopped the walk.
    pub next: Option<u64>,
}

impl VerifyReport {
    pub(crate) fn note(&mut self, damage: Damage) {
        self.damage_count += 1;
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(damage);
        }
    }
}

/// Whom a verification asks and tells.
pub trait Watch {
    /// Completes when so many bytes more may be read.
    fn may_read(&self, bytes: u64) -> LocalFuture<'_, ()>;
    /// All chunks below `chunk` have been looked at, which is about this part (0 to 1) of all. `false`: stop here.
    fn passed(&self, chunk: u64, part: f64, so_far: &VerifyReport) -> bool;
    /// About to read so many bytes of chunks, which will have brought the walk to about this part (0 to 1) of all.
    fn reading(&self, bytes: u64, up_to: f64) {
        let _ = (bytes, up_to);
    }
    /// How many reads may be under way at once.
    fn width(&self) -> usize {
        VERIFY_WIDTH
    }
    /// Chunks gathered before they are read: about 100 bytes of memory each. The more there are, the fewer and larger
    /// are the reads, and the rarer is [`Watch::passed`].
    fn window_chunks(&self) -> usize {
        VERIFY_WINDOW
    }
}

/// Reads as fast as it can, to the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct FullSpeed;

impl Watch for FullSpeed {
    fn may_read(&self, _: u64) -> LocalFuture<'_, ()> {
        Box::pin(async {})
    }

    fn passed(&self, _: u64, _: f64, _: &VerifyReport) -> bool {
        true
    }
}

impl Vault {
    /// Reads a tree and (some of) its chunks, and checks all that it reads.
    pub async fn verify(&self, root: &Root, sample: Sample) -> Result<VerifyReport> {
        let mut window = Window::new(self, sample, &FullSpeed, None);
        walk(&[*root], 0, &FullSpeed, &mut window).await?;
        Ok(window.into_report())
    }

    /// Reads the trees and (some of) the chunks of these snapshots from chunk `from` on, and checks all that it reads. What
    /// [`Vault::inventory`] found is not in the report.
    pub async fn verify_snapshots(
        &self,
        targets: &[Target],
        sample: Sample,
        from: u64,
        watch: &dyn Watch,
    ) -> Result<VerifyReport> {
        let roots: Vec<Root> = targets.iter().map(|target| target.root).collect();
        let mut window = Window::new(self, sample, watch, Some(targets));
        let next = walk(&roots, from, watch, &mut window).await?;
        let mut report = window.into_report();
        report.next = next;
        Ok(report)
    }

    /// Whether the failed read of `object` tells of damage; if not, it is handed back.
    pub(crate) async fn as_damage(&self, object: &str, error: VaultError) -> Result<VaultError> {
        match error.kind {
            VaultErrorKind::Corrupt => Ok(error),
            // A directory that is not mounted has nothing at all.
            VaultErrorKind::Missing => match self.store().size("look for the vault", key::FORMAT).await {
                Ok(_) => Ok(error),
                Err(gone) => Err(gone.within("the vault is not where it was")),
            },
            // A range past the end of what is there, or a medium that cannot read it; unless nothing can be read.
            VaultErrorKind::Other => match self.store().size("look for an object", object).await {
                Ok(_) => Ok(error),
                Err(look) if look.kind == VaultErrorKind::Missing => Ok(error),
                Err(_) => Err(error),
            },
            VaultErrorKind::Busy
            | VaultErrorKind::Denied
            | VaultErrorKind::Locked
            | VaultErrorKind::Full
            | VaultErrorKind::Lost
            | VaultErrorKind::Stale => Err(error),
        }
    }

    /// Which of these snapshots still exist, by their indexes. Those of a log that is itself damaged count as existing.
    pub(crate) async fn still_live(
        &self,
        targets: &[Target],
        asked: &BTreeSet<u32>,
    ) -> Result<BTreeSet<u32>> {
        let mut by_disk: BTreeMap<&DiskId, Vec<u32>> = BTreeMap::new();
        for &index in asked {
            if let Some(target) = targets.get(index as usize) {
                by_disk.entry(&target.disk).or_default().push(index);
            }
        }
        let mut live = BTreeSet::new();
        for (disk, indexes) in by_disk {
            let there = match self.look_at_head_log(disk).await {
                Ok(log) => head::live_snapshots(&log.entries()),
                Err(error) if error.kind == VaultErrorKind::Corrupt => {
                    live.extend(indexes);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let there: BTreeSet<SnapshotId> = there.into_iter().map(|(id, _)| id).collect();
            live.extend(
                indexes
                    .into_iter()
                    .filter(|index| there.contains(&targets[*index as usize].snapshot)),
            );
        }
        Ok(live)
    }
}
