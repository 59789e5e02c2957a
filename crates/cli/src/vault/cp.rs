//! `tidemark vault cp`: copies snapshots between vaults, incrementally; what was interrupted goes on.
//!
//! What must stay true: SRC is only read; in DST nothing is replaced or removed; one snapshot that cannot be copied is
//! named and does not keep others from it; a spool belongs to one run at a time.
//!
//! Not here: how a snapshot is copied (`tidemark_vault::DiskCopier`).

use super::place::{Variables, VaultPlace, environment, open_bucket_with};
use super::secret::{DstSecretArgs, SecretArgs};
use super::{open, unreadable_json, unreadable_line};
use crate::people::progress::{Progress, Unit};
use crate::people::{note, print};
use crate::size::human;
use crate::vault::check::SINGLE_WRITER;
use crate::volume::engine;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tidemark_env::{DirLock, Env};
use tidemark_s3::CreateOnly;
use tidemark_units::{DiskId, SnapshotId};
use tidemark_vault::{
    CaptureOptions, CopyReport, CopyRequest, DiskCopier, Listing, SnapshotCopy, SnapshotWriter, Standing,
    Unreadable, Vault, VaultError, VaultErrorKind,
};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often a copy begins again because its basis was deleted meanwhile.
const BEGINNINGS_MAX: u32 = 4;

