//! Access keys and nonces, for whoever checks signatures.
//!
//! Secrets are sealed in the catalogue ([`crate::secrets`]) and open only here, on their way to a signature's check.

use crate::catalogue::keys::{self, KeyRow, SessionRow};
use crate::catalogue::nonces;
use crate::catalogue::ram::{HolderKind, RoleRow, UserRow};
use crate::clock::MINUTE_MS;
use crate::config::ControlConfig;
use crate::control::{Control, random};
use crate::identity::{Identity, parsed, policies_of};
use crate::secrets::{KEY_FILE, Secrets};
use crate::store::{self, Store, StoreError, Transaction};
use crate::{Caller, ControlError};
use std::sync::Arc;

/// How long a nonce is remembered: as long as a timestamp can be valid, on both sides of now.
const NONCE_MS: i64 = 35 * MINUTE_MS;
/// What the ids of temporary keys begin with.
pub(crate) const TEMPORARY: &str = "STS.";
/// Set once no unsealed secret is left anywhere in the catalogue's file.
const REWRITTEN: &str = "secrets_rewritten";

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
    /// Who signs with it.
    pub identity: Identity,
    /// What a temporary key must come with.
    pub session: Option<Session>,
}

/// The other half of a temporary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of its token, in hex.
    pub token_hash: String,
    /// From then on it is no key.
    pub expires_ms: i64,
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

/// What a key's secret is sealed for.
pub(crate) fn owner(id: &str) -> String {
    format!("access key {id}")
}

/// A token as it is kept.
pub fn token_hash(token: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref())
}

impl Control {
    /// The key with this id, with what its holder may do as of now.
    pub async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, ControlError> {
        let wanted = id.to_owned();
        let read = move |t: &mut dyn Transaction| match wanted.starts_with(TEMPORARY) {
            true => temporary(t, &wanted),
            false => permanent(t, &wanted),
        };
        let Some(mut key) = self.store().read::<_, StoreError, _>(read).await? else {
            return Ok(None);
        };
        key.secret = self.unseal(&owner(&key.id), &key.secret)?;
        Ok(Some(key))
    }

    fn unseal(&self, owner: &str, sealed: &str) -> Result<String, ControlError> {
        let opened = self.secrets().unseal(owner, sealed);
        opened.map_err(|error| ControlError::Config(error.to_string()))
    }

    /// The account's own key: the one made at first start, until another takes its place.
    pub async fn root_key(&self) -> Result<AccessKey, ControlError> {
        let row = self.store().read(keys::root).await?;
        let row = row.ok_or_else(|| ControlError::Config("the catalogue has no root key".into()))?;
        let secret = self.unseal(&owner(&row.id), &row.secret)?;
        Ok(AccessKey {
            secret,
            ..of_row(row, Identity::Root)
        })
    }

    /// Who asks with that key.
    pub fn caller(&self, key: &AccessKey) -> Caller {
        Caller {
            region: None,
            account: key.account.clone(),
            access_key: key.id.clone(),
            identity: key.identity.clone(),
            source: None,
            request_id: None,
        }
    }

    /// Remembers a nonce, and that the key was used; false if this key has used it in the last half hour. Survives the end of the process, and a power
    /// cut if `synced`.
    pub async fn use_nonce(&self, access_key: &str, nonce: &str, synced: bool) -> Result<bool, ControlError> {
        let (key, nonce, now) = (access_key.to_owned(), nonce.to_owned(), self.now_ms());
        let work = move |t: &mut dyn Transaction| {
            let new = nonces::remember(t, &key, &nonce, now, now + NONCE_MS)?;
            if new {
                keys::note_use(t, &key, now)?;
            }
            Ok(new)
        };
        let fresh: Result<_, StoreError> = if synced {
            self.store().write(work).await
        } else {
            self.store().write_unsynced(work).await
        };
        Ok(fresh?)
    }
}

fn of_row(row: KeyRow, identity: Identity) -> AccessKey {
    AccessKey {
        id: row.id,
        secret: row.secret,
        account: row.account,
        active: row.active,
        identity,
        session: None,
    }
}

/// A user's key, or the account's; its secret still sealed.
fn permanent(t: &mut dyn Transaction, id: &str) -> Result<Option<AccessKey>, StoreError> {
    let Some(row) = KeyRow::get(t, id)? else {
        return Ok(None);
    };
    if row.root {
        return Ok(Some(of_row(row, Identity::Root)));
    }
    let Some(user) = UserRow::named(t, &row.account, &row.user_name)? else {
        return Ok(None);
    };
    let policies = policies_of(t, &row.account, HolderKind::User, &user.name)?;
    let identity = Identity::User {
        id: user.id,
        name: user.name,
        policies,
    };
    Ok(Some(of_row(row, identity)))
}

