//! Encryption of a vault: what is encrypted, under which keys, and who can open it.
//!
//! A vault is encrypted or it is not, from its first byte on. In an encrypted one everything but the format object and
//! the key sets is encrypted ([`cipher`]) under keys made from a random master key, and names of content are keyed hashes
//! ([`naming`]). The master key exists in the bucket only wrapped, once per key slot ([`slot`], [`keyset`]). A disk may
//! have a key of its own ([`disk`]), whose destruction makes its content unreadable for ever.
//!
//! Invariants: (1) no key or secret is shown, logged or written unwrapped; (2) a vault's kind is in its format object,
//! and what is not encrypted is refused in an encrypted vault; (3) what was encrypted as one thing opens as no other;
//! (4) a plain vault's bytes are what they would be without this module.
//! Not here: guests' keys, the transport's encryption, local files other than packs.

mod cipher;
mod disk;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod history;
mod kdf;
mod keyring;
mod keyset;
mod manage;
mod naming;
mod secret;
mod slot;

pub(crate) use cipher::{BOX_BYTES, BoxKind, BoxNonce, CipherKeys, DecryptError, KeyId, key_id_of, nonce};
pub use disk::DiskKey;
pub(crate) use disk::Learning;
pub use kdf::KdfCost;
pub(crate) use keyring::Keyring;
pub(crate) use keyset::KeySet;
pub(crate) use manage::Unlocked;
pub use manage::{KeyRotation, KeySlot};
pub use naming::Naming;
pub use secret::{Secret, SecretKind};

use crate::error::{Result, VaultError};
use crate::id::PackId;
use crate::key;
use crate::pack::{Footer, PackKind};
use bytes::Bytes;
use std::fmt::Display;
use std::sync::Arc;

/// What a encrypted object of the bucket starts with; a box follows.
const OBJECT_MAGIC: [u8; 8] = *b"TMCRYP1\n";

/// The vault's keys, if it has any. Cheap to clone, and at home on every thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crypt(Option<Arc<Keyring>>);

impl Crypt {
    pub(crate) fn new(keys: Keyring) -> Self {
        Self(Some(Arc::new(keys)))
    }

    pub(crate) fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.0.as_ref()
    }

    /// How things are named here.
    pub(crate) fn naming(&self) -> Naming {
        self.0
            .as_ref()
            .map(|keys| keys.naming().clone())
            .unwrap_or_default()
    }

    /// The object for `key` in the bucket, encrypted if the vault is encrypted. `nonce` is drawn only then.
    pub(crate) fn encrypt_object(
        &self,
        kind: BoxKind,
        key: &str,
        nonce: impl FnOnce() -> BoxNonce,
        plain: Bytes,
    ) -> Bytes {
        match &self.0 {
            None => plain,
            Some(keys) => {
                let encrypted = keys.newest().encrypt(kind, key.as_bytes(), nonce(), &plain);
                [&OBJECT_MAGIC[..], &encrypted].concat().into()
            }
        }
    }

    /// What [`Crypt::encrypt_object`] encrypted for `key`. In an encrypted vault, an open object is damage.
    pub(crate) fn decrypt_object(&self, kind: BoxKind, key: &str, object: &Bytes) -> Result<Bytes> {
        let Some(keys) = &self.0 else {
            return Ok(object.clone());
        };
        let corrupt = |cause: String| VaultError::corrupt("decrypt", key, cause);
        let encrypted = object
            .strip_prefix(&OBJECT_MAGIC)
            .ok_or_else(|| corrupt("it is not encrypted, as all is in an encrypted vault".into()))?;
        self.keys_of(keys, encrypted)
            .and_then(|keys| keys.decrypt(kind, key.as_bytes(), encrypted))
            .map_err(|e| corrupt(e.to_string()))
    }

    fn keys_of(&self, keys: &Keyring, encrypted: &[u8]) -> Result<Arc<CipherKeys>, DecryptError> {
        let id = key_id_of(encrypted)?;
        keys.find(id).ok_or(DecryptError::Key(id))
    }

    /// The keys that `encrypted` needs, if they are not at hand: a disk's, then.
    pub(crate) fn wanted(&self, encrypted: &[u8]) -> Option<KeyId> {
        let id = key_id_of(encrypted).ok()?;
        let keys = self.0.as_ref()?;
        keys.find(id).is_none().then_some(id)
    }

    /// A chunk's or node's stored bytes, opened if the vault is encrypted.
    pub(crate) fn decrypt_stored(
        &self,
        kind: PackKind,
        id: &[u8; 32],
        stored: Bytes,
    ) -> Result<Bytes, DecryptError> {
        match &self.0 {
            None => Ok(stored),
            Some(keys) => self.keys_of(keys, &stored)?.decrypt(box_kind(kind), id, &stored),
        }
    }

    /// Whether footers are encrypted here.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Parses one pack's whole footer, which is encrypted if the vault is encrypted. The caller compares it with what it
    /// expects.
    pub(crate) fn read_footer(
        &self,
        subject: &dyn Display,
        kind: PackKind,
        pack: PackId,
        bytes: &[u8],
    ) -> Result<Footer> {
        let Some(keys) = &self.0 else {
            return Footer::decode(subject, bytes);
        };
        let corrupt = |cause: String| VaultError::corrupt("read pack footer", subject, cause);
        let encrypted = Footer::box_of(subject, bytes)?;
        let name = key::pack(kind, pack);
        let plain = self
            .keys_of(keys, encrypted)
            .and_then(|keys| keys.decrypt(BoxKind::Footer, name.as_bytes(), encrypted))
            .map_err(|e| corrupt(e.to_string()))?;
        Footer::decode(subject, &plain)
    }
}

/// How the stored bytes of a pack are encrypted.
pub(crate) fn box_kind(kind: PackKind) -> BoxKind {
    match kind {
        PackKind::Data => BoxKind::Chunk,
        PackKind::Tree => BoxKind::Node,
    }
}

/// What encrypts the packs of one capture; `None` encrypts nothing.
pub(crate) type Encrypter = Option<Arc<CipherKeys>>;

/// A chunk's or node's stored bytes as the pack gets them. A encrypter's nonce is there.
pub(crate) fn encrypt_stored(
    encrypter: &Encrypter,
    kind: PackKind,
    id: &[u8; 32],
    nonce: BoxNonce,
    stored: Bytes,
) -> Bytes {
    match encrypter {
        None => stored,
        Some(keys) => keys.encrypt(box_kind(kind), id, nonce, &stored),
    }
}
