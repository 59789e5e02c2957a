//! `tidemark vault`: work on a vault itself, without a service.

pub mod check;
mod cp;
pub mod du;
pub mod key;
mod ls;
pub mod place;
pub mod secret;
mod show;

use crate::people::print;
use anyhow::Result;
use clap::Subcommand;
use place::{Variables, VaultPlace};
use secret::{SECRETS, SecretArgs};
use std::process::ExitCode;
use tidemark_env::Env;
use tidemark_vault::{Secret, SnapshotRecord, Unreadable, Vault, VaultErrorKind, VaultOptions};

/// What a vault's URL looks like, for every command that takes one.
pub const PLACES: &str = "\
A vault is in a directory (a path) or in a bucket of an S3-compatible store:
  s3://BUCKET/PREFIX?endpoint=https://HOST:PORT   MinIO, Ceph and their like
  s3://BUCKET/PREFIX?region=eu-west-1             AWS
  oss://BUCKET/PREFIX?region=cn-hangzhou          Alibaba Cloud OSS
The key comes from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN;
for oss:// ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET, ALIBABA_CLOUD_SECURITY_TOKEN.
AWS_REGION and AWS_ENDPOINT_URL hold where the URL says nothing. More options of the URL:
  style=path|virtual     the bucket's name in the path or in the host's name
  ca=FILE                trust these certificates (PEM) instead of the system's
  parallel=16            most requests at once
  checksum=sha256        or crc64nvme, none: sent with each object for the store to check
  retry-seconds=15       how long a request that fails for a moment is tried again
  request-seconds=30     how long one may take, besides what its bytes need";

const CHECK_EXAMPLES: &str = "\
Writes, reads, lists and removes a few objects, and says what works, one line each.
Exit status: 0 a vault can be there, 1 it cannot.

Examples:
  tidemark vault check s3://backups/tidemark?endpoint=https://minio.example:9000
  tidemark vault check oss://backups/tidemark?region=cn-hangzhou --json
  tidemark vault check /srv/vault";

/// Arguments of `tidemark vault`.
#[derive(Debug, clap::Args)]
#[command(after_help = PLACES)]
pub struct VaultArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a vault: encrypted, and for good, if a passphrase or key file is given
    #[command(after_help = SECRETS)]
    Init {
        /// A directory, s3://... or oss://...
        #[arg(value_name = "VAULT")]
        vault: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Try everything that a vault needs of a place
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// A directory, s3://... or oss://...
        #[arg(value_name = "VAULT")]
        vault: String,
        /// Print an object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// List the snapshots that a vault has
    #[command(after_help = ls::EXAMPLES)]
    Ls(ls::LsArgs),
    /// Show what a vault has of one snapshot
    #[command(after_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// Copy snapshots from one vault to another, only what is new there
    #[command(after_help = cp::EXAMPLES)]
    Cp(cp::CpArgs),
    /// Show where the space is: of each snapshot, each disk, and what deletions would free
    #[command(after_help = du::EXAMPLES)]
    Du(du::DuArgs),
    /// Passphrases and key files of an encrypted vault: list, add, remove, rotate
    #[command(subcommand, after_help = SECRETS)]
    Key(key::KeyCommand),
}

/// Runs the command; the exit status is its verdict.
pub fn run(args: &VaultArgs) -> Result<ExitCode> {
    match &args.command {
        Command::Check { vault, json } => {
            let place = VaultPlace::parse(vault)?;
            let report = check::check(&place)?;
            print(&if *json {
                report.json(&place)?
            } else {
                report.text(&place)
            })?;
            return Ok(ExitCode::from(u8::from(!report.is_usable())));
        }
        Command::Ls(args) => return ls::run(args),
        Command::Show(args) => return show::run(args),
        Command::Cp(args) => return cp::run(args),
        Command::Init { vault, secret } => key::init(vault, secret)?,
        Command::Du(args) => du::run(args)?,
        Command::Key(command) => key::run(command)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the vault that is there.
pub async fn open(
    env: &Env,
    place: &VaultPlace,
    secret: Option<Secret>,
    variables: Variables<'_>,
) -> Result<Vault> {
    let options = VaultOptions {
        secret,
        ..VaultOptions::default()
    };
    let opened = Vault::open_with(env, place.open_with(env, variables)?, options).await;
    opened.map_err(|error| match error.kind {
        VaultErrorKind::Missing => {
            anyhow::anyhow!("there is no vault in {place}; `tidemark vault init` makes one")
        }
        _ => anyhow::Error::new(error).context(format!("cannot open the vault in {place}")),
    })
}

/// The name that people gave a snapshot.
fn name_of(record: &SnapshotRecord) -> &str {
    record.meta["name"].as_str().unwrap_or_default()
}

/// A time of a record, as the API writes it.
fn time(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms);
    at.map_or_else(
        |_| ms.to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// One line for what cannot be read.
pub fn unreadable_line(one: &Unreadable) -> String {
    match &one.snapshot {
        Some(snapshot) => format!(
            "snapshot {snapshot} of disk {} cannot be read: {}",
            one.disk, one.error
        ),
        None => format!("the head log of disk {} cannot be read: {}", one.disk, one.error),
    }
}

/// As [`unreadable_line`], for programs.
pub fn unreadable_json(one: &Unreadable) -> serde_json::Value {
    serde_json::json!({
        "DiskId": one.disk,
        "SnapshotId": one.snapshot,
        "Error": one.error.to_string(),
    })
}
