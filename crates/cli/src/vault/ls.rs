//! `tidemark vault ls`: which snapshots a vault has, by reading only.

use super::place::{VaultPlace, environment};
use super::secret::SecretArgs;
use super::{name_of, open, time, unreadable_json, unreadable_line};
use crate::people::{Column, note, print, table, text};
use crate::size::human;
use crate::volume::engine;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::ExitCode;
use tidemark_units::DiskId;
use tidemark_vault::{Listing, SnapshotRecord};

/// For the help.
pub const EXAMPLES: &str = "\
Reads the vault alone, also beside a running service.
DATA is what a full copy of the snapshot would hold, STORED what it added to the vault.
Exit status: 0, or 1 if a snapshot cannot be read; it is named on standard error.

Examples:
  tidemark vault ls s3://backups/tidemark?endpoint=https://minio.example:9000
  tidemark vault ls /srv/vault --disk d-bp1... --json";

/// Arguments of `tidemark vault ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// A directory, s3://... or oss://...
    #[arg(value_name = "VAULT")]
    vault: String,
    /// Only those of this disk
    #[arg(long, value_name = "DISK")]
    disk: Option<String>,
    #[command(flatten)]
    secret: SecretArgs,
    /// Print an object instead of lines
    #[arg(long)]
    json: bool,
}

const COLUMNS: &[Column] = &[
    Column::text("snapshot", |r| text(r, "SnapshotId")),
    Column::text("disk", |r| text(r, "DiskId")),
    Column::text("name", |r| text(r, "SnapshotName")),
    Column::text("created", |r| text(r, "CreationTime")),
    Column::number("size", |r| bytes(r, "SizeBytes")),
    Column::number("data", |r| bytes(r, "FullBytes")),
    Column::number("stored", |r| bytes(r, "StoredBytes")),
    Column::text("parent", |r| text(r, "Parent")),
];

fn bytes(row: &Value, name: &str) -> String {
    row[name].as_u64().map(human).unwrap_or_default()
}

/// One snapshot, for programs.
pub fn row(record: &SnapshotRecord) -> Value {
    json!({
        "SnapshotId": record.snapshot,
        "DiskId": record.disk,
        "SnapshotName": name_of(record),
        "CreationTime": time(record.created_ms),
        "SizeBytes": record.size_bytes,
        "FullBytes": record.stats.full_bytes,
        "StoredBytes": record.stats.stored_bytes,
        "Parent": record.parent,
    })
}

/// Lists.
pub fn run(args: &LsArgs) -> Result<ExitCode> {
    let (place, secret) = (VaultPlace::parse(&args.vault)?, args.secret.read()?);
    let disk = args.disk.as_deref().map(DiskId::new).transpose();
    let disk = disk.context("--disk is no disk's id")?;
    let at = place.clone();
    let (id, found) = engine(|real| async move {
        let vault = open(&real.env, &at, secret, &environment).await?;
        let found = vault.listing(disk.as_ref()).await?;
        Ok((vault.id(), found))
    })?;
    let Listing {
        snapshots,
        unreadable,
    } = found;
    let rows: Vec<Value> = snapshots.iter().map(row).collect();
    if args.json {
        let object = json!({
            "Vault": place.to_string(),
            "VaultId": id,
            "Snapshots": rows,
            "Unreadable": unreadable.iter().map(unreadable_json).collect::<Vec<_>>(),
        });
        print(&serde_json::to_string_pretty(&object)?)?;
    } else if rows.is_empty() {
        note("no snapshots")?;
    } else {
        print(&table(COLUMNS, &rows))?;
    }
    for one in &unreadable {
        note(&unreadable_line(one))?;
    }
    Ok(ExitCode::from(u8::from(!unreadable.is_empty())))
}