/// For the help.
pub const EXAMPLES: &str = "\
Copies what DST does not have: all snapshots of SRC, those named, or those of a disk. Ids, names, tags
and times are kept; only chunks that DST has in no other snapshot of the disk at their place are sent.
A snapshot that was deleted from DST is copied again only if it is named. A service whose vault is DST learns
of copies by `tidemark rebuild --merge`, while it is stopped.
Killed or interrupted, the same command goes on where it was: what is under way is kept in --spool
[default: $XDG_CACHE_HOME/tidemark/cp/SRC-DST, by the vaults' ids; about 1 GiB at most].

SRC and DST may be encrypted differently or not at all: --vault-passphrase-file and --vault-key-file are for
SRC, --dst-passphrase-file and --dst-key-file for DST. For buckets of different owners, put the second key in
variables with TIDEMARK_DST_ in front: TIDEMARK_DST_AWS_ACCESS_KEY_ID and so on.
A disk with a key of its own is copied into encrypted vaults only.
Exit status: 0, or 1 if a snapshot could not be read or copied.

Examples:
  tidemark vault cp /srv/vault s3://backups/tidemark?endpoint=https://minio.example:9000
  tidemark vault cp /srv/vault /mnt/usb/vault s-bp1... s-bp1...";

/// Arguments of `tidemark vault cp`.
#[derive(Debug, clap::Args)]
pub struct CpArgs {
    /// The vault to copy from: a directory, s3://... or oss://...
    #[arg(value_name = "SRC")]
    src: String,
    /// The vault to copy to
    #[arg(value_name = "DST")]
    dst: String,
    /// Only these snapshots
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Only snapshots of this disk
    #[arg(long, value_name = "DISK")]
    disk: Option<String>,
    /// Where packs wait that are on their way
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    dst_secret: DstSecretArgs,
    /// Print an object instead of lines
    #[arg(long)]
    json: bool,
}

/// What became of one snapshot.
enum Outcome {
    Copied(Box<CopyReport>),
    There,
    Deleted,
    Purged,
    Failed(String),
}

/// Copies; the exit status says whether all that was wanted is there.
pub fn run(args: &CpArgs) -> Result<ExitCode> {
    let src = VaultPlace::parse(&args.src).context("SRC")?;
    let dst = VaultPlace::parse_with(&args.dst, &dst_environment).context("DST")?;
    if src == dst {
        bail!("SRC and DST are the same vault: {src}");
    }
    let (secret, dst_secret) = (args.secret.read()?, args.dst_secret.read()?);
    let disk = args.disk.as_deref().map(DiskId::new).transpose();
    let disk = disk.context("--disk is no disk's id")?;
    let named = args.snapshots.iter().map(SnapshotId::new);
    let named: BTreeSet<SnapshotId> = named
        .collect::<Result<_, _>>()
        .context("SNAPSHOT is no snapshot's id")?;
    crate::log::start("warn")?;
    let done = engine(|real| async move {
        let env = &real.env;
        let from = open(env, &src, secret, &environment).await.context("SRC")?;
        let to = open(env, &dst, dst_secret, &dst_environment)
            .await
            .context("DST")?;
        say_what_to_know(&from, &to, &dst).await?;
        let spool = args.spool.clone().map_or_else(|| default_spool(&from, &to), Ok)?;
        let spool =
            std::path::absolute(&spool).with_context(|| format!("{} cannot be resolved", spool.display()))?;
        let work = Work {
            env,
            from,
            to,
            spool,
            named,
        };
        work.copy_all(disk.as_ref()).await
    })?;
    done.tell(args.json)?;
    Ok(ExitCode::from(u8::from(!done.is_complete())))
}

fn dst_environment(name: &str) -> Option<String> {
    dst_variable(name, &environment)
}

/// DST's own variables where there are any, else the common ones. A key is one set: half of it is never mixed in.
fn dst_variable(name: &str, variables: Variables<'_>) -> Option<String> {
    let own = |name: &str| variables(&format!("TIDEMARK_DST_{name}"));
    let has_own_key = |family: &str| own(&format!("{family}_ACCESS_KEY_ID")).is_some();
    let family = ["AWS", "ALIBABA_CLOUD"]
        .into_iter()
        .find(|family| name.starts_with(family));
    own(name).or_else(|| {
        let is_of_key = name.contains("ACCESS_KEY") || name.contains("TOKEN");
        match family {
            Some(family) if is_of_key && has_own_key(family) => None,
            _ => variables(name),
        }
    })
}

async fn say_what_to_know(from: &Vault, to: &Vault, dst: &VaultPlace) -> Result<()> {
    if from.is_encrypted() && !to.is_encrypted() {
        note("note: SRC is encrypted and DST is not: whoever can read DST can read the copies")?;
    }
    if let VaultPlace::Bucket(location) = dst {
        let bucket = open_bucket_with(location, &dst_environment)?;
        if let CreateOnly::Missing(how) = bucket.create_only().await? {
            note(&format!("WARNING: DST: {how}: {SINGLE_WRITER}"))?;
        }
    }
    Ok(())
}

/// In the user's cache, so that it outlives a restart of the machine; by both ids, so that it is found again.
fn default_spool(from: &Vault, to: &Vault) -> Result<PathBuf> {
    let dir = |name: &str| environment(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let cache = dir("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    let cache = cache.or_else(|| dir("HOME").map(|home| home.join(".cache")));
    let cache = cache.unwrap_or_else(std::env::temp_dir);
    Ok(cache
        .join("tidemark")
        .join("cp")
        .join(format!("{}-{}", from.id(), to.id())))
}

/// Two vaults and what is wanted.
struct Work<'a> {
    env: &'a Env,
    from: Vault,
    to: Vault,
    spool: PathBuf,
    /// Empty: all.
    named: BTreeSet<SnapshotId>,
}

/// What became of all.
#[derive(Default)]
struct Done {
    outcomes: Vec<(SnapshotId, DiskId, Outcome)>,
    unreadable: Vec<Unreadable>,
}

impl Work<'_> {
    async fn copy_all(&self, disk: Option<&DiskId>) -> Result<Done> {
        let Listing {
            snapshots,
            unreadable,
        } = self.source(disk).await?;
        let mut by_disk: BTreeMap<DiskId, BTreeSet<SnapshotId>> = BTreeMap::new();
        for record in snapshots {
            by_disk.entry(record.disk).or_default().insert(record.snapshot);
        }
        let unreadable = self.wanted_unreadable(unreadable, &by_disk)?;
        let _lock = self.lock_spool().await?;
        self.tidy_spool(&by_disk).await?;
        let mut done = Done {
            unreadable,
            ..Done::default()
        };
        let is_wanted = |id: &SnapshotId| self.named.is_empty() || self.named.contains(id);
        let count = by_disk.values().flatten().filter(|id| is_wanted(id)).count();
        for (disk, readable) in by_disk {
            let wanted = |id: &SnapshotId| readable.contains(id) && is_wanted(id);
            if !readable.iter().any(wanted) {
                continue;
            }
            let copier = match DiskCopier::open(&self.from, &self.to, &disk).await {
                Ok(copier) => copier,
                Err(error) if error.kind == VaultErrorKind::Busy => return Err(error.into()),
                Err(error) => {
                    let failed = readable.iter().filter(|id| wanted(id));
                    let failed =
                        failed.map(|id| (id.clone(), disk.clone(), Outcome::Failed(error.to_string())));
                    done.outcomes.extend(failed);
                    continue;
                }
            };
            for id in copier.snapshots().into_iter().filter(wanted) {
                let place = format!("{id} ({} of {count})", done.outcomes.len() + 1);
                let outcome = self.copy(&copier, &id, &place).await?;
                done.outcomes.push((id, disk.clone(), outcome));
            }
        }
        Ok(done)
    }

    /// What SRC has, as far as it can matter: where all that is named says which disk it is of, the others are not read.
    async fn source(&self, disk: Option<&DiskId>) -> Result<Listing> {
        let mut disks: BTreeSet<DiskId> = disk.cloned().into_iter().collect();
        if disks.is_empty() {
            for id in &self.named {
                match self.from.disk_of(id).await {
                    Ok(Some(disk)) => disks.insert(disk),
                    _ => return Ok(self.from.listing(None).await?),
                };
            }
        }
        if disks.is_empty() {
            return Ok(self.from.listing(None).await?);
        }
        let mut all = Listing::default();
        for disk in disks {
            let one = self.from.listing(Some(&disk)).await?;
            all.snapshots.extend(one.snapshots);
            all.unreadable.extend(one.unreadable);
        }
        Ok(all)
    }

    /// Of what cannot be read, what concerns this run; an error when something named is not there at all.
    fn wanted_unreadable(
        &self,
        unreadable: Vec<Unreadable>,
        by_disk: &BTreeMap<DiskId, BTreeSet<SnapshotId>>,
    ) -> Result<Vec<Unreadable>> {
        let is_named = |one: &Unreadable| one.snapshot.as_ref().is_none_or(|id| self.named.contains(id));
        let unreadable: Vec<Unreadable> = unreadable
            .into_iter()
            .filter(|one| self.named.is_empty() || is_named(one))
            .collect();
        let readable: BTreeSet<&SnapshotId> = by_disk.values().flatten().collect();
        for id in &self.named {
            let is_known = unreadable.iter().any(|one| one.snapshot.as_ref() == Some(id));
            if !readable.contains(id) && !is_known {
                bail!("there is no snapshot {id} in SRC ({})", self.from.describe());
            }
        }
        Ok(unreadable)
    }

    async fn lock_spool(&self) -> Result<Box<dyn DirLock>> {
        let (fs, dir) = (&*self.env.fs, &self.spool);
        let made = tidemark_env::fs::create_dir_durable(fs, dir).await;
        made.with_context(|| format!("cannot make the spool {}", dir.display()))?;
        fs.lock_dir(dir).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => anyhow::anyhow!(
                "another copy between these vaults uses the spool {}: wait for it, or name another with --spool",
                dir.display()
            ),
            _ => anyhow::Error::new(error).context(format!("cannot lock the spool {}", dir.display())),
        })
    }

    /// Gives up what was begun of snapshots that SRC does not have any more.
    async fn tidy_spool(&self, by_disk: &BTreeMap<DiskId, BTreeSet<SnapshotId>>) -> Result<()> {
        for entry in self.env.fs.list(&self.spool).await? {
            let Ok(id) = SnapshotId::new(&entry.name) else {
                continue;
            };
            if !entry.is_dir || by_disk.values().any(|ids| ids.contains(&id)) {
                continue;
            }
            let dir = self.spool.join(&entry.name);
            let Ok(Some(left)) = SnapshotWriter::resume(&self.to, &dir, CaptureOptions::default()).await
            else {
                continue;
            };
            // Of another disk than the one that was asked for, perhaps.
            let there = self.from.listing(Some(&left.spec().disk)).await?;
            if !there.unreadable.is_empty() || there.snapshots.iter().any(|record| record.snapshot == id) {
                continue;
            }
            match left.abandon_copy().await {
                Ok(()) => {}
                // It was committed, and only the spool had stayed; now it is gone.
                Err(error) if error.kind == VaultErrorKind::Other => {}
                Err(error) => note(&format!("note: {} stays for now: {error}", dir.display()))?,
            }
        }
        Ok(())
    }

    /// One snapshot; an error ends the run.
    async fn copy(&self, copier: &DiskCopier, id: &SnapshotId, place: &str) -> Result<Outcome> {
        let request = CopyRequest::new(id.clone());
        // What retention removed there does not come back with every run. Who names it is told by `begin`.
        if !self.named.contains(id) {
            match copier.standing(&request).await? {
                Standing::Deleted => return Ok(Outcome::Deleted),
                Standing::Purged => return Ok(Outcome::Purged),
                Standing::Missing | Standing::Same | Standing::Other => {}
            }
        }
        let dir = self.spool.join(id.as_str());
        let mut beginnings = 0;
        loop {
            beginnings += 1;
            match self.try_to_copy(copier, &request, &dir, place).await {
                Ok(Some(report)) => return Ok(Outcome::Copied(Box::new(report))),
                Ok(None) => return Ok(Outcome::There),
                Err(error) if error.kind == VaultErrorKind::Stale && beginnings < BEGINNINGS_MAX => {}
                // The next snapshot would meet the same.
                Err(error) if matches!(error.kind, VaultErrorKind::Busy | VaultErrorKind::Full) => {
                    let hint = "the same command goes on where this one stopped";
                    return Err(
                        anyhow::Error::new(error).context(format!("copying {id} was interrupted; {hint}"))
                    );
                }
                Err(error) => return Ok(Outcome::Failed(error.to_string())),
            }
        }
    }

    async fn try_to_copy(
        &self,
        copier: &DiskCopier,
        request: &CopyRequest,
        dir: &Path,
        place: &str,
    ) -> Result<Option<CopyReport>, VaultError> {
        let Some(copy) = copier.begin(request, dir, CaptureOptions::default()).await? else {
            return Ok(None);
        };
        let copied = self.watch(&copy, place).await;
        if copied.is_err() {
            copy.close().await;
        }
        copied.map(Some)
    }

    /// Runs a copy and shows how far it is.
    async fn watch(&self, copy: &SnapshotCopy, place: &str) -> Result<CopyReport, VaultError> {
        let mut shown = Progress::new(place, Unit::Bytes, copy.progress().total_bytes);
        let mut trouble = None;
        let running = copy.run();
        tokio::pin!(running);
        loop {
            tokio::select! {
                done = &mut running => {
                    let report = done?;
                    shown.finish();
                    return Ok(report);
                }
                () = self.env.clock.sleep(LOOK) => {
                    let progress = copy.progress();
                    shown.show(progress.done_bytes, None);
                    if progress.trouble != trouble {
                        if let Some(why) = &progress.trouble {
                            // A closed terminal is no reason to stop copying.
                            let _ = note(&format!("{place}: DST: {why}; trying again"));
                        }
                        trouble = progress.trouble;
                    }
                }
            }
        }
    }
}

