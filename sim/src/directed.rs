//! Steps that lead up to one moment, which steps drawn one by one hardly ever meet.
//!
//! Each sets up what must be true for a certain rule to matter, and leaves to chance where exactly the blow falls. Not here:
//! what is checked; that is the same as for every other step, but for the limit of time that [`World::held_up_group`] sets.

use crate::chain::Pace;
use crate::dice::Dice;
use crate::snaps::{Deleted, Snap};
use crate::world::{Disk, World};
use std::rc::Rc;
use std::time::Duration;

/// How long the coordinator of a group is held up.
const HOLD_UP: Duration = Duration::from_secs(30);
/// What a write may take meanwhile: the lease is much shorter, but the disk's own thread may stall too.
const PROMPT: Duration = Duration::from_secs(5);
/// Operations of each client while a snapshot is waiting to be cancelled: enough to make the log go round.
const OVERWRITES: u32 = 40;
/// How long that may take. Not as long as it takes a capture under pressure to be given up.
const OVERWRITING: Duration = Duration::from_millis(1500);
/// The vault's thread is the first that a node starts.
const VAULT_THREAD: usize = 0;

impl World {
    /// As [`World::group`], on disks at rest, and in the middle of it the coordinating thread stalls for much longer than
    /// guests may be kept waiting. At rest, so that nothing else keeps them waiting.
    pub async fn held_up_group(self: &Rc<Self>, node: usize, disks: u64, polls: u64) {
        self.settle().await;
        self.captured().await;
        let host = &self.hosts[node % self.hosts.len()];
        if let Some(running) = &*host.running.borrow() {
            running.control.stall_after(polls, HOLD_UP);
        }
        Rc::clone(self).group(node, disks, Pace::Prompt(PROMPT)).await;
    }

    /// Asks for a snapshot that cannot be committed yet, lets guests overwrite what it holds, and cancels it, in the middle
    /// of which its node dies.
    pub async fn cancel(
        self: &Rc<Self>,
        number: usize,
        disk: &Rc<Disk>,
        mut dice: Dice,
        polls: u64,
        power: bool,
    ) {
        self.bucket.set_down(true);
        Rc::clone(self).snapshot(number).await;
        for work in &disk.work {
            work.add(Dice::new(dice.below(u64::MAX), 0), OVERWRITES);
        }
        let end = self.sim.now() + OVERWRITING;
        while self.sim.now() < end && !disk.work.iter().all(|w| w.is_done()) {
            self.sleep(Duration::from_millis(5)).await;
        }
        // A capture that waits to try the bucket again has not noticed yet.
        self.bucket.set_down(false);
        let Some(snap) = self.newest_snap(number) else {
            return;
        };
        let host = self.host_of(disk);
        if host.doom.borrow().is_none() {
            self.doom(host, VAULT_THREAD, polls, power, None);
        }
        self.delete_snap(&snap).await;
    }

    /// Kills a node between the writing of a superblock and its sync, lets its successor work for a moment, and takes the
    /// power: what the successor builds upon has to be durable.
    pub async fn between_superblocks(self: &Rc<Self>, disk: &Rc<Disk>, mut dice: Dice, polls: u64) {
        let host = self.host_of(disk);
        if host.doom.borrow().is_some() {
            return;
        }
        self.doom_upon(host, "super.", false);
        for (operations, last) in [(OVERWRITES, false), (4 + dice.below(12) as u32, true)] {
            for work in &disk.work {
                work.add(Dice::new(dice.below(u64::MAX), 0), operations);
            }
            if last {
                self.doom(host, VAULT_THREAD + 1, polls, true, None);
            }
            let end = self.sim.now() + OVERWRITING;
            while self.sim.now() < end && host.is_well() {
                self.sleep(Duration::from_millis(2)).await;
            }
            self.tend().await;
        }
    }

    /// Asks for a snapshot, and deletes the one that it is relative to while it is made or right after. Then for another one:
    /// it has to be whole, whatever it is relative to now.
    pub async fn delete_parent(self: Rc<Self>, disk: usize, wait: Duration) {
        let parent = self.newest_snap(disk);
        Rc::clone(&self).snapshot(disk).await;
        self.sleep(wait).await;
        if let Some(parent) = parent.filter(|s| s.deleted.get() == Deleted::No) {
            self.delete_snap(&parent).await;
        }
        self.snapshot(disk).await;
    }

    /// The last snapshot of a disk whose mark was answered, unless it was deleted.
    fn newest_snap(&self, disk: usize) -> Option<Rc<Snap>> {
        let snaps = self.snaps.borrow();
        let of_disk = snaps.values().filter(|s| s.disk == disk && s.answered.get());
        let newest = of_disk.max_by_key(|s| s.settled).cloned();
        newest.filter(|s| s.deleted.get() == Deleted::No)
    }
}
