//! The vault's format object: what a reader must know before it reads anything else.

use crate::error::{Result, VaultError};
use crate::id::VaultId;
use crate::tree::{FANOUT, LEAF_SLOTS};
use crate::{key, text};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_units::CHUNK_BYTES;

const KIND: &str = "vault";
const VERSION: u32 = 1;
const HASH: &str = "blake3";

/// `<vault>/format`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    vault: VaultId,
    chunk_bytes: u64,
    leaf_slots: u32,
    fanout: u32,
    hash: String,
    /// Wrapped master keys; empty in a vault without encryption, the only kind that this version reads.
    crypto: Vec<serde_json::Value>,
}

impl Format {
    pub(crate) fn new(vault: VaultId) -> Self {
        Self {
            vault,
            chunk_bytes: CHUNK_BYTES,
            leaf_slots: LEAF_SLOTS,
            fanout: FANOUT,
            hash: HASH.into(),
            crypto: Vec::new(),
        }
    }

    pub(crate) fn vault(&self) -> VaultId {
        self.vault
    }

    pub(crate) fn encode(&self) -> Result<Bytes> {
        text::encode(KIND, VERSION, self)
    }

    /// Refuses everything that this version could not read in full.
    pub(crate) fn decode(object: &[u8]) -> Result<Self> {
        let format: Self = text::decode(KIND, VERSION, key::FORMAT, object)?;
        if !format.crypto.is_empty() {
            return Err(VaultError::other(
                "open vault",
                key::FORMAT,
                "the vault is encrypted",
            ));
        }
        if format != Self::new(format.vault) {
            let cause = format!(
                "chunks of {} bytes, leaves of {}, fan-out {} and hash {:?} are not known here",
                format.chunk_bytes, format.leaf_slots, format.fanout, format.hash
            );
            return Err(VaultError::other("open vault", key::FORMAT, cause));
        }
        Ok(format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_version_cannot_read_is_refused() {
        let good = Format::new(VaultId([1; 16]));
        assert_eq!(Format::decode(&good.encode().unwrap()).unwrap(), good);
        let encrypted = Format {
            crypto: vec![serde_json::json!({"kdf": "argon2id"})],
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
            Format::decode(&other.encode().unwrap()).unwrap_err();
        }
    }
}
