//! The vault's key set: its slots, and the master keys of its older generations.
//!
//! A bucket cannot replace an object only if nobody else has, so a key set is never changed: each change makes the next
//! one, `keys/<vault-id>/<seq>`, where none was, and the highest number counts. A change takes effect exactly if the
//! highest set has it: a writer that finds it missing (somebody was quicker, or older sets were removed under it)
//! applies it again to what is there. Sets below the highest are removed, for what they wrap is still the key.
//!
//! Hostile until a slot of it opens: an owner of the bucket can hide slots or bring an old set back, but add none.

use super::cipher;
use super::secret::{KEY_BYTES, Key, Secret};
use super::slot::{Slot, SlotError};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::id::VaultId;
use crate::{key, text};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const KIND: &str = "keys";
const VERSION: u32 = 1;
const OLDER_CONTEXT: &str = "tidemark vault 2026 older master keys";
/// Most slots: a wrong passphrase is tried on each.
pub(super) const SLOTS_MAX: usize = 32;
/// Most generations.
pub(super) const GENERATIONS_MAX: u32 = 1000;

/// `keys/<vault-id>/<seq>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeySet {
    pub(super) vault: VaultId,
    pub(super) seq: u64,
    /// The generation whose master key the slots wrap.
    pub(super) generation: u32,
    /// Hex: nonce, and the master keys of all generations before, wrapped under this one's. Empty in generation 0.
    pub(super) older: String,
    pub(super) slots: Vec<Slot>,
}

impl KeySet {
    pub(super) fn first(vault: VaultId, slots: Vec<Slot>) -> Self {
        Self {
            vault,
            seq: 0,
            generation: 0,
            older: String::new(),
            slots,
        }
    }

    pub(crate) fn key(&self) -> String {
        key::key_set(self.vault, self.seq)
    }

    /// Whether it was replaced by the other, or by one that the other replaced.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.seq < other.seq
    }

    pub(crate) fn encode(&self) -> Result<Bytes> {
        text::encode(KIND, VERSION, self)
    }

    /// Parses the object of set `seq` of `vault`; `None` takes any number.
    pub(crate) fn decode(vault: VaultId, seq: Option<u64>, object: &[u8]) -> Result<Self> {
        let name = seq.map_or_else(|| key::key_sets(vault), |seq| key::key_set(vault, seq));
        let set: Self = text::decode(KIND, VERSION, &name, object)?;
        let corrupt = |cause: String| Err(VaultError::corrupt("open vault", &name, cause));
        if set.vault != vault || seq.is_some_and(|seq| seq != set.seq) {
            return corrupt(format!("it is key set {} of vault {}", set.seq, set.vault));
        }
        if set.slots.is_empty() || set.slots.len() > SLOTS_MAX || set.generation >= GENERATIONS_MAX {
            let cause = format!("{} slots in generation {}", set.slots.len(), set.generation);
            return corrupt(cause);
        }
        Ok(set)
    }

    fn older_aad(vault: VaultId, generation: u32) -> Vec<u8> {
        [&vault.0[..], &generation.to_le_bytes()].concat()
    }

    /// Wraps the master keys of older generations under the newest.
    pub(super) fn wrap_older(&mut self, nonce: cipher::BoxNonce, masters: &[Key]) {
        let Some((newest, older)) = masters.split_last() else {
            return;
        };
        let plain: Zeroizing<Vec<u8>> = Zeroizing::new(older.iter().flat_map(|key| *key.bytes()).collect());
        let aad = Self::older_aad(self.vault, self.generation);
        let wrapped = cipher::wrap(&newest.derive(OLDER_CONTEXT), nonce, &aad, &plain);
        self.older = data_encoding::HEXLOWER.encode(&[&nonce[..], &wrapped].concat());
    }

    /// The master keys of all generations, the newest last.
    fn masters(&self, newest: Key) -> std::result::Result<Vec<Key>, String> {
        let mut masters = Vec::new();
        if self.generation > 0 {
            let broken = || "the older master keys do not open".to_string();
            let bytes = data_encoding::HEXLOWER
                .decode(self.older.as_bytes())
                .map_err(|_| broken())?;
            let (nonce, wrapped) = bytes.split_first_chunk().ok_or_else(broken)?;
            let aad = Self::older_aad(self.vault, self.generation);
            let plain =
                cipher::unwrap(&newest.derive(OLDER_CONTEXT), *nonce, &aad, wrapped).map_err(|_| broken())?;
            let (keys, rest) = plain.as_chunks::<KEY_BYTES>();
            if keys.len() != self.generation as usize || !rest.is_empty() {
                return Err(broken());
            }
            masters.extend(keys.iter().map(|key| Key::new(*key)));
        }
        masters.push(newest);
        Ok(masters)
    }

    /// The master keys of all generations, the newest last, opened with `secret`. Slow.
    pub(crate) fn open(&self, secret: &Secret) -> Result<Vec<Key>> {
        let name = self.key();
        let mut impossible = None;
        for slot in &self.slots {
            let name = || format!("{name}: slot {}", slot.id);
            match slot.open(self.vault, self.generation, secret) {
                Ok(newest) => {
                    return self
                        .masters(newest)
                        .map_err(|cause| VaultError::corrupt("open vault", name(), cause));
                }
                Err(SlotError::Damaged(cause)) => {
                    return Err(VaultError::corrupt("open vault", name(), cause));
                }
                Err(SlotError::Impossible(cause)) => impossible = Some((name(), cause)),
                Err(SlotError::Other) => {}
            }
        }
        if let Some((name, cause)) = impossible {
            return Err(VaultError::corrupt("open vault", name, cause));
        }
        let kind = secret.kind();
        let tried = self.slots.iter().filter(|slot| slot.kind == kind).count();
        let cause = match tried {
            0 => format!("the vault has no {kind} slot; it opens with a {}", self.kinds()),
            _ => format!("wrong {kind}: it opens none of the vault's {tried} {kind} slots"),
        };
        Err(VaultError::new(VaultErrorKind::Locked, "open vault", name, cause))
    }

    /// Which secrets open it, for people.
    pub(crate) fn kinds(&self) -> String {
        let mut kinds: Vec<String> = self.slots.iter().map(|slot| slot.kind.to_string()).collect();
        kinds.sort();
        kinds.dedup();
        kinds.join(" or a ")
    }
}
