//! Snapshots: asked for, verified, deleted, restored.

use crate::chain::Pace;
use crate::model::{Image, Model, SECTOR, Tick, Window, values_of};
use crate::world::{CHUNK_SECTORS, Disk, World, loose_values};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use tidemark_node::{MarkRequest, NodeErrorKind};
use tidemark_units::{DiskId, GroupId, SnapshotId};
use tidemark_vault::{Chunk, CollectOptions, Reader, SnapshotRecord, Vault, VaultErrorKind};

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Nobody asked for it.
    No,
    /// Asked for, and not answered.
    Perhaps,
    /// Answered.
    Yes,
}

/// A snapshot that was asked for.
pub struct Snap {
    /// Its id.
    pub id: SnapshotId,
    /// The disk's place in the list.
    pub disk: usize,
    /// The mark was answered: the snapshot must come to be.
    pub answered: Cell<bool>,
    /// What it may hold.
    pub window: Window,
    /// The snapshots that were marked with it at one moment.
    pub group: Vec<SnapshotId>,
    /// When its mark was settled.
    pub settled: Tick,
    /// What it was found to hold: it must stay so.
    pub image: RefCell<Option<(Image, Tick)>>,
    /// Whether it is still to be there.
    pub deleted: Cell<Deleted>,
    /// Sectors that the medium had changed in the disk.
    pub tainted: RefCell<BTreeSet<usize>>,
    /// It was made after its window had been closed: it was asked for before its disk failed, and made on the disk that was opened
    /// again. What it may hold is not known.
    pub late: Cell<bool>,
}

impl World {
    fn new_id(&self) -> SnapshotId {
        let number = self.snaps.borrow().len() + self.asked.borrow().len() + self.tick() as usize;
        SnapshotId::new(self.id("s", number)).unwrap_or_else(|e| self.fail(e.to_string()))
    }

    /// Closes the window of a mark that was asked for.
    pub fn settle_mark(&self, id: &SnapshotId, answered: bool) {
        let asked = self.asked.borrow_mut().remove(id);
        let Some((disk, begun)) = asked else {
            let snaps = self.snaps.borrow();
            if let Some(snap) = snaps.get(id).filter(|_| answered) {
                snap.late.set(true);
            }
            return;
        };
        let host = self.disk(disk);
        let window = host.model.borrow().mark_ends(&begun);
        let snap = Snap {
            id: id.clone(),
            disk,
            answered: Cell::new(answered),
            window,
            group: self.groups.borrow().get(id).cloned().unwrap_or_default(),
            settled: self.tick(),
            image: RefCell::default(),
            deleted: Cell::new(Deleted::No),
            tainted: RefCell::new(host.tainted.borrow().clone()),
            late: Cell::new(false),
        };
        self.snaps.borrow_mut().insert(id.clone(), Rc::new(snap));
    }

    fn ask_mark(&self, disk: usize) -> (SnapshotId, DiskId) {
        let id = self.new_id();
        let there = self.disk(disk);
        let begun = there.model.borrow().mark_begins();
        self.asked.borrow_mut().insert(id.clone(), (disk, begun));
        (id, there.id.clone())
    }

    /// Asks for a snapshot of a disk.
    pub async fn snapshot(self: Rc<Self>, number: usize) {
        let disk = self.disk(number);
        let (id, of) = self.ask_mark(number);
        let request = MarkRequest {
            snapshot: id.clone(),
            meta: serde_json::json!({ "n": number }),
        };
        let host = self.host_of(&disk);
        let answer = self
            .call(host, |node| async move { node.mark(&of, request).await })
            .await;
        match answer {
            Some(Ok(_)) => {
                self.say(|| format!("{} marked as {id}", disk.id));
                self.tally.borrow_mut().marks += 1;
                self.settle_mark(&id, true);
            }
            Some(Err(e)) if e.kind == NodeErrorKind::Busy => {
                self.asked.borrow_mut().remove(&id);
            }
            Some(Err(e)) => {
                self.say(|| format!("{} not marked as {id}: {e}", disk.id));
                self.settle_mark(&id, false);
                disk.stopped.set(true);
            }
            // Whoever looks after the death closes the window: the mark may be made until the machine is off.
            None if host.running.borrow().is_some() => {}
            None => drop(self.asked.borrow_mut().remove(&id)),
        }
    }

