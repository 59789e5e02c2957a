//! What each step of a plan does to the world.

use crate::chain::Pace;
use crate::dice::Dice;
use crate::model::{Model, SECTOR};
use crate::plan::{Medium, Step};
use crate::snaps::Deleted;
use crate::world::{CHUNK_SECTORS, Disk, Host, World};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::BucketFaults;
use tidemark_node::SnapshotStatus;
use tidemark_units::DiskId;

/// How long guests and captures may take, in virtual time, before something must be stuck.
const PATIENCE: Duration = Duration::from_secs(1500);
/// How often it is looked whether they are done, at first and at last.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(4));

impl World {
    /// Starts the nodes and makes the disks of the plan.
    pub async fn begin(self: &Rc<Self>) {
        self.sim.set_stalls(self.plan.setup.stalls);
        for host in &self.hosts {
            self.end_file_faults(host);
            let running = self.start(host).await;
            let running = running.unwrap_or_else(|e| self.fail(format!("a new node does not start: {e}")));
            self.listen(running.node.events());
            *host.running.borrow_mut() = Some(running);
        }
        for (n, chunks) in self.plan.setup.disks.clone().into_iter().enumerate() {
            let sectors = chunks * CHUNK_SECTORS;
            let id = DiskId::new(self.id("d", n)).unwrap_or_else(|e| self.fail(e.to_string()));
            let host = &self.hosts[n % self.hosts.len()];
            let (new, size) = (id.clone(), (sectors * SECTOR) as u64);
            let own_key = self.has_own_key(n);
            let made = self
                .call(host, |node| async move {
                    match own_key {
                        true => node.create_encrypted_disk(&new, size, None).await,
                        false => node.create_disk(&new, size, None).await,
                    }
                })
                .await;
            if !matches!(made, Some(Ok(()))) {
                self.fail(format!("a new disk cannot be made: {made:?}"));
            }
            let number = self.add_disk(id, host.number, Model::holding(&vec![0; sectors]));
            self.connect(number).await;
        }
    }

