//! Access keys and nonces, for whoever checks signatures.

use crate::catalogue::keys::{self, KeyRow};
use crate::catalogue::nonces;
use crate::clock::MINUTE_MS;
use crate::config::ControlConfig;
use crate::control::{Control, random};
use crate::store::{Store, StoreError, Transaction};
use crate::{Caller, ControlError};

/// How long a nonce is remembered: as long as a timestamp can be valid, on both sides of now.
const NONCE_MS: i64 = 35 * MINUTE_MS;

/// A key that requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The account whose resources it reaches.
    pub account: String,
    /// False: refuse it (403 `Forbidden.AccessKeyDisabled`).
    pub active: bool,
}

impl std::fmt::Debug for AccessKey {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl From<KeyRow> for AccessKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            secret: row.secret,
            account: row.account,
            active: row.active,
        }
    }
}

impl Control {
    /// The key with this id.
    pub async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, ControlError> {
        let id = id.to_owned();
        let row = self.store().read(move |t| KeyRow::get(t, id)).await?;
        Ok(row.map(AccessKey::from))
    }

    /// The key made at first start.
    pub async fn root_key(&self) -> Result<AccessKey, ControlError> {
        let row = self.store().read(keys::root).await?;
        row.map(AccessKey::from)
            .ok_or_else(|| ControlError::Config("the catalogue has no root key".into()))
    }

    /// Who asks with that key.
    pub fn caller(&self, key: &AccessKey) -> Caller {
        Caller {
            account: key.account.clone(),
            access_key: key.id.clone(),
        }
    }

    /// Remembers a nonce; false if this key has used it in the last half hour. Survives the end of the process, and a power
    /// cut if `synced`.
    pub async fn use_nonce(&self, access_key: &str, nonce: &str, synced: bool) -> Result<bool, ControlError> {
        let (key, nonce, now) = (access_key.to_owned(), nonce.to_owned(), self.now_ms());
        let work = move |t: &mut dyn Transaction| nonces::remember(t, &key, &nonce, now, now + NONCE_MS);
        let fresh: Result<_, StoreError> = if synced {
            self.store().write(work).await
        } else {
            self.store().write_unsynced(work).await
        };
        Ok(fresh?)
    }
}

/// Makes the root key if the catalogue has none.
pub(crate) async fn ensure_root(store: &Store, config: &ControlConfig) -> Result<(), ControlError> {
    let (id, secret) = match &config.root_key {
        Some((id, secret)) if id.is_empty() || secret.is_empty() => {
            return Err(ControlError::Config(
                "the root key needs both an id and a secret".into(),
            ));
        }
        Some(given) => given.clone(),
        None => (format!("TMAK{}", letters(20)), letters(30)),
    };
    let (account, created_ms) = (config.account.clone(), config.clock.now_ms());
    let make = move |t: &mut dyn Transaction| -> Result<Option<String>, StoreError> {
        if let Some(present) = keys::root(t)? {
            return Ok((present.id != id).then_some(present.id));
        }
        KeyRow {
            id,
            secret,
            account,
            active: true,
            root: true,
            created_ms,
        }
        .insert(t)?;
        Ok(None)
    };
    let other = store.write(make).await?;
    if let (Some(present), Some(_)) = (other, &config.root_key) {
        tracing::warn!(%present, "the catalogue has another root key than the configured one, and keeps it");
    }
    Ok(())
}

fn letters(count: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::new();
    while text.len() < count {
        for byte in random::<32>() {
            // 248 = 4 * 62: what lies above would favour the first letters.
            if byte < 248 && text.len() < count {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    text
}
