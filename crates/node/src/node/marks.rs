//! Snapshots of one disk: marked, asked about, deleted, rolled back to.
//!
//! What must stay true: the answer to a mark means that it is durable together with its note; a deletion first makes
//! the disk independent of the snapshot; one change of a disk's marks at a time (`changing`).

use super::collecting::decoded;
use super::{Disk, Node, lock};
use crate::notes::Note;
use crate::types::{
    DeletedSnapshot, MarkRequest, Marked, NodeError, NodeErrorKind, RecordedSnapshot, SnapshotStatus,
    SnapshotSummary,
};
use std::sync::atomic::Ordering;
use tidemark_units::{DiskId, SnapshotId};
use tidemark_vault::{Root, SnapshotRecord};
use tidemark_volume::VolumeErrorKind;

impl Node {
    /// Fixes a point in time of the disk, durable when this returns, and starts capturing it in the background. Asked
    /// again while its mark waits for its capture, a snapshot is answered as it was. After an error
    /// [`Node::snapshot_status`] tells: a node that stopped in the middle may have made the mark.
    pub async fn mark(&self, disk: &DiskId, request: MarkRequest) -> Result<Marked, NodeError> {
        let shared = &self.shared;
        let open = shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        let snapshot = request.snapshot;
        let (id, note) = (
            snapshot.clone(),
            Note {
                disk: disk.clone(),
                meta: request.meta,
            },
        );
        let noting = shared
            .vault
            .call(move |host| async move { host.keep_note(&id, &note).await });
        let id = snapshot.clone();
        let marking = open.remote.call(move |host| async move {
            let mark = host.volume.mark(&id).await?;
            let pending = host.volume.pending_marks();
            Ok::<_, tidemark_volume::VolumeError>((mark, pending))
        });
        // Side by side: a mark without its note was never answered, and the next open withdraws it.
        let (noted, marked) = tokio::join!(noting, marking);
        let (mark, pending) = match (noted?, marked?) {
            (Ok(()), Ok(marked)) => marked,
            (noted, marked) => {
                let (id, remote) = (snapshot.clone(), open.remote.clone());
                let made = marked.is_ok();
                let undo = shared.vault.call(move |host| async move {
                    if made {
                        // Failed: it stays pending, and the next opening of the disk settles it.
                        let _ = host.withdraw(&remote, &id, None).await;
                    } else {
                        host.forget_note(&id).await;
                    }
                });
                undo.await?;
                return Err(marked
                    .err()
                    .map(NodeError::from)
                    .or(noted.err())
                    .unwrap_or_else(|| {
                        NodeError::new(
                            NodeErrorKind::Other,
                            format!("snapshot {snapshot} could not be marked"),
                        )
                    }));
            }
        };
        if let Some(pending) = pending.into_iter().find(|p| p.mark.snapshot == snapshot) {
            self.start_capture(disk, &open.remote, pending);
        }
        Ok(Marked {
            lsn: mark.lsn,
            unix_millis: mark.unix_millis,
        })
    }

    /// The record of a snapshot, or `None` if the vault has no such snapshot.
    pub(super) async fn record(&self, snapshot: &SnapshotId) -> Result<Option<SnapshotRecord>, NodeError> {
        let id = snapshot.clone();
        self.shared
            .vault
            .call(move |host| async move { host.record(&id).await })
            .await?
    }

    /// Where a snapshot stands, as far as that is known without asking the vault; `None`: it is not.
    pub fn known_status(&self, snapshot: &SnapshotId) -> Option<SnapshotStatus> {
        self.shared.board.get(snapshot)
    }

    /// Where a snapshot stands; answers from memory or from the vault.
    pub async fn snapshot_status(&self, snapshot: &SnapshotId) -> Result<SnapshotStatus, NodeError> {
        if let Some(status) = self.shared.board.get(snapshot) {
            return Ok(status);
        }
        let record = self.record(snapshot).await?;
        Ok(match record {
            None => SnapshotStatus::Unknown,
            Some(record) => SnapshotStatus::Accomplished(SnapshotSummary {
                disk_bytes: record.size_bytes,
                ..record.stats.into()
            }),
        })
    }

