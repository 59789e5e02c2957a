//! `tidemark vault du`: where a vault's space is, and what deleting snapshots would free.
//!
//! What must stay true: only reads, so it is safe beside a running service; what is said to be freed is what no
//! other snapshot holds, whatever disk that is of; when the bucket shrinks is told apart from that.

use super::place::VaultPlace;
use super::secret::SecretArgs;
use crate::people::{Column, note, print, table, text};
use crate::size::human;
use crate::volume::engine;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tidemark_units::{DiskId, SnapshotId};
use tidemark_vault::{
    DeletionSpace, DiskSpace, PackGroup, PackSpace, SnapshotSpace, SpaceOptions, SpaceReport, Vault,
    VaultOptions,
};

/// Help after the options.
pub const EXAMPLES: &str = "\
STORED is what a snapshot holds in the vault, compressed, alone or together with others; ONLY IT is what nothing
else holds: what deleting just that one frees. The sum of the latter is less than what deleting several frees,
because of what only they share: name them with --delete. COUNTS is each stored byte once: for the oldest snapshot of
the disk that had one first. It adds up, and is what the service's usage figures say. The bucket shrinks when packs do: at the next collection,
or when so little of a pack is left that it is rewritten.

Examples:
  tidemark vault du /srv/vault
  tidemark vault du s3://backups/tidemark?endpoint=https://minio.example:9000 --json
  tidemark vault du /srv/vault --delete s-1 s-2";

/// Arguments of `tidemark vault du`.
#[derive(Debug, clap::Args)]
pub struct DuArgs {
    /// A directory, s3://... or oss://...
    #[arg(value_name = "VAULT")]
    vault: String,
    #[command(flatten)]
    secret: SecretArgs,
    /// Say what deleting these together would free; deletes nothing
    #[arg(long, value_name = "SNAPSHOT", num_args = 1..)]
    delete: Vec<String>,
    /// Print an object instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &DuArgs) -> Result<()> {
    let place = VaultPlace::parse(&args.vault)?;
    let secret = args.secret.read()?;
    let delete = args
        .delete
        .iter()
        .map(|id| SnapshotId::new(id.as_str()).map_err(|error| anyhow::anyhow!("--delete {id:?}: {error}")));
    let delete: BTreeSet<SnapshotId> = delete.collect::<Result<_>>()?;
    let at = &place;
    let (report, created) = engine(|real| async move {
        let options = VaultOptions {
            secret,
            ..VaultOptions::default()
        };
        let vault = Vault::open_with(&real.env, at.open(&real.env)?, options)
            .await
            .with_context(|| format!("cannot open the vault in {at}"))?;
        let (created, first) = created(&vault).await?;
        let options = SpaceOptions {
            delete,
            first,
            ..SpaceOptions::default()
        };
        let report = vault
            .space(&options)
            .await
            .context("the space cannot be accounted for")?;
        Ok((report, created))
    })?;
    let object = as_json(&place, &report, &created);
    if args.json {
        return print(&serde_json::to_string_pretty(&object)?);
    }
    print(&as_text(&object, &report))
}

/// When each snapshot was made, and their disks, that of the oldest first. The accounts stand without it.
async fn created(vault: &Vault) -> Result<(BTreeMap<SnapshotId, i64>, Vec<DiskId>)> {
    let mut records = match vault.snapshots().await {
        Ok(records) => records,
        Err(error) => {
            note(&format!("the snapshots' records cannot be read: {error}"))?;
            Vec::new()
        }
    };
    records.sort_by(|a, b| (a.created_ms, &a.disk).cmp(&(b.created_ms, &b.disk)));
    let mut seen = BTreeSet::new();
    let disks = records.iter().map(|record| record.disk.clone());
    let first = disks.filter(|disk| seen.insert(disk.clone())).collect();
    let created = records
        .into_iter()
        .map(|record| (record.snapshot, record.created_ms));
    Ok((created.collect(), first))
}

