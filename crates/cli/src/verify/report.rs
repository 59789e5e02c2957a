//! The verdict, for people and for programs.

use super::sample::Share;
use crate::people::{left_aligned, plain_table};
use crate::size::human;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;
use tidemark_vault::{Loss, LossKind, VerifyReport};

/// Rows of the table; `--json` has all.
const ROWS_MAX: usize = 100;
/// Snapshots named in a row.
const NAMES_MAX: usize = 3;

/// What was found.
pub struct Report {
    /// Where the vault is.
    pub vault: String,
    /// Which share of the chunks was read.
    pub share: Share,
    /// Snapshots verified.
    pub snapshots: u64,
    /// Disks that they are of.
    pub disks: u64,
    /// Head entries and records read.
    pub objects: u64,
    /// What was read.
    pub read: VerifyReport,
    /// What is damaged.
    pub losses: Vec<Loss>,
    /// Finds that are only counted.
    pub unlisted: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Object<'a> {
    vault: &'a str,
    whole: bool,
    sample: f64,
    snapshots: u64,
    disks: u64,
    objects: u64,
    nodes: u64,
    chunks: u64,
    bytes: u64,
    read_bytes: u64,
    damaged_snapshots: usize,
    unlisted: u64,
    damage: Vec<Row<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    #[serde(flatten)]
    loss: &'a Loss,
    advice: &'static str,
}

/// Whether the object is a data pack: only those can be repaired.
pub fn is_data(loss: &Loss) -> bool {
    loss.object.starts_with("packs/")
}

/// What an operator can do.
pub fn advice(loss: &Loss) -> &'static str {
    match (loss.kind, loss.lost) {
        (LossKind::Chunks, true) => {
            "if a disk still has these bytes, the running service repairs them: `tidemark verify --repair`; else bring the object \
             back from a copy of the vault, or they are lost in these snapshots, and only there"
        }
        (LossKind::Nodes, true) => {
            "bring the object back from a copy of the vault; else these bytes are lost in these snapshots"
        }
        (LossKind::Chunks, false) => {
            "nothing is lost: another pack has them too; `tidemark verify --repair` puts it right"
        }
        (LossKind::Nodes, false) => {
            "nothing is lost: another pack has it too; bring the object back from a copy of the vault"
        }
        (LossKind::Frame, _) if is_data(loss) => "nothing is lost; `tidemark verify --repair` puts it right",
        (LossKind::Frame, _) => "nothing is lost; bring the object back from a copy of the vault",
        (LossKind::Forward, _) => {
            "nothing is lost: what it leads to is found by reading all footers; bring the object back from a copy of the vault"
        }
        (LossKind::Head, _) => {
            "bring the object back from a copy of the vault; until then nothing is deleted or snapshotted on this disk"
        }
        (LossKind::Record, _) => {
            "bring the object back from a copy of the vault; its content is whole, but the snapshot cannot be opened without"
        }
        (LossKind::Stranger, _) => {
            "move it away, if it is not somebody's; no space is freed while it is there"
        }
    }
}

/// `s-1, s-2, s-3 and 7 more`.
fn names(loss: &Loss) -> String {
    let named: Vec<&str> = loss
        .snapshots
        .iter()
        .take(NAMES_MAX)
        .map(|id| id.as_str())
        .collect();
    match loss.snapshots.len().checked_sub(NAMES_MAX) {
        Some(more) if more > 0 => format!("{} and {more} more", named.join(", ")),
        _ if named.is_empty() => "-".into(),
        _ => named.join(", "),
    }
}

/// The table of what is damaged, and under it what can be done.
pub fn table(losses: &[Loss]) -> String {
    let mut table = plain_table();
    table.set_header(["SNAPSHOT", "DISK", "BYTES", "OBJECT", "WHAT IS WRONG"]);
    for loss in losses.iter().take(ROWS_MAX) {
        let bytes = match loss.bytes() {
            0 => "-".to_owned(),
            _ => format!("{}..{}", loss.start, loss.end),
        };
        let what = match (loss.kind, loss.lost) {
            (LossKind::Chunks | LossKind::Nodes, false) => format!("{} (readable elsewhere)", loss.what),
            _ => loss.what.clone(),
        };
        let disk = loss.disk.as_ref().map_or("-", |disk| disk.as_str());
        table.add_row([names(loss), disk.to_owned(), bytes, loss.object.clone(), what]);
    }
    let mut text = left_aligned(&table);
    if let Some(more) = losses.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        text += &format!("\n... and {more} more rows; --json has them all");
    }
    let mut told = BTreeSet::new();
    for loss in losses {
        let (word, advice) = (word(loss.kind), advice(loss));
        if told.insert(advice) {
            text += &format!("\n-> {word}: {advice}");
        }
    }
    text
}