    /// Puts `fields` over those of the same names in the `meta` of a finished snapshot's record; others stay. `false`:
    /// there is no such snapshot (any more). Changes of one snapshot at a time: their order is the caller's.
    pub async fn update_record_meta(
        &self,
        snapshot: &SnapshotId,
        fields: serde_json::Map<String, serde_json::Value>,
    ) -> Result<bool, NodeError> {
        let id = snapshot.clone();
        let updated = self
            .shared
            .vault
            .call(move |host| async move { host.vault.update_record_meta(&id, &fields).await });
        Ok(updated.await??)
    }

    /// Fails while the vault is not where it was: then nothing is known of what is in it.
    pub async fn check_vault(&self) -> Result<(), NodeError> {
        let checked = self
            .shared
            .vault
            .call(|host| async move { host.vault.check_format().await });
        Ok(checked.await??)
    }

    /// Deletes a snapshot, or cancels it while it is being captured or copied. When this returns it is no longer
    /// listed; space is freed in the background. One that is not there is fine.
    pub async fn delete_snapshot(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let shared = &self.shared;
        let open = lock(&shared.disks).get(disk).cloned();
        let id = snapshot.clone();
        shared
            .vault
            .call(move |host| async move {
                host.cancel_capture(&id).await;
                host.cancel_copy(&id).await
            })
            .await??;
        if let Some(open) = &open {
            self.withdraw_leftover(open, snapshot).await?;
        }
        shared.board.forget(snapshot);
        let id = snapshot.clone();
        let forgotten = shared
            .vault
            .call(move |host| async move { host.drop_note(&id).await });
        forgotten.await??;
        let Some(record) = self.record(snapshot).await? else {
            return Ok(());
        };
        if let Some(open) = &open {
            let _changing = open.changing.lock().await;
            self.reparent(disk, open, snapshot, &record.root).await?;
        }
        let (of, id, window) = (disk.clone(), snapshot.clone(), shared.config.undelete_window);
        shared
            .vault
            .call(move |host| async move {
                let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
                let until_ms = host.env().clock.unix_millis().saturating_add(window_ms);
                let until_ms = (window_ms > 0).then_some(until_ms);
                host.vault.delete_snapshot(&of, &id, until_ms).await
            })
            .await??;
        shared.collect_wanted.notify_one();
        Ok(())
    }

    /// Brings a deleted snapshot back; one that exists is fine. `Missing` once it has been purged.
    pub async fn undelete_snapshot(
        &self,
        disk: &DiskId,
        snapshot: &SnapshotId,
    ) -> Result<RecordedSnapshot, NodeError> {
        let (disk, id) = (disk.clone(), snapshot.clone());
        let record = self
            .shared
            .vault
            .call(move |host| async move { host.vault.undelete_snapshot(&disk, &id).await })
            .await??;
        Ok(record.into())
    }

