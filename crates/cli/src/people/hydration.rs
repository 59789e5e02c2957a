//! `tidemark disk hydration`: how a disk is filled from the snapshot that it was made from or rolled back to.

use super::progress::{Activity, Progress, Unit};
use super::{Api, Parameters, add, text};
use crate::client::params;
use crate::size::{self, human};
use anyhow::{Result, bail};
use serde_json::Value;
use std::time::Duration;

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(500);

/// Arguments of `tidemark disk hydration`.
#[derive(Debug, clap::Args)]
pub struct HydrationArgs {
    /// The disk's id
    disk: String,
    /// Watch until the disk is complete
    #[arg(long)]
    watch: bool,
    /// Fetch nothing in the background; what is read is fetched all the same
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Go on fetching in the background
    #[arg(long)]
    resume: bool,
    /// The most to fetch in the background in a second: 50M, 1G, or none
    #[arg(long, value_name = "RATE", value_parser = limit)]
    limit: Option<u64>,
}

/// Bytes in a second; 0 is no limit.
fn limit(text: &str) -> Result<u64> {
    if text == "none" {
        return Ok(0);
    }
    let bytes = size::parse(text.strip_suffix("/s").unwrap_or(text))?;
    let least = tidemark_ecs::actions::modify_disk_hydration::LIMIT_BYTES_MIN.unsigned_abs();
    if bytes < least {
        bail!(
            "limit {text:?} is less than {} in a second; use --pause to stop it",
            human(least)
        );
    }
    Ok(bytes)
}

/// Changes what is asked for, then shows how it goes.
pub fn run(api: &Api, args: &HydrationArgs) -> Result<()> {
    let mut change: Parameters = params([("DiskId", &args.disk)]);
    let unchanged = change.len();
    add(
        &mut change,
        "Paused",
        args.pause.then_some("true").or(args.resume.then_some("false")),
    );
    add(&mut change, "LimitBytes", args.limit);
    if change.len() > unchanged {
        api.call("ModifyDiskHydration", &change)?;
    }
    let found = match args.watch {
        true => watch(api, &args.disk)?,
        false => describe(api, &args.disk)?,
    };
    api.print_done(&sentence(&found), &found)
}

fn describe(api: &Api, disk: &str) -> Result<Value> {
    api.call("DescribeDiskHydration", &params([("DiskId", disk)]))
}

/// Shows progress until the disk is complete; standing still is told, and not the end.
fn watch(api: &Api, disk: &str) -> Result<Value> {
    let label = format!("disk {disk}");
    let mut found = describe(api, disk)?;
    let total = number(&found, "DataBytes");
    let mut bar = Progress::new(&label, Unit::Bytes, total);
    let mut halted: Option<Activity> = None;
    loop {
        let status = text(&found, "Status");
        match status.as_str() {
            "complete" => {
                halted.into_iter().for_each(Activity::finish);
                bar.finish();
                return Ok(found);
            }
            "running" => {
                halted.take().into_iter().for_each(Activity::finish);
                let left = found["RemainTime"].as_u64();
                bar.show(total.saturating_sub(number(&found, "DataBytes")), left);
            }
            _ => {
                let why = [status, text(&found, "Trouble")];
                let why: Vec<_> = why.into_iter().filter(|part| !part.is_empty()).collect();
                halted
                    .get_or_insert_with(|| Activity::new(&label))
                    .show(&why.join(": "));
            }
        }
        std::thread::sleep(POLL);
        found = describe(api, disk)?;
    }
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or(0)
}

/// All in one line.
fn sentence(found: &Value) -> String {
    let (disk, status) = (text(found, "DiskId"), text(found, "Status"));
    if status == "complete" {
        return format!("disk {disk} is complete: all of it is local");
    }
    let mut parts = vec![format!("disk {disk} is {status}")];
    let snapshot = text(found, "SnapshotId");
    if !snapshot.is_empty() {
        parts.push(format!("from snapshot {snapshot}"));
    }
    let (data, absent) = (number(found, "DataBytes"), number(found, "AbsentBytes"));
    parts.push(match data < absent {
        true => format!(
            "{} to fetch at most (of {} not local)",
            human(data),
            human(absent)
        ),
        false => format!("{} to fetch", human(data)),
    });
    let (rate, limit) = (number(found, "RateBytes"), number(found, "LimitBytes"));
    if rate > 0 {
        parts.push(format!("{}/s", human(rate)));
    }
    if limit > 0 {
        parts.push(format!("limited to {}/s", human(limit)));
    }
    if let Some(left) = found["RemainTime"].as_u64() {
        parts.push(format!("{left} s left"));
    }
    let trouble = text(found, "Trouble");
    if !trouble.is_empty() {
        parts.push(trouble);
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_as_people_write_them() {
        assert_eq!(limit("none").unwrap(), 0);
        assert_eq!(limit("50M").unwrap(), 50 << 20);
        assert_eq!(limit("1G/s").unwrap(), 1 << 30);
        for text in ["0", "10", "-1M", "fast"] {
            assert!(limit(text).unwrap_err().to_string().contains(text), "{text}");
        }
    }

    #[test]
    fn one_line_says_it_all() {
        let mut found = json!({"DiskId": "d-1", "Status": "complete", "AbsentBytes": 0});
        assert_eq!(sentence(&found), "disk d-1 is complete: all of it is local");
        found = json!({
            "DiskId": "d-1", "Status": "running", "SnapshotId": "s-1", "AbsentBytes": 10u64 << 30,
            "DataBytes": 1 << 30, "RateBytes": 50 << 20, "LimitBytes": 64 << 20, "RemainTime": 20, "Trouble": "",
        });
        assert_eq!(
            sentence(&found),
            "disk d-1 is running, from snapshot s-1, 1 GiB to fetch at most (of 10 GiB not local), 50 MiB/s, \
             limited to 64 MiB/s, 20 s left"
        );
    }
}