    /// Asks for a snapshot of several disks of a node at one moment.
    pub async fn group(self: Rc<Self>, node: usize, disks: u64, pace: Pace) {
        let host = &self.hosts[node % self.hosts.len()];
        let of_node = self
            .present()
            .into_iter()
            .filter(|(_, d)| d.host.get() == host.number);
        let members: Vec<usize> = of_node
            .map(|(number, _)| number)
            .enumerate()
            .filter(|(n, _)| disks >> n & 1 == 1 || *n < 2)
            .map(|(_, number)| number)
            .collect();
        if members.is_empty() {
            return;
        }
        let asked: Vec<(SnapshotId, DiskId)> = members.iter().map(|disk| self.ask_mark(*disk)).collect();
        let ids: Vec<SnapshotId> = asked.iter().map(|(id, _)| id.clone()).collect();
        for id in &ids {
            self.groups.borrow_mut().insert(id.clone(), ids.clone());
        }
        let requests = asked.into_iter().map(|(snapshot, disk)| {
            let meta = serde_json::Value::Null;
            (disk, MarkRequest { snapshot, meta })
        });
        let requests: Vec<_> = requests.collect();
        let Ok(group) = GroupId::new(format!("ssg-{}", self.tick())) else {
            return;
        };
        let going = Rc::new(Cell::new(true));
        let chains = match pace {
            Pace::Tight => 3,
            Pace::Prompt(_) => 1,
        };
        (0..chains).for_each(|first| self.chain(&members, first, pace, &going));
        let answer = self
            .call(
                host,
                |node| async move { node.mark_group(&group, requests).await },
            )
            .await;
        going.set(false);
        self.say(|| format!("group {ids:?}: {answer:?}"));
        match answer {
            Some(Ok(_)) => {
                self.tally.borrow_mut().groups += 1;
                ids.iter().for_each(|id| self.settle_mark(id, true));
            }
            Some(Err(_)) => {
                ids.iter().for_each(|id| self.settle_mark(id, false));
                members.iter().for_each(|disk| self.disk(*disk).stopped.set(true));
            }
            None if host.running.borrow().is_some() => {}
            None => ids.iter().for_each(|id| drop(self.asked.borrow_mut().remove(id))),
        }
    }

    /// The snapshot that a step means, if it may still be there.
    pub fn pick_snap(&self, pick: usize, counts: impl Fn(&Snap) -> bool) -> Option<Rc<Snap>> {
        let snaps = self.snaps.borrow();
        let there: Vec<_> = snaps
            .values()
            .filter(|s| s.deleted.get() == Deleted::No && counts(s))
            .collect();
        (!there.is_empty()).then(|| Rc::clone(there[pick % there.len()]))
    }

    /// Deletes a snapshot, or cancels it.
    pub async fn delete(self: Rc<Self>, pick: usize) {
        if let Some(snap) = self.pick_snap(pick, |_| true) {
            self.delete_snap(&snap).await;
        }
    }

    /// Deletes `snap`, or cancels it.
    pub async fn delete_snap(&self, snap: &Snap) {
        snap.deleted.set(Deleted::Perhaps);
        let disk = self.disk(snap.disk);
        let (of, id) = (disk.id.clone(), snap.id.clone());
        let host = self.host_of(&disk);
        let answer = self
            .call(host, |node| async move { node.delete_snapshot(&of, &id).await })
            .await;
        self.say(|| format!("{} deleted: {answer:?}", snap.id));
        if matches!(answer, Some(Ok(()))) {
            snap.deleted.set(Deleted::Yes);
        }
    }

    /// Brings a deleted snapshot back, if that can still be done.
    pub async fn undelete(self: Rc<Self>, pick: usize) {
        let deleted: Vec<Rc<Snap>> = {
            let snaps = self.snaps.borrow();
            let deleted = snaps.values().filter(|snap| snap.deleted.get() == Deleted::Yes);
            deleted.cloned().collect()
        };
        let Some(snap) = deleted.get(pick % deleted.len().max(1)) else {
            return;
        };
        snap.deleted.set(Deleted::Perhaps);
        let disk = self.disk(snap.disk);
        let (of, id) = (disk.id.clone(), snap.id.clone());
        let host = self.host_of(&disk);
        let answer = self
            .call(host, |node| async move { node.undelete_snapshot(&of, &id).await })
            .await;
        self.say(|| format!("{} undeleted: {answer:?}", snap.id));
        match answer {
            Some(Ok(_)) => snap.deleted.set(Deleted::No),
            Some(Err(e)) if e.kind == tidemark_node::NodeErrorKind::Missing => snap.deleted.set(Deleted::Yes),
            _ => {}
        }
    }

