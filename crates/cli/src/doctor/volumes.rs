//! Volumes: superblock, log, base, and the snapshots' content that they cannot do without.

use super::Report;
use std::collections::BTreeMap;
use std::path::Path;
use tidemark_env::{Env, OpenMode};
use tidemark_units::Lsn;
use tidemark_vault::{Reader, Root, Vault};
use tidemark_volume::{Volume, VolumeError, VolumeErrorKind, read_log};

const DAMAGED: &str = "keep the directory as it is (copy it before trying anything); make a disk from the newest \
                       snapshot, or bring the named file back from a copy";
const UNREADABLE: &str = "look at the medium and the permissions, then check again";
const LOCKED: &str = "stop what serves it (`tidemark volume serve`), then check again";

/// Checks every volume of the data directory; answers their names, and whether each could be read.
pub(super) async fn check(
    env: &Env,
    data_dir: &Path,
    vault: Option<&Vault>,
    report: &mut Report,
) -> BTreeMap<String, bool> {
    let dir = data_dir.join("volumes");
    let mut found = BTreeMap::new();
    let mut entries = match env.fs.list(&dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return found,
        Err(error) => {
            report.damaged("volumes", format!("{}: {error}", dir.display()), UNREADABLE);
            return found;
        }
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let item = format!("volume {}", entry.name);
        if entry.name.starts_with('.') {
            report.warning(
                item,
                "a deletion that was interrupted",
                "nothing: the next start finishes it",
            );
            continue;
        }
        if !entry.is_dir {
            report.warning(item, "not a directory", "nothing: no part of the service uses it");
            continue;
        }
        let before = report.0.len();
        volume(env, &dir.join(&entry.name), &item, vault, report).await;
        let whole = report.0[before..].iter().all(|f| f.verdict == super::Verdict::Ok);
        found.insert(entry.name, whole);
    }
    found
}

async fn volume(env: &Env, dir: &Path, item: &str, vault: Option<&Vault>, report: &mut Report) {
    let _lock = match env.fs.lock_dir(dir).await {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            return report.warning(item, "in use by another process; not looked at", LOCKED);
        }
        Err(error) => return report.damaged(item, format!("cannot be locked: {error}"), UNREADABLE),
    };
    let roots = match Volume::roots_of(env, dir).await {
        Ok(roots) => roots,
        Err(error) => return failed(item, &error, report),
    };
    if let Err(why) = base(env, dir).await {
        report.damaged(item, why, DAMAGED);
    }
    let (mut records, mut last) = (0u64, Lsn::ZERO);
    let read = read_log(env, dir, |line| {
        records += 1;
        last = last.max(line.lsn);
    })
    .await;
    match read {
        Ok(()) => report.ok(item, format!("{records} records in the log, up to LSN {last}")),
        Err(error) => failed(item, &error, report),
    }
    if let Some(vault) = vault {
        for root in roots {
            needed(vault, &root, item, report).await;
        }
    }
}

fn failed(item: &str, error: &VolumeError, report: &mut Report) {
    let advice = match error.kind {
        VolumeErrorKind::Corrupt => DAMAGED,
        _ => UNREADABLE,
    };
    report.damaged(item, error.to_string(), advice);
}

/// The base's first shard is there, and all that are there can be opened.
async fn base(env: &Env, dir: &Path) -> Result<(), String> {
    let base = dir.join("base");
    let shards = env.fs.list(&base).await.map_err(|e| format!("base: {e}"))?;
    if !shards.iter().any(|shard| shard.name == "0000.raw") {
        return Err("base shard 0000.raw is missing".into());
    }
    for shard in shards {
        let opened = env.fs.open(&base.join(&shard.name), OpenMode::Read).await;
        opened.map_err(|e| format!("base shard {}: {e}", shard.name))?;
    }
    Ok(())
}

/// Content that the volume needs from the vault: the way to its first chunk.
async fn needed(vault: &Vault, root: &[u8], item: &str, report: &mut Report) {
    let read = match Root::from_bytes(root) {
        Ok(root) => Reader::open(vault, root).non_zero_chunks(0..1).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = read {
        report.damaged(
            item,
            format!("it needs a snapshot's content that cannot be read: {error}"),
            "bring the named object back into the vault; what the volume holds itself is not concerned",
        );
    }
}
