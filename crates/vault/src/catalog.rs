//! Which snapshots there are; deleting one and bringing it back.

use crate::crypt::BoxKind;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{DeletedSnapshot, HeadEntry, HeadLog, Refusal, Stage};
use crate::key;
use crate::record::SnapshotRecord;
use crate::tree::Root;
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use tidemark_env::UnixMillis;
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
        let mut found = BTreeMap::new();
        for disk in self.disks().await? {
            let head = self.look_at_head_log(&disk).await?;
            let live = head.state().live();
            for (id, _) in live {
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
                if matches!(head.snapshot(&id), Some((_, Stage::Exists))) {
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

    /// Ends a snapshot's existence with one entry. Its content stays until the collector purges it ([`Vault::collect`]), not
    /// before `until_ms` (milliseconds since 1970-01-01 UTC; `None`: as soon as it comes by); until then
    /// [`Vault::undelete_snapshot`] brings it back. One that does not exist is fine: deleting again is, and changes nothing.
    pub async fn delete_snapshot(
        &self,
        disk: &DiskId,
        snapshot: &SnapshotId,
        until_ms: Option<UnixMillis>,
    ) -> Result<()> {
        let head = self.head_log(disk).await?;
        let id = snapshot.clone();
        let gone = |head: &HeadLog| {
            let exists = matches!(head.snapshot(snapshot), Some((_, Stage::Exists)));
            (!exists).then(String::new)
        };
        match head.append_unless(HeadEntry::Drop { id, until_ms }, gone).await {
            Ok(_) | Err(Refusal::Because(_)) => Ok(()),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    /// Snapshots that are deleted and can still be brought back, with their disks, in no order.
    pub async fn deleted_snapshots(&self) -> Result<Vec<(DiskId, DeletedSnapshot)>> {
        let mut found = Vec::new();
        for disk in self.disks().await? {
            let head = self.look_at_head_log(&disk).await?;
            let deleted = head.state().deleted();
            found.extend(deleted.into_iter().map(|snapshot| (disk.clone(), snapshot)));
        }
        Ok(found)
    }

    /// Brings a deleted snapshot back; one that exists is fine. [`VaultErrorKind::Missing`] when it was purged, or never was.
    pub async fn undelete_snapshot(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<SnapshotRecord> {
        let step = "undelete";
        let head = self.head_log(disk).await?;
        let stage = |head: &HeadLog| head.snapshot(snapshot).map(|(_, stage)| stage);
        let why_not = |head: &HeadLog| match stage(head) {
            Some(Stage::Deleted(_)) => None,
            _ => Some(String::new()),
        };
        let entry = HeadEntry::Undelete { id: snapshot.clone() };
        match head.append_unless(entry, why_not).await {
            Ok(_) | Err(Refusal::Because(_)) => {}
            Err(Refusal::Failed(error)) => return Err(error),
        }
        let missing = |cause: &str| {
            let subject = format!("snapshot {snapshot}");
            Err(VaultError::new(VaultErrorKind::Missing, step, subject, cause))
        };
        match stage(&head) {
            Some(Stage::Exists) => self.snapshot(snapshot).await,
            Some(Stage::Purged) => missing("it is gone for good: the time to bring it back has passed"),
            Some(Stage::Deleted(_)) => missing("somebody deleted it again"),
            None => missing("disk's log has no such snapshot"),
        }
    }

    /// The record of a snapshot that exists or can still be brought back.
    pub async fn record_of_deleted(&self, snapshot: &SnapshotId) -> Result<Option<SnapshotRecord>> {
        self.record(snapshot).await
    }

    /// The disks that have a head log.
    pub async fn disks(&self) -> Result<BTreeSet<DiskId>> {
        let listed = self.store().list("list disks", key::DISKS).await?;
        let disk = |object: tidemark_env::ObjectInfo| Some(key::parse_head(&object.key)?.0);
        Ok(listed.into_iter().filter_map(disk).collect())
    }
}

/// The content of the record's snapshot, if the head log has it; both must tell of the same. Where it is stored, the
/// head entry knows: of two writers that made the same snapshot at once, the one who lost may have put the last record.
pub(crate) fn live_root(head: &HeadLog, record: &SnapshotRecord) -> Result<Option<Root>> {
    if head.disk() != &record.disk {
        return Ok(None);
    }
    match head.snapshot(&record.snapshot) {
        Some((root, Stage::Exists)) if root.same_content(&record.root) => Ok(Some(root)),
        Some((_, Stage::Exists)) => {
            let subject = format!("snapshot {}", record.snapshot);
            let cause = "its record and its head entry name different content";
            Err(VaultError::corrupt("look up", subject, cause))
        }
        Some((_, Stage::Deleted(_) | Stage::Purged)) | None => Ok(None),
    }
}