    /// Frees what nobody needs in the vault, by a node or by somebody who has only the bucket.
    pub async fn collect(self: Rc<Self>, node: usize) {
        let options = CollectOptions::default();
        if let Some(host) = self.hosts.get(node) {
            let collected = self.call(host, |node| async move { node.collect(&options).await });
            let collected = collected.await;
            self.say(|| format!("collected by node {node}: {collected:?}"));
            return;
        }
        if let Ok(vault) = self.vault().await {
            let collected = vault.collect(&options).await;
            self.say(|| format!("collected by a stranger: {collected:?}"));
        }
    }

    /// Reads a snapshot whole, compares it, and remembers what it holds. `None`: it cannot be read now.
    pub async fn verify(&self, vault: &Vault, snap: &Snap, record: &SnapshotRecord) -> Option<Image> {
        let reader = Reader::open(vault, record.root);
        let mut values = Vec::new();
        for chunk in 0..record.root.chunk_count() as u32 {
            let mut tries = 0;
            let bytes = loop {
                match reader.read_chunk(chunk).await {
                    Ok(Chunk::Zero) => break vec![0u8; CHUNK_SECTORS * SECTOR].into(),
                    Ok(Chunk::Data(bytes)) => break bytes,
                    Err(_) if tries > 20 => return None,
                    Err(_) => {
                        tries += 1;
                        self.sleep(Duration::from_millis(500)).await;
                    }
                }
            };
            match values_of(&bytes) {
                Ok(read) => values.extend(read),
                Err(_) if !snap.tainted.borrow().is_empty() => values.extend(loose_values(&bytes)),
                Err(why) => self.fail(format!("{}: chunk {chunk}: {why}", snap.id)),
            }
        }
        let before = snap.image.borrow().clone();
        if let Some((image, _)) = before {
            if *image != values {
                self.fail(format!("{} does not hold what it held before", snap.id));
            }
            return Some(image);
        }
        let tainted = snap.tainted.borrow().clone();
        let newest = match snap.late.get() {
            false => snap.window.check(&values, |n| tainted.contains(&n)),
            true => Ok(0),
        };
        let newest = newest.unwrap_or_else(|why| self.fail(format!("{}: {why}", snap.id)));
        let image = Rc::new(values);
        *snap.image.borrow_mut() = Some((Rc::clone(&image), newest));
        self.tally.borrow_mut().verified += 1;
        self.check_group(snap);
        Some(image)
    }

    /// Whether the members of a group are of one moment, as far as they have been read.
    fn check_group(&self, snap: &Snap) {
        let members: Vec<Rc<Snap>> = {
            let snaps = self.snaps.borrow();
            snap.group
                .iter()
                .filter_map(|id| snaps.get(id).cloned())
                .filter(|snap| !snap.late.get())
                .collect()
        };
        let images: Vec<_> = members
            .iter()
            .filter_map(|m| m.image.borrow().clone().map(|(image, tick)| (m, image, tick)))
            .collect();
        let newest = images.iter().map(|(_, _, tick)| *tick).max().unwrap_or(0);
        for (member, image, _) in &images {
            let tainted = member.tainted.borrow();
            if let Err(why) = member.window.check_cut(image, newest, |n| tainted.contains(&n)) {
                self.fail(format!(
                    "{} is not of one moment with its group: {why}",
                    member.id
                ));
            }
        }
    }

    /// Verifies a snapshot if it is there by now.
    pub async fn verify_step(self: Rc<Self>, pick: usize) {
        let Some(snap) = self.pick_snap(pick, |_| true) else {
            return;
        };
        let Ok(vault) = self.vault().await else { return };
        match vault.snapshot(&snap.id).await {
            Ok(record) => drop(self.verify(&vault, &snap, &record).await),
            Err(e) if e.kind == VaultErrorKind::Corrupt && !self.plan.has_rot() && !self.bucket_garbles() => {
                self.fail(format!("{}: {e}", snap.id));
            }
            Err(_) => {}
        }
    }

    /// Whether what a client of the bucket gets may be wrong without it being told.
    pub fn bucket_garbles(&self) -> bool {
        use crate::plan::Step;
        self.plan
            .steps
            .iter()
            .any(|(_, s)| matches!(s, Step::BucketFaults { faults, .. } if faults.garbled > 0 || faults.truncated > 0))
    }

    /// The content of an accomplished snapshot of at most `chunks` chunks: reads it if nobody has.
    async fn content(&self, snap: &Snap) -> Option<Image> {
        if let Some((image, _)) = snap.image.borrow().clone() {
            return Some(image);
        }
        let vault = self.vault().await.ok()?;
        let record = vault.snapshot(&snap.id).await.ok()?;
        self.verify(&vault, snap, &record).await
    }

