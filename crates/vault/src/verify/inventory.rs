//! Which snapshots there are, also where heads or records are damaged.
//!
//! Unlike [`Vault::snapshots`], which answers all or nothing, this collects what can be known. A snapshot's content is
//! named by its head entry; the record is only compared with it.

use super::{Damage, Part};
use crate::error::{Result, VaultError};
use crate::head::{self, live_snapshots};
use crate::key;
use crate::tree::Root;
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemark_units::{DiskId, SnapshotId};

/// Objects read at the same time.
const WIDTH: usize = 16;

/// A snapshot to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its id.
    pub snapshot: SnapshotId,
    /// The disk that it is of.
    pub disk: DiskId,
    /// Its content.
    pub root: Root,
}

/// What the head logs and records say.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The snapshots that exist, by disk and age.
    pub targets: Vec<Target>,
    /// Damaged head entries and records. Their `hits` are indexes of `targets`.
    pub damage: Vec<Damage>,
    /// Head entries and records read.
    pub objects: u64,
}

impl Vault {
    /// The snapshots that exist, and what is damaged of the objects that say so. Fails when the bucket cannot be reached.
    pub async fn inventory(&self) -> Result<Inventory> {
        let step = "read head logs";
        let mut found = Inventory::default();
        let mut logs: BTreeMap<DiskId, Vec<u64>> = BTreeMap::new();
        for object in self.store().list(step, key::DISKS).await? {
            match key::parse_head(&object.key) {
                Some((disk, seq)) => logs.entry(disk).or_default().push(seq),
                None => {
                    let cause = "it is no head entry, and no space is freed while it is there";
                    found.damage.push(Damage {
                        error: VaultError::corrupt(step, &object.key, cause),
                        ..damaged(object.key, Part::Stranger)
                    });
                }
            }
        }
        for (disk, seqs) in logs {
            self.take_log(disk, &seqs, &mut found).await?;
        }
        self.check_records(&mut found).await?;
        Ok(found)
    }

    async fn take_log(&self, disk: DiskId, seqs: &[u64], found: &mut Inventory) -> Result<()> {
        let step = "read head logs";
        let mut damage = Vec::new();
        let mut bad = |key: String, error| {
            damage.push(Damage {
                error,
                ..damaged(key, Part::Head(disk.clone()))
            });
        };
        let there: BTreeSet<u64> = seqs.iter().copied().collect();
        let last = there.last().copied().unwrap_or_default();
        // Listing them all would not end where a key's number was damaged.
        let gaps = (0..=last).filter(|seq| !there.contains(seq)).take(16);
        for seq in gaps {
            let key = key::head(&disk, seq);
            let cause = "an entry is missing, and later ones are there";
            bad(key.clone(), VaultError::corrupt(step, key, cause));
        }
        let of = &disk;
        let mut objects = stream::iter(there)
            .map(|seq| async move {
                let key = key::head(of, seq);
                let entry = match self.store().get(step, &key).await {
                    Ok(object) => head::open(self.store(), of, seq, &object),
                    Err(error) => Err(error),
                };
                (key, entry)
            })
            .buffered(WIDTH);
        let mut entries = Vec::new();
        while let Some((key, entry)) = objects.next().await {
            found.objects += 1;
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    let error = self.as_damage(&key, error).await?;
                    bad(key, error);
                }
            }
        }
        drop(objects);
        let first = found.targets.len() as u32;
        for (snapshot, root) in live_snapshots(&entries) {
            found.targets.push(Target {
                snapshot,
                disk: disk.clone(),
                root,
            });
        }
        let hits: Arc<[u32]> = (first..found.targets.len() as u32).collect();
        for find in &mut damage {
            find.hits = Arc::clone(&hits);
        }
        found.damage.append(&mut damage);
        Ok(())
    }

    /// Compares every snapshot's record with its head entry.
    async fn check_records(&self, found: &mut Inventory) -> Result<()> {
        let asked: Vec<(u32, Target)> = (0..).zip(found.targets.iter().cloned()).collect();
        let mut records = stream::iter(asked)
            .map(|(index, target)| async move {
                let record = self.record(&target.snapshot).await;
                (index, target, record)
            })
            .buffered(WIDTH);
        let mut bad = Vec::new();
        let mut read = 0;
        while let Some((index, target, record)) = records.next().await {
            read += 1;
            let key = key::snapshot(&target.snapshot);
            let wrong = |cause: &str| VaultError::corrupt("read snapshot record", &key, cause.to_owned());
            let error = match record {
                Ok(Some(record)) if record.disk != target.disk => wrong("it is of another disk"),
                Ok(Some(record)) if !record.root.same_content(&target.root) => {
                    wrong("it names other content than its head entry")
                }
                Ok(Some(_)) => continue,
                Ok(None) => wrong("the snapshot's head entry is there, its record is not"),
                Err(error) => self.as_damage(&key, error).await?,
            };
            bad.push((index, target, error));
        }
        drop(records);
        found.objects += read;
        let asked: BTreeSet<u32> = bad.iter().map(|(index, ..)| *index).collect();
        // A record goes right after the snapshot was dropped.
        let live = match asked.is_empty() {
            true => BTreeSet::new(),
            false => self.still_live(&found.targets, &asked).await?,
        };
        for (index, target, error) in bad {
            if live.contains(&index) {
                found.damage.push(Damage {
                    hits: Arc::from([index]),
                    error,
                    ..damaged(key::snapshot(&target.snapshot), Part::Record(target.snapshot))
                });
            }
        }
        Ok(())
    }
}

/// Damage to an object of which no content is known to be hit.
fn damaged(object: String, part: Part) -> Damage {
    Damage {
        error: VaultError::corrupt("verify", &object, "it is damaged"),
        object,
        part,
        at: None,
        chunks: 0..0,
        hits: Arc::from([]),
        lost: true,
    }
}
