//! Which snapshots there are, and deleting one.

use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{HeadEntry, HeadLog};
use crate::key;
use crate::record::SnapshotRecord;
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::rc::Rc;
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
        let record = self.record(snapshot).await?.ok_or_else(gone)?;
        let head = self.head_log(&record.disk).await?;
        if exists(&head, &record)? {
            Ok(record)
        } else {
            Err(gone())
        }
    }

    /// The records of all snapshots that exist, sorted by id. Fails when any cannot be read.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotRecord>> {
        let listed = self.store().list("list snapshots", key::SNAPSHOTS).await?;
        let ids = listed
            .into_iter()
            .filter_map(|object| key::parse_snapshot(&object.key));
        let records: Vec<_> = stream::iter(ids)
            .map(|id| async move { self.record(&id).await })
            .buffered(WIDTH)
            .try_collect()
            .await?;
        let mut heads: HashMap<DiskId, Rc<HeadLog>> = HashMap::new();
        let mut found = Vec::new();
        // A record that went away between the listing and the look was deleted meanwhile.
        for record in records.into_iter().flatten() {
            let head = match heads.get(&record.disk) {
                Some(head) => head,
                None => {
                    let head = self.head_log(&record.disk).await?;
                    heads.entry(record.disk.clone()).or_insert(head)
                }
            };
            if exists(head, &record)? {
                found.push(record);
            }
        }
        Ok(found)
    }

    pub(crate) async fn record(&self, snapshot: &SnapshotId) -> Result<Option<SnapshotRecord>> {
        let key = key::snapshot(snapshot);
        match self.store().get_opt("read snapshot record", &key).await? {
            Some(object) => SnapshotRecord::decode(snapshot, &object).map(Some),
            None => Ok(None),
        }
    }

    /// Ends a snapshot's existence, in constant time; [`Vault::sweep`] frees its space later. One
    /// that does not exist is fine: deleting again is.
    pub async fn delete_snapshot(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<()> {
        let head = self.head_log(disk).await?;
        let drop = HeadEntry::Drop { id: snapshot.clone() };
        head.append_while(drop, |head| matches!(head.snapshot(snapshot), Some(Some(_))))
            .await?;
        if head.snapshot(snapshot).is_some() {
            self.store()
                .delete("delete snapshot record", &key::snapshot(snapshot))
                .await?;
        }
        Ok(())
    }
}

/// Whether the head log has the record's snapshot; both must tell of the same content.
fn exists(head: &HeadLog, record: &SnapshotRecord) -> Result<bool> {
    match head.snapshot(&record.snapshot) {
        Some(Some(root)) if root.same_content(&record.root) => Ok(true),
        Some(Some(_)) => {
            let subject = format!("snapshot {}", record.snapshot);
            let cause = "its record and its head entry name different content";
            Err(VaultError::corrupt("look up", subject, cause))
        }
        Some(None) | None => Ok(false),
    }
}
