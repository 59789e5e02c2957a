//! A key slot: the vault's master key, wrapped under what somebody knows or has.
//!
//! The secret (stretched by Argon2id if a person chose it, hashed with the salt if not) gives two things: the key that
//! wraps the master key, and check bytes that are stored openly. They tell a wrong secret from a damaged slot, and tell
//! a thief no more than the wrapped key's own tag does. All that a slot says is authenticated with the wrapped key.

use super::cipher::{self, BoxNonce};
use super::kdf::{KdfCost, stretch};
use super::secret::{Key, Secret, SecretKind};
use crate::id::{Nonce, VaultId};
use serde::{Deserialize, Serialize};
use tidemark_env::{Env, UnixMillis};

const WRAP_CONTEXT: &str = "tidemark vault 2026 key slot wrapping key";
const CHECK_CONTEXT: &str = "tidemark vault 2026 key slot check";
const CHECK_BYTES: usize = 16;
/// Longest label.
pub(super) const LABEL_BYTES_MAX: usize = 100;

/// Fixed-size bytes as hex in JSON.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&data_encoding::HEXLOWER.encode(bytes.as_ref()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
        from: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .map_err(Error::custom)?;
        T::try_from(bytes).map_err(|_| Error::custom(format!("{text:?} has the wrong length")))
    }
}

/// One slot, as the key set's object has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// Random; how people name it.
    pub(super) id: String,
    pub(super) kind: SecretKind,
    pub(super) label: String,
    pub(super) created_ms: UnixMillis,
    /// Of a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argon2id: Option<KdfCost>,
    salt: Nonce,
    check: Nonce,
    #[serde(with = "hex")]
    nonce: BoxNonce,
    #[serde(with = "hex")]
    wrapped: [u8; 48],
}

/// Why a slot did not give the master key.
#[derive(Debug)]
pub(super) enum SlotError {
    /// It is for another secret.
    Other,
    /// It is for this secret, and broken.
    Damaged(String),
    /// It cannot be tried.
    Impossible(String),
}

/// What both the slot's maker and its opener need.
struct Opener {
    wrap: Key,
    check: Nonce,
}

impl Opener {
    fn new(secret: &Secret, salt: &Nonce, cost: Option<KdfCost>) -> Result<Self, String> {
        let root = match (secret.as_passphrase(), secret.as_key(), cost) {
            (Some(passphrase), _, Some(cost)) => stretch(passphrase, &salt.0, cost)?,
            (_, Some(key), None) => key.for_name(0, &salt.0),
            _ => return Err("a passphrase's slot has Argon2id's cost, a key file's has none".into()),
        };
        let check = root.derive(CHECK_CONTEXT);
        let mut bytes = [0; CHECK_BYTES];
        bytes.copy_from_slice(&check.bytes()[..CHECK_BYTES]);
        Ok(Self {
            wrap: root.derive(WRAP_CONTEXT),
            check: Nonce(bytes),
        })
    }
}

/// A slot to be made: drawn on the vault's thread, made off it.
pub(super) struct Draft {
    pub(super) label: String,
    pub(super) secret: Secret,
    pub(super) cost: KdfCost,
    pub(super) id: [u8; 4],
    pub(super) created_ms: UnixMillis,
    pub(super) salt: Nonce,
    pub(super) nonce: BoxNonce,
}

impl Draft {
    pub(super) fn new(env: &Env, secret: Secret, label: &str, cost: KdfCost) -> Self {
        Self {
            label: label.to_owned(),
            secret,
            cost,
            id: env.random(),
            created_ms: env.clock.unix_millis(),
            salt: Nonce(env.random()),
            nonce: cipher::nonce(env),
        }
    }

    /// The name that the slot will have.
    pub(super) fn id(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.id)
    }

    /// Wraps the master key of `generation`.
    pub(super) fn wrap(&self, vault: VaultId, generation: u32, master: &Key) -> Result<Slot, String> {
        if self.label.len() > LABEL_BYTES_MAX || self.label.chars().any(char::is_control) {
            return Err(format!(
                "a label has at most {LABEL_BYTES_MAX} bytes and no control characters"
            ));
        }
        let kind = self.secret.kind();
        let argon2id = (kind == SecretKind::Passphrase).then_some(self.cost);
        let opener = Opener::new(&self.secret, &self.salt, argon2id)?;
        let mut slot = Slot {
            id: self.id(),
            kind,
            label: self.label.clone(),
            created_ms: self.created_ms,
            argon2id,
            salt: self.salt,
            check: opener.check,
            nonce: self.nonce,
            wrapped: [0; 48],
        };
        let aad = slot.aad(vault, generation);
        let wrapped = cipher::wrap(&opener.wrap, self.nonce, &aad, master.bytes());
        slot.wrapped.copy_from_slice(&wrapped);
        Ok(slot)
    }
}

impl Slot {
    fn aad(&self, vault: VaultId, generation: u32) -> Vec<u8> {
        let cost = self.argon2id.unwrap_or(KdfCost {
            memory_kib: 0,
            passes: 0,
            lanes: 0,
        });
        let mut aad = vault.0.to_vec();
        aad.extend_from_slice(&generation.to_le_bytes());
        aad.push(match self.kind {
            SecretKind::Passphrase => 1,
            SecretKind::KeyFile => 2,
        });
        for number in [cost.memory_kib, cost.passes, cost.lanes] {
            aad.extend_from_slice(&number.to_le_bytes());
        }
        aad.extend_from_slice(&self.salt.0);
        aad.extend_from_slice(&self.check.0);
        aad.extend_from_slice(&self.created_ms.to_le_bytes());
        for text in [&self.id, &self.label] {
            aad.extend_from_slice(&(text.len() as u32).to_le_bytes());
            aad.extend_from_slice(text.as_bytes());
        }
        aad
    }

    /// The master key, if the slot is this secret's. Slow for a passphrase.
    pub(super) fn open(&self, vault: VaultId, generation: u32, secret: &Secret) -> Result<Key, SlotError> {
        if self.kind != secret.kind() {
            return Err(SlotError::Other);
        }
        let opener = Opener::new(secret, &self.salt, self.argon2id).map_err(SlotError::Impossible)?;
        if opener.check != self.check {
            return Err(SlotError::Other);
        }
        let damaged = || SlotError::Damaged("its check fits, its wrapped key does not open".into());
        let aad = self.aad(vault, generation);
        let plain = cipher::unwrap(&opener.wrap, self.nonce, &aad, &self.wrapped).map_err(|_| damaged())?;
        let bytes = plain.as_slice().try_into().map_err(|_| damaged())?;
        Ok(Key::new(bytes))
    }
}