fn as_json(place: &VaultPlace, report: &SpaceReport, created: &BTreeMap<SnapshotId, i64>) -> Value {
    let snapshot = |one: &SnapshotSpace| {
        json!({
            "SnapshotId": one.snapshot,
            "DiskId": one.disk,
            "CreatedAt": created.get(&one.snapshot).and_then(|at| time(*at)),
            "SizeBytes": one.size_bytes,
            "FullBytes": one.full_bytes,
            "StoredBytes": one.stored_bytes,
            "ExclusiveBytes": one.exclusive_bytes,
            "CountedBytes": one.counted_bytes,
        })
    };
    let disk = |one: &DiskSpace| {
        json!({
            "DiskId": one.disk,
            "Snapshots": one.snapshots,
            "StoredBytes": one.stored_bytes,
            "ExclusiveBytes": one.exclusive_bytes,
            "CountedBytes": one.counted_bytes,
        })
    };
    let deletion = |one: &DeletionSpace| {
        json!({
            "Snapshots": one.snapshots,
            "FreedBytes": one.freed_bytes,
            "Packs": packs_json(&one.packs),
        })
    };
    json!({
        "Vault": place.to_string(),
        "Snapshots": report.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "Disks": report.disks.iter().map(disk).collect::<Vec<_>>(),
        "Packs": packs_json(&report.packs),
        "Deletion": report.deletion.as_ref().map(deletion),
        "MissingChunks": report.missing_chunks,
    })
}

