//! The one way in which anything is encrypted: AES-256-GCM under a key for that very thing.
//!
//! ```text
//! box = key id [16] | nonce [12] | ciphertext, as long as the plain bytes | tag [16]
//! ```
//! The key id says whose keys: a generation of the vault's, or a disk's. The key is made from these keys for the
//! thing's kind and name, and vault, kind, key id and name are authenticated with it: a box says by itself that it
//! is what it was asked for as, and opens as nothing else.
//!
//! Invariant: a nonce is 96 random bits, drawn for each encryption. Since no two things share a key, nonces could only
//! meet among encryptions of one thing (a chunk stored by several disks, a record written again): 2^-33 after 2^32 of them.

use super::secret::Key;
use crate::id::VaultId;
use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tidemark_env::Env;
use zeroize::Zeroizing;

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_ID_BYTES: usize = 16;
const BODY_AT: usize = KEY_ID_BYTES + NONCE_BYTES;
/// How much longer a box is than its plain bytes.
pub(crate) const BOX_BYTES: usize = BODY_AT + TAG_BYTES;

const DATA_CONTEXT: &str = "tidemark vault 2026 data key";
const METADATA_CONTEXT: &str = "tidemark vault 2026 metadata key";

/// A nonce to be used once.
pub(crate) type BoxNonce = [u8; NONCE_BYTES];

/// A nonce that nobody has used.
pub(crate) fn nonce(env: &Env) -> BoxNonce {
    env.random()
}

/// Names a set of keys.
pub(crate) type KeyId = crate::id::Nonce;

/// What a encrypted thing is; one byte in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BoxKind {
    /// A chunk's stored bytes; its name is the chunk's id.
    Chunk = 1,
    /// A tree node's stored bytes; its name is the node's id.
    Node = 2,
    /// A pack's footer; like all that follow, its name is the object's key in the bucket.
    Footer = 3,
    /// A head entry.
    Head = 4,
    /// A snapshot's record.
    Record = 5,
    /// A disk's key.
    DiskKey = 6,
    /// A snapshot's boot trace.
    Trace = 7,
    /// A capture under way.
    Capture = 8,
    /// Where the content of a pack has gone.
    Forward = 9,
}

/// Why a box does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecryptError {
    /// Too short to be a box.
    #[error("{0} bytes are too few for something encrypted")]
    Short(usize),
    /// BoxKind by keys that are not at hand.
    #[error(
        "it is encrypted under key {0}, which is neither the vault's nor that of a disk that is still there"
    )]
    Key(KeyId),
    /// Not what it was asked for as, or changed.
    #[error("it does not decrypt: it was changed, or belongs elsewhere")]
    Broken,
}

/// The keys of one generation of a vault, or of a disk.
#[derive(Debug)]
pub(crate) struct CipherKeys {
    id: KeyId,
    vault: VaultId,
    data: Key,
    metadata: Key,
}

/// The keys that a box says it is encrypted under.
pub(crate) fn key_id_of(encrypted: &[u8]) -> Result<KeyId, DecryptError> {
    match encrypted.first_chunk() {
        Some(id) if encrypted.len() >= BOX_BYTES => Ok(crate::id::Nonce(*id)),
        _ => Err(DecryptError::Short(encrypted.len())),
    }
}

impl CipherKeys {
    /// The keys made from `master`.
    pub(crate) fn new(vault: VaultId, id: KeyId, master: &Key) -> Self {
        Self {
            id,
            vault,
            data: master.derive(DATA_CONTEXT),
            metadata: master.derive(METADATA_CONTEXT),
        }
    }

    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// Whether what one encrypts the other decrypts.
    pub(super) fn is_same(&self, other: &CipherKeys) -> bool {
        self.id == other.id
            && self.data.bytes() == other.data.bytes()
            && self.metadata.bytes() == other.metadata.bytes()
    }

    fn key(&self, kind: BoxKind, name: &[u8]) -> Key {
        let base = match kind {
            BoxKind::Chunk | BoxKind::Node => &self.data,
            _ => &self.metadata,
        };
        base.for_name(kind as u8, name)
    }

    fn aad(&self, kind: BoxKind, name: &[u8]) -> Vec<u8> {
        [&self.vault.0[..], &[kind as u8], &self.id.0, name].concat()
    }

    /// Encrypts `plain`.
    pub(crate) fn encrypt(&self, kind: BoxKind, name: &[u8], nonce: BoxNonce, plain: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(plain.len() + BOX_BYTES);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let key = self.key(kind, name);
        let tag = seal_in_place(&key, nonce, &self.aad(kind, name), &mut out[BODY_AT..]);
        out.extend_from_slice(&tag);
        out.into()
    }