    /// The record of a snapshot, be it deleted or not; `None` if there is none (any more). Says nothing about whether the
    /// snapshot exists or can be brought back: [`Self::undelete_snapshot`] does.
    pub async fn recorded_snapshot(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<RecordedSnapshot>, NodeError> {
        let id = snapshot.clone();
        let record = self
            .shared
            .vault
            .call(move |host| async move { host.vault.record_of_deleted(&id).await })
            .await??;
        Ok(record.map(RecordedSnapshot::from))
    }

    /// Deleted snapshots that can still be brought back.
    pub async fn deleted_snapshots(&self) -> Result<Vec<DeletedSnapshot>, NodeError> {
        let deleted = self
            .shared
            .vault
            .call(|host| async move { host.vault.deleted_snapshots().await })
            .await??;
        let mut deleted: Vec<_> = deleted
            .into_iter()
            .map(|(disk, gone)| DeletedSnapshot {
                disk,
                snapshot: gone.id,
                until_ms: gone.until_ms,
            })
            .collect();
        deleted.sort_by(|a, b| (a.until_ms, &a.snapshot).cmp(&(b.until_ms, &b.snapshot)));
        Ok(deleted)
    }

    /// Withdraws a mark whose capture is not running (its volume had stopped, say).
    async fn withdraw_leftover(&self, open: &Disk, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let id = snapshot.clone();
        let pending = open
            .remote
            .call(
                move |host| async move { host.volume.pending_marks().iter().any(|p| p.mark.snapshot == id) },
            )
            .await?;
        if pending {
            let (id, remote) = (snapshot.clone(), open.remote.clone());
            self.shared
                .vault
                .call(move |host| async move { host.withdraw(&remote, &id, None).await })
                .await??;
        }
        Ok(())
    }

    /// If the disk's next snapshot is relative to one that is going away, makes it relative to the one before,
    /// so that what only the former holds can be freed.
    async fn reparent(
        &self,
        disk: &DiskId,
        open: &Disk,
        snapshot: &SnapshotId,
        root: &Root,
    ) -> Result<(), NodeError> {
        let parent = open
            .remote
            .call(|host| async move { host.volume.parent() })
            .await?;
        let Some(parent) = parent else { return Ok(()) };
        if !Root::from_bytes(&parent)?.same_content(root) {
            return Ok(());
        }
        let (disk, id, from) = (disk.clone(), snapshot.clone(), *root);
        let (before, differing) = self
            .shared
            .vault
            .call(move |host| async move {
                let head = host.vault.head_log(&disk).await?;
                let live = head.state().live();
                let before = live
                    .iter()
                    .take_while(|(other, _)| *other != id)
                    .last()
                    .map(|(_, root)| *root);
                let differing = host.vault.diff(before.as_ref(), Some(&from)).await?;
                Ok::<_, tidemark_vault::VaultError>((before.map(|b| b.to_bytes()), differing))
            })
            .await??;
        let done = open
            .remote
            .call(move |host| async move { host.volume.reparent(Some(&parent), before, &differing).await })
            .await?;
        match done {
            // A capture that is relative to it goes on; what it needs is kept until it has ended. Or one has just
            // ended, and the next snapshot is relative to that.
            Err(e) if e.kind == VolumeErrorKind::Busy => Ok(()),
            other => Ok(other?),
        }
    }

    /// Rolls the disk back to one of its snapshots; usable when this returns, filled lazily. Refused
    /// (`Busy`) while it is exported or a capture runs.
    pub async fn rollback(&self, disk: &DiskId, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let shared = &self.shared;
        let open = shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        if open.exported.load(Ordering::Acquire) {
            return Err(NodeError::new(
                NodeErrorKind::Busy,
                format!("disk {disk} is exported to clients"),
            ));
        }
        let (needed, parent) = open
            .remote
            .call(|host| async move { (host.volume.roots(), host.volume.parent()) })
            .await?;
        let (root, _) = self
            .adopt(disk, &decoded(&needed)?, snapshot, open.size_bytes())
            .await?;
        let target = Root::from_bytes(&root)?;
        let from = parent.as_deref().map(Root::from_bytes).transpose()?;
        let differing = shared
            .vault
            .call(move |host| async move { host.vault.diff(from.as_ref(), Some(&target)).await })
            .await??;
        let id = snapshot.clone();
        let rolled = open.remote.call(move |host| async move {
            let source = host.source(&root);
            host.demand.finish();
            host.volume
                .rollback(parent.as_deref(), root.clone(), &differing, source)
                .await?;
            host.adopted(id, &root).await;
            host.start_hydration();
            Ok::<_, tidemark_volume::VolumeError>(())
        });
        Ok(rolled.await??)
    }
}