    /// Makes a disk from a snapshot.
    pub async fn clone_disk(self: Rc<Self>, pick: usize, node: usize) {
        let Some(snap) = self.pick_snap(pick, |_| true) else {
            return;
        };
        if self.disks.borrow().len() >= 8 {
            return;
        }
        let Some(image) = self.content(&snap).await else {
            return;
        };
        let host = &self.hosts[node % self.hosts.len()];
        let number = self.disks.borrow().len() + 100 + self.tick() as usize;
        let Ok(id) = DiskId::new(self.id("d", number)) else {
            return;
        };
        let (new, from, size) = (id.clone(), snap.id.clone(), (image.len() * SECTOR) as u64);
        let own_key = self.has_own_key(number);
        let answer = self
            .call(host, |node| async move {
                match own_key {
                    true => node.create_encrypted_disk(&new, size, Some(&from)).await,
                    false => node.create_disk(&new, size, Some(&from)).await,
                }
            })
            .await;
        self.say(|| format!("{id} made from {}: {answer:?}", snap.id));
        match answer {
            Some(Ok(())) => {
                let number = self.add_disk(id, host.number, Model::holding(&image));
                *self.disk(number).tainted.borrow_mut() = snap.tainted.borrow().clone();
                self.tally.borrow_mut().restores += 1;
                self.connect(number).await;
            }
            Some(Err(e))
                if e.kind == NodeErrorKind::Corrupt && !self.plan.has_rot() && !self.bucket_garbles() =>
            {
                self.fail(format!("making {id} from {}: {e}", snap.id));
            }
            _ => {}
        }
    }

    /// Ends the connection of a disk as an operator does who stops its instance.
    pub async fn disconnect(&self, disk: &Disk) {
        // First: from here on clients whose connection ends know that it was meant to.
        disk.wire.borrow_mut().take();
        let id = disk.id.clone();
        let host = self.host_of(disk);
        self.call(host, |node| async move { node.set_exported(&id, false).await })
            .await;
        self.clients_gone(disk).await;
    }

    /// A group that was asked for before a rollback may have waited for it to end. Had it been first, the rollback would have been
    /// refused, or would have waited for the answer.
    pub fn asked_after_rollback(&self, number: usize) {
        let begun = self.disk(number).model.borrow().mark_begins();
        for (disk, asked) in self.asked.borrow_mut().values_mut() {
            if *disk == number {
                *asked = begun.clone();
            }
        }
    }

    /// Rolls a disk back to one of its snapshots, and perhaps to another one before anybody has seen the first.
    pub async fn rollback(self: &Rc<Self>, number: usize, disk: &Rc<Disk>, pick: usize, then: Option<usize>) {
        // All are read before: what the first one fetches is still under way when the second one comes.
        let mut targets = Vec::new();
        for pick in [Some(pick), then].into_iter().flatten() {
            let Some(snap) = self.pick_snap(pick, |s| s.disk == number) else {
                return;
            };
            if let Some(image) = self.content(&snap).await {
                targets.push((snap, image));
            }
        }
        if targets.is_empty() {
            return;
        }
        self.disconnect(disk).await;
        for (snap, image) in targets {
            if !self.roll_to(number, disk, &snap, image).await {
                return;
            }
        }
        self.connect(number).await;
    }

    /// One rollback of a disk without clients. Whether its clients may connect again: it is known what it holds.
    async fn roll_to(&self, number: usize, disk: &Rc<Disk>, snap: &Snap, image: Image) -> bool {
        *disk.rolling.borrow_mut() = Some(Rc::clone(&image));
        let (id, to) = (disk.id.clone(), snap.id.clone());
        let host = self.host_of(disk);
        let answer = self
            .call(host, |node| async move { node.rollback(&id, &to).await })
            .await;
        self.say(|| format!("{} rolled back to {}: {answer:?}", disk.id, snap.id));
        match answer {
            Some(Ok(())) => {
                *disk.model.borrow_mut() = Model::holding(&image);
                self.asked_after_rollback(number);
                self.tally.borrow_mut().restores += 1;
            }
            // Refused. From a node that has just died it says only that nobody is left to tell.
            Some(Err(e)) if e.kind == NodeErrorKind::Busy && host.is_well() => {}
            // It may have happened: whoever opens the disk again finds out.
            Some(Err(_)) => {
                disk.stopped.set(true);
                return false;
            }
            None => return false,
        }
        *disk.rolling.borrow_mut() = None;
        true
    }
}
