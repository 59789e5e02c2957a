//! `tidemark verify --status`: what the service's scrub has done and found, from the file that it keeps.

use super::report::table;
use crate::people::print;
use crate::size::human;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::ExitCode;
use tidemark_node::{SCRUB_FILE, ScrubState};
use tidemark_vault::Loss;

/// Prints it. The exit status says whether damage is open.
pub fn run(data_dir: &Path, json: bool) -> Result<ExitCode> {
    let path = data_dir.join(SCRUB_FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "the service of {} has not scrubbed its vault yet",
                data_dir.display()
            )
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let state = ScrubState::decode(&text).with_context(|| format!("{} is not usable", path.display()))?;
    print(&if json {
        serde_json::to_string_pretty(&state)?
    } else {
        describe(&state)
    })?;
    Ok(ExitCode::from(u8::from(!state.open.is_empty())))
}

fn time(unix_millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_millis) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => "at an unknown time".into(),
    }
}

fn describe(state: &ScrubState) -> String {
    let mut lines = Vec::new();
    lines.push(match &state.running {
        Some(round) => format!(
            "scrub: round {} since {}, about {:.1} % done, {} checked",
            state.rounds + 1,
            time(round.begun_ms),
            round.part * 100.0,
            human(round.bytes)
        ),
        None => "scrub: no round is under way".into(),
    });
    match &state.last {
        Some(last) => lines.push(format!(
            "last whole round: {} to {}, {} checked, {} finds, {} chunks repaired",
            time(last.begun_ms),
            time(last.ended_ms),
            human(last.bytes),
            last.found,
            last.repaired
        )),
        None => lines.push("no round was completed yet".into()),
    }
    if let Some(trouble) = &state.trouble {
        lines.push(format!("it waits: {trouble}"));
    }
    let open: Vec<Loss> = state.open.iter().map(|open| open.loss.clone()).collect();
    match open.is_empty() {
        true => lines.push("no damage is open".into()),
        false => lines.push(format!("open damage:\n{}", table(&open))),
    }
    lines.join("\n")
}
