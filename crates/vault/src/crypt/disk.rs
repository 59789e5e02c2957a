//! Keys of disks: what a disk's captures store is encrypted under a key of its own, and goes with it.
//!
//! The disk's key is random and lies in the bucket encrypted under the vault's metadata key, at a name made from the disk's
//! id. Every box names the keys that it is encrypted under, so that a clone's tree may point into another disk's packs.
//! Invariant: a disk's key is destroyed only when nothing that is alive needs it.
//!
//! ```text
//! a capture under it     registered -> packs -> the key is still there -> head entry -> not registered any more
//! its destruction        what is needed, read in full -> deleted -> registered? committed since? -> put back, or gone
//! ```
//! Packs under a disk's key come from captures of that disk alone, so only those can come to need it after the look. One
//! that finds the key before it is deleted was registered by then, and is seen after the deletion: as registered, or in
//! the head log. One that looks later does not find it, and is not committed. Whoever keeps the key beside the disk puts
//! it back ([`Vault::restore_disk_key`]) if a destruction was cut off in between.

use super::Encrypter;
use super::cipher::{BoxKind, CipherKeys, KeyId, nonce};
use super::secret::{KEY_BYTES, Key};
use crate::capture::RegisteredCapture;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::key;
use crate::vault::{PutIfAbsent, Store, Vault};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tidemark_units::DiskId;
use zeroize::Zeroizing;

/// A disk's key as the bucket has it: encrypted. To be kept beside the disk, so that captures need no bucket to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskKey(pub Bytes);

type Learnt = Shared<LocalBoxFuture<'static, Result<Option<Arc<CipherKeys>>>>>;

/// Disks' keys on their way: who wants one that is waits for it.
pub(crate) type Learning = Rc<RefCell<HashMap<KeyId, Learnt>>>;

impl Store {
    /// Takes in the disk key of this name, if the bucket has it.
    pub(crate) async fn learn_key(&self, id: KeyId) -> Result<Option<Arc<CipherKeys>>> {
        let Some(keys) = self.crypt.keyring() else {
            return Ok(None);
        };
        if let Some(known) = keys.find(id) {
            return Ok(Some(known));
        }
        let underway = self.learning.borrow().get(&id).cloned();
        let learnt = underway.unwrap_or_else(|| {
            let store = self.clone();
            let learn = async move {
                match store.get_opt("read disk key", &key::disk_key(id)).await? {
                    Some(object) => store.take_disk_key(id, &object).map(|(_, keys)| Some(keys)),
                    None => Ok(None),
                }
            };
            let learnt = learn.boxed_local().shared();
            self.learning.borrow_mut().insert(id, learnt.clone());
            learnt
        });
        let learnt = learnt.await;
        self.learning.borrow_mut().remove(&id);
        learnt
    }

    /// Opens a disk key's object; also says whose it is.
    fn take_disk_key(&self, id: KeyId, object: &Bytes) -> Result<(DiskId, Arc<CipherKeys>)> {
        let name = key::disk_key(id);
        let corrupt = |cause: &str| VaultError::corrupt("read disk key", &name, cause.to_owned());
        let keys = self
            .crypt
            .keyring()
            .ok_or_else(|| corrupt("the vault is not encrypted"))?;
        let plain = Zeroizing::new(
            self.crypt
                .decrypt_object(BoxKind::DiskKey, &name, object)?
                .to_vec(),
        );
        let (key, disk) = plain
            .split_first_chunk::<KEY_BYTES>()
            .ok_or_else(|| corrupt("it is too short"))?;
        let disk = std::str::from_utf8(disk)
            .ok()
            .and_then(|disk| DiskId::new(disk).ok());
        let disk = disk.ok_or_else(|| corrupt("it names no disk"))?;
        if keys.disk_key_id(&disk) != id {
            return Err(corrupt("it is another disk's"));
        }
        Ok((disk, keys.learn_disk(id, &Key::new(*key))))
    }
}

impl Vault {
    /// Gives a disk a key of its own, or finds the one that it has. Only in an encrypted vault.
    pub async fn create_disk_key(&self, disk: &DiskId) -> Result<DiskKey> {
        let step = "create disk key";
        let id = self.keyring(step)?.disk_key_id(disk);
        let (store, name) = (self.store(), key::disk_key(id));
        let key = Key::random(self.env());
        let plain = Zeroizing::new([&key.bytes()[..], disk.as_str().as_bytes()].concat());
        let env = self.env();
        let plain = Bytes::copy_from_slice(&plain);
        let object = store
            .crypt
            .encrypt_object(BoxKind::DiskKey, &name, || nonce(env), plain);
        let object = match store.put_if_absent(step, &name, object.clone()).await? {
            PutIfAbsent::Done => object,
            PutIfAbsent::Exists(there) => there,
        };
        store.take_disk_key(id, &object)?;
        Ok(DiskKey(object))
    }

    /// The disk's own key, if the vault has one.
    pub async fn disk_key(&self, disk: &DiskId) -> Result<Option<DiskKey>> {
        let Some(keys) = self.store().crypt.keyring() else {
            return Ok(None);
        };
        let id = keys.disk_key_id(disk);
        let found = self.store().get_opt("read disk key", &key::disk_key(id)).await?;
        let Some(object) = found else { return Ok(None) };
        self.store().take_disk_key(id, &object)?;
        Ok(Some(DiskKey(object)))
    }

