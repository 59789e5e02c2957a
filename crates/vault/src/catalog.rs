//! Which snapshots there are, and deleting one.

use crate::crypt::BoxKind;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{HeadEntry, HeadLog, live_snapshots};
use crate::key;
use crate::record::SnapshotRecord;
use crate::tree::Root;
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use tidemark_units::{DiskId, SnapshotId};

/// Objects read at the same time.
const WIDTH: usize = 16;

impl Vault {
    /// The record of a snapshot that exists; [`VaultErrorKind::Missing`] when it does not.
    pub async fn snapshot(&self, snapshot: &SnapshotId) -> Result<SnapshotRecord> {
        let gone = || {
            let subject = format!("snapshot {snapshot}");
            VaultError::new(
                VaultErrorKind::Missing,
                "look up",
                subject,
                "there is no such snapshot",
            )
        };
        let mut record = self.record(snapshot).await?.ok_or_else(gone)?;
        let head = self.head_log(&record.disk).await?;
        record.root = live_root(&head, &record)?.ok_or_else(gone)?;
        Ok(record)
    }

    /// The records of all snapshots that exist, sorted by id. Fails when any cannot be read, or is
    /// missing although a head log has its snapshot.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotRecord>> {
        let step = "list snapshots";
        let listed = self.store().list(step, key::SNAPSHOTS).await?;
        let ids = listed
            .into_iter()
            .filter_map(|object| key::parse_snapshot(&object.key));
        let records: Vec<_> = stream::iter(ids)
            .map(|id| async move { self.record(&id).await })
            .buffered(WIDTH)
            .try_collect()
            .await?;
        // A record that went away between the listing and the look was deleted meanwhile.
        let records: BTreeMap<SnapshotId, SnapshotRecord> = records
            .into_iter()
            .flatten()
            .map(|record| (record.snapshot.clone(), record))
            .collect();
        let listed = self.store().list(step, key::DISKS).await?;
        let disks: BTreeSet<DiskId> = listed
            .into_iter()
            .filter_map(|object| Some(key::parse_head(&object.key)?.0))
            .collect();
        let mut found = BTreeMap::new();
        for disk in disks {
            let head = self.look_at_head_log(&disk).await?;
            for (id, _) in live_snapshots(&head.entries()) {
                let record = match records.get(&id) {
                    Some(record) => Some(record.clone()),
                    // Committed after the listing, or deleted since the head log was read, or damaged.
                    None => self.record(&id).await?,
                };
                if let Some(mut record) = record
                    && let Some(root) = live_root(&head, &record)?
                {
                    record.root = root;
                    found.insert(id, record);
                    continue;
                }
                head.look().await?;
                if matches!(head.snapshot(&id), Some(Some(_))) {
                    let cause = "the head log has it, its record is gone or of another disk";
                    return Err(VaultError::corrupt(step, format!("snapshot {id}"), cause));
                }
            }
        }
        Ok(found.into_values().collect())
    }

    pub(crate) async fn record(&self, snapshot: &SnapshotId) -> Result<Option<SnapshotRecord>> {
        let key = key::snapshot(snapshot);
        match self.store().get_opt("read snapshot record", &key).await? {
            Some(object) => {
                let plain = self
                    .store()
                    .crypt
                    .decrypt_object(BoxKind::Record, &key, &object)?;
                SnapshotRecord::decode(snapshot, &plain).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Ends a snapshot's existence, in constant time; [`Vault::sweep`] frees its space later. One
    /// that does not exist is fine: deleting again is.
    pub async fn delete_snapshot(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<()> {
        let head = self.head_log(disk).await?;
        let drop = HeadEntry::Drop { id: snapshot.clone() };
        let since = head.len();
        head.append_while(drop, since, |head| {
            matches!(head.snapshot(snapshot), Some(Some(_)))
        })
        .await?;
        if head.snapshot(snapshot).is_some() {
            self.store()
                .delete("delete snapshot record", &key::snapshot(snapshot))
                .await?;
        }
        Ok(())
    }
}

/// The content of the record's snapshot, if the head log has it; both must tell of the same. Where it is stored, the
/// head entry knows: of two writers that made the same snapshot at once, the one who lost may have put the last record.
pub(crate) fn live_root(head: &HeadLog, record: &SnapshotRecord) -> Result<Option<Root>> {
    if head.disk() != &record.disk {
        return Ok(None);
    }
    match head.snapshot(&record.snapshot) {
        Some(Some(root)) if root.same_content(&record.root) => Ok(Some(root)),
        Some(Some(_)) => {
            let subject = format!("snapshot {}", record.snapshot);
            let cause = "its record and its head entry name different content";
            Err(VaultError::corrupt("look up", subject, cause))
        }
        Some(None) | None => Ok(None),
    }
}
