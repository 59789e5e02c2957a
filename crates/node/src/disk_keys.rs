//! Keys of encrypted disks, kept beside the disks: captures need no bucket to begin.
//!
//! `<data>/diskkeys/<disk-id>` is the key as the bucket has it, itself encrypted. What must stay true: it is durable before
//! the disk exists, so a disk that was made encrypted never captures under another key; it goes, and the bucket's
//! before it, only when the disk is gone (not: is being made) and nothing alive needs what its captures stored.

use crate::types::{NodeError, NodeErrorKind};
use crate::vault::VaultHost;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tidemark_env::fs::{create_dir_durable, read_small, write_atomic};
use tidemark_units::DiskId;
use tidemark_vault::DiskKey;
use tokio::sync::OwnedMutexGuard;

impl VaultHost {
    fn disk_keys_dir(&self) -> PathBuf {
        self.config.data_dir.join("diskkeys")
    }

    /// Whether the disk's captures are under a key of its own.
    pub fn has_own_key(&self, disk: &DiskId) -> bool {
        self.own_keys.borrow().contains(disk)
    }

    /// The error that says why a disk cannot be made encrypted, if it cannot.
    pub fn refuse_without_encryption(&self, disk: &DiskId) -> Result<(), NodeError> {
        if self.vault.is_encrypted() {
            return Ok(());
        }
        let message = format!(
            "disk {disk} cannot be encrypted: the vault is not ({}); that is chosen when a vault is made",
            self.vault.describe()
        );
        Err(NodeError::new(NodeErrorKind::Invalid, message))
    }

    /// Held by whoever makes the disk, from before its key until the disk is there, and by whoever destroys its key, from
    /// the look whether the disk is there until the key is gone. One lock per disk: a destruction reads all trees.
    pub async fn lock_key(&self, disk: &DiskId) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.key_locks.borrow_mut();
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(disk.clone()).or_default())
        };
        lock.lock_owned().await
    }

    /// Gives a disk that is about to be made a key of its own. The caller has [`VaultHost::lock_key`].
    pub async fn make_disk_key(&self, disk: &DiskId) -> Result<(), NodeError> {
        let key = self.vault.create_disk_key(disk).await?;
        let (fs, dir) = (&*self.env().fs, self.disk_keys_dir());
        create_dir_durable(fs, &dir).await?;
        write_atomic(fs, &dir.join(disk.as_str()), key.0).await?;
        self.own_keys.borrow_mut().insert(disk.clone());
        Ok(())
    }

    /// Keeps the key of a disk whose snapshots are copied here, if it has one of its own: so it goes with the last of them.
    pub async fn keep_key_of_copied(&self, disk: &DiskId) -> Result<(), NodeError> {
        if self.has_own_key(disk) {
            return Ok(());
        }
        let Some(key) = self.vault.disk_key(disk).await? else {
            return Ok(());
        };
        let (fs, dir) = (&*self.env().fs, self.disk_keys_dir());
        create_dir_durable(fs, &dir).await?;
        write_atomic(fs, &dir.join(disk.as_str()), key.0).await?;
        self.own_keys.borrow_mut().insert(disk.clone());
        Ok(())
    }

    /// Takes in the keys that are kept here. One that cannot be read is asked of the bucket when it is needed.
    pub async fn load_disk_keys(&self) -> Result<(), NodeError> {
        let (fs, dir) = (&*self.env().fs, self.disk_keys_dir());
        if !fs.exists(&dir).await? {
            return Ok(());
        }
        for entry in fs.list(&dir).await? {
            let Ok(disk) = DiskId::new(&entry.name) else {
                continue; // torn
            };
            self.own_keys.borrow_mut().insert(disk.clone());
            let learnt = match read_small(fs, &dir.join(&entry.name)).await {
                Ok(Some(key)) => self
                    .vault
                    .learn_disk_key(&disk, &DiskKey(key))
                    .map_err(NodeError::from),
                Ok(None) => continue,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = learnt {
                tracing::warn!(%disk, %error, "the copy of a disk's key is not usable; the bucket's is");
            }
        }
        Ok(())
    }

    /// Destroys the keys of disks that are gone, if nothing that is alive needs them; sees to it that the bucket has all
    /// others.
    pub async fn destroy_idle_disk_keys(&self) -> Result<(), NodeError> {
        let own_keys: BTreeSet<DiskId> = self.own_keys.borrow().clone();
        let fs = &*self.env().fs;
        for disk in own_keys {
            let _one = self.lock_key(&disk).await;
            let volume = self.config.data_dir.join("volumes").join(disk.as_str());
            // A copy that comes in needs its key before anything is there that says so.
            if self.is_copying_disk(&disk) {
                continue;
            }
            if fs.exists(&volume).await? {
                self.keep_disk_key(&disk).await;
                continue;
            }
            if let Err(error) = self.vault.destroy_disk_key(&disk).await {
                // Usually that something still needs it; the next run asks again.
                tracing::debug!(%disk, %error, "the key of a disk that is gone stays for now");
                self.keep_disk_key(&disk).await;
                continue;
            }
            match fs.remove_file(&self.disk_keys_dir().join(disk.as_str())).await {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
            // A power cut must not bring back what is told as destroyed.
            fs.sync_dir(&self.disk_keys_dir()).await?;
            self.own_keys.borrow_mut().remove(&disk);
            tracing::info!(%disk, "the key of a disk that is gone is destroyed");
        }
        Ok(())
    }

    /// Puts a key that is needed back into a bucket that does not have it: one that was put back from an older copy, or
    /// whose key was being destroyed when this process was killed.
    async fn keep_disk_key(&self, disk: &DiskId) {
        let kept = match read_small(&*self.env().fs, &self.disk_keys_dir().join(disk.as_str())).await {
            Ok(Some(key)) => DiskKey(key),
            // Nothing to put back; the bucket's is what there is.
            Ok(None) | Err(_) => return,
        };
        if let Err(error) = self.vault.restore_disk_key(disk, &kept).await {
            tracing::warn!(%disk, %error, "it is not known whether the vault has the disk's key");
        }
    }
}