    /// Takes in a disk's key that was kept beside it.
    pub fn learn_disk_key(&self, disk: &DiskId, kept: &DiskKey) -> Result<()> {
        let id = self.keyring("read disk key")?.disk_key_id(disk);
        self.store().take_disk_key(id, &kept.0).map(drop)
    }

    /// Fetches the key of a disk whose snapshot is about to be read, if it has one of its own: a first read that came to
    /// know of it by its first node would have to wait for it. Trouble comes again with that read.
    pub async fn expect_disk_key(&self, disk: &DiskId) {
        if let Some(keys) = self.store().crypt.keyring() {
            drop(self.store().learn_key(keys.disk_key_id(disk)).await);
        }
    }

    /// What encrypts the captures of a disk: the vault's newest keys, or the disk's own if it must have some.
    pub(crate) async fn encrypter(&self, disk: &DiskId, own_key: bool) -> Result<Encrypter> {
        let Some(keys) = self.store().crypt.keyring() else {
            return match own_key {
                false => Ok(None),
                true => self.keyring("begin capture").map(|_| None),
            };
        };
        if !own_key {
            return Ok(Some(keys.newest()));
        }
        let found = self.store().learn_key(keys.disk_key_id(disk)).await?;
        found.map(Some).ok_or_else(|| {
            let cause = "its key is not there: it was never made, or destroyed";
            VaultError::new(
                VaultErrorKind::Missing,
                "begin capture",
                format!("disk {disk}"),
                cause,
            )
        })
    }

    /// Puts a disk's key back that was kept beside it, if the vault has none.
    pub async fn restore_disk_key(&self, disk: &DiskId, kept: &DiskKey) -> Result<()> {
        let step = "restore disk key";
        let id = self.keyring(step)?.disk_key_id(disk);
        let name = key::disk_key(id);
        if self.store().get_opt(step, &name).await?.is_some() {
            return Ok(());
        }
        self.store().take_disk_key(id, &kept.0)?;
        self.store()
            .put_if_absent(step, &name, kept.0.clone())
            .await
            .map(drop)
    }

    /// Refuses a commit under a disk's key that is not in the bucket, or is another by now.
    pub(crate) async fn check_disk_key(&self, disk: &DiskId, under: &Encrypter) -> Result<()> {
        let step = "read disk key";
        let id = self.keyring(step)?.disk_key_id(disk);
        let found = self.store().get_opt(step, &key::disk_key(id)).await?;
        let found = found
            .map(|object| self.store().take_disk_key(id, &object))
            .transpose()?;
        let is_ours = match (&found, under) {
            (Some((_, keys)), Some(under)) => keys.is_same(under),
            _ => false,
        };
        if is_ours {
            return Ok(());
        }
        let cause = "the disk's own key, which this was encrypted under, was destroyed meanwhile";
        Err(VaultError::new(
            VaultErrorKind::Stale,
            step,
            format!("disk {disk}"),
            cause,
        ))
    }

    /// Destroys a disk's key: what its captures stored can never be read again, master key or not. Refused while a
    /// snapshot of any disk, deleted but not purged ones too, a capture under way or a volume needs a part of it, and while
    /// that cannot be found out. Again is fine.
    pub async fn destroy_disk_key(&self, disk: &DiskId) -> Result<()> {
        let step = "destroy disk key";
        let refused = |cause: String| VaultError::other(step, format!("disk {disk}"), cause);
        let keys = self.keyring(step)?;
        let (id, store) = (keys.disk_key_id(disk), self.store());
        // The cheap questions first; the other one reads all trees.
        if let Some(cause) = self.why_keep_disk_key(disk).await? {
            return Err(refused(cause));
        }
        let seen = self.known_head_log(disk).len();
        for (kind, pack) in self.needed_packs().await? {
            // One that went meanwhile was freed or rewritten: what has become of its content the next look finds.
            if store.footer_key(kind, pack).await? == Some(id) {
                let cause =
                    format!("pack {pack} is encrypted under it and still needed; delete what needs it first");
                return Err(refused(cause));
            }
        }
        let name = key::disk_key(id);
        let object = store.get_opt(step, &name).await?;
        store.delete(step, &name).await?;
        let why_keep = match self.why_keep_disk_key(disk).await {
            Ok(None) if self.known_head_log(disk).commits_since(seen) => {
                Ok(Some("a snapshot of the disk was made meanwhile".to_owned()))
            }
            found => found,
        };
        if let Ok(None) = why_keep {
            keys.forget_disk(id);
            return Ok(());
        }
        if let Some(object) = object {
            store.put_if_absent(step, &name, object).await?;
        }
        Err(match why_keep {
            Ok(cause) => refused(cause.unwrap_or_default()),
            Err(error) => error,
        })
    }

    /// What there is of the disk itself. Captures first: one that ends in between is in the log.
    async fn why_keep_disk_key(&self, disk: &DiskId) -> Result<Option<String>> {
        let captures = self.registered_captures().await?;
        let log = self.head_log(disk).await?;
        let own = log.state().live().len() + log.state().deleted().len();
        if own > 0 {
            return Ok(Some(format!("{own} snapshots of the disk are still there")));
        }
        let is_over = |one: &RegisteredCapture| {
            log.state().has_ended(one.capture) || log.snapshot(&one.snapshot).is_some()
        };
        let under_way = captures.iter().find(|one| &one.disk == disk && !is_over(one));
        Ok(under_way.map(|one| format!("snapshot {} of the disk is being made", one.snapshot)))
    }
}
