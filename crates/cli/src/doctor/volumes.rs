//! Volumes: superblock, log, base, and the snapshots' content that they cannot do without.

use super::Report;
use std::collections::BTreeMap;
use std::path::Path;
use tidemark_env::Env;
use tidemark_vault::{Reader, Root, Vault};
use tidemark_volume::{LogReport, Volume, VolumeErrorKind, VolumeReport};

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
    let found = match Volume::check(env, dir).await {
        Ok(found) => found,
        Err(error) if error.kind == VolumeErrorKind::Busy => {
            return report.warning(item, "in use by another process; not looked at", LOCKED);
        }
        Err(error) => return report.damaged(item, error.to_string(), UNREADABLE),
    };
    for problem in &found.problems {
        report.damaged(item, problem, DAMAGED);
    }
    for (slot, state) in found.slots.iter().enumerate() {
        if let (Some(problem), true) = (&state.problem, found.volume.is_some()) {
            report.warning(
                item,
                format!("superblock slot {slot} is not valid ({problem}); the other one is"),
                "nothing if a crash came before; if none did, look at the medium. The next checkpoint writes it anew",
            );
        }
    }
    if let (Some(volume), Some(log), true) = (&found.volume, &found.log, found.problems.is_empty()) {
        report.ok(item, summary(volume, log));
    }
    if let (Some(vault), Some(volume)) = (vault, &found.volume) {
        for root in &volume.roots {
            needed(vault, root, item, report).await;
        }
    }
}

/// A healthy volume in a line.
fn summary(volume: &VolumeReport, log: &LogReport) -> String {
    let mut line = format!("{} records in the log, up to LSN {}", log.records, log.last_lsn);
    if let Some(torn) = log.torn_to {
        line += &format!(" (a torn tail up to LSN {torn} was never promised to anybody)");
    }
    if volume.absent_chunks > 0 {
        line += &format!(", {} chunks still in the vault only", volume.absent_chunks);
    }
    for (count, what) in [
        (log.pending.len(), "snapshots to be captured"),
        (log.prepared.len(), "marks whose group has to decide"),
    ] {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    line
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
