//! The vault's format object: what a reader must know before it reads anything else.

use crate::crypt::KeySet;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::id::VaultId;
use crate::tree::{FANOUT, LEAF_SLOTS};
use crate::{key, text};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_units::CHUNK_BYTES;

const KIND: &str = "vault";
const VERSION: u32 = 1;
const HASH: &str = "blake3";
/// AES-256-GCM, keyed BLAKE3, key sets under `keys/`.
const CRYPTO: &str = "aes256gcm-blake3-1";

/// `<vault>/format`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    vault: VaultId,
    chunk_bytes: u64,
    leaf_slots: u32,
    fanout: u32,
    hash: String,
    /// How everything is encrypted; empty in a vault without encryption.
    crypto: Vec<serde_json::Value>,
}

impl Format {
    pub(crate) fn new(vault: VaultId, encrypted: bool) -> Self {
        Self {
            vault,
            chunk_bytes: CHUNK_BYTES,
            leaf_slots: LEAF_SLOTS,
            fanout: FANOUT,
            hash: HASH.into(),
            crypto: encrypted.then_some(CRYPTO.into()).into_iter().collect(),
        }
    }

    pub(crate) fn vault(&self) -> VaultId {
        self.vault
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        !self.crypto.is_empty()
    }

    pub(crate) fn encode(&self) -> Result<Bytes> {
        text::encode(KIND, VERSION, self)
    }

    /// Refuses everything that this version could not read in full.
    pub(crate) fn decode(object: &[u8]) -> Result<Self> {
        let format: Self = text::decode(KIND, VERSION, key::FORMAT, object)?;
        let newer = |cause: String| {
            let cause = format!("{cause} not known here: a newer release made this vault");
            Err(VaultError::other("open vault", key::FORMAT, cause))
        };
        if format.is_encrypted() && format.crypto != [serde_json::Value::from(CRYPTO)] {
            return newer(format!(
                "encryption {} is",
                serde_json::Value::from(format.crypto)
            ));
        }
        if format != Self::new(format.vault, format.is_encrypted()) {
            return newer(format!(
                "chunks of {} bytes, leaves of {}, fan-out {} and hash {:?} are",
                format.chunk_bytes, format.leaf_slots, format.fanout, format.hash
            ));
        }
        Ok(format)
    }

    /// Parses what [`crate::Vault::format`] gave: the format object and, if the vault is encrypted, a key set.
    pub(crate) fn decode_known(known: &[u8]) -> Result<(Self, Option<KeySet>)> {
        let mut ends = known.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let end = ends.nth(1).map_or(known.len(), |(at, _)| at + 1);
        let (format, set) = known.split_at(end);
        let format = Self::decode(format)?;
        match (format.is_encrypted(), set.is_empty()) {
            (false, true) => Ok((format, None)),
            (true, false) => {
                let set = KeySet::decode(format.vault, None, set)?;
                Ok((format, Some(set)))
            }
            _ => {
                let cause = "the copy of the vault's format does not fit the copy of its keys";
                Err(VaultError::corrupt("open vault", key::FORMAT, cause))
            }
        }
    }

    /// The error for a known vault whose bucket at `place` holds no format object.
    pub(crate) fn gone(&self, place: &str) -> VaultError {
        let cause = format!(
            "its object `format` is gone: somebody removed it, or this is not the place where vault {} is. Nothing was \
             changed. If the vault is here, put the object back: it is the first two lines of `vault.format` in the data \
             directory",
            self.vault
        );
        VaultError::new(VaultErrorKind::Missing, "open vault", place, cause)
    }

    /// Checks that what the bucket at `place` holds is the vault that is known.
    pub(crate) fn expect(&self, found: &Self, place: &str) -> Result<()> {
        if found == self {
            return Ok(());
        }
        let cause = if found.vault != self.vault {
            format!(
                "it holds vault {}, but this data belongs to vault {}",
                found.vault, self.vault
            )
        } else {
            let word = |format: &Self| {
                if format.is_encrypted() {
                    "encrypted"
                } else {
                    "not encrypted"
                }
            };
            format!(
                "it says that the vault is {}, but it was {}",
                word(found),
                word(self)
            )
        };
        Err(VaultError::other("open vault", place, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_version_cannot_read_is_refused() {
        for encrypted in [false, true] {
            let good = Format::new(VaultId([1; 16]), encrypted);
            assert_eq!(Format::decode(&good.encode().unwrap()).unwrap(), good);
        }
        let good = Format::new(VaultId([1; 16]), false);
        let encrypted = Format {
            crypto: vec!["aes1024".into()],
            ..good.clone()
        };
        let larger = Format {
            chunk_bytes: 256 << 10,
            ..good.clone()
        };
        for other in [
            encrypted,
            larger,
            Format {
                hash: "sha256".into(),
                ..good
            },
        ] {
            let error = Format::decode(&other.encode().unwrap()).unwrap_err().to_string();
            assert!(error.contains("newer release"), "{error}");
        }
    }
}
