//! Deaths and restarts: what is checked when a node comes back.

use crate::model::Model;
use crate::plan::Rates;
use crate::world::{Disk, Doom, Host, Running, World};
use futures_util::future::select_all;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::Process;
use tidemark_node::NodeErrorKind;

/// Tries of an operation that faults may foil before the faults are ended.
const TRIES: u32 = 6;

impl World {
    /// Makes the node die after so many polls of one of its threads.
    pub fn doom(self: &Rc<Self>, host: &Host, thread: usize, polls: u64, power: bool, again: Option<u64>) {
        let Some(running) = host.running.borrow().clone() else {
            return;
        };
        let threads = running.threads.borrow();
        let process = match threads.len() {
            0 => running.control.clone(),
            n => threads.get(thread % (n + 1)).unwrap_or(&running.control).clone(),
        };
        process.kill_after(polls.max(1));
        self.watch(host, &process, power);
        *host.doom.borrow_mut() = Some(Doom {
            process,
            power,
            again,
            lives_on: false,
        });
    }

    /// Lets a node die when one of its threads has next changed a file whose path contains `part`.
    pub fn doom_upon(self: &Rc<Self>, host: &Host, part: &str, power: bool) {
        let Some(running) = host.running.borrow().clone() else {
            return;
        };
        // Whichever it is, and the others with it.
        let threads = running.threads.borrow().clone();
        let Some(first) = threads.first().cloned() else {
            return;
        };
        threads.iter().for_each(|process| process.kill_upon(part));
        let machine = host.machine.clone();
        self.env.spawn(async move {
            select_all(threads.iter().map(Process::died)).await;
            match power {
                true => machine.power_cut(),
                false => machine.kill_all(),
            }
        });
        *host.doom.borrow_mut() = Some(Doom {
            process: first,
            power,
            again: None,
            lives_on: false,
        });
    }

    /// When one thread dies, the machine does.
    pub fn watch(self: &Rc<Self>, host: &Host, process: &Process, power: bool) {
        let (process, machine) = (process.clone(), host.machine.clone());
        self.env.spawn(async move {
            process.died().await;
            match power {
                true => machine.power_cut(),
                false => machine.kill_all(),
            }
        });
    }

    /// Looks after deaths and failures that have happened; called between steps.
    pub async fn tend(self: &Rc<Self>) {
        for host in &self.hosts {
            if !host.is_well() {
                self.revive(host).await;
            }
        }
        for (number, disk) in self.present() {
            if disk.stopped.get() {
                self.reopen(number, &disk).await;
            }
        }
    }

    /// Ends all of a machine's processes, and its power if so.
    fn end(&self, host: &Host, power: bool) {
        host.running.borrow_mut().take();
        match power {
            true => {
                host.machine.power_cut();
                host.faultless.set(true);
            }
            false => host.machine.kill_all(),
        }
    }

    /// Waits until everybody has heard of a node's death.
    async fn heard(&self, host: &Host) {
        while self.calls.get() > 0 && self.hosts.len() == 1 {
            self.sleep(Duration::from_micros(50)).await;
        }
        // With two nodes the other one's calls go on: enough that this one's have been told.
        self.sleep(Duration::from_micros(100)).await;
        let disks = self.disks.borrow().clone();
        for (number, disk) in disks.into_iter().enumerate() {
            if disk.host.get() == host.number {
                self.clients_gone(&disk).await;
                self.settle_asked(number);
            }
        }
    }

    /// Marks of a disk that were asked for and never answered end here.
    fn settle_asked(&self, number: usize) {
        let asked = self.asked.borrow();
        let of_disk = asked.iter().filter(|(_, (disk, _))| *disk == number);
        let ids: Vec<_> = of_disk.map(|(id, _)| id.clone()).collect();
        drop(asked);
        ids.iter().for_each(|id| self.settle_mark(id, false));
    }