/// A temporary key, as long as its role exists; its secret still sealed.
fn temporary(t: &mut dyn Transaction, id: &str) -> Result<Option<AccessKey>, StoreError> {
    let Some(row) = SessionRow::get(t, id)? else {
        return Ok(None);
    };
    let Some(role) = RoleRow::get(t, &row.role_id)? else {
        return Ok(None);
    };
    let policies = policies_of(t, &row.account, HolderKind::Role, &role.name)?;
    let within = match row.policy.as_str() {
        "" => None,
        text => Some(Arc::new(parsed("of temporary keys", text)?)),
    };
    Ok(Some(AccessKey {
        id: row.id,
        secret: row.secret,
        account: row.account,
        active: true,
        identity: Identity::Role {
            id: role.id,
            name: role.name,
            session: row.name,
            policies,
            within,
        },
        session: Some(Session {
            token_hash: row.token_hash,
            expires_ms: row.expires_ms,
        }),
    }))
}

/// Opens the key that secrets are sealed with, seals those that are not, and makes the root key if there is none.
pub(crate) async fn prepare(store: &Store, config: &ControlConfig) -> Result<Secrets, ControlError> {
    let path = config
        .secrets_key
        .clone()
        .unwrap_or_else(|| config.data_dir.join(KEY_FILE));
    let sealed = "SELECT 1 FROM access_keys WHERE sealed = 1 LIMIT 1";
    let fresh = move |t: &mut dyn Transaction| Ok(t.query_one(sealed, &[])?.is_none());
    let fresh = store.read::<_, StoreError, _>(fresh).await?;
    let opened = tokio::task::spawn_blocking(move || Secrets::open(&path, fresh)).await;
    let secrets =
        opened.map_err(|e| ControlError::Config(format!("opening the key of the secrets: {e}")))??;
    seal_all(store, config, &secrets).await?;
    ensure_root(store, config, &secrets).await?;
    Ok(secrets)
}

/// Seals what an earlier program left open. What it wrote stays in free pages of the file, so the file is written anew.
async fn seal_all(store: &Store, config: &ControlConfig, secrets: &Secrets) -> Result<(), ControlError> {
    let open = "WHERE sealed = 0";
    let rows = store.read(move |t| KeyRow::select(t, open, &[])).await?;
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| KeyRow {
            secret: secrets.seal(&owner(&row.id), &row.secret),
            sealed: true,
            ..row
        })
        .collect();
    let seal = move |t: &mut dyn Transaction| {
        for row in &rows {
            row.save(t)?;
        }
        let rewritten = "SELECT value FROM counters WHERE name = $1";
        let any = t.query_one("SELECT 1 FROM access_keys LIMIT 1", &[])?.is_some();
        Ok(any && t.query_one(rewritten, &[REWRITTEN.into()])?.is_none())
    };
    if store.write::<_, StoreError, _>(seal).await? {
        let path = config.data_dir.join(crate::CATALOGUE_FILE);
        let written = tokio::task::spawn_blocking(move || store::rewrite(&path)).await;
        written.map_err(|e| ControlError::Config(format!("writing the catalogue anew: {e}")))??;
        tracing::info!("the secrets in the catalogue are sealed now");
    }
    let note = "INSERT INTO counters (name, value) VALUES ($1, 1) ON CONFLICT (name) DO NOTHING";
    let note = move |t: &mut dyn Transaction| t.execute(note, &[REWRITTEN.into()]);
    store.write::<_, StoreError, _>(note).await?;
    Ok(())
}

/// Makes the root key if the catalogue has none.
async fn ensure_root(store: &Store, config: &ControlConfig, secrets: &Secrets) -> Result<(), ControlError> {
    let (id, secret) = match &config.root_key {
        Some((id, secret)) if id.is_empty() || secret.is_empty() => {
            return Err(ControlError::Config(
                "the root key needs both an id and a secret".into(),
            ));
        }
        Some((id, _)) if id.starts_with(TEMPORARY) => {
            return Err(ControlError::Config(format!(
                "the root key's id must not begin with {TEMPORARY}, as those of temporary keys do"
            )));
        }
        Some(given) => given.clone(),
        None => new_pair(),
    };
    let secret = secrets.seal(&owner(&id), &secret);
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
            sealed: true,
            user_name: String::new(),
            last_used_ms: None,
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

/// Id and secret of a new permanent key.
pub(crate) fn new_pair() -> (String, String) {
    (format!("TMAK{}", letters(20)), letters(30))
}

/// Unpredictable letters and digits: nearly six bits each.
pub(crate) fn letters(count: usize) -> String {
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