    /// Does one step.
    pub async fn step(self: &Rc<Self>, number: u64, step: &Step) {
        self.say(|| format!("step {number}: {step:?}"));
        match *step {
            Step::Load {
                disk,
                client,
                operations,
            } => {
                if let Some((_, disk)) = self.pick_disk(disk) {
                    let work = &disk.work[client % disk.work.len()];
                    work.add(Dice::new(self.plan.seed, number), operations);
                }
            }
            Step::Wait { ms } => self.sleep(Duration::from_millis(ms)).await,
            Step::Settle => self.settle().await,
            Step::Snapshot { disk } => {
                if let Some((disk, _)) = self.pick_disk(disk) {
                    self.beside(Rc::clone(self).snapshot(disk));
                }
            }
            Step::Group { node, disks } => self.beside(Rc::clone(self).group(node, disks, Pace::Tight)),
            Step::HeldUpGroup { node, disks, polls } => self.held_up_group(node, disks, polls).await,
            Step::Captured => self.captured().await,
            Step::Delete { pick } => self.beside(Rc::clone(self).delete(pick)),
            Step::Cancel { disk, polls, power } => {
                if let Some((number_of, disk)) = self.pick_disk(disk) {
                    let dice = Dice::new(self.plan.seed, number);
                    self.cancel(number_of, &disk, dice, polls, power).await;
                }
            }
            Step::BetweenSuperblocks { disk, polls } => {
                if let Some((_, disk)) = self.pick_disk(disk) {
                    let dice = Dice::new(self.plan.seed, number);
                    self.between_superblocks(&disk, dice, polls).await;
                }
            }
            Step::DeleteParent { disk, micros } => {
                if let Some((disk, _)) = self.pick_disk(disk) {
                    let wait = Duration::from_micros(micros);
                    self.beside(Rc::clone(self).delete_parent(disk, wait));
                }
            }
            Step::Clone { pick, node } => Rc::clone(self).clone_disk(pick, node).await,
            Step::Rollback { disk, pick, then } => {
                if let Some((number, disk)) = self.pick_disk(disk) {
                    self.rollback(number, &disk, pick, then).await;
                }
            }
            Step::DeleteDisk { disk } => self.delete_disk(disk).await,
            Step::Collect { node } => self.beside(Rc::clone(self).collect(node)),
            Step::Undelete { pick } => self.beside(Rc::clone(self).undelete(pick)),
            Step::Verify { pick } => Rc::clone(self).verify_step(pick).await,
            Step::Restart { node } => {
                let host = &self.hosts[node % self.hosts.len()];
                if host.doom.borrow().is_none() {
                    self.restart(host).await;
                }
            }
            Step::Crash {
                node,
                thread,
                polls,
                power,
                again,
            } => {
                let host = &self.hosts[node % self.hosts.len()];
                if host.doom.borrow().is_none() {
                    self.doom(host, thread, polls, power, again);
                }
            }
            Step::Files { node, faults, ms } => {
                let host = &self.hosts[node % self.hosts.len()];
                host.faultless.set(false);
                host.faults.set(host.faults.get() + 1);
                host.machine
                    .set_faults(faults.faults(self.plan.setup.misdirected));
                self.later(ms, move |world| {
                    let host = &world.hosts[node % world.hosts.len()];
                    host.faults.set(host.faults.get().saturating_sub(1));
                    world.end_file_faults(host);
                });
            }
            Step::Room { node, bytes, ms } => {
                let host = &self.hosts[node % self.hosts.len()];
                let used = host.machine.used_bytes();
                host.machine.set_capacity(Some(used + bytes));
                self.later(ms, move |world| {
                    world.hosts[node % world.hosts.len()].machine.set_capacity(None);
                });
            }
            Step::BucketFaults { faults, ms } => {
                self.bucket.set_faults(faults);
                self.later(ms, |world| world.bucket.set_faults(BucketFaults::default()));
            }
            Step::BucketDown { ms } => {
                self.bucket.set_down(true);
                self.later(ms, |world| world.bucket.set_down(false));
            }
            Step::Clock { node, ms } => self.hosts[node % self.hosts.len()].machine.jump_wall_clock(ms),
            Step::Rot { node, medium, page } => {
                let host = &self.hosts[node % self.hosts.len()];
                if host.doom.borrow().is_none() {
                    self.rot(host, medium, page).await;
                }
            }
            Step::Copy { disk } => self.copy(disk).await,
        }
    }

    /// Does `work` while the steps go on.
    pub fn beside(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        let world = Rc::clone(self);
        self.calls.set(self.calls.get() + 1);
        self.env.spawn(async move {
            work.await;
            world.calls.set(world.calls.get() - 1);
        });
    }

    fn later(self: &Rc<Self>, ms: u64, work: impl FnOnce(&Rc<World>) + 'static) {
        let world = Rc::clone(self);
        self.env.spawn(async move {
            world.sleep(Duration::from_millis(ms)).await;
            work(&world);
        });
    }

    /// Waits until the guests have done what they had to.
    pub async fn settle(self: &Rc<Self>) {
        let end = self.sim.now() + PATIENCE;
        let mut look = LOOK.0;
        loop {
            self.tend().await;
            let busy = self
                .present()
                .into_iter()
                .find(|(_, d)| !d.work.iter().all(|w| w.is_done()));
            let Some((_, busy)) = busy else { return };
            if self.sim.now() > end {
                self.fail(format!("the guests of {} wait for ever", busy.id));
            }
            self.sleep(look).await;
            look = (look * 5 / 4).min(LOOK.1);
        }
    }

