//! The end of a history: faults end, everything comes to rest, and everything is compared.

use crate::model::{SECTOR, bytes_of};
use crate::snaps::{Deleted, Snap};
use crate::world::{CHUNK_SECTORS, World};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use tidemark_env::sim::BucketFaults;
use tidemark_units::{CHUNK_BYTES, DiskId, Lsn, SnapshotId};
use tidemark_vault::head::HeadEntry;
use tidemark_vault::{
    CaptureOptions, CaptureSpec, Chunk, CollectOptions, RecordDraft, Sample, SnapshotRecord, SnapshotWriter,
    Vault, VaultErrorKind,
};

impl World {
    /// Brings the world to rest and checks all that is left.
    pub async fn finish(self: &Rc<Self>) {
        self.bucket.set_faults(BucketFaults::default());
        self.bucket.set_down(false);
        for host in &self.hosts {
            self.end_file_faults(host);
            host.faults.set(0);
        }
        self.settle().await;
        // A death that was asked for and has not come yet comes now: not while somebody reads the vault of that machine.
        for host in &self.hosts {
            if host.doom.borrow().is_some() {
                self.doom_now(host);
            }
        }
        self.captured().await;
        self.compare_all("at the end").await;
        self.check_snapshots().await;
        for host in &self.hosts {
            // A death that was asked for and did not happen must not happen in the middle of this.
            host.doom.borrow_mut().take();
            self.doom_now(host);
        }
        self.tend().await;
        self.captured().await;
        for host in &self.hosts {
            let all = CollectOptions {
                purge_all: true,
                ..CollectOptions::default()
            };
            let collected = self
                .call(host, |node| async move { node.collect(&all).await })
                .await;
            // What has rotted may be what a snapshot refers to: then nothing is freed, and that is said.
            if let Some(Err(e)) = collected
                && !self.plan.has_rot()
            {
                self.fail(format!("the collection at the end: {e}"));
            }
            self.restart(host).await;
        }
        self.compare_all("after the last restart").await;
        self.check_snapshots().await;
        for host in &self.hosts {
            self.call(host, |node| async move { node.shutdown().await }).await;
        }
    }

    /// Lets a node die with the next poll, with its power.
    pub fn doom_now(self: &Rc<Self>, host: &crate::world::Host) {
        if host.running.borrow().is_some() {
            self.doom(host, 0, 1, true, None);
        }
        if let Some(doom) = host.doom.borrow().as_ref() {
            doom.process.kill();
        } else {
            let control = host.machine.boot();
            control.kill();
            *host.doom.borrow_mut() = Some(crate::world::Doom {
                process: control,
                power: true,
                again: None,
                lives_on: false,
            });
        }
    }

    /// Every disk, whole, against what it may hold now.
    async fn compare_all(self: &Rc<Self>, when: &str) {
        for (_, disk) in self.present() {
            let mut tries = 0;
            loop {
                self.tend().await;
                let window = disk.model.borrow().now();
                let values = match self.wire(&disk).await {
                    Some(wire) => self.read_whole(&disk, &wire).await,
                    None => None,
                };
                match values {
                    Some(values) => {
                        if !disk.damaged.get() {
                            self.check_disk(&disk, &window, &values, when);
                        }
                        break;
                    }
                    None if disk.gone.get() => break,
                    // A death that was asked for may come as late as this.
                    None if tries < 5 => {
                        tries += 1;
                        disk.stopped.set(true);
                    }
                    None => self.fail(format!("{} cannot be read {when}", disk.id)),
                }
            }
        }
    }

    /// Every snapshot: those that must be there are there, and all are right.
    async fn check_snapshots(self: &Rc<Self>) {
        let vault = self
            .vault()
            .await
            .unwrap_or_else(|e| self.fail(format!("the vault at the end: {e}")));
        let snaps: Vec<Rc<Snap>> = self.snaps.borrow().values().cloned().collect();
        let mut rehashed = 0;
        let mut there = BTreeSet::new();
        for snap in &snaps {
            let record = match vault.snapshot(&snap.id).await {
                Ok(record) => record,
                Err(e) if e.kind == VaultErrorKind::Missing => {
                    self.check_missing(snap);
                    continue;
                }
                Err(e) => self.fail(format!("{}: {e}", snap.id)),
            };
            if snap.deleted.get() == Deleted::Yes {
                self.fail(format!("{} is there although it was deleted", snap.id));
            }
            let report = vault.verify(&record.root, Sample::All).await;
            match report {
                Ok(report) if report.damage.is_empty() => {}
                Ok(report) => self.fail(format!("{}: {:?}", snap.id, report.damage)),
                Err(e) => self.fail(format!("verifying {}: {e}", snap.id)),
            }
            if self.verify(&vault, snap, &record).await.is_none() {
                self.fail(format!("{} cannot be read at the end", snap.id));
            }
            if rehashed < 2 {
                rehashed += 1;
                self.rehash(&vault, snap, &record).await;
            }
            there.insert(snap.id.clone());
        }
        self.check_whole_groups(&snaps, &there);
        self.check_owners(&vault).await;
    }

