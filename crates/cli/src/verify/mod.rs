//! `tidemark verify`: reads snapshots through in the vault, and says what is damaged and what it hits.
//!
//! What must stay true: nothing is changed by it, and it works beside a running service; what could not be checked is never
//! called whole; every damaged object is told of with the snapshots, disks and byte ranges that it hits.
//! Exit status: 0 whole, 1 damaged, 2 wrong command line, 3 it could not be checked.
//!
//! Not here: repairing. The service does that, because it has the disks; `--repair` asks it to.

mod repair;
mod report;
mod sample;
mod status;
mod watch;

use crate::credentials::DEFAULT_DATA_DIR;
use crate::people::print;
use crate::vault::place::VaultPlace;
use crate::vault::secret::{SECRETS, SecretArgs};
use crate::volume::background_engine;
use anyhow::{Context, Result, bail};
use report::Report;
use sample::Share;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidemark_env::Env;
use tidemark_units::SnapshotId;
use tidemark_vault::{Inventory, Part, Vault, VaultOptions, losses};
use watch::Shown;

const EXAMPLES: &str = "\
Reads every tree and every chunk of the snapshots named, or of all, and compares each with its hash. What several
snapshots share is read once. Works beside a running service, and changes nothing.
Exit status: 0 whole, 1 damaged, 2 wrong command line, 3 it could not be checked.

A running service does the same by itself, slowly, and repairs what a disk of it still has: `--status` tells how far
it is and what damage is open (`tidemark up --help`: --scrub-rate). `--repair` has it do that now.

Examples:
  tidemark verify                         the vault of the service here, all of it
  tidemark verify s-bp1... s-bp2...       two snapshots
  tidemark verify --sample 1%             all trees and one chunk of a hundred, other ones each time
  tidemark verify --vault s3://backups/tidemark?region=eu-west-1 --json
  tidemark verify --repair                verify, have the service repair what is damaged, verify again
  tidemark verify --status                what the running service has found";

/// It could not be found out.
const UNCHECKED: u8 = 3;

/// Arguments of `tidemark verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{SECRETS}"))]
pub struct VerifyArgs {
    /// Snapshots [default: all]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// The vault, as `tidemark up` is told it [default: <data-dir>/vault]
    #[arg(long, value_name = "VAULT", env = "TIDEMARK_VAULT", hide_env_values = true)]
    vault: Option<String>,
    /// The data directory of a service, running or not [default: ./tidemark-data]
    #[arg(long, value_name = "DIR", env = "TIDEMARK_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
    /// Read only this share of the chunks (1%, 0.01 or 1/100), chosen anew each time; trees are read whole
    #[arg(long, value_name = "SHARE", value_parser = sample::parse)]
    sample: Option<Share>,
    /// Have the running service repair what its disks still have, then look again
    #[arg(long)]
    repair: bool,
    /// Tell what the service's own scrub has found, and read nothing
    #[arg(long, conflicts_with_all = ["snapshots", "sample", "vault", "repair"])]
    status: bool,
    /// Print an object instead of lines
    #[arg(long)]
    json: bool,
}

/// Verifies, prints, and answers the exit status.
pub fn run(args: &VerifyArgs) -> ExitCode {
    match verify(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ERROR: {error:#}");
            ExitCode::from(UNCHECKED)
        }
    }
}

fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let data_dir = args.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into());
    let data_dir = std::path::absolute(data_dir)?;
    if args.status {
        return status::run(&data_dir, args.json);
    }
    let wanted: BTreeSet<SnapshotId> = args
        .snapshots
        .iter()
        .map(|id| SnapshotId::new(id).with_context(|| format!("{id:?} is no snapshot's id")))
        .collect::<Result<_>>()?;
    let (place, known) = match &args.vault {
        Some(vault) => (VaultPlace::parse(vault)?, None),
        None => (
            VaultPlace::Directory(data_dir.join("vault")),
            known_vault(&data_dir)?,
        ),
    };
    if let VaultPlace::Directory(dir) = &place
        && !dir.is_dir()
    {
        bail!(
            "{} is no directory; name the vault with --vault, or the service's --data-dir",
            dir.display()
        );
    }
    let secret = args.secret.read()?;
    let share = args.sample.unwrap_or(Share::ALL);
    let look = || {
        let options = VaultOptions {
            secret: secret.clone(),
            ..VaultOptions::default()
        };
        let (place, known, wanted) = (&place, known.as_deref(), &wanted);
        background_engine(|real| async move {
            let vault = open(&real.env, place, known, options).await?;
            look(&vault, wanted, share).await
        })
    };
    let mut report = look()?;
    if args.repair
        && let Some(snapshots) = repair::repairable(&report.losses)
    {
        if !args.json {
            print(&format!("{}\n", report.text()))?;
        }
        repair::run(&data_dir, &snapshots)?;
        report = look()?;
    }
    print(&if args.json { report.json()? } else { report.text() })?;
    Ok(ExitCode::from(u8::from(!report.is_whole())))
}

/// What the service knows of its vault: another one in its place is no vault of this service.
fn known_vault(data_dir: &Path) -> Result<Option<Vec<u8>>> {
    let path = data_dir.join("vault.format");
    match std::fs::read(&path) {
        Ok(known) => Ok(Some(known)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

async fn open(env: &Env, place: &VaultPlace, known: Option<&[u8]>, options: VaultOptions) -> Result<Vault> {
    let bucket = place.open(env)?;
    let opened = match known {
        Some(known) => Vault::open_known(env, bucket, Some(known), options).await,
        None => Vault::open_with(env, bucket, options).await,
    };
    opened.with_context(|| format!("the vault in {place} cannot be opened"))
}

/// Keeps what was asked for; everything if nothing was.
fn chosen(mut found: Inventory, wanted: &BTreeSet<SnapshotId>) -> Result<Inventory> {
    if wanted.is_empty() {
        return Ok(found);
    }
    let there: BTreeSet<SnapshotId> = found
        .targets
        .iter()
        .map(|target| target.snapshot.clone())
        .collect();
    let unknown: Vec<&str> = wanted.difference(&there).map(SnapshotId::as_str).collect();
    if !unknown.is_empty() {
        let damaged = found
            .damage
            .iter()
            .any(|damage| matches!(damage.part, Part::Head(_)));
        let why = match damaged {
            true => " that can be found (an entry of a head log is damaged: verify all)",
            false => "",
        };
        bail!("there is no snapshot {} in the vault{why}", unknown.join(", "));
    }
    let kept: Vec<u32> = (0..)
        .zip(&found.targets)
        .filter_map(|(index, target)| wanted.contains(&target.snapshot).then_some(index))
        .collect();
    found.damage.retain_mut(|damage| {
        let new = |hit: &u32| kept.binary_search(hit).ok().map(|at| at as u32);
        damage.hits = damage.hits.iter().filter_map(new).collect();
        !damage.hits.is_empty()
    });
    found.targets.retain(|target| wanted.contains(&target.snapshot));
    Ok(found)
}

async fn look(vault: &Vault, wanted: &BTreeSet<SnapshotId>, share: Share) -> Result<Report> {
    let found = vault.inventory().await.context("the vault cannot be checked")?;
    let found = chosen(found, wanted)?;
    let shown = Shown::new("verify");
    let read = vault
        .verify_snapshots(&found.targets, share.sample(), 0, &shown)
        .await;
    let read = match read {
        Ok(read) => {
            shown.finish();
            read
        }
        Err(error) => {
            shown.give_up();
            return Err(error).context("the vault cannot be checked to the end");
        }
    };
    let mut all = losses(&found.targets, &found.damage);
    all.extend(losses(&found.targets, &read.damage));
    Ok(Report {
        vault: vault.describe(),
        share,
        snapshots: found.targets.len() as u64,
        disks: found
            .targets
            .iter()
            .map(|target| &target.disk)
            .collect::<BTreeSet<_>>()
            .len() as u64,
        objects: found.objects,
        unlisted: read.damage_count - read.damage.len() as u64,
        read,
        losses: all,
    })
}
