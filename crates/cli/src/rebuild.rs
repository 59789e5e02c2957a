//! `tidemark rebuild`: makes a lost catalogue of snapshots again from the vault alone, for example on a new machine.
//!
//! Order: settings, the data directory and its lock, the vault (which is only read), the vault's name in the data
//! directory, keys of disks, the catalogue in one transaction. Killed anywhere, the same command does it again. What
//! must stay true: no service runs on the directory; a catalogue with something in it is not touched unless it is to be
//! added to; the data directory belongs to the vault from then on, so that no other is used with it by mistake.
//!
//! Not here: disks and instances, keys of users: those are in no vault.

use crate::people::{note, print};
use crate::up::data_dir::{DataDir, QuietDataDir};
use crate::up::regions::RegionSettings;
use crate::up::settings::{Given, Settings};
use crate::vault::place::{VaultPlace, environment};
use crate::vault::secret::SecretArgs;
use crate::vault::{open, unreadable_json, unreadable_line};
use crate::volume::engine;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidemark_control::{Clock, ControlError, FoundSnapshot, Rebuild, RebuildReport};
use tidemark_env::Env;
use tidemark_env::fs::{create_dir_durable, read_small, write_atomic};
use tidemark_units::DiskId;
use tidemark_vault::{DiskKey, Secret, SnapshotRecord, Unreadable, Vault, VaultOptions};

const EXAMPLES: &str = "\
Writes a catalogue with the vault's snapshots: ids, names, tags, times, sizes, chains. Start the service
with the same --vault and --data-dir afterwards, and make disks from them. Disks, instances and keys of
the API are in no vault: the snapshots' disks count as deleted.
Exit status: 0, or 1 if something could not be read or understood; it is named, and the rest is done.

Examples:
  tidemark rebuild --vault s3://backups/tidemark?endpoint=https://minio.example:9000 --data-dir /srv/tidemark
  tidemark rebuild --vault /mnt/vault --dry-run
  tidemark rebuild --vault /mnt/vault --merge       add what the catalogue lacks, change nothing else";

/// Arguments of `tidemark rebuild`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RebuildArgs {
    /// Where the snapshots are: a directory, s3://... or oss://... [default: <data-dir>/vault]
    #[arg(long, value_name = "VAULT", env = "TIDEMARK_VAULT", hide_env_values = true)]
    vault: Option<String>,
    /// The data directory to make, of a service that is not running [default: ./tidemark-data]
    #[arg(long, value_name = "DIR", env = "TIDEMARK_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The service's TOML file with settings: region, zone and the flags' names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The region that the vault is of, if not the home region; its snapshots are added with --merge
    #[arg(long, value_name = "ID")]
    region: Option<String>,
    #[command(flatten)]
    secret: SecretArgs,
    /// Add to a catalogue that holds something what it lacks
    #[arg(long)]
    merge: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print an object instead of lines
    #[arg(long)]
    json: bool,
}

/// Rebuilds; the exit status says whether all of it could be read.
pub fn run(args: &RebuildArgs) -> Result<ExitCode> {
    let settings = Settings::resolve(Given {
        data_dir: args.data_dir.clone(),
        config: args.config.clone(),
        ..Given::default()
    })?;
    let region = region_of(args, &settings)?;
    let secret = region.secret.read()?;
    let data_dir = &settings.data_dir;
    let exists = data_dir.exists();
    let quiet = (exists && args.dry_run)
        .then(|| QuietDataDir::take(data_dir))
        .transpose()?;
    let mut lock = (exists && !args.dry_run)
        .then(|| DataDir::take(data_dir))
        .transpose()?;
    let rebuild = Rebuild {
        data_dir: data_dir.clone(),
        region: region.id().to_owned(),
        merge: args.merge,
        dry_run: true,
        clock: Clock::system(),
    };
    // The same question that is asked again at the end, before the vault is read through for nothing.
    catalogue(&rebuild, Vec::new())?;
    let (place, dir) = (region.vault.clone(), region.data_dir.clone());
    let found = engine(|real| async move { Found::read(&real.env, &dir, &place, secret).await })?;
    let snapshots: Vec<FoundSnapshot> = found.records.iter().map(found_snapshot).collect();
    let report = if args.dry_run {
        catalogue(&rebuild, snapshots)?
    } else {
        // Not earlier: a vault that cannot be read leaves no directory behind.
        if lock.is_none() {
            lock = Some(DataDir::take(data_dir)?);
        }
        let beside = region.data_dir != *data_dir;
        let _region_lock = beside.then(|| DataDir::take(&region.data_dir)).transpose()?;
        let (kept, dir) = (&found, region.data_dir.clone());
        engine(|real| async move { kept.keep(&real.env, &dir).await })?;
        catalogue(
            &Rebuild {
                dry_run: false,
                ..rebuild
            },
            snapshots,
        )?
    };
    drop((quiet, lock));
    tell(args, &settings, &region, &found, &report)?;
    let is_complete = found.unreadable.is_empty() && report.problems.is_empty();
    Ok(ExitCode::from(u8::from(!is_complete)))
}

/// The region that is meant, with what the command line says of its vault.
fn region_of(args: &RebuildArgs, settings: &Settings) -> Result<RegionSettings> {
    let mut region = match &args.region {
        None => settings.home().clone(),
        Some(id) => match settings.regions.iter().find(|region| region.id() == id) {
            Some(region) => region.clone(),
            None => RegionSettings::beside(id, &settings.data_dir)?,
        },
    };
    if let Some(vault) = &args.vault {
        region.vault = VaultPlace::parse(vault)?;
    }
    region.secret = args.secret.clone().or(region.secret);
    Ok(region)
}