fn word(kind: LossKind) -> &'static str {
    match kind {
        LossKind::Head => "head entries",
        LossKind::Record => "records",
        LossKind::Stranger => "strange objects",
        LossKind::Nodes => "tree nodes",
        LossKind::Chunks => "chunks",
        LossKind::Frame => "headers and footers of packs",
        LossKind::Forward => "forwards of rewritten packs",
    }
}

/// `1 snapshot`, `2 snapshots`.
fn count(n: u64, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

impl Report {
    /// Whether no damage was found.
    pub fn is_whole(&self) -> bool {
        self.losses.is_empty()
    }

    fn damaged_snapshots(&self) -> usize {
        let hit = self
            .losses
            .iter()
            .filter(|loss| loss.lost)
            .flat_map(|loss| &loss.snapshots);
        hit.collect::<BTreeSet<_>>().len()
    }

    /// For people.
    pub fn text(&self) -> String {
        let read = format!(
            "{}: {} of {}; read {}, {} and {} ({})",
            self.vault,
            count(self.snapshots, "snapshot"),
            count(self.disks, "disk"),
            count(self.objects, "record"),
            count(self.read.nodes, "tree node"),
            count(self.read.chunks, "chunk"),
            human(self.read.bytes),
        );
        let verdict = match (self.is_whole(), self.share.is_all()) {
            (true, true) => {
                "WHOLE: everything that these snapshots hold is there, and is what was written".to_owned()
            }
            (true, false) => {
                format!(
                    "WHOLE as far as looked: all trees, and a sample of {} of the chunks",
                    self.share
                )
            }
            (false, _) => {
                let objects: BTreeSet<&String> = self.losses.iter().map(|loss| &loss.object).collect();
                format!(
                    "DAMAGED: {} of {}, in {}{}",
                    self.damaged_snapshots(),
                    count(self.snapshots, "snapshot"),
                    count(objects.len() as u64, "object"),
                    match self.unlisted {
                        0 => String::new(),
                        n => format!("; {n} more finds are not listed"),
                    }
                )
            }
        };
        match self.is_whole() {
            true => format!("{read}\n{verdict}"),
            false => format!("{read}\n\n{}\n\n{verdict}", table(&self.losses)),
        }
    }

    /// For programs.
    pub fn json(&self) -> Result<String> {
        let object = Object {
            vault: &self.vault,
            whole: self.is_whole(),
            sample: self.share.fraction(),
            snapshots: self.snapshots,
            disks: self.disks,
            objects: self.objects,
            nodes: self.read.nodes,
            chunks: self.read.chunks,
            bytes: self.read.bytes,
            read_bytes: self.read.read_bytes,
            damaged_snapshots: self.damaged_snapshots(),
            unlisted: self.unlisted,
            damage: self
                .losses
                .iter()
                .map(|loss| Row {
                    loss,
                    advice: advice(loss),
                })
                .collect(),
        };
        Ok(serde_json::to_string_pretty(&object)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_units::{DiskId, SnapshotId};

    fn report(losses: Vec<Loss>) -> Report {
        Report {
            vault: "a vault".into(),
            share: Share::ALL,
            snapshots: 5,
            disks: 2,
            objects: 9,
            read: VerifyReport {
                nodes: 1,
                chunks: 16,
                bytes: 1 << 20,
                ..VerifyReport::default()
            },
            losses,
            unlisted: 0,
        }
    }

    fn loss() -> Loss {
        Loss {
            object: "packs/ab/abcd".into(),
            kind: LossKind::Chunks,
            lost: true,
            disk: Some(DiskId::new("d-1").unwrap()),
            snapshots: ["s-1", "s-2", "s-3", "s-4"]
                .map(|id| SnapshotId::new(id).unwrap())
                .to_vec(),
            start: 65536,
            end: 131_072,
            what: "it is not there".into(),
            error: "vault: read pack: it is not there".into(),
        }
    }

    #[test]
    fn a_verdict_reads_as_lines_and_as_an_object() {
        let whole = report(Vec::new());
        assert_eq!(
            whole.text(),
            "a vault: 5 snapshots of 2 disks; read 9 records, 1 tree node and 16 chunks (1 MiB)\n\
             WHOLE: everything that these snapshots hold is there, and is what was written"
        );
        let damaged = report(vec![loss()]);
        let text = damaged.text();
        for line in [
            "SNAPSHOT",
            "s-1, s-2, s-3 and 1 more",
            "65536..131072",
            "packs/ab/abcd",
            "-> chunks: if a disk still has",
            "DAMAGED: 4 of 5 snapshots, in 1 object",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let object: serde_json::Value = serde_json::from_str(&damaged.json().unwrap()).unwrap();
        assert_eq!(object["Whole"], false);
        assert_eq!(object["DamagedSnapshots"], 4);
        assert_eq!(object["Damage"][0]["Start"], 65536);
        assert_eq!(object["Damage"][0]["Snapshots"][3], "s-4");
        assert!(
            object["Damage"][0]["Advice"]
                .as_str()
                .unwrap()
                .contains("repairs")
        );
    }
}