    /// From the entry on with which a node took a disk over, its snapshots alone are committed (R1), until somebody else takes
    /// the disk over in turn. Whose turn it is follows from the order of the head log's entries, so nothing is assumed about
    /// who was first in time; and who is behind a process's name from whose disk its snapshots are.
    async fn check_owners(&self, vault: &Vault) {
        let ids: BTreeSet<DiskId> = self.disks.borrow().iter().map(|d| d.id.clone()).collect();
        let mut hosts: BTreeMap<String, usize> = BTreeMap::new();
        for disk in ids {
            let head = vault.head_log(&disk).await;
            let head = head.unwrap_or_else(|e| self.fail(format!("the head log of {disk}: {e}")));
            let mut owner = None;
            for entry in head.entries() {
                match entry {
                    HeadEntry::Own { node, .. } => owner = Some(node),
                    HeadEntry::Snapshot { id, .. } => {
                        let Some(snap) = self.snaps.borrow().get(&id).cloned() else {
                            continue;
                        };
                        let host = self.disk(snap.disk).host.get();
                        let Some(owner) = &owner else {
                            self.fail(format!("{id} was committed before anybody owned {disk}"))
                        };
                        if *hosts.entry(owner.clone()).or_insert(host) != host {
                            self.fail(format!(
                                "{id} was committed by host {host} although {owner} had taken {disk} over"
                            ));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// A group has all of its snapshots or none, but for those that were deleted or failed later.
    fn check_whole_groups(&self, snaps: &[Rc<Snap>], there: &BTreeSet<SnapshotId>) {
        let gone = |id: &SnapshotId| {
            let snaps = self.snaps.borrow();
            let deleted = snaps.get(id).is_some_and(|s| s.deleted.get() != Deleted::No);
            deleted || self.failed.borrow().contains_key(id)
        };
        for snap in snaps.iter().filter(|s| there.contains(&s.id)) {
            let missing = snap.group.iter().find(|id| !there.contains(*id) && !gone(id));
            if let Some(missing) = missing
                && !self.plan.may_fail_snapshots()
            {
                self.fail(format!(
                    "{} exists and {missing}, of the same group, does not",
                    snap.id
                ));
            }
        }
    }

    fn check_missing(&self, snap: &Snap) {
        let failed = self.failed.borrow().contains_key(&snap.id);
        let excused = failed && self.plan.may_fail_snapshots()
            || self.plan.may_fail_snapshots() && self.lost_its_disk(snap);
        // A node that dies right after it withdrew a snapshot has not told anybody; asking it says that it does not exist.
        let excused = excused || self.plan.may_fail_snapshots() && self.tally.borrow().recoveries > 0;
        if snap.answered.get() && snap.deleted.get() == Deleted::No && !excused {
            self.fail(format!(
                "{} was marked and does not exist (failed: {:?})",
                snap.id,
                self.failed.borrow().get(&snap.id)
            ));
        }
    }

    fn lost_its_disk(&self, snap: &Snap) -> bool {
        self.disk(snap.disk).gone.get()
    }

    /// A full capture of the same content must have the same hash as the incremental one had.
    async fn rehash(&self, vault: &Vault, snap: &Snap, record: &SnapshotRecord) {
        let Some((image, _)) = snap.image.borrow().clone() else {
            return;
        };
        if !snap.tainted.borrow().is_empty() {
            return;
        }
        let chunks: Vec<&[u64]> = image.chunks(CHUNK_SECTORS).collect();
        let nonzero = (0..).zip(&chunks).filter(|(_, c)| c.iter().any(|v| *v != 0));
        let pending: RoaringBitmap = nonzero.map(|(n, _)| n).collect();
        let scratch = format!("s-full-{}", self.tick());
        let (id, disk) = match (SnapshotId::new(&scratch), DiskId::new("d-full")) {
            (Ok(id), Ok(disk)) => (id, disk),
            _ => self.fail("ids of a full capture".into()),
        };
        let spec = CaptureSpec {
            snapshot: id.clone(),
            disk: disk.clone(),
            parent: None,
            size_bytes: (image.len() * SECTOR) as u64,
            pending: pending.clone(),
            own_key: false,
        };
        let work = async {
            let dir = Path::new("scratch").join(&scratch);
            let writer = SnapshotWriter::begin(vault, &dir, spec, CaptureOptions::default()).await?;
            for chunk in &pending {
                let bytes = bytes_of(chunks[chunk as usize]);
                debug_assert!(bytes.len() as u64 <= CHUNK_BYTES);
                writer.put(chunk, Chunk::Data(bytes)).await?;
            }
            let draft = RecordDraft {
                created_ms: 0,
                parent: None,
                lsn: Lsn(1),
                owner: None,
                meta: serde_json::Value::Null,
            };
            let done = writer.finish(draft).await?;
            vault.delete_snapshot(&disk, &id, None).await?;
            Ok::<_, tidemark_vault::VaultError>(done)
        };
        match work.await {
            Ok(full) if full.root.same_content(&record.root) => {}
            Ok(_) => self.fail(format!(
                "{}: a full capture of its content has another hash",
                snap.id
            )),
            Err(e) => self.fail(format!("a full capture of what {} holds: {e}", snap.id)),
        }
    }
}