    /// Waits until no capture is under way.
    pub async fn captured(self: &Rc<Self>) {
        let end = self.sim.now() + PATIENCE;
        let mut look = LOOK.0;
        loop {
            self.tend().await;
            let calls = self.calls.get();
            let mut waits: Vec<String> = self
                .asked
                .borrow()
                .keys()
                .map(|id| format!("{id} asked for"))
                .collect();
            if calls > 0 {
                waits.push(format!("{calls} calls"));
            }
            for (_, disk) in self.present() {
                let host = self.host_of(&disk);
                let id = disk.id.clone();
                let status = self
                    .call(host, |node| async move { node.disk_status(&id).await })
                    .await;
                // Nobody may be left to notice that it does not serve any more.
                if matches!(&status, Some(Ok(status)) if status.poisoned.is_some()) {
                    disk.stopped.set(true);
                }
                match status {
                    Some(Ok(status)) if status.captures.is_empty() => {}
                    other => waits.push(format!("{}: {other:?}", disk.id)),
                }
            }
            self.say(|| format!("captures: {waits:?}"));
            if waits.is_empty() {
                return;
            }
            if self.sim.now() > end {
                self.fail(format!("captures do not end: {waits:?}"));
            }
            self.sleep(look).await;
            look = (look * 5 / 4).min(LOOK.1);
        }
    }

    async fn delete_disk(self: &Rc<Self>, pick: usize) {
        let Some((_, disk)) = self.pick_disk(pick) else {
            return;
        };
        if self.present().len() < 2 {
            return;
        }
        let id = disk.id.clone();
        disk.deleting.set(true);
        let host = self.host_of(&disk);
        let answer = self
            .call(host, |node| async move { node.delete_disk(&id).await })
            .await;
        self.say(|| format!("{} deleted: {answer:?}", disk.id));
        match answer {
            Some(Ok(())) => {
                disk.gone.set(true);
                disk.work.iter().for_each(|w| w.clear());
                self.clients_gone(&disk).await;
            }
            // Refused, or it died: whoever opens it finds out.
            Some(Err(_)) => disk.stopped.set(true),
            None => {}
        }
    }

    /// Damages a medium while its machine is off, be it that it was shut down or that its power failed.
    async fn rot(self: &Rc<Self>, host: &Host, medium: Medium, page: bool) {
        if medium == Medium::Bucket {
            return self.rot_bucket(host).await;
        }
        let disk = self
            .present()
            .into_iter()
            .find(|(_, d)| d.host.get() == host.number);
        let Some((number, disk)) = disk else { return };
        if medium == Medium::Superblock && disk.damaged.get() {
            // The older slot needs the log, and that one was damaged before: nothing is promised about both.
            return;
        }
        let below = format!("volumes/{}/", disk.id);
        let part = match medium {
            Medium::Log => "log/",
            Medium::Superblock => "super.",
            _ => "base",
        };
        // Rot of a log's last records looks like a torn tail: only a shutdown leaves none that matter, and not while a capture
        // keeps the base from taking them in (one whose spool was damaged may do so for good).
        if medium == Medium::Log {
            let id = disk.id.clone();
            let status = self
                .call(host, |node| async move { node.disk_status(&id).await })
                .await;
            if !matches!(status, Some(Ok(status)) if status.captures.is_empty()) {
                return;
            }
        }
        if page || medium == Medium::Log {
            self.call(host, |node| async move { node.shutdown().await }).await;
        }
        // A misdirected page needs a second one, and no superblock slot has it.
        let page = page && medium != Medium::Superblock;
        host.machine.power_cut();
        host.running.borrow_mut().take();
        let directory = self.plan.setup.directory;
        let hit = self.rot_file(host, page, move |path| match medium {
            // A vault in a directory may have taken a pack's file itself: that is its object by now.
            Medium::Spool => path.contains("/spool/") && !(directory && path.ends_with(".pack")),
            _ => path.contains(&below) && path.contains(part),
        });
        if let Some(offset) = hit.filter(|_| medium != Medium::Spool) {
            self.damage(number, &disk, medium, offset, page);
        }
        self.doom_now(host);
        self.tend().await;
        disk.lost_slot.set(false);
    }

    fn rot_file(&self, host: &Host, page: bool, matches: impl Fn(&str) -> bool) -> Option<u64> {
        let matches = |path: &Path| path.to_str().is_some_and(&matches);
        let hit = match page {
            true => host.machine.misdirect(matches),
            false => host.machine.rot(matches),
        };
        self.say(|| format!("damaged: {hit:?}"));
        hit.map(|(_, offset)| offset)
    }

