//! `tidemark gc`: frees what nobody needs in a vault, beside running services or without any.
//!
//! A service does this by itself. Here it is for vaults that no service uses now, for looking first (`--dry-run`), and for
//! telling a vault that a node is gone for good. It needs nothing but the vault: any machine may run it at any time.

use crate::credentials::DEFAULT_DATA_DIR;
use crate::people::print;
use crate::size::human;
use crate::vault::PLACES;
use crate::vault::place::VaultPlace;
use crate::vault::secret::SecretArgs;
use crate::volume::background_engine;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use tidemark_vault::{CollectOptions, CollectReport, Holder, RegisteredCapture, Vault, VaultOptions};

const EXAMPLES: &str = "\
Safe beside running services: what they need is written in the vault itself.
A node that is gone for good leaves behind what it held; --forget-node ends that. If the node comes back after all, its
captures under way fail, its next snapshots are taken in full, and what its disks had not fetched yet may be lost.

Examples:
  tidemark gc --dry-run
  tidemark gc --vault s3://backups/tidemark?endpoint=https://minio.example:9000
  tidemark gc --purge-deleted
  tidemark gc --forget-node node-91c6d1a0b7f0e2ab";

/// Arguments of `tidemark gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{PLACES}"))]
pub struct GcArgs {
    /// The vault, as `tidemark up` is told it [default: <data-dir>/vault]
    #[arg(long, value_name = "VAULT", env = "TIDEMARK_VAULT", hide_env_values = true)]
    vault: Option<String>,
    /// The data directory whose vault it is, if none is named [default: ./tidemark-data]
    #[arg(long, value_name = "DIR", env = "TIDEMARK_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
    /// Change nothing: only say what would be freed
    #[arg(long)]
    dry_run: bool,
    /// Free deleted snapshots now, although they could still be brought back
    #[arg(long)]
    purge_deleted: bool,
    /// Rewrite packs that are mostly garbage, at most so many percent of the vault at once; 0: none
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=100))]
    repack: u64,
    /// A node that is gone for good: what it held and captured is nobody's
    #[arg(long, value_name = "NODE", conflicts_with = "dry_run")]
    forget_node: Option<String>,
    /// Print an object instead of lines
    #[arg(long)]
    json: bool,
}

/// What was done, and what keeps things.
struct Outcome {
    place: String,
    report: CollectReport,
    holders: Vec<Holder>,
    captures: Vec<RegisteredCapture>,
}

/// Collects, and says what came of it.
pub fn run(args: &GcArgs) -> Result<()> {
    let place = match &args.vault {
        Some(vault) => VaultPlace::parse(vault)?,
        None => {
            let dir = args.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into());
            VaultPlace::Directory(std::path::absolute(dir)?.join("vault"))
        }
    };
    if let VaultPlace::Directory(dir) = &place
        && !dir.exists()
    {
        bail!(
            "there is no vault in {}; name one with --vault or --data-dir",
            dir.display()
        );
    }
    let secret = args.secret.read()?;
    let options = CollectOptions {
        dry_run: args.dry_run,
        purge_all: args.purge_deleted,
        repack_percent: args.repack,
    };
    let (forget, name) = (args.forget_node.clone(), place.to_string());
    let outcome = background_engine(|real| async move {
        let bucket = place.open(&real.env)?;
        let vault_options = VaultOptions {
            secret,
            ..VaultOptions::default()
        };
        let vault = Vault::open_with(&real.env, bucket, vault_options).await?;
        if let Some(node) = &forget {
            forget_node(&vault, node).await?;
        }
        let report = vault.collect(&options).await.context("nothing was freed")?;
        Ok(Outcome {
            place: name,
            report,
            holders: vault.holders().await?,
            captures: vault.registered_captures().await?,
        })
    })?;
    print(&if args.json {
        outcome.json()?
    } else {
        outcome.text(args.dry_run)
    })
}

async fn forget_node(vault: &Vault, node: &str) -> Result<()> {
    let holders = vault.holders().await?;
    let held: Vec<_> = holders.iter().filter(|holder| holder.node == node).collect();
    let captures = vault.registered_captures().await?;
    let captures: Vec<_> = captures.iter().filter(|capture| capture.node == node).collect();
    if held.is_empty() && captures.is_empty() {
        let mut known: Vec<&str> = holders.iter().map(|holder| holder.node.as_str()).collect();
        known.dedup();
        bail!(
            "no node {node:?} holds anything in this vault; those that do: {}",
            known.join(", ")
        );
    }
    for capture in captures {
        // One that was committed in the end needs no more.
        if let Err(error) = vault.end_capture(capture.capture).await
            && error.kind != tidemark_vault::VaultErrorKind::Other
        {
            return Err(error.into());
        }
    }
    for holder in held {
        vault.release_of(&holder.disk, node).await?;
    }
    Ok(())
}

impl Outcome {
    fn text(&self, dry_run: bool) -> String {
        let report = &self.report;
        let percent = report.live_bytes * 100 / report.stored_bytes.max(1);
        let would = if dry_run { "would be " } else { "" };
        let mut lines = vec![format!("vault      {}", self.place)];
        if !dry_run {
            lines.push(format!("purged     {} snapshots", report.purged.len()));
        }
        lines.push(format!(
            "{would}freed      {} packs, {}",
            report.freed_packs,
            human(report.freed_bytes)
        ));
        if !dry_run {
            lines.push(format!(
                "repacked   {} packs, {} freed by that",
                report.repacked_packs,
                human(report.repacked_bytes)
            ));
        }
        lines.push(format!(
            "stored     {} packs, {}, {}% of it in use",
            report.kept_packs,
            human(report.stored_bytes),
            percent.min(100)
        ));
        if report.failed_packs > 0 {
            lines.push(format!(
                "failed     {} packs; the next run tries them again",
                report.failed_packs
            ));
        }
        for capture in &self.captures {
            lines.push(format!(
                "capture    {} of disk {} by {} is under way",
                capture.snapshot, capture.disk, capture.node
            ));
        }
        let mut nodes: Vec<&str> = self.holders.iter().map(|holder| holder.node.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let disks = self.holders.iter().filter(|holder| holder.node == node).count();
            lines.push(format!("node       {node} holds content for {disks} disks"));
        }
        lines.join("\n")
    }

    fn json(&self) -> Result<String> {
        let report = &self.report;
        let object = json!({
            "Vault": self.place,
            "PurgedSnapshots": report.purged,
            "FreedPacks": report.freed_packs,
            "FreedBytes": report.freed_bytes,
            "RepackedPacks": report.repacked_packs,
            "RepackedBytes": report.repacked_bytes,
            "FailedPacks": report.failed_packs,
            "StoredPacks": report.kept_packs,
            "StoredBytes": report.stored_bytes,
            "LiveBytes": report.live_bytes,
            "Captures": self.captures,
            "Holders": self.holders.iter().map(|holder| json!({
                "Node": holder.node,
                "Disk": holder.disk,
                "Contents": holder.contents,
            })).collect::<Vec<_>>(),
        });
        Ok(serde_json::to_string_pretty(&object)?)
    }
}
