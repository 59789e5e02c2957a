//! Everything that a vault knows of its snapshots, as far as it can be read: for listing, copying and rebuilding.
//!
//! What must stay true: nothing is written, not even to settle a head log, so reading rights are enough; a snapshot is
//! listed only if its head entry and its record tell of the same content; one that exists and cannot be read is named,
//! and hides no other. Only a bucket that does not answer ends the reading.
//!
//! Not here: acting upon what was read ([`Vault::snapshot`] settles first), reading content ([`Vault::verify`]).

use crate::catalog::live_root;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{HeadLog, Stage};
use crate::record::SnapshotRecord;
use crate::tree::Root;
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use tidemark_units::{DiskId, SnapshotId};

/// Disks looked at, and records read for each of them, at the same time.
const DISKS_WIDTH: usize = 4;
const RECORDS_WIDTH: usize = 8;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The snapshots: disk by disk, each disk's in the order of their commits, so parents come before children.
    pub snapshots: Vec<SnapshotRecord>,
    /// What exists and cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A snapshot, or a disk's whole head log, that cannot be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The disk.
    pub disk: DiskId,
    /// The snapshot; `None`: which ones there are is not known.
    pub snapshot: Option<SnapshotId>,
    /// Why.
    pub error: VaultError,
}

/// An error that says nothing about what the vault holds.
fn is_about_the_way_there(error: &VaultError) -> bool {
    matches!(error.kind, VaultErrorKind::Busy | VaultErrorKind::Denied)
}

impl Vault {
    /// The disk that a snapshot's record names: where to look for it. Says nothing about whether it exists.
    pub async fn disk_of(&self, snapshot: &SnapshotId) -> Result<Option<DiskId>> {
        Ok(self.record(snapshot).await?.map(|record| record.disk))
    }

    /// All snapshots of all disks, or of one.
    pub async fn listing(&self, disk: Option<&DiskId>) -> Result<Listing> {
        let disks = match disk {
            Some(disk) => BTreeSet::from([disk.clone()]),
            None => self.disks().await?,
        };
        let found: Vec<Listing> = stream::iter(disks)
            .map(|disk| self.list_disk(disk))
            .buffered(DISKS_WIDTH)
            .try_collect()
            .await?;
        let mut all = Listing::default();
        for one in found {
            all.snapshots.extend(one.snapshots);
            all.unreadable.extend(one.unreadable);
        }
        Ok(all)
    }

    async fn list_disk(&self, disk: DiskId) -> Result<Listing> {
        let mut all = Listing::default();
        let log = match self.look_at_head_log(&disk).await {
            Ok(log) => log,
            Err(error) if is_about_the_way_there(&error) => return Err(error),
            Err(error) => {
                let snapshot = None;
                all.unreadable.push(Unreadable {
                    disk,
                    snapshot,
                    error,
                });
                return Ok(all);
            }
        };
        let log = &log;
        let live = log.state().live();
        let mut records = stream::iter(live)
            .map(|(id, root)| async move { (self.record_of(log, &id, &root).await, id) })
            .buffered(RECORDS_WIDTH);
        while let Some((record, id)) = records.next().await {
            match record {
                Ok(Some(record)) => all.snapshots.push(record),
                Ok(None) => {}
                Err(error) if is_about_the_way_there(&error) => return Err(error),
                Err(error) => all.unreadable.push(Unreadable {
                    disk: disk.clone(),
                    snapshot: Some(id),
                    error,
                }),
            }
        }
        Ok(all)
    }

    /// The record of a snapshot that the head log was seen to have; `None`: it was deleted meanwhile.
    pub(crate) async fn record_of(
        &self,
        log: &HeadLog,
        id: &SnapshotId,
        root: &Root,
    ) -> Result<Option<SnapshotRecord>> {
        let cause = match self.record(id).await? {
            Some(mut record) => match live_root(log, &record) {
                Ok(Some(_)) => {
                    record.root = *root;
                    return Ok(Some(record));
                }
                Ok(None) => "its record is another disk's".to_string(),
                Err(error) => error.cause.to_string(),
            },
            None => "the head log has it, its record is gone".to_string(),
        };
        // Unless it was deleted since.
        log.look().await?;
        match log.snapshot(id) {
            Some((_, Stage::Exists)) => Err(VaultError::corrupt("look up", format!("snapshot {id}"), cause)),
            _ => Ok(None),
        }
    }
}
