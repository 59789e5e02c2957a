//! `tidemark vault init` and `tidemark vault key`: making a vault, and who can open it.

use super::place::VaultPlace;
use super::secret::{SecretArgs, key_file, passphrase_file};
use crate::people::print;
use crate::volume::engine;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use tidemark_vault::{KdfCost, KeySlot, Secret, Vault, VaultOptions};

/// Commands about key slots.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List what opens the vault
    List {
        /// The vault
        #[arg(value_name = "VAULT")]
        vault: String,
        #[command(flatten)]
        secret: SecretArgs,
        /// Print an object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Let another passphrase or key file open the vault too
    Add {
        /// The vault
        #[arg(value_name = "VAULT")]
        vault: String,
        #[command(flatten)]
        secret: SecretArgs,
        #[command(flatten)]
        new: NewSecret,
        /// What to call it; who can read the bucket reads this too
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
    },
    /// Take a way to open the vault away; the last one stays
    Remove {
        /// The vault
        #[arg(value_name = "VAULT")]
        vault: String,
        /// The slot's id, as `list` shows it
        #[arg(value_name = "SLOT")]
        slot: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Start a new generation of keys for what is written from now on; no data is written again
    ///
    /// Only the key that opens the vault now, and the new one if there is one, open it afterwards. A running service uses
    /// the new generation after its next start.
    Rotate {
        /// The vault
        #[arg(value_name = "VAULT")]
        vault: String,
        #[command(flatten)]
        secret: SecretArgs,
        #[command(flatten)]
        new: NewSecret,
        /// The key that opens the vault now opens it no more; the new one does
        #[arg(long)]
        replace: bool,
    },
}

/// Flags that name a secret to be added.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NewSecret {
    /// A file with the new passphrase
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// The new key file
    #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase_file")]
    new_key_file: Option<PathBuf>,
}

impl NewSecret {
    fn read(&self) -> Result<Option<Secret>> {
        match (&self.new_passphrase_file, &self.new_key_file) {
            (Some(path), _) => passphrase_file(path).map(Some),
            (None, Some(path)) => key_file(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Makes a vault: encrypted if a secret is given.
pub fn init(vault: &str, secret: &SecretArgs) -> Result<()> {
    let (place, secret) = (VaultPlace::parse(vault)?, secret.read()?);
    let kind = secret.as_ref().map(Secret::kind);
    let at = place.clone();
    let id = engine(|real| async move {
        let options = VaultOptions {
            secret,
            ..VaultOptions::default()
        };
        let bucket = at.open(&real.env)?;
        Ok(Vault::create_with(&real.env, bucket, options).await?.id())
    })?;
    print(&match kind {
        Some(kind) => format!("vault {id} in {place}, encrypted: it opens with the {kind}"),
        None => format!("vault {id} in {place}, not encrypted"),
    })
}

/// Runs a command about slots.
pub fn run(command: &KeyCommand) -> Result<()> {
    match command {
        KeyCommand::List { vault, secret, json } => {
            let slots = with_vault(
                vault,
                secret,
                |vault, _| async move { Ok(vault.key_slots().await?) },
            )?;
            print(&if *json { as_json(&slots) } else { as_text(&slots) })
        }
        KeyCommand::Add {
            vault,
            secret,
            new,
            label,
        } => {
            let Some(new) = new.read()? else {
                bail!("which key? Give --new-passphrase-file or --new-key-file");
            };
            let label = label.clone();
            let id = with_vault(vault, secret, |vault, _| async move {
                Ok(vault.add_key(&new, &label, KdfCost::default()).await?)
            })?;
            print(&format!("key slot {id} opens the vault too"))
        }
        KeyCommand::Remove { vault, slot, secret } => {
            let id = slot.clone();
            with_vault(vault, secret, |vault, _| async move {
                Ok(vault.remove_key(&id).await?)
            })?;
            print(&format!("key slot {slot} is gone"))
        }
        KeyCommand::Rotate {
            vault,
            secret,
            new,
            replace,
        } => {
            let new = new.read()?;
            if *replace && new.is_none() {
                bail!("--replace needs the key that replaces: --new-passphrase-file or --new-key-file");
            }
            let replace = *replace;
            let rotated = with_vault(vault, secret, |vault, old| async move {
                let mut secrets = Vec::new();
                if !replace {
                    secrets.push((old, String::new()));
                }
                secrets.extend(new.map(|new| (new, String::new())));
                Ok(vault.rotate_keys(&secrets, KdfCost::default()).await?)
            })?;
            let mut text = format!(
                "generation {} of keys, opened by slots {}; a running service takes it up at its next start",
                rotated.generation,
                rotated.slots.join(", ")
            );
            for slot in &rotated.dropped {
                text.push_str(&format!("\nslot gone: {}", line(slot)));
            }
            print(&text)
        }
    }
}

/// Runs `work` on an open encrypted vault, with the secret that opened it.
fn with_vault<T, F: Future<Output = Result<T>>>(
    vault: &str,
    secret: &SecretArgs,
    work: impl FnOnce(Vault, Secret) -> F,
) -> Result<T> {
    let place = VaultPlace::parse(vault)?;
    let secret = secret.read()?;
    engine(|real| async move {
        let options = VaultOptions {
            secret: secret.clone(),
            ..VaultOptions::default()
        };
        let bucket = place.open(&real.env)?;
        let vault = Vault::open_with(&real.env, bucket, options)
            .await
            .with_context(|| format!("cannot open the vault in {place}"))?;
        let Some(secret) = secret else {
            bail!("the vault in {place} is not encrypted: it has no keys");
        };
        work(vault, secret).await
    })
}

fn line(slot: &KeySlot) -> String {
    let made = jiff::Timestamp::from_millisecond(slot.created_ms)
        .map_or_else(|_| "-".into(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    format!(
        "{}  {:<10}  {made}  {}",
        slot.id,
        slot.kind.to_string(),
        slot.label
    )
    .trim_end()
    .to_owned()
}

fn as_text(slots: &[KeySlot]) -> String {
    slots.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn as_json(slots: &[KeySlot]) -> String {
    let slot = |slot: &KeySlot| json!({"id": slot.id, "kind": slot.kind, "label": slot.label, "created_ms": slot.created_ms});
    json!({ "slots": slots.iter().map(slot).collect::<Vec<_>>() }).to_string()
}
