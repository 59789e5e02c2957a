//! Encrypted vaults with secrets that a test chooses.

use super::Bad;
use std::rc::Rc;
use tidemark_env::Env;
use tidemark_vault::{KdfCost, Result, Secret, Vault, VaultOptions};

/// So little work that tests need not wait for it.
pub const CHEAP: KdfCost = KdfCost {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};

pub fn passphrase(text: &str) -> Secret {
    Secret::passphrase(text).unwrap()
}

pub fn with(secret: &Secret) -> VaultOptions {
    VaultOptions {
        secret: Some(secret.clone()),
        kdf: CHEAP,
        ..VaultOptions::default()
    }
}

pub async fn open(env: &Env, bucket: &Rc<Bad>, secret: &Secret) -> Result<Vault> {
    Vault::open_with(env, bucket.clone(), with(secret)).await
}

pub async fn create(env: &Env, bucket: &Rc<Bad>, secret: &Secret) -> Vault {
    Vault::create_with(env, bucket.clone(), with(secret))
        .await
        .unwrap()
}
