//! What opens an encrypted vault: from a file or the environment, never from the command line, where others see it.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tidemark_vault::Secret;

/// The environment variable that holds a passphrase itself.
const PASSPHRASE: &str = "TIDEMARK_VAULT_PASSPHRASE";

/// For the help of every command that opens a vault.
pub const SECRETS: &str = "\
An encrypted vault opens with a passphrase or a key file (32 random bytes, raw or as 64 hex digits). A
passphrase is the content of a file, without the end of the line, or of TIDEMARK_VAULT_PASSPHRASE.
  head -c 32 /dev/urandom > vault.key     makes a key file. Losing all keys is losing the vault.";

/// Flags that name the secret of a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct SecretArgs {
    /// A file with the passphrase of an encrypted vault
    #[arg(long, value_name = "FILE", env = "TIDEMARK_VAULT_PASSPHRASE_FILE")]
    pub vault_passphrase_file: Option<PathBuf>,
    /// The key file of an encrypted vault
    #[arg(long, value_name = "FILE", env = "TIDEMARK_VAULT_KEY_FILE")]
    pub vault_key_file: Option<PathBuf>,
}

impl SecretArgs {
    /// These, or where they say nothing, the others.
    pub fn or(self, others: Self) -> Self {
        if self.vault_passphrase_file.is_some() || self.vault_key_file.is_some() {
            self
        } else {
            others
        }
    }

    /// The secret that is named, if one is. More than one is a mistake that nobody should have to find out about later.
    pub fn read(&self) -> Result<Option<Secret>> {
        self.read_with(&|name| std::env::var_os(name).map(|value| value.into_encoded_bytes()))
    }

    /// As [`SecretArgs::read`], from files only: the environment is another vault's.
    pub fn read_files(&self) -> Result<Option<Secret>> {
        self.read_with(&|_| None)
    }

    fn read_with(&self, env: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Option<Secret>> {
        let variable = env(PASSPHRASE).filter(|value| !value.is_empty());
        let files = (&self.vault_passphrase_file, &self.vault_key_file);
        match (files, variable) {
            ((None, None), None) => Ok(None),
            ((Some(path), None), None) => passphrase_file(path).map(Some),
            ((None, Some(path)), None) => key_file(path).map(Some),
            ((None, None), Some(passphrase)) => Ok(Some(Secret::passphrase(passphrase)?)),
            _ => bail!(
                "the vault has one key: give --vault-passphrase-file, --vault-key-file or {PASSPHRASE}, not several"
            ),
        }
    }
}

/// Flags that name the secret of the second vault of a command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DstSecretArgs {
    /// A file with the passphrase of DST, if it is encrypted
    #[arg(long, value_name = "FILE", env = "TIDEMARK_DST_VAULT_PASSPHRASE_FILE")]
    dst_passphrase_file: Option<PathBuf>,
    /// The key file of DST, if it is encrypted
    #[arg(long, value_name = "FILE", env = "TIDEMARK_DST_VAULT_KEY_FILE")]
    dst_key_file: Option<PathBuf>,
}

impl DstSecretArgs {
    /// The secret that is named, if one is.
    pub fn read(&self) -> Result<Option<Secret>> {
        let named = SecretArgs {
            vault_passphrase_file: self.dst_passphrase_file.clone(),
            vault_key_file: self.dst_key_file.clone(),
        };
        let of_dst = |name: &str| name.replace("TIDEMARK_", "TIDEMARK_DST_");
        named
            .read_with(&|name| std::env::var_os(of_dst(name)).map(|value| value.into_encoded_bytes()))
            .context("DST, whose flags and variables have `dst` in their names")
    }
}

/// The passphrase in a file.
pub fn passphrase_file(path: &Path) -> Result<Secret> {
    let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Secret::passphrase(content).with_context(|| format!("{} holds no passphrase", path.display()))
}

/// The key in a file.
pub fn key_file(path: &Path) -> Result<Secret> {
    let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Secret::key_file(&content).with_context(|| format!("{} is no key file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_vault::SecretKind;

    #[test]
    fn one_secret_from_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let (passphrase, key) = (dir.path().join("p"), dir.path().join("k"));
        std::fs::write(&passphrase, "high water\n").unwrap();
        std::fs::write(&key, [7; 32]).unwrap();
        let args = |p: bool, k: bool| SecretArgs {
            vault_passphrase_file: p.then(|| passphrase.clone()),
            vault_key_file: k.then(|| key.clone()),
        };
        let set = |_: &str| Some(b"ebb".to_vec());
        let unset = |_: &str| None;
        assert!(args(false, false).read_with(&unset).unwrap().is_none());
        let kind = |args: SecretArgs, env: &dyn Fn(&str) -> Option<Vec<u8>>| {
            args.read_with(env)
                .map(|secret| secret.map(|secret| secret.kind()))
        };
        assert_eq!(
            kind(args(true, false), &unset).unwrap(),
            Some(SecretKind::Passphrase)
        );
        assert_eq!(
            kind(args(false, true), &unset).unwrap(),
            Some(SecretKind::KeyFile)
        );
        assert_eq!(
            kind(args(false, false), &set).unwrap(),
            Some(SecretKind::Passphrase)
        );
        for (several, env) in [
            (args(true, true), false),
            (args(true, false), true),
            (args(false, true), true),
        ] {
            let error = several.read_with(if env { &set } else { &unset }).unwrap_err();
            assert!(error.to_string().contains("not several"), "{error}");
        }
        let error = format!("{:#}", key_file(&passphrase).unwrap_err());
        assert!(
            error.contains("no key file") && !error.contains("water"),
            "{error}"
        );
        let error = format!("{:#}", passphrase_file(&dir.path().join("none")).unwrap_err());
        assert!(error.contains("none"), "{error}");
    }
}
