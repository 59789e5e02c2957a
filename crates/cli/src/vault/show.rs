//! `tidemark vault show`: all that a vault says of one snapshot, by reading only.

use super::place::{VaultPlace, environment};
use super::secret::SecretArgs;
use super::{ls, name_of, open, time, unreadable_line};
use crate::people::print;
use crate::size::human;
use crate::volume::engine;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::process::ExitCode;
use tidemark_units::SnapshotId;
use tidemark_vault::{Listing, SnapshotRecord};

/// For the help.
pub const EXAMPLES: &str = "\
Examples:
  tidemark vault show /srv/vault s-bp1...
  tidemark vault show s3://backups/tidemark?region=eu-west-1 s-bp1... --json";

/// Arguments of `tidemark vault show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// A directory, s3://... or oss://...
    #[arg(value_name = "VAULT")]
    vault: String,
    /// The snapshot's id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    #[command(flatten)]
    secret: SecretArgs,
    /// Print an object instead of lines
    #[arg(long)]
    json: bool,
}

/// Shows.
pub fn run(args: &ShowArgs) -> Result<ExitCode> {
    let (place, secret) = (VaultPlace::parse(&args.vault)?, args.secret.read()?);
    let id = SnapshotId::new(&args.snapshot).context("SNAPSHOT is no snapshot's id")?;
    let (at, wanted) = (place.clone(), id.clone());
    let found = engine(|real| async move {
        let vault = open(&real.env, &at, secret, &environment).await?;
        // Its disk's, if its record can be read; else all, to name what is wrong.
        let disk = vault.disk_of(&wanted).await.ok().flatten();
        Ok(vault.listing(disk.as_ref()).await?)
    })?;
    let Listing {
        snapshots,
        unreadable,
    } = found;
    let Some(record) = snapshots.iter().find(|record| record.snapshot == id) else {
        if let Some(one) = unreadable.iter().find(|one| one.snapshot.as_ref() == Some(&id)) {
            bail!(unreadable_line(one));
        }
        bail!("there is no snapshot {id} in {place}");
    };
    let family = Family::of(record, &snapshots);
    print(&match args.json {
        true => serde_json::to_string_pretty(&object(record, &family))?,
        false => lines(record, &family)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a snapshot's capture was relative to, and which ones were relative to it.
struct Family {
    /// The nearest first; the last may be one that is gone.
    ancestors: Vec<(SnapshotId, bool)>,
    children: Vec<SnapshotId>,
}

impl Family {
    fn of(record: &SnapshotRecord, all: &[SnapshotRecord]) -> Self {
        let find = |id: &SnapshotId| all.iter().find(|other| &other.snapshot == id);
        let mut ancestors: Vec<(SnapshotId, bool)> = Vec::new();
        let mut next = record.parent.as_ref();
        // A vault that claims a circle is not followed round it.
        while let Some(id) = next.filter(|id| ancestors.iter().all(|(known, _)| known != *id)) {
            let parent = find(id);
            ancestors.push((id.clone(), parent.is_some()));
            next = parent.and_then(|parent| parent.parent.as_ref());
        }
        let relative = |other: &&SnapshotRecord| other.parent.as_ref() == Some(&record.snapshot);
        let children = all.iter().filter(relative);
        Self {
            ancestors,
            children: children.map(|child| child.snapshot.clone()).collect(),
        }
    }
}

fn object(record: &SnapshotRecord, family: &Family) -> Value {
    let mut object = ls::row(record);
    let root = &record.root;
    let chain = family.ancestors.iter();
    let more = json!({
        "Lsn": record.lsn,
        "Root": String::from(*root),
        "Top": root.top().map(|top| top.id),
        "TreeDepth": root.depth(),
        "Chunks": root.chunk_count(),
        "DataChunks": root.data_chunks(),
        "Chain": chain.map(|(id, there)| json!({"SnapshotId": id, "Exists": there})).collect::<Vec<_>>(),
        "Children": family.children,
        "Stats": record.stats,
        "Origin": record.origin.map(|origin| origin.vault),
        "Meta": record.meta,
    });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

fn lines(record: &SnapshotRecord, family: &Family) -> Result<String> {
    let (root, stats) = (&record.root, &record.stats);
    let ancestors = family.ancestors.iter().map(|(id, there)| match there {
        true => id.to_string(),
        false => format!("{id} (gone)"),
    });
    let ancestors: Vec<String> = ancestors.collect();
    let children: Vec<String> = family.children.iter().map(SnapshotId::to_string).collect();
    let tags = record.meta["tags"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let tag = |tag: &Value| format!("{}={}", text(&tag["TagKey"]), text(&tag["TagValue"]));
    let rows = [
        ("snapshot", record.snapshot.to_string()),
        ("name", name_of(record).to_string()),
        ("description", text(&record.meta["description"])),
        ("tags", tags.iter().map(tag).collect::<Vec<_>>().join(" ")),
        ("disk", record.disk.to_string()),
        ("disk size", human(record.size_bytes)),
        ("created", time(record.created_ms)),
        ("place in the log", record.lsn.to_string()),
        ("relative to", ancestors.join(", ")),
        ("relative to it", children.join(", ")),
        (
            "copied from vault",
            record
                .origin
                .map(|origin| origin.vault.to_string())
                .unwrap_or_default(),
        ),
        ("data", human(stats.full_bytes)),
        (
            "captured",
            format!(
                "{} chunks: {} zero, {} as in the parent, {} copied, {} of new data",
                stats.captured_chunks,
                stats.zero_chunks,
                stats.same_chunks,
                stats.copied_chunks,
                human(stats.logical_bytes)
            ),
        ),
        ("stored", human(stats.stored_bytes)),
        (
            "tree",
            format!(
                "{} levels, {} of {} chunks with data",
                root.depth(),
                root.data_chunks(),
                root.chunk_count()
            ),
        ),
        (
            "top",
            root.top()
                .map(|top| format!("{} in pack {}", top.id, top.at.pack))
                .unwrap_or_default(),
        ),
        ("root", String::from(*root)),
    ];
    let shown = rows.iter().filter(|(_, value)| !value.is_empty());
    let mut out: Vec<String> = shown.map(|(name, value)| format!("{name:<18} {value}")).collect();
    out.push("meta".to_string());
    out.push(serde_json::to_string_pretty(&record.meta)?);
    Ok(out.join("\n"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_vault::{Root, SnapshotStats};

    fn record(id: &str, parent: Option<&str>) -> SnapshotRecord {
        let named = |id: &str| SnapshotId::new(id).expect("an id");
        SnapshotRecord {
            snapshot: named(id),
            disk: "d-1".parse().expect("an id"),
            size_bytes: 1 << 30,
            created_ms: 1_700_000_000_000,
            root: Root::zeros(1 << 30),
            parent: parent.map(named),
            lsn: tidemark_units::Lsn(7),
            stats: SnapshotStats::default(),
            meta: json!({"name": "n", "tags": [{"TagKey": "k", "TagValue": "v"}]}),
            origin: None,
        }
    }

    #[test]
    fn a_chain_is_followed_to_its_end_and_not_round_in_a_circle() {
        let all = [
            record("a", Some("gone")),
            record("b", Some("a")),
            record("c", Some("b")),
            record("d", Some("b")),
        ];
        let chain = |of: &SnapshotRecord, all: &[SnapshotRecord]| {
            let family = Family::of(of, all);
            let ancestors: Vec<_> = family
                .ancestors
                .iter()
                .map(|(id, there)| (id.to_string(), *there))
                .collect();
            (ancestors, family.children.len())
        };
        let named = |id: &str, there| (id.to_string(), there);
        assert_eq!(
            chain(&all[2], &all),
            (vec![named("b", true), named("a", true), named("gone", false)], 0)
        );
        assert_eq!(chain(&all[1], &all).1, 2);
        let circle = [record("a", Some("b")), record("b", Some("a"))];
        assert_eq!(chain(&circle[0], &circle).0.len(), 2);
    }

    #[test]
    fn lines_and_object_say_the_same() {
        let one = record("s-1", None);
        let family = Family::of(&one, std::slice::from_ref(&one));
        let lines = lines(&one, &family).expect("shown");
        assert!(
            lines.contains("k=v") && lines.contains("1 GiB") && lines.contains("2023-11-14T22:13:20Z"),
            "{lines}"
        );
        let object = object(&one, &family);
        assert_eq!(
            (&object["SnapshotName"], &object["TreeDepth"]),
            (&json!("n"), &json!(2))
        );
    }
}