    fn damage(&self, number: usize, disk: &Disk, medium: Medium, offset: u64, page: bool) {
        match medium {
            // The other slot must do, with the log that it needs.
            Medium::Superblock => disk.lost_slot.set(true),
            Medium::Base => {}
            _ => disk.damaged.set(true),
        }
        if medium != Medium::Base {
            return;
        }
        // The base has no checksums (it is a raw image): what the medium changed there is what the disk holds now.
        let first = offset as usize / SECTOR;
        let sectors = if page {
            first / 8 * 8..first / 8 * 8 + 8
        } else {
            first..first + 1
        };
        disk.tainted.borrow_mut().extend(sectors.clone());
        for snap in self.snaps.borrow().values().filter(|s| s.disk == number) {
            if snap.image.borrow().is_none() {
                snap.tainted.borrow_mut().extend(sectors.clone());
            }
        }
    }

    /// One object loses a bit: whoever reads it must notice. Then a replica is put in its place.
    async fn rot_bucket(self: &Rc<Self>, host: &Host) {
        if self.plan.setup.directory {
            return;
        }
        let _ = host;
        let before = self.bucket.objects();
        let Some((key, _)) = self.bucket.rot(|key| !key.starts_with("w/")) else {
            return;
        };
        self.say(|| format!("damaged: {key}"));
        let snaps: Vec<_> = self.snaps.borrow().values().cloned().collect();
        if let Ok(vault) = self.vault().await {
            for snap in snaps.iter().filter(|s| s.deleted.get() == Deleted::No) {
                if let Ok(record) = vault.snapshot(&snap.id).await {
                    self.verify(&vault, snap, &record).await;
                }
            }
        }
        let Some(body) = before.get(&key) else { return };
        let client = self.bucket.client_of_run();
        while client
            .put(&key, vec![body.clone()], tidemark_env::Precondition::None)
            .await
            .is_err()
        {
            self.sleep(Duration::from_millis(100)).await;
        }
    }

    /// A copy of a disk, as somebody makes who restores a backup of the whole machine, is opened by the other node.
    async fn copy(self: &Rc<Self>, pick: usize) {
        if self.hosts.len() < 2 || self.disks.borrow().len() >= 6 {
            return;
        }
        let Some((number, disk)) = self.pick_disk(pick) else {
            return;
        };
        let from = self.host_of(&disk);
        let to = &self.hosts[(from.number + 1) % self.hosts.len()];
        let dir = Path::new("data/volumes").join(disk.id.as_str());
        let held = self
            .present()
            .iter()
            .any(|(_, d)| d.id == disk.id && d.host.get() == to.number);
        if held || from.doom.borrow().is_some() || to.doom.borrow().is_some() {
            return;
        }
        // A copy of what is on the medium now: as after a power cut at this moment.
        if from.machine.copy_dir(&dir, &to.machine, &dir).is_err() {
            return;
        }
        let window = disk.model.borrow().after_crash(false);
        let id = disk.id.clone();
        let opened = self
            .call(to, |node| async move { node.open_disk(&id).await })
            .await;
        self.say(|| format!("{} copied to {}: {opened:?}", disk.id, to.machine.name()));
        let _ = number;
        if !matches!(opened, Some(Ok(()))) {
            return;
        }
        let copy = self.add_disk(
            disk.id.clone(),
            to.number,
            Model::holding(&vec![0; disk.model.borrow().sectors()]),
        );
        let copy_disk = self.disk(copy);
        let Some(wire) = self.wire(&copy_disk).await else {
            return;
        };
        let Some(values) = self.read_whole(&copy_disk, &wire).await else {
            return;
        };
        drop(wire);
        self.check_disk(&copy_disk, &window, &values, "copied");
        *copy_disk.model.borrow_mut() = Model::holding(&values);
        self.connect(copy).await;
    }

    /// Where a snapshot stands, as its node says.
    pub async fn status(&self, host: &Host, id: &tidemark_units::SnapshotId) -> Option<SnapshotStatus> {
        let id = id.clone();
        let status = self
            .call(host, |node| async move { node.snapshot_status(&id).await })
            .await;
        status?.ok()
    }
}