impl Done {
    fn is_complete(&self) -> bool {
        let failed = |(_, _, outcome): &(SnapshotId, DiskId, Outcome)| matches!(outcome, Outcome::Failed(_));
        self.unreadable.is_empty() && !self.outcomes.iter().any(failed)
    }

    fn tell(&self, json: bool) -> Result<()> {
        if json {
            return print(&serde_json::to_string_pretty(&self.object())?);
        }
        let (mut copied, mut there, mut deleted, mut failed, mut sent) = (0, 0, 0, 0, 0);
        for (id, disk, outcome) in &self.outcomes {
            match outcome {
                Outcome::Copied(report) => {
                    copied += 1;
                    sent += report.record.stats.stored_bytes;
                    print(&copied_line(id, report))?;
                }
                Outcome::There => there += 1,
                Outcome::Deleted => {
                    deleted += 1;
                    note(&format!(
                        "{id} was deleted there; bring it back with `tidemark snapshot undelete`"
                    ))?;
                }
                Outcome::Purged => {
                    deleted += 1;
                    note(&format!(
                        "{id} was deleted for good there, and its id is not used again"
                    ))?;
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    note(&format!("{id} of disk {disk} is not copied: {why}"))?;
                }
            }
        }
        for one in &self.unreadable {
            note(&unreadable_line(one))?;
        }
        let failed = failed + self.unreadable.len();
        print(&format!(
            "{copied} copied ({} stored), {there} there already, {deleted} deleted there, {failed} failed",
            human(sent)
        ))
    }

