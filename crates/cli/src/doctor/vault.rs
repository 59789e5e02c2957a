//! The vault: its format, that it is the one that this data belongs to, its snapshots' heads and records.

use super::Report;
use crate::vault::place::VaultPlace;
use std::path::Path;
use tidemark_env::Env;
use tidemark_vault::{Secret, Vault, VaultErrorKind, VaultOptions};

const RESTORE: &str = "bring the vault back as it was, or from a copy; data that is only in it cannot be \
                       read without";

/// Checks the vault; `None` when it cannot be used.
pub(super) async fn check(
    env: &Env,
    data_dir: &Path,
    place: &VaultPlace,
    secret: Option<Secret>,
    report: &mut Report,
) -> Option<Vault> {
    let known = match std::fs::read(data_dir.join("vault.format")) {
        Ok(known) => Some(known),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            report.damaged("vault", format!("vault.format cannot be read: {error}"), RESTORE);
            return None;
        }
    };
    let is_missing = matches!(place, VaultPlace::Directory(dir) if !dir.exists());
    if known.is_none() && is_missing {
        report.warning(
            "vault",
            format!("{place} is not there"),
            "expected only where no service has ever started",
        );
        return None;
    }
    let bucket = match place.open(env) {
        Ok(bucket) => bucket,
        Err(error) => {
            report.warning(
                "vault",
                format!("{error:#}"),
                "correct --vault or the environment, and look again",
            );
            return None;
        }
    };
    let options = VaultOptions {
        secret,
        ..VaultOptions::default()
    };
    let opened = match &known {
        Some(known) => Vault::open_known(env, bucket, Some(known), options).await,
        None => Vault::open_with(env, bucket, options).await,
    };
    let vault = match opened {
        Ok(vault) => vault,
        Err(error) if error.kind == VaultErrorKind::Locked => {
            report.warning(
                "vault",
                error.to_string(),
                "give its key as to `tidemark up`; without it nothing in the vault can be looked at",
            );
            return None;
        }
        Err(error) => {
            report.damaged("vault", error.to_string(), RESTORE);
            return None;
        }
    };
    match vault.snapshots().await {
        Ok(snapshots) => report.ok(
            "vault",
            format!("{} snapshots in {}", snapshots.len(), vault.describe()),
        ),
        Err(error) if error.kind == VaultErrorKind::Busy => {
            report.warning(
                "vault",
                error.to_string(),
                "try again when the bucket can be reached",
            );
        }
        Err(error) => report.damaged(
            "vault",
            error.to_string(),
            "bring the named object back from a copy of the vault; other snapshots are not concerned",
        ),
    }
    Some(vault)
}