fn time(unix_millis: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(unix_millis).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn packs_json(packs: &PackSpace) -> Value {
    let group = |group: &PackGroup| {
        json!({
            "Packs": group.packs,
            "ObjectBytes": group.object_bytes,
            "LiveBytes": group.live_bytes,
        })
    };
    json!({
        "All": group(&packs.all()),
        "Empty": group(&packs.empty),
        "LessThanHalfLive": group(&packs.sparse),
        "Others": group(&packs.dense),
    })
}

fn bytes(row: &Value, name: &str) -> String {
    row[name].as_u64().map(human).unwrap_or_default()
}

const SNAPSHOTS: &[Column] = &[
    Column::text("disk", |row| text(row, "DiskId")),
    Column::text("snapshot", |row| text(row, "SnapshotId")),
    Column::text("created", |row| text(row, "CreatedAt")),
    Column::number("size", |row| bytes(row, "SizeBytes")),
    Column::number("data", |row| bytes(row, "FullBytes")),
    Column::number("stored", |row| bytes(row, "StoredBytes")),
    Column::number("only it", |row| bytes(row, "ExclusiveBytes")),
    Column::number("counts", |row| bytes(row, "CountedBytes")),
];

const DISKS: &[Column] = &[
    Column::text("disk", |row| text(row, "DiskId")),
    Column::number("snapshots", |row| text(row, "Snapshots")),
    Column::number("stored", |row| bytes(row, "StoredBytes")),
    Column::number("only it", |row| bytes(row, "ExclusiveBytes")),
    Column::number("counts", |row| bytes(row, "CountedBytes")),
];

fn rows(object: &Value, name: &str) -> Vec<Value> {
    object[name].as_array().cloned().unwrap_or_default()
}

fn as_text(object: &Value, report: &SpaceReport) -> String {
    let mut out = String::new();
    if report.snapshots.is_empty() {
        out += "no snapshots\n";
    } else {
        out += &format!("{}\n\n", table(SNAPSHOTS, &rows(object, "Snapshots")));
        out += &format!("{}\n\n", table(DISKS, &rows(object, "Disks")));
    }
    let all = report.packs.all();
    out += &format!(
        "{}: {} of chunks and tree nodes, held by snapshots, in {}",
        object["Vault"].as_str().unwrap_or_default(),
        human(all.live_bytes),
        group(all)
    );
    out += &dead(&report.packs);
    if report.missing_chunks > 0 {
        out += &format!(
            "\nWARNING: {} chunks are in no pack although snapshots name them; they count for nothing here",
            report.missing_chunks
        );
    }
    if let Some(deletion) = &report.deletion {
        out += &format!("\n\n{}", deleted(deletion, &report.packs));
    }
    out
}

fn group(packs: PackGroup) -> String {
    let plural = if packs.packs == 1 { "" } else { "s" };
    format!("{} pack{plural} of {}", packs.packs, human(packs.object_bytes))
}

/// What is not held, by what becomes of it.
fn dead(packs: &PackSpace) -> String {
    let mut out = String::new();
    if packs.empty.packs > 0 {
        out += &format!(
            "\n  {} with nothing in use: the next collection frees what nobody is about to use or to undelete",
            group(packs.empty)
        );
    }
    if packs.sparse.packs > 0 {
        out += &format!(
            "\n  {}, less than half in use ({}): collections rewrite them bit by bit",
            group(packs.sparse),
            human(packs.sparse.live_bytes)
        );
    }
    let kept = packs.dense.object_bytes - packs.dense.live_bytes.min(packs.dense.object_bytes);
    out + &format!(
        "\n  {} in the others is not in use and stays with what is",
        human(kept)
    )
}

fn deleted(deletion: &DeletionSpace, now: &PackSpace) -> String {
    let plural = if deletion.snapshots == 1 { "" } else { "s" };
    let then = &deletion.packs;
    let whole = PackGroup {
        packs: then.empty.packs - now.empty.packs,
        object_bytes: then.empty.object_bytes - now.empty.object_bytes,
        live_bytes: 0,
    };
    format!(
        "Deleting {} snapshot{plural} frees {} in time: {} whole at the next collection, the rest as packs are \
         rewritten. Then:{}",
        deletion.snapshots,
        human(deletion.freed_bytes),
        group(whole),
        dead(then)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(deletion: Option<DeletionSpace>) -> SpaceReport {
        let group = |packs, object_bytes, live_bytes| PackGroup {
            packs,
            object_bytes,
            live_bytes,
        };
        SpaceReport {
            snapshots: vec![SnapshotSpace {
                disk: "d-1".parse().unwrap(),
                snapshot: "s-1".parse().unwrap(),
                size_bytes: 20 << 30,
                full_bytes: 3 << 30,
                stored_bytes: 1 << 30,
                exclusive_bytes: 5 << 20,
                counted_bytes: 1 << 30,
            }],
            disks: vec![DiskSpace {
                disk: "d-1".parse().unwrap(),
                snapshots: 1,
                stored_bytes: 1 << 30,
                exclusive_bytes: 5 << 20,
                counted_bytes: 1 << 30,
            }],
            packs: PackSpace {
                empty: group(1, 16 << 20, 0),
                sparse: group(2, 32 << 20, 9 << 20),
                dense: group(90, 1440 << 20, 1015 << 20),
            },
            deletion,
            missing_chunks: 0,
            passes: 1,
        }
    }

    #[test]
    fn tables_for_people_and_an_object_for_programs() {
        let deletion = DeletionSpace {
            snapshots: 1,
            freed_bytes: 5 << 20,
            packs: PackSpace {
                empty: PackGroup {
                    packs: 2,
                    object_bytes: 20 << 20,
                    live_bytes: 0,
                },
                ..report(None).packs
            },
        };
        let report = report(Some(deletion));
        let place = VaultPlace::Directory("/srv/vault".into());
        let created = BTreeMap::from([("s-1".parse().unwrap(), 1_700_000_000_000)]);
        let object = as_json(&place, &report, &created);
        assert_eq!(object["Snapshots"][0]["ExclusiveBytes"], 5 << 20);
        assert_eq!(object["Snapshots"][0]["CreatedAt"], "2023-11-14T22:13:20Z");
        assert_eq!(object["Packs"]["All"]["LiveBytes"], 1 << 30);
        assert_eq!(object["Deletion"]["FreedBytes"], 5 << 20);
        let text = as_text(&object, &report);
        for part in [
            "DISK  SNAPSHOT  CREATED               SIZE    DATA   STORED  ONLY IT  COUNTS",
            "d-1   s-1       2023-11-14T22:13:20Z  20 GiB  3 GiB  1 GiB     5 MiB  1 GiB",
            "/srv/vault: 1 GiB of chunks and tree nodes, held by snapshots, in 93 packs of 1.5 GiB",
            "1 pack of 16 MiB with nothing in use",
            "2 packs of 32 MiB, less than half in use (9 MiB)",
            "425 MiB in the others is not in use",
            "Deleting 1 snapshot frees 5 MiB in time: 1 pack of 4 MiB whole at the next collection",
        ] {
            let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let wanted = part.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(squeezed.contains(&wanted), "{part:?} is not in\n{text}");
        }
    }
}
