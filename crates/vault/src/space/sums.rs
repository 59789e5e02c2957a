//! From the holders of copies to figures.

use super::holders::{Run, Table};
use super::places::Places;
use super::{DeletionSpace, DiskSpace, Live, PackSpace, SnapshotSpace, SpaceReport, full_bytes};

pub(super) struct Sums {
    /// Changes from one snapshot's or disk's figure to the next: a run of holders is two of them.
    stored: Vec<u64>,
    disk_stored: Vec<u64>,
    exclusive: Vec<u64>,
    counted: Vec<u64>,
    disk_exclusive: Vec<u64>,
    /// Each snapshot's disk, by number.
    disk_of: Vec<u32>,
    /// How many of the snapshots below each are to be deleted.
    doomed_below: Vec<u32>,
    freed: u64,
    packs: PackSpace,
    packs_then: PackSpace,
}

impl Sums {
    pub(super) fn new(live: &[Live], doomed: Vec<bool>) -> Self {
        let mut disk_of = Vec::with_capacity(live.len());
        for (at, one) in live.iter().enumerate() {
            let same = at > 0 && live[at - 1].disk == one.disk;
            let before = disk_of.last().copied();
            disk_of.push(before.map_or(0, |before: u32| before + u32::from(!same)));
        }
        let disks = disk_of.last().map_or(0, |last| *last as usize + 1);
        let mut doomed_below = vec![0];
        for (at, doomed) in doomed.into_iter().enumerate() {
            doomed_below.push(doomed_below[at] + u32::from(doomed));
        }
        Self {
            stored: vec![0; live.len() + 1],
            disk_stored: vec![0; disks + 1],
            exclusive: vec![0; live.len()],
            counted: vec![0; live.len()],
            disk_exclusive: vec![0; disks],
            disk_of,
            doomed_below,
            freed: 0,
            packs: PackSpace::default(),
            packs_then: PackSpace::default(),
        }
    }

    /// Takes in the copies of a window of packs.
    pub(super) fn add(&mut self, table: &Table, places: &Places) {
        for (number, copies) in table.packs() {
            let (mut live, mut freed) = (0, 0);
            for (bytes, held) in copies {
                self.copy(bytes, held.runs());
                live += bytes;
                freed += if self.is_doomed(held.runs()) { bytes } else { 0 };
            }
            self.freed += freed;
            self.packs.add(places.object_bytes(number), live);
            self.packs_then.add(places.object_bytes(number), live - freed);
        }
    }

    fn copy(&mut self, bytes: u64, runs: &[Run]) {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return;
        };
        self.counted[first.start as usize] += bytes;
        if last.end - first.start == 1 {
            self.exclusive[first.start as usize] += bytes;
        }
        let disk_of = |snapshot: u32| self.disk_of[snapshot as usize];
        if disk_of(first.start) == disk_of(last.end - 1) {
            self.disk_exclusive[disk_of(first.start) as usize] += bytes;
        }
        // Disks up to here have been told.
        let mut told = 0;
        for run in runs {
            between(&mut self.stored, run.start, run.end, bytes);
            let start = self.disk_of[run.start as usize].max(told);
            told = self.disk_of[(run.end - 1) as usize] + 1;
            if start < told {
                between(&mut self.disk_stored, start, told, bytes);
            }
        }
    }

    fn is_doomed(&self, runs: &[Run]) -> bool {
        let below = |at: u32| self.doomed_below[at as usize];
        runs.iter()
            .all(|run| below(run.end) - below(run.start) == run.end - run.start)
    }

    pub(super) fn report(self, live: &[Live], missing_chunks: u64, passes: u32) -> SpaceReport {
        let (stored, disk_stored) = (summed(&self.stored), summed(&self.disk_stored));
        let mut snapshots = Vec::with_capacity(live.len());
        let mut disks: Vec<DiskSpace> = Vec::new();
        for (at, one) in live.iter().enumerate() {
            snapshots.push(SnapshotSpace {
                disk: one.disk.clone(),
                snapshot: one.snapshot.clone(),
                size_bytes: one.root.size_bytes(),
                full_bytes: full_bytes(&one.root),
                stored_bytes: stored[at],
                exclusive_bytes: self.exclusive[at],
                counted_bytes: self.counted[at],
            });
            let disk = self.disk_of[at] as usize;
            if disks.len() == disk {
                disks.push(DiskSpace {
                    disk: one.disk.clone(),
                    snapshots: 0,
                    stored_bytes: disk_stored[disk],
                    exclusive_bytes: self.disk_exclusive[disk],
                    counted_bytes: 0,
                });
            }
            disks[disk].snapshots += 1;
            disks[disk].counted_bytes += self.counted[at];
        }
        // By id, whichever came first; the snapshots of a disk stay in their order.
        snapshots.sort_by(|a, b| a.disk.cmp(&b.disk));
        disks.sort_by(|a, b| a.disk.cmp(&b.disk));
        let doomed = self.doomed_below.last().copied().unwrap_or(0);
        SpaceReport {
            snapshots,
            disks,
            packs: self.packs,
            deletion: (doomed > 0).then_some(DeletionSpace {
                snapshots: doomed.into(),
                freed_bytes: self.freed,
                packs: self.packs_then,
            }),
            missing_chunks,
            passes,
        }
    }
}

/// Notes `bytes` for everything in `start .. end`.
fn between(changes: &mut [u64], start: u32, end: u32, bytes: u64) {
    // On the way to a sum that is not negative a change may be.
    let (start, end) = (start as usize, end as usize);
    changes[start] = changes[start].wrapping_add(bytes);
    changes[end] = changes[end].wrapping_sub(bytes);
}

fn summed(changes: &[u64]) -> Vec<u64> {
    let mut sum = 0_u64;
    let next = |change: &u64| {
        sum = sum.wrapping_add(*change);
        sum
    };
    changes.iter().map(next).collect()
}