    /// What was encrypted as this.
    pub(crate) fn decrypt(
        &self,
        kind: BoxKind,
        name: &[u8],
        encrypted: &[u8],
    ) -> Result<Bytes, DecryptError> {
        let id = key_id_of(encrypted)?;
        if id != self.id {
            return Err(DecryptError::Key(id));
        }
        let (head, body) = encrypted.split_at(BODY_AT);
        let nonce = *head.last_chunk().ok_or(DecryptError::Short(encrypted.len()))?;
        let mut body = body.to_vec();
        let key = self.key(kind, name);
        let len = open_in_place(&key, nonce, &self.aad(kind, name), &mut body)?;
        body.truncate(len);
        Ok(body.into())
    }
}

fn aead(key: &Key) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key.bytes()).expect("AES-256 takes every key of 32 bytes");
    LessSafeKey::new(key)
}

/// Encrypts `body` where it is and gives its tag.
fn seal_in_place(key: &Key, nonce: BoxNonce, aad: &[u8], body: &mut [u8]) -> [u8; TAG_BYTES] {
    #[cfg(test)]
    seen::note(key, nonce);
    let tag = aead(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body)
        .expect("nothing that is encrypted here has 64 GiB");
    let mut bytes = [0; TAG_BYTES];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Decrypts ciphertext and tag where they are and says how many plain bytes are at its start now.
fn open_in_place(key: &Key, nonce: BoxNonce, aad: &[u8], body: &mut [u8]) -> Result<usize, DecryptError> {
    let opened = aead(key).open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body);
    opened.map(|plain| plain.len()).map_err(|_| DecryptError::Broken)
}

/// Wraps keys under a key: ciphertext and tag. What it is bound to is up to the caller.
pub(super) fn wrap(key: &Key, nonce: BoxNonce, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = plain.to_vec();
    let tag = seal_in_place(key, nonce, aad, &mut out);
    out.extend_from_slice(&tag);
    out
}

/// Undoes [`wrap`].
pub(super) fn unwrap(
    key: &Key,
    nonce: BoxNonce,
    aad: &[u8],
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let mut plain = Zeroizing::new(wrapped.to_vec());
    let len = open_in_place(key, nonce, aad, &mut plain)?;
    plain.truncate(len);
    Ok(plain)
}

/// Every key and nonce that this thread has encrypted with, for the test that none comes twice.
#[cfg(test)]
pub(crate) mod seen {
    use super::{BoxNonce, Key};
    use std::cell::RefCell;

    thread_local! {
        static SEEN: RefCell<Vec<([u8; 32], BoxNonce)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(key: &Key, nonce: BoxNonce) {
        SEEN.with_borrow_mut(|seen| seen.push((*key.bytes(), nonce)));
    }

    /// All since this was last asked.
    pub(crate) fn take() -> Vec<([u8; 32], BoxNonce)> {
        SEEN.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(id: u8, master: u8) -> CipherKeys {
        CipherKeys::new(
            VaultId([1; 16]),
            crate::id::Nonce([id; 16]),
            &Key::new([master; 32]),
        )
    }

    #[test]
    fn a_box_opens_as_what_it_is_and_as_nothing_else() {
        let ours = keys(1, 2);
        let encrypted = ours.encrypt(BoxKind::Chunk, b"name", [9; 12], b"plain");
        assert_eq!(encrypted.len(), 5 + BOX_BYTES);
        assert_eq!(
            ours.decrypt(BoxKind::Chunk, b"name", &encrypted).unwrap(),
            b"plain"[..]
        );
        assert_eq!(
            ours.decrypt(BoxKind::Node, b"name", &encrypted),
            Err(DecryptError::Broken)
        );
        assert_eq!(
            ours.decrypt(BoxKind::Chunk, b"nam", &encrypted),
            Err(DecryptError::Broken)
        );
        assert_eq!(
            keys(1, 3).decrypt(BoxKind::Chunk, b"name", &encrypted),
            Err(DecryptError::Broken)
        );
        let other_vault = CipherKeys::new(VaultId([2; 16]), ours.id, &Key::new([2; 32]));
        assert_eq!(
            other_vault.decrypt(BoxKind::Chunk, b"name", &encrypted),
            Err(DecryptError::Broken)
        );
        assert!(
            matches!(keys(2, 2).decrypt(BoxKind::Chunk, b"name", &encrypted), Err(DecryptError::Key(id)) if id == ours.id)
        );
        for at in 0..encrypted.len() {
            let mut bad = encrypted.to_vec();
            bad[at] ^= 0x40;
            assert!(ours.decrypt(BoxKind::Chunk, b"name", &bad).is_err(), "byte {at}");
            assert!(
                ours.decrypt(BoxKind::Chunk, b"name", &encrypted[..at]).is_err(),
                "cut at {at}"
            );
        }
    }
}
