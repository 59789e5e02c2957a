//! What this node said in the vault and does not mean any more: volumes that are gone, captures whose spools are lost.
//!
//! `<data>/released/<disk-id>` is there from before a volume is removed until the vault knows that it is gone. What
//! must stay true: nothing is released of a disk whose volume is there; no capture is ended that runs or can be resumed.

use crate::types::{CollectReport, NodeError};
use crate::vault::VaultHost;
use std::io;
use std::path::PathBuf;
use tidemark_env::fs::{create_dir_durable, write_atomic};
use tidemark_units::{DiskId, SnapshotId};
use tidemark_vault::{CollectOptions, Root, SnapshotRecord};

impl VaultHost {
    fn released_dir(&self) -> PathBuf {
        self.config.data_dir.join("released")
    }

    /// Notes, durably, that a volume is about to be removed for good.
    pub async fn note_release(&self, disk: &DiskId) -> Result<(), NodeError> {
        let (fs, dir) = (&*self.env().fs, self.released_dir());
        create_dir_durable(fs, &dir).await?;
        Ok(write_atomic(fs, &dir.join(disk.as_str()), bytes::Bytes::new()).await?)
    }

    /// Takes a note back: the disk is made anew.
    pub async fn forget_release(&self, disk: &DiskId) -> Result<(), NodeError> {
        let (fs, dir) = (&*self.env().fs, self.released_dir());
        match fs.remove_file(&dir.join(disk.as_str())).await {
            Ok(()) => Ok(fs.sync_dir(&dir).await?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes sure that a snapshot's content stays for a volume of `disk` ([`tidemark_vault::Vault::adopt`]). If that fails and
    /// there is no such volume, what was said for it is taken back later.
    pub async fn adopt(
        &self,
        disk: &DiskId,
        roots: &[Root],
        snapshot: &SnapshotId,
    ) -> Result<SnapshotRecord, NodeError> {
        let _one = self.holding.lock().await;
        self.forget_release(disk).await?;
        let adopted = self.vault.adopt(disk, roots, snapshot).await;
        let volume = self.config.data_dir.join("volumes").join(disk.as_str());
        if adopted.is_err() && !self.env().fs.exists(&volume).await? {
            self.note_release(disk).await?;
        }
        Ok(adopted?)
    }

    /// Tells the vault of volumes that are gone.
    async fn release_removed(&self) -> Result<(), NodeError> {
        let (fs, dir) = (&*self.env().fs, self.released_dir());
        if !fs.exists(&dir).await? {
            return Ok(());
        }
        for entry in fs.list(&dir).await? {
            let Ok(disk) = DiskId::new(&entry.name) else {
                continue; // torn
            };
            let _one = self.holding.lock().await;
            let volume = self.config.data_dir.join("volumes").join(disk.as_str());
            // Since it was listed the disk may have begun to be made anew, and may depend on what it has adopted.
            if !fs.exists(&dir.join(disk.as_str())).await? {
                continue;
            }
            if fs.exists(&volume).await? {
                continue; // its removal was interrupted before it began
            }
            self.vault.release(&disk).await?;
            self.forget_release(&disk).await?;
        }
        Ok(())
    }

    /// Ends captures of ours whose spools are lost.
    async fn end_lost_captures(&self) -> Result<(), NodeError> {
        for registered in self.vault.registered_captures().await? {
            let snapshot = &registered.snapshot;
            let is_running = self.is_capturing(snapshot) || self.is_copying(snapshot);
            if registered.node != self.name || is_running {
                continue;
            }
            let fs = &self.env().fs;
            if fs.exists(&self.spool_dir(snapshot)).await? || fs.exists(&self.copy_dir(snapshot)).await? {
                continue;
            }
            if let Err(error) = self.vault.end_capture(registered.capture).await {
                tracing::debug!(%snapshot, %error, "a capture whose spool is gone stays registered");
            }
        }
        Ok(())
    }

    /// Frees what nobody needs, ours and others'.
    pub async fn collect(&self, options: &CollectOptions) -> Result<CollectReport, NodeError> {
        if !options.dry_run {
            self.release_removed().await?;
            self.end_lost_captures().await?;
        }
        let report = self.vault.collect(options).await?;
        tracing::info!(
            purged = report.purged.len(),
            packs = report.freed_packs,
            bytes = report.freed_bytes,
            repacked = report.repacked_bytes,
            "vault collected"
        );
        if !options.dry_run {
            self.destroy_idle_disk_keys().await?;
        }
        Ok(report)
    }
}