fn catalogue(rebuild: &Rebuild, found: Vec<FoundSnapshot>) -> Result<RebuildReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.context("cannot start the catalogue's thread")?;
    let done = runtime.block_on(tidemark_control::rebuild(rebuild, found));
    done.map_err(|error| match error {
        ControlError::NotEmpty { .. } => anyhow::Error::new(error)
            .context("add to it with --merge, or name another data directory with --data-dir"),
        _ => anyhow::Error::new(error).context("cannot use the catalogue"),
    })
}

fn found_snapshot(record: &SnapshotRecord) -> FoundSnapshot {
    FoundSnapshot {
        snapshot: record.snapshot.clone(),
        disk: record.disk.clone(),
        size_bytes: record.size_bytes,
        created_ms: record.created_ms,
        full_bytes: record.stats.full_bytes,
        stored_bytes: record.stats.stored_bytes,
        meta: record.meta.clone(),
    }
}

/// What the vault has.
struct Found {
    format: bytes::Bytes,
    records: Vec<SnapshotRecord>,
    unreadable: Vec<Unreadable>,
    keys: Vec<(DiskId, DiskKey)>,
}

impl Found {
    async fn read(env: &Env, data_dir: &Path, place: &VaultPlace, secret: Option<Secret>) -> Result<Self> {
        // A directory that knows its vault already takes no other.
        let known = read_small(&*env.fs, &data_dir.join("vault.format")).await?;
        let vault = match known {
            None => open(env, place, secret, &environment).await?,
            Some(known) => {
                let options = VaultOptions {
                    secret,
                    ..VaultOptions::default()
                };
                let opened = Vault::open_known(env, place.open(env)?, Some(&known), options).await;
                opened
                    .with_context(|| format!("cannot use the vault in {place} with {}", data_dir.display()))?
            }
        };
        let inventory = vault.listing(None).await?;
        let mut keys = Vec::new();
        if vault.is_encrypted() {
            let disks = inventory.snapshots.iter().map(|record| &record.disk);
            let disks: std::collections::BTreeSet<&DiskId> = disks.collect();
            for disk in disks {
                let key = vault.disk_key(disk).await?;
                keys.extend(key.map(|key| (disk.clone(), key)));
            }
        }
        Ok(Self {
            format: vault.format()?,
            records: inventory.snapshots,
            unreadable: inventory.unreadable,
            keys,
        })
    }

    /// What a node keeps of a vault in its data directory: which one it is, and keys of disks, which it destroys when
    /// the last snapshot that needs them is gone.
    async fn keep(&self, env: &Env, data_dir: &Path) -> Result<()> {
        let fs = &*env.fs;
        let failed = || format!("cannot write to {}", data_dir.display());
        write_atomic(fs, &data_dir.join("vault.format"), self.format.clone())
            .await
            .with_context(failed)?;
        let dir = data_dir.join("diskkeys");
        for (disk, key) in &self.keys {
            create_dir_durable(fs, &dir).await.with_context(failed)?;
            write_atomic(fs, &dir.join(disk.as_str()), key.0.clone())
                .await
                .with_context(failed)?;
        }
        Ok(())
    }
}

fn tell(
    args: &RebuildArgs,
    settings: &Settings,
    region: &RegionSettings,
    found: &Found,
    report: &RebuildReport,
) -> Result<()> {
    for one in &found.unreadable {
        note(&unreadable_line(one))?;
    }
    for (snapshot, problem) in &report.problems {
        note(&format!("snapshot {snapshot}: {problem}"))?;
    }
    let expired = report.added.iter().filter(|one| one.expired).count();
    if expired > 0 {
        note(&format!(
            "note: the retention of {expired} of them is over: a service deletes them after its start"
        ))?;
    }
    if !report.other_regions.is_empty() {
        let regions: Vec<&str> = report.other_regions.iter().map(String::as_str).collect();
        let (made, served) = (regions.join(", "), region.id());
        note(&format!(
            "note: snapshots made in region {made} are shown in {served}; --region, or --config with `region`, changes that"
        ))?;
    }
    if args.json {
        let row = |one: &tidemark_control::Rebuilt| {
            json!({
                "SnapshotId": one.snapshot, "DiskId": one.disk, "SnapshotName": one.name, "Expired": one.expired,
            })
        };
        let problem =
            |(snapshot, problem): &(String, String)| json!({"SnapshotId": snapshot, "Problem": problem});
        let object = json!({
            "Vault": region.vault.to_string(),
            "DataDir": settings.data_dir,
            "DryRun": args.dry_run,
            "Complete": found.unreadable.is_empty() && report.problems.is_empty(),
            "Added": report.added.iter().map(row).collect::<Vec<_>>(),
            "Kept": report.kept,
            "Unreadable": found.unreadable.iter().map(unreadable_json).collect::<Vec<_>>(),
            "Problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        });
        return print(&serde_json::to_string_pretty(&object)?);
    }
    let disks: std::collections::BTreeSet<&str> = report.added.iter().map(|one| one.disk.as_str()).collect();
    let verb = if args.dry_run { "would be added" } else { "added" };
    print(&format!(
        "{} snapshots of {} disks {verb}, {} there already, {} unreadable",
        report.added.len(),
        disks.len(),
        report.kept.len(),
        found.unreadable.len()
    ))?;
    if args.dry_run {
        return Ok(());
    }
    note(&format!(
        "Start the service with: tidemark up {}'{}' --data-dir {}",
        match &args.region {
            None => "--vault ".to_owned(),
            Some(id) => format!("--region {} --region {id}=", settings.home().id()),
        },
        args.vault.clone().unwrap_or_else(|| region.vault.to_string()),
        settings.data_dir.display()
    ))
}