    /// Brings a dead node back, and checks all that it has.
    async fn revive(self: &Rc<Self>, host: &Host) {
        if let Some(doom) = host.doom.borrow_mut().as_mut() {
            // If it was the second death that was to come, it has come.
            doom.lives_on = false;
        }
        let power = host.doom.borrow().as_ref().is_some_and(|d| d.power);
        let mut kept = !power && host.faultless.get();
        self.say(|| format!("{} dies, power {power}", host.machine.name()));
        self.end(host, power);
        self.heard(host).await;
        let mut tries = 0;
        loop {
            tries += 1;
            if tries > TRIES {
                self.end_file_faults(host);
            }
            if tries > 4 * TRIES {
                self.fail(format!("{} does not start again", host.machine.name()));
            }
            if self.try_start(host).await && self.open_all(host, kept).await {
                break;
            }
            // It died again, or faults kept it from starting.
            if let Some(doom) = host.doom.borrow_mut().as_mut() {
                doom.lives_on &= doom.process.is_alive();
            }
            let power = host.doom.borrow().as_ref().is_some_and(|d| d.power);
            kept &= !power && host.faultless.get();
            self.end(host, power);
            self.sleep(Duration::from_millis(200)).await;
        }
        let to_come = host.doom.borrow().as_ref().is_some_and(|d| d.lives_on);
        if !to_come {
            host.doom.borrow_mut().take();
        }
        host.faultless.set(host.faults.get() == 0);
        self.tally.borrow_mut().recoveries += 1;
    }

    /// Ends all faults of a machine's files.
    pub fn end_file_faults(&self, host: &Host) {
        host.machine
            .set_faults(Rates::default().faults(self.plan.setup.misdirected));
        host.machine.set_capacity(None);
    }

    async fn try_start(self: &Rc<Self>, host: &Host) -> bool {
        match self.start(host).await {
            Ok(running) => {
                self.listen(running.node.events());
                *host.running.borrow_mut() = Some(running);
                true
            }
            Err(e) => {
                self.say(|| format!("{} does not start: {e}", host.machine.name()));
                if e.kind == NodeErrorKind::Corrupt && !self.plan.has_rot() && !self.bucket_garbles() {
                    self.fail(format!("starting a node: {e}"));
                }
                false
            }
        }
    }

    /// Opens and checks every disk of a node that has started. `false`: it died.
    async fn open_all(self: &Rc<Self>, host: &Host, kept: bool) -> bool {
        for (number, disk) in self.present() {
            if disk.host.get() != host.number {
                continue;
            }
            match self.open_and_check(number, &disk, kept).await {
                Some(true) => {}
                Some(false) => return false,
                None => continue,
            }
        }
        let running = host.running.borrow().clone();
        let Some(Running { control, .. }) = running else {
            return false;
        };
        if !control.is_alive() {
            return false;
        }
        for (number, disk) in self.present() {
            if disk.host.get() == host.number && disk.wire.borrow().is_none() {
                self.connect(number).await;
            }
        }
        true
    }

    /// Whether a disk may be refused as damaged, for this reason. The loss of one superblock slot is none, unless the
    /// log that the other one needs is gone.
    fn may_be_refused(&self, disk: &Disk, why: &str) -> bool {
        disk.damaged.get() || disk.lost_slot.get() && !why.contains("no valid superblock")
    }

