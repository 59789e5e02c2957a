//! Damage in the terms of people: which object, which snapshots of which disk, which bytes.
//!
//! Neighbouring chunks of one object that hit the same snapshots are one loss; each disk has its own.

use super::{Damage, Part, Target};
use crate::error::VaultErrorKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};

/// What of an object is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LossKind {
    /// A head entry.
    Head,
    /// A snapshot's record.
    Record,
    /// Something that is no head entry among head entries.
    Stranger,
    /// Nodes of trees.
    Nodes,
    /// Chunks.
    Chunks,
    /// A pack's header or footer.
    Frame,
    /// What tells where a rewritten pack's content has gone.
    Forward,
}

/// What damage to one object does to one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Loss {
    /// The object's key in the bucket.
    pub object: String,
    /// What of it.
    pub kind: LossKind,
    /// Whether content cannot be had; `false`: it can be read in another way.
    pub lost: bool,
    /// The disk, if any is known to be hit.
    pub disk: Option<DiskId>,
    /// Its snapshots that are hit.
    pub snapshots: Vec<SnapshotId>,
    /// First byte of the disk.
    pub start: u64,
    /// One past the last byte; `start` where no content is hit.
    pub end: u64,
    /// What is wrong, in a few words.
    pub what: String,
    /// The error of the first find.
    pub error: String,
}

impl Loss {
    /// Whether it is the same as another one was, by the place alone.
    pub fn is_at(&self, other: &Loss) -> bool {
        let place = |loss: &Loss| (loss.kind, loss.disk.clone(), loss.start, loss.end);
        self.object == other.object && place(self) == place(other)
    }

    /// Bytes of the disk, for each snapshot.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

impl Damage {
    fn kind(&self) -> LossKind {
        match self.part {
            Part::Head(_) => LossKind::Head,
            Part::Record(_) => LossKind::Record,
            Part::Stranger => LossKind::Stranger,
            Part::Frame => LossKind::Frame,
            Part::Forward => LossKind::Forward,
            Part::Node(_) => LossKind::Nodes,
            Part::Chunk(_) => LossKind::Chunks,
        }
    }

    fn what(&self) -> String {
        match (self.error.kind, self.kind()) {
            (VaultErrorKind::Missing, _) => "it is not there".into(),
            (VaultErrorKind::Corrupt, LossKind::Chunks | LossKind::Nodes) => {
                "its bytes are not what they were".into()
            }
            (VaultErrorKind::Corrupt, _) => self.error.cause.to_string(),
            _ => "it cannot be read there: cut short, or a bad medium".into(),
        }
    }
}

/// What all of this damage does, by object and disk.
pub fn losses(targets: &[Target], damage: &[Damage]) -> Vec<Loss> {
    type Key = (String, LossKind, bool, String, Arc<[u32]>);
    let mut groups: BTreeMap<Key, Vec<&Damage>> = BTreeMap::new();
    for find in damage {
        let key = (
            find.object.clone(),
            find.kind(),
            find.lost,
            find.what(),
            Arc::clone(&find.hits),
        );
        groups.entry(key).or_default().push(find);
    }
    let mut losses = Vec::new();
    for ((object, kind, lost, what, hits), mut finds) in groups {
        finds.sort_by_key(|find| (find.chunks.start, find.chunks.end));
        let mut ranges: Vec<(Range<u64>, &Damage)> = Vec::new();
        for find in finds {
            match ranges.last_mut() {
                Some((range, _)) if range.end >= find.chunks.start => {
                    range.end = range.end.max(find.chunks.end)
                }
                _ => ranges.push((find.chunks.clone(), find)),
            }
        }
        let mut disks: BTreeMap<&DiskId, (u64, Vec<SnapshotId>)> = BTreeMap::new();
        for target in hits.iter().filter_map(|hit| targets.get(*hit as usize)) {
            let (size, snapshots) = disks.entry(&target.disk).or_default();
            *size = target.root.size_bytes().max(*size);
            snapshots.push(target.snapshot.clone());
        }
        for (range, first) in ranges {
            let loss = |disk: Option<&DiskId>, snapshots: Vec<SnapshotId>, bytes: Range<u64>| Loss {
                object: object.clone(),
                kind,
                lost,
                disk: disk.cloned(),
                snapshots,
                start: bytes.start,
                end: bytes.end,
                what: what.clone(),
                error: first.error.to_string(),
            };
            let of_log = match &first.part {
                Part::Head(disk) => Some(disk),
                _ => None,
            };
            if disks.is_empty() {
                losses.push(loss(of_log, Vec::new(), 0..0));
            }
            for (disk, (size, snapshots)) in &disks {
                let start = (range.start * CHUNK_BYTES).min(*size);
                let end = range.end.saturating_mul(CHUNK_BYTES).min(*size);
                losses.push(loss(Some(disk), snapshots.clone(), start..end));
            }
        }
    }
    losses
}