    fn object(&self) -> Value {
        let row = |(id, disk, outcome): &(SnapshotId, DiskId, Outcome)| {
            let mut row = json!({"SnapshotId": id, "DiskId": disk});
            let more = match outcome {
                Outcome::Copied(report) => json!({
                    "Outcome": "copied",
                    "RelativeTo": report.basis,
                    "Resumed": report.resumed,
                    "MadeByAnother": report.made_by_another,
                    "ReadBytes": report.read_bytes,
                    "CapturedChunks": report.record.stats.captured_chunks,
                    "StoredBytes": report.record.stats.stored_bytes,
                    "FullBytes": report.record.stats.full_bytes,
                }),
                Outcome::There => json!({"Outcome": "there"}),
                Outcome::Deleted => json!({"Outcome": "deleted"}),
                Outcome::Purged => json!({"Outcome": "purged"}),
                Outcome::Failed(why) => json!({"Outcome": "failed", "Error": why}),
            };
            if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
                row.extend(more);
            }
            row
        };
        json!({
            "Complete": self.is_complete(),
            "Snapshots": self.outcomes.iter().map(row).collect::<Vec<_>>(),
            "Unreadable": self.unreadable.iter().map(unreadable_json).collect::<Vec<_>>(),
        })
    }
}

fn copied_line(id: &SnapshotId, report: &CopyReport) -> String {
    let relative = match &report.basis {
        Some(basis) => format!("relative to {basis}"),
        None => "in full".to_string(),
    };
    let stored = human(report.record.stats.stored_bytes);
    match report.made_by_another {
        true => format!("{id}: another copy was quicker"),
        false => format!(
            "{id}: {} read, {stored} stored, {relative}",
            human(report.read_bytes)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_key_replaces_the_first_as_a_whole() {
        let with = |names: &'static [&'static str]| {
            move |asked: &str| {
                let named =
                    |name: &str| dst_variable(name, &|name| names.contains(&name).then(|| name.to_string()));
                named(asked)
            }
        };
        const COMMON: &[&str] = &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_REGION",
        ];
        let name = |of: &str| Some(of.to_string());
        assert_eq!(with(COMMON)("AWS_ACCESS_KEY_ID"), name("AWS_ACCESS_KEY_ID"));
        const OWN: &[&str] = &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_REGION",
            "TIDEMARK_DST_AWS_ACCESS_KEY_ID",
            "TIDEMARK_DST_AWS_SECRET_ACCESS_KEY",
        ];
        assert_eq!(
            with(OWN)("AWS_SECRET_ACCESS_KEY"),
            name("TIDEMARK_DST_AWS_SECRET_ACCESS_KEY")
        );
        assert_eq!(
            with(OWN)("AWS_SESSION_TOKEN"),
            None,
            "the first key's token is not the second's"
        );
        assert_eq!(with(OWN)("AWS_REGION"), name("AWS_REGION"));
        assert_eq!(with(OWN)("ALIBABA_CLOUD_ACCESS_KEY_ID"), None);
    }
}
