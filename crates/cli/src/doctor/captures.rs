//! Captures under way: the note of each, and its spool.
//!
//! A note (`marks/<snapshot>.json`) without its volume, and a spool without a note, are left over; a note that
//! cannot be read keeps its snapshot from being finished.

use super::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use tidemark_env::Env;
use tidemark_vault::spool_packs;

/// Checks notes and spools against the volumes that are there.
pub(super) async fn check(env: &Env, data_dir: &Path, volumes: &BTreeMap<String, bool>, report: &mut Report) {
    let mut noted = BTreeSet::new();
    for name in names(env, &data_dir.join("marks"), report).await {
        let Some(snapshot) = name.strip_suffix(".json") else {
            continue;
        };
        noted.insert(snapshot.to_owned());
        let item = format!("capture {snapshot}");
        match disk_of(&data_dir.join("marks").join(&name)) {
            Err(why) => report.damaged(
                item,
                format!("its note marks/{name} cannot be read: {why}"),
                "delete the snapshot; its disk is not concerned",
            ),
            Ok(disk) if !volumes.contains_key(&disk) => report.warning(
                item,
                format!("left over: its disk {disk} is not there"),
                &format!("nothing, or remove marks/{name} and spool/{snapshot}"),
            ),
            Ok(disk) => match spool_packs(env, &data_dir.join("spool").join(snapshot)).await {
                Ok(packs) => report.ok(
                    item,
                    format!("of disk {disk}, {} packs in its spool", packs.len()),
                ),
                Err(error) => report.damaged(
                    item,
                    error.to_string(),
                    "look at the medium; if it stays so, delete the snapshot",
                ),
            },
        }
    }
    for snapshot in names(env, &data_dir.join("spool"), report).await {
        if !noted.contains(&snapshot) {
            report.warning(
                format!("spool {snapshot}"),
                "left over: no capture has a note of it",
                &format!("nothing, or remove spool/{snapshot}"),
            );
        }
    }
}

/// The names in a directory, in order; one that is not there has none.
async fn names(env: &Env, dir: &Path, report: &mut Report) -> Vec<String> {
    let mut names: Vec<String> = match env.fs.list(dir).await {
        Ok(entries) => entries.into_iter().map(|entry| entry.name).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let advice = "look at the medium and the permissions, then check again";
            report.damaged("captures", format!("{}: {error}", dir.display()), advice);
            Vec::new()
        }
    };
    names.sort();
    names
}

/// The disk that a note is of.
fn disk_of(note: &Path) -> Result<String, String> {
    let bytes = std::fs::read(note).map_err(|e| e.to_string())?;
    let note: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    match note["disk"].as_str() {
        Some(disk) => Ok(disk.to_owned()),
        None => Err("it names no disk".into()),
    }
}