    /// Opens a disk, reads it whole, checks it, and takes what was read as the truth. `None`: the disk is gone for good.
    async fn open_and_check(self: &Rc<Self>, number: usize, disk: &Rc<Disk>, kept: bool) -> Option<bool> {
        let host = self.host_of(disk);
        let mut tries = 0;
        loop {
            let id = disk.id.clone();
            let opened = self
                .call(host, |node| async move { node.open_disk(&id).await })
                .await;
            match opened {
                None => return Some(false),
                Some(Ok(())) => break,
                Some(Err(e)) if e.kind == NodeErrorKind::Missing && disk.deleting.get() => {
                    disk.gone.set(true);
                    return None;
                }
                Some(Err(e)) if e.kind == NodeErrorKind::Corrupt && self.may_be_refused(disk, &e.message) => {
                    self.say(|| format!("{} refused: {e}", disk.id));
                    self.tally.borrow_mut().refused_disks += 1;
                    disk.gone.set(true);
                    return None;
                }
                Some(Err(e)) => {
                    self.say(|| format!("{} does not open: {e}", disk.id));
                    if e.kind == NodeErrorKind::Corrupt {
                        self.fail(format!(
                            "{} is refused as damaged, and nobody damaged it: {e}",
                            disk.id
                        ));
                    }
                    tries += 1;
                    if tries > TRIES {
                        self.end_file_faults(host);
                    }
                    if tries > 4 * TRIES {
                        self.fail(format!("{} does not open again: {e}", disk.id));
                    }
                    self.sleep(Duration::from_millis(100)).await;
                }
            }
        }
        let Some(wire) = self.wire(disk).await else {
            return Some(false);
        };
        let Some(values) = self.read_whole(disk, &wire).await else {
            let alive = host
                .running
                .borrow()
                .as_ref()
                .is_some_and(|r| r.control.is_alive());
            if self.is_poisoned(disk).await {
                // A fault of the medium hit it while it was read: it is to be opened again.
                host.faultless.set(false);
            } else if alive && !wire.is_closed() {
                self.fail(format!("{} cannot be read after a restart", disk.id));
            }
            return Some(false);
        };
        drop(wire);
        let rolled = disk.rolling.borrow_mut().take();
        let is_rolled = rolled.is_some_and(|image| {
            let tainted = disk.tainted.borrow();
            image
                .iter()
                .zip(&values)
                .enumerate()
                .all(|(n, (a, b))| a == b || tainted.contains(&n))
        });
        if !is_rolled {
            let window = match disk.damaged.get() {
                true => disk.model.borrow().ever(),
                false => disk.model.borrow().after_crash(kept),
            };
            self.check_disk(disk, &window, &values, "after a restart");
        }
        *disk.model.borrow_mut() = Model::holding(&values);
        let _ = number;
        Some(true)
    }

    /// A disk whose requests fail is opened again if it has stopped, and its clients connect again.
    pub async fn reopen(self: &Rc<Self>, number: usize, disk: &Rc<Disk>) {
        let host = self.host_of(disk);
        let id = disk.id.clone();
        let status = self
            .call(host, |node| async move { node.disk_status(&id).await })
            .await;
        let Some(status) = status else { return };
        let poisoned = !matches!(&status, Ok(s) if s.poisoned.is_none());
        self.say(|| format!("{} stopped, poisoned {poisoned}", disk.id));
        self.disconnect(disk).await;
        if poisoned {
            self.settle_asked(number);
            host.faultless.set(false);
            if self.open_and_check(number, disk, false).await != Some(true) {
                return;
            }
        } else {
            let rolling = disk.rolling.borrow_mut().take();
            if let Some(image) = rolling {
                self.settle_rollback(number, disk, &image).await;
            }
        }
        self.connect(number).await;
    }

    /// A rollback was refused with an error: it happened, or it did not.
    async fn settle_rollback(self: &Rc<Self>, number: usize, disk: &Rc<Disk>, image: &crate::model::Image) {
        let Some(wire) = self.wire(disk).await else { return };
        let Some(values) = self.read_whole(disk, &wire).await else {
            return;
        };
        if values == **image {
            *disk.model.borrow_mut() = Model::holding(image);
            self.asked_after_rollback(number);
        } else {
            let window = disk.model.borrow().now();
            self.check_disk(disk, &window, &values, "after a rollback that failed");
        }
    }

    /// Shuts a node down and starts it again: all that was acknowledged must be there.
    pub async fn restart(self: &Rc<Self>, host: &Host) {
        let kept = host.faultless.get();
        let down = self.call(host, |node| async move { node.shutdown().await }).await;
        if down.is_none() {
            return;
        }
        self.say(|| format!("{} shut down", host.machine.name()));
        self.end(host, kept);
        self.heard(host).await;
        let mut tries = 0;
        while !(self.try_start(host).await && self.open_all(host, kept).await) {
            self.end(host, false);
            tries += 1;
            if tries > TRIES {
                self.end_file_faults(host);
            }
            if tries > 4 * TRIES {
                self.fail(format!("{} does not start after a shutdown", host.machine.name()));
            }
            self.sleep(Duration::from_millis(200)).await;
        }
    }
}
