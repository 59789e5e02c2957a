//! Notes: what only the caller knew of a snapshot, kept from its mark to its commit.
//!
//! `marks/<snapshot>.json` is written side by side with the mark, and both are durable before the mark is answered. A
//! mark without a note was never answered; a note without a mark is left over and goes when its disk is opened.

use crate::types::{NodeError, NodeErrorKind};
use crate::vault::VaultHost;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tidemark_env::mutant;
use tidemark_units::{DiskId, SnapshotId};
use tidemark_volume::PendingMark;

/// What only the caller knows of a snapshot, kept until it is committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The disk.
    pub disk: DiskId,
    /// The caller's data about it.
    pub meta: serde_json::Value,
}

impl VaultHost {
    fn note_path(&self, snapshot: &SnapshotId) -> PathBuf {
        self.config
            .data_dir
            .join("marks")
            .join(format!("{snapshot}.json"))
    }

    /// Keeps a note, durably.
    pub async fn keep_note(&self, snapshot: &SnapshotId, note: &Note) -> Result<(), NodeError> {
        let bytes = serde_json::to_vec(note)
            .map_err(|e| NodeError::new(NodeErrorKind::Invalid, format!("snapshot metadata: {e}")))?;
        let path = self.note_path(snapshot);
        Ok(tidemark_env::fs::write_atomic(&*self.env().fs, &path, bytes.into()).await?)
    }

    /// The note of a snapshot, or `None`: its mark was never answered, or its capture has ended.
    pub async fn note(&self, snapshot: &SnapshotId) -> Result<Option<Note>, NodeError> {
        let found = tidemark_env::fs::read_small(&*self.env().fs, &self.note_path(snapshot)).await?;
        let Some(bytes) = found else { return Ok(None) };
        let note = serde_json::from_slice(&bytes).map_err(|e| {
            NodeError::new(
                NodeErrorKind::Corrupt,
                format!("the note of snapshot {snapshot} is damaged: {e}"),
            )
        })?;
        Ok(Some(note))
    }

    /// Removes a note, durably: after a crash the log may bring the mark back, and a note would bring the snapshot back.
    /// One that is not there is fine.
    pub async fn drop_note(&self, snapshot: &SnapshotId) -> Result<(), NodeError> {
        let path = self.note_path(snapshot);
        let fs = &self.env().fs;
        match fs.remove_file(&path).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        if mutant::on("node-note-removed-without-sync") {
            return Ok(());
        }
        Ok(fs.sync_dir(&self.config.data_dir.join("marks")).await?)
    }

    /// As [`VaultHost::drop_note`], where a note that stays does no harm.
    pub async fn forget_note(&self, snapshot: &SnapshotId) {
        if let Err(e) = self.drop_note(snapshot).await {
            tracing::warn!(%snapshot, error = %e, "a note could not be removed; that is tried again when its disk is opened");
        }
    }

    /// Removes the notes and the spools of a disk that was just opened, but for those of its `pending` marks: a crash
    /// at the very end of a capture leaves them behind. What is in the bucket is left to the collector.
    pub async fn drop_leftovers(&self, disk: &DiskId, pending: &[PendingMark]) -> Result<(), NodeError> {
        let fs = &self.env().fs;
        for entry in fs.list(&self.config.data_dir.join("marks")).await? {
            let named = entry.name.strip_suffix(".json").map(SnapshotId::new);
            let Some(Ok(snapshot)) = named else { continue };
            let needed = pending.iter().any(|p| p.mark.snapshot == snapshot);
            if needed || self.is_capturing(&snapshot) {
                continue;
            }
            match self.note(&snapshot).await {
                Ok(Some(note)) if note.disk == *disk => {}
                // Another disk's, or damaged: the capture that needs it will say so.
                _ => continue,
            }
            let spool = self.spool_dir(&snapshot);
            if fs.exists(&spool).await? {
                fs.remove_dir_all(&spool).await?;
            }
            self.drop_note(&snapshot).await?;
            tracing::info!(%disk, %snapshot, "removed what a capture had left behind");
        }
        self.drop_given_up_spools().await
    }

    /// Removes spools without a note: their snapshots were given up, and what they hold is nobody's.
    async fn drop_given_up_spools(&self) -> Result<(), NodeError> {
        let fs = &self.env().fs;
        for entry in fs.list(&self.config.data_dir.join("spool")).await? {
            let Ok(snapshot) = SnapshotId::new(&entry.name) else {
                continue;
            };
            let noted = fs.exists(&self.note_path(&snapshot)).await?;
            if noted || self.is_capturing(&snapshot) {
                continue;
            }
            fs.remove_dir_all(&self.spool_dir(&snapshot)).await?;
            tracing::info!(%snapshot, "removed the spool of a snapshot that was given up");
        }
        Ok(())
    }
}
