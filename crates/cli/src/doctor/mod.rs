//! `tidemark doctor`: looks through a data directory and says what is damaged, where, and what can be done.
//!
//! What must stay true: nothing is changed or repaired; what a running service holds is not touched (its lock is
//! taken, or the command refuses); every item gets a line, also those that are well; an item that cannot be judged
//! is never called well. Exit status: 0 when nothing is damaged, 1 when something is.
//!
//! Not here: reading every byte of every snapshot (the vault's objects are checked as far as their snapshots' heads
//! and records, and what a volume needs of them).

mod captures;
mod vault;
mod volumes;

use crate::credentials::DEFAULT_DATA_DIR;
use crate::people::print;
use crate::up::data_dir::QuietDataDir;
use crate::vault::place::VaultPlace;
use crate::vault::secret::SecretArgs;
use crate::volume::engine;
use anyhow::Result;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Looks at every volume, capture, the vault and the catalogue. Changes nothing.
Exit status: 0 nothing is damaged, 1 something is (or could not be looked at).

Examples:
  tidemark doctor
  tidemark doctor --data-dir /srv/tidemark --json
  tidemark doctor --data-dir /srv/tidemark/regions/cn-beijing     a region beside the home region";

/// Arguments of `tidemark doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// The data directory of a service that is not running [default: ./tidemark-data]
    #[arg(long, value_name = "DIR", env = "TIDEMARK_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
    /// The vault, as `tidemark up` is told it [default: <data-dir>/vault]
    #[arg(long, value_name = "VAULT", env = "TIDEMARK_VAULT", hide_env_values = true)]
    vault: Option<String>,
    /// Print an object instead of lines
    #[arg(long)]
    json: bool,
}

/// How an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Ok,
    /// Worth knowing; nothing is lost.
    Warning,
    /// Something that was kept cannot be had.
    Damaged,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "OK",
            Verdict::Warning => "WARNING",
            Verdict::Damaged => "DAMAGED",
        }
    }
}

/// What was found out about one item.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    /// What was looked at: `volume d-1`.
    item: String,
    /// What was seen there, with positions where there are any.
    found: String,
    /// What the operator can do; empty when there is nothing to do.
    advice: String,
}

/// All findings, in the order of looking.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, item: impl Into<String>, found: impl Into<String>) {
        self.add(Verdict::Ok, item, found, "");
    }

    fn warning(&mut self, item: impl Into<String>, found: impl Into<String>, advice: &str) {
        self.add(Verdict::Warning, item, found, advice);
    }

    fn damaged(&mut self, item: impl Into<String>, found: impl Into<String>, advice: &str) {
        self.add(Verdict::Damaged, item, found, advice);
    }

    fn add(&mut self, verdict: Verdict, item: impl Into<String>, found: impl Into<String>, advice: &str) {
        self.0.push(Finding {
            verdict,
            item: item.into(),
            found: found.into(),
            advice: advice.into(),
        });
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|finding| finding.verdict == verdict).count()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.0 {
            text += &format!(
                "{:<8} {}: {}\n",
                finding.verdict.word(),
                finding.item,
                finding.found
            );
            if !finding.advice.is_empty() {
                text += &format!("         -> {}\n", finding.advice);
            }
        }
        text += &format!(
            "{} checked, {} warnings, {} damaged",
            self.0.len(),
            self.count(Verdict::Warning),
            self.count(Verdict::Damaged)
        );
        text
    }

    fn json(&self) -> Result<String> {
        let object = serde_json::json!({
            "Healthy": self.count(Verdict::Damaged) == 0,
            "Findings": self.0,
        });
        Ok(serde_json::to_string_pretty(&object)?)
    }
}

/// Looks, prints, and answers the exit status.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let data_dir = args.data_dir.clone().unwrap_or_else(|| DEFAULT_DATA_DIR.into());
    let data_dir = std::path::absolute(data_dir)?;
    let place = match &args.vault {
        Some(vault) => VaultPlace::parse(vault)?,
        None => VaultPlace::Directory(data_dir.join("vault")),
    };
    let _quiet = QuietDataDir::take(&data_dir)?;
    let secret = args.secret.read()?;
    let mut report = Report::default();
    catalogue(&data_dir, &mut report);
    let dir = data_dir.clone();
    let report = engine(|real| async move {
        let env = real.env;
        let vault = vault::check(&env, &dir, &place, secret, &mut report).await;
        let volumes = volumes::check(&env, &dir, vault.as_ref(), &mut report).await;
        captures::check(&env, &dir, &volumes, &mut report).await;
        Ok(report)
    })?;
    print(&if args.json { report.json()? } else { report.text() })?;
    Ok(ExitCode::from(u8::from(report.count(Verdict::Damaged) > 0)))
}

/// The catalogue's file.
fn catalogue(data_dir: &Path, report: &mut Report) {
    const ADVICE: &str =
        "keep the file, restore catalogue.db from a backup; disks and snapshots themselves are not in it";
    let path = data_dir.join(tidemark_control::CATALOGUE_FILE);
    // The directory of a further region; the catalogue is in the data directory that it is in.
    if !path.exists()
        && data_dir
            .parent()
            .is_some_and(|parent| parent.ends_with("regions"))
    {
        return;
    }
    if !path.exists() {
        return report.warning(
            "catalogue",
            format!("{} is not there", path.display()),
            "expected only where no service has ever started",
        );
    }
    match tidemark_control::check_catalogue(&path) {
        Ok(wrong) if wrong.is_empty() => report.ok("catalogue", "whole"),
        Ok(wrong) => report.damaged("catalogue", wrong.join("; "), ADVICE),
        Err(error) => report.damaged("catalogue", error.to_string(), ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_read_as_lines_and_as_an_object() {
        let mut report = Report::default();
        report.ok("volume d-1", "8 records");
        report.damaged("volume d-2", "log records 5 to 9 are gone", "restore it");
        assert_eq!(
            report.text(),
            "OK       volume d-1: 8 records\n\
             DAMAGED  volume d-2: log records 5 to 9 are gone\n         -> restore it\n\
             2 checked, 0 warnings, 1 damaged"
        );
        let object: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(object["Healthy"], false);
        assert_eq!(object["Findings"][1]["verdict"], "DAMAGED");
        assert_eq!(object["Findings"][1]["item"], "volume d-2");
    }
}
