//! Opening an encrypted vault, and changing its key slots.

use super::cipher;
use super::keyset::{GENERATIONS_MAX, KeySet, SLOTS_MAX};
use super::secret::{Key, Secret, SecretKind};
use super::slot::Draft;
use super::{Crypt, KdfCost, Keyring};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::id::VaultId;
use crate::key;
use crate::vault::{PutIfAbsent, Store, Vault};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tidemark_env::{Env, UnixMillis};

/// Looks at a key set that goes while it is read before that is called damage.
const LOOKS_MAX: u32 = 10;
/// Changes lost to others before that is told.
const CHANGES_MAX: u32 = 20;
/// Old key sets removed at the same time.
const WIDTH: usize = 8;

/// One way to open the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// How to name it.
    pub id: String,
    /// What opens it.
    pub kind: SecretKind,
    /// What its maker called it.
    pub label: String,
    /// When it was made.
    pub created_ms: UnixMillis,
}

/// What [`Vault::rotate_keys`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotation {
    /// The generation that new packs are encrypted under, once the vault is opened again.
    pub generation: u32,
    /// The slots that open it.
    pub slots: Vec<String>,
    /// Slots that are gone because their secrets were not at hand.
    pub dropped: Vec<KeySlot>,
}

/// An encrypted vault's key set, and the keys that it holds.
pub(crate) struct Unlocked {
    pub(crate) set: KeySet,
    pub(crate) crypt: Crypt,
}

fn no_secret(set: &KeySet) -> VaultError {
    let cause = format!(
        "the vault is encrypted and no key was given; it opens with a {}",
        set.kinds()
    );
    VaultError::new(VaultErrorKind::Locked, "open vault", key::FORMAT, cause)
}

impl Unlocked {
    /// A new vault's first key set, and its keys.
    pub(crate) async fn create(env: &Env, vault: VaultId, secret: &Secret, cost: KdfCost) -> Result<Self> {
        let master = Key::random(env);
        let draft = Draft::new(env, secret.clone(), "first", cost);
        let wrapped = master.clone();
        let slot = env.compute(move || draft.wrap(vault, 0, &wrapped)).await;
        let slot = slot.map_err(|cause| VaultError::other("create vault", "key slot", cause))?;
        Ok(Self {
            set: KeySet::first(vault, vec![slot]),
            crypt: Crypt::new(Keyring::new(vault, vec![master])),
        })
    }

    /// Opens a key set with a secret.
    pub(crate) async fn open(env: &Env, set: KeySet, secret: Option<&Secret>) -> Result<Self> {
        let secret = secret.cloned().ok_or_else(|| no_secret(&set))?;
        let (vault, work) = (set.vault, set.clone());
        let masters = env.compute(move || work.open(&secret)).await?;
        Ok(Self {
            set,
            crypt: Crypt::new(Keyring::new(vault, masters)),
        })
    }
}

impl Store {
    /// The key set that counts.
    pub(crate) async fn key_set(&self) -> Result<KeySet> {
        let (step, prefix) = ("read key set", key::key_sets(self.vault));
        for _ in 0..LOOKS_MAX {
            let listed = self.list(step, &prefix).await?;
            let seqs = listed
                .iter()
                .filter_map(|object| key::parse_key_set(self.vault, &object.key));
            let Some(seq) = seqs.max() else {
                let cause = "the vault's key sets are gone; the last two lines of a node's vault.format are a copy of one";
                return Err(VaultError::corrupt(step, prefix, cause));
            };
            // A writer may have made the next one and removed this meanwhile.
            if let Some(object) = self.get_opt(step, &key::key_set(self.vault, seq)).await? {
                return KeySet::decode(self.vault, Some(seq), &object);
            }
        }
        Err(VaultError::new(
            VaultErrorKind::Busy,
            step,
            prefix,
            "it changes faster than it can be read",
        ))
    }

    /// Removes the key sets that no longer count.
    async fn remove_older_key_sets(&self, current: &KeySet) -> Result<()> {
        let step = "remove old key sets";
        // What a power cut could still take back replaces nothing: being refused proves that it is durable.
        self.put_if_absent(step, &current.key(), current.encode()?)
            .await?;
        let listed = self.list(step, &key::key_sets(self.vault)).await?;
        let older = listed.into_iter().filter(|object| {
            key::parse_key_set(self.vault, &object.key).is_some_and(|seq| seq < current.seq)
        });
        let deletions = stream::iter(older).map(|object| async move { self.delete(step, &object.key).await });
        deletions.buffer_unordered(WIDTH).try_collect().await
    }

    /// Makes `apply`'s change to the key set that counts; `None` from it: the set has the change.
    async fn change_keys(
        &self,
        step: &'static str,
        mut apply: impl FnMut(&KeySet) -> Result<Option<KeySet>>,
    ) -> Result<KeySet> {
        for _ in 0..CHANGES_MAX {
            let current = self.key_set().await?;
            let Some(mut next) = apply(&current)? else {
                self.remove_older_key_sets(&current).await?;
                return Ok(current);
            };
            next.seq = current.seq + 1;
            // Whether it counts is seen by looking again: it may have been made below the one that does.
            match self.put_if_absent(step, &next.key(), next.encode()?).await? {
                PutIfAbsent::Done | PutIfAbsent::Exists(_) => {}
            }
        }
        let cause = "others change it all the time";
        Err(VaultError::new(VaultErrorKind::Busy, step, "key set", cause))
    }
}

fn shown(slot: &super::slot::Slot) -> KeySlot {
    KeySlot {
        id: slot.id.clone(),
        kind: slot.kind,
        label: slot.label.clone(),
        created_ms: slot.created_ms,
    }
}

