//! Changing what a snapshot's record says for the control plane, after the commit.
//!
//! Only `meta` changes; the content, and whether the snapshot exists, is the head log's affair. What must stay true: the
//! record of a snapshot that was purged does not come back. The collector removes the record after the `purge` entry, and a
//! put of ours may arrive after that: so the head log is looked at again behind the put, and whoever is killed in between
//! repeats the change (it is a job) and finds the record that means nothing. A deleted snapshot that can be brought back
//! keeps its record, as it was when it was deleted.
//!
//! One writer per snapshot at a time: the order of changes is the caller's.

use crate::catalog::live_root;
use crate::crypt::BoxKind;
use crate::error::Result;
use crate::head::{HeadLog, Stage};
use crate::key;
use crate::vault::Vault;
use serde_json::{Map, Value};
use tidemark_units::SnapshotId;

impl Vault {
    /// Puts `fields` over those of the record's `meta` with the same names; others stay. `false`: there is no such
    /// snapshot (any more), and nothing was changed.
    pub async fn update_record_meta(
        &self,
        snapshot: &SnapshotId,
        fields: &Map<String, Value>,
    ) -> Result<bool> {
        let Some(mut record) = self.record(snapshot).await? else {
            return Ok(false);
        };
        let head = self.head_log(&record.disk).await?;
        let Some(root) = live_root(&head, &record)? else {
            self.remove_orphan(&head, snapshot).await?;
            return Ok(false);
        };
        record.root = root;
        let mut meta = match record.meta.take() {
            Value::Object(meta) => meta,
            // Of somebody else's making, and of no use to anybody now.
            _ => Map::new(),
        };
        meta.extend(fields.clone());
        record.meta = Value::Object(meta);
        let name = key::snapshot(snapshot);
        let object = self.store().encrypted(BoxKind::Record, &name, record.encode()?);
        self.store()
            .put("update snapshot record", &name, vec![object])
            .await?;
        head.refresh().await?;
        self.remove_orphan(&head, snapshot).await
    }

    /// Removes the record of a snapshot that was purged; says whether the snapshot exists.
    async fn remove_orphan(&self, head: &HeadLog, snapshot: &SnapshotId) -> Result<bool> {
        match head.snapshot(snapshot) {
            Some((_, Stage::Exists)) => Ok(true),
            // It may be brought back, and needs its record then.
            Some((_, Stage::Deleted(_))) => Ok(false),
            Some((_, Stage::Purged)) => {
                let step = "remove the record of a purged snapshot";
                self.store().delete(step, &key::snapshot(snapshot)).await?;
                Ok(false)
            }
            // Its commit may be under way: the record comes before the head entry.
            None => Ok(false),
        }
    }
}