impl Vault {
    /// The keys of an encrypted vault, or the error that it is none.
    pub(super) fn keyring(&self, step: &'static str) -> Result<&Keyring> {
        let keys = self.store().crypt.keyring();
        keys.map(AsRef::as_ref).ok_or_else(|| {
            let cause = "the vault is not encrypted; that is chosen when a vault is created";
            VaultError::other(step, self.describe(), cause)
        })
    }

    /// Whether everything in it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.store().crypt.is_on()
    }

    /// The ways to open the vault, as the bucket has them now.
    pub async fn key_slots(&self) -> Result<Vec<KeySlot>> {
        self.keyring("list keys")?;
        let set = self.store().key_set().await?;
        Ok(set.slots.iter().map(shown).collect())
    }

    /// Lets `secret` open the vault too; gives the new slot's id. Nothing else is written again.
    pub async fn add_key(&self, secret: &Secret, label: &str, cost: KdfCost) -> Result<String> {
        let step = "add key";
        let keys = self.keyring(step)?;
        let generation = (keys.masters().len() - 1) as u32;
        let newest = keys
            .masters()
            .last()
            .cloned()
            .expect("a vault has a first generation");
        let draft = Draft::new(self.env(), secret.clone(), label, cost);
        let (id, vault) = (draft.id(), self.id());
        let slot = self
            .env()
            .compute(move || draft.wrap(vault, generation, &newest))
            .await;
        let slot = slot.map_err(|cause| VaultError::other(step, "key slot", cause))?;
        self.store()
            .change_keys(step, |current| {
                same_generation(step, current, generation)?;
                if current.slots.contains(&slot) {
                    return Ok(None);
                }
                if current.slots.len() >= SLOTS_MAX {
                    let cause = format!("there are {SLOTS_MAX} slots already; remove one first");
                    return Err(VaultError::other(step, current.key(), cause));
                }
                let mut next = current.clone();
                next.slots.push(slot.clone());
                Ok(Some(next))
            })
            .await?;
        Ok(id)
    }

    /// Takes a way to open the vault away. The last one stays: without any, all would be lost. Whoever has a copy
    /// of the key set and the secret keeps the key: see [`Vault::rotate_keys`].
    pub async fn remove_key(&self, id: &str) -> Result<()> {
        let step = "remove key";
        self.keyring(step)?;
        let mut found = false;
        let left = self
            .store()
            .change_keys(step, |current| {
                let mut next = current.clone();
                next.slots.retain(|slot| slot.id != id);
                if next.slots.len() == current.slots.len() {
                    return Ok(None);
                }
                found = true;
                if next.slots.is_empty() {
                    let cause = "it is the last slot: without it nobody could ever open the vault again";
                    return Err(VaultError::other(step, format!("key slot {id}"), cause));
                }
                Ok(Some(next))
            })
            .await?;
        if found {
            return Ok(());
        }
        let slots: Vec<&str> = left.slots.iter().map(|slot| slot.id.as_str()).collect();
        let cause = format!("there is no such slot; there are {}", slots.join(", "));
        Err(VaultError::new(
            VaultErrorKind::Missing,
            step,
            format!("key slot {id}"),
            cause,
        ))
    }

    /// Starts a new generation: a new master key, which `secrets` open, each with its label. What is stored stays as it
    /// is, readable through the new key; what is written after the vault has been opened again is encrypted under
    /// the new one. Slots of other secrets are gone.
    pub async fn rotate_keys(&self, secrets: &[(Secret, String)], cost: KdfCost) -> Result<KeyRotation> {
        let step = "rotate keys";
        let keys = self.keyring(step)?;
        let (env, vault) = (self.env(), self.id());
        let old = (keys.masters().len() - 1) as u32;
        let generation = old + 1;
        if secrets.is_empty() || secrets.len() > SLOTS_MAX || generation >= GENERATIONS_MAX {
            let cause =
                format!("1 to {SLOTS_MAX} secrets open generation {generation} of at most {GENERATIONS_MAX}");
            return Err(VaultError::other(step, "key set", cause));
        }
        let mut masters = keys.masters().to_vec();
        let newest = Key::random(env);
        masters.push(newest.clone());
        let drafts: Vec<Draft> = secrets
            .iter()
            .map(|(secret, label)| Draft::new(env, secret.clone(), label, cost))
            .collect();
        let wrapped = env
            .compute(move || {
                let wrap = |draft: &Draft| draft.wrap(vault, generation, &newest);
                drafts.iter().map(wrap).collect::<Result<Vec<_>, String>>()
            })
            .await;
        let slots = wrapped.map_err(|cause| VaultError::other(step, "key slot", cause))?;
        let nonce = cipher::nonce(env);
        let mut dropped = Vec::new();
        self.store()
            .change_keys(step, |current| {
                if current.slots.iter().any(|slot| slots.contains(slot)) {
                    return Ok(None);
                }
                same_generation(step, current, old)?;
                dropped = current.slots.iter().map(shown).collect();
                let mut next = KeySet {
                    generation,
                    slots: slots.clone(),
                    ..current.clone()
                };
                next.wrap_older(nonce, &masters);
                Ok(Some(next))
            })
            .await?;
        Ok(KeyRotation {
            generation,
            slots: slots.iter().map(|slot| slot.id.clone()).collect(),
            dropped,
        })
    }
}

fn same_generation(step: &'static str, current: &KeySet, ours: u32) -> Result<()> {
    if current.generation == ours {
        return Ok(());
    }
    let cause = format!(
        "the vault's keys were rotated meanwhile (generation {} where this process has {ours}); open it again",
        current.generation
    );
    Err(VaultError::new(VaultErrorKind::Lost, step, current.key(), cause))
}
