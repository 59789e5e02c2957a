//! Asking the running service to repair: it has the disks, and it alone writes.

use super::report::is_data;
use crate::client::Client;
use crate::credentials::ConnectionArgs;
use crate::people::progress::Activity;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tidemark_node::{SCRUB_FILE, ScrubState};
use tidemark_units::SnapshotId;
use tidemark_vault::{Loss, LossKind};

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(200);
/// Looks after which the service is asked whether it is still there.
const LOOKS: u32 = 25;
/// More than these, and all are asked for.
const SNAPSHOTS_MAX: usize = 100;

/// The snapshots in which there is something to repair.
pub fn repairable(losses: &[Loss]) -> Option<BTreeSet<SnapshotId>> {
    let of_packs = |loss: &&Loss| matches!(loss.kind, LossKind::Chunks | LossKind::Frame) && is_data(loss);
    let mut found = losses.iter().filter(of_packs).peekable();
    found.peek()?;
    // A pack's footer names nobody: then it is all of them.
    let named = found.clone().all(|loss| !loss.snapshots.is_empty());
    let snapshots: BTreeSet<SnapshotId> = found.flat_map(|loss| loss.snapshots.iter().cloned()).collect();
    Some(match named && snapshots.len() <= SNAPSHOTS_MAX {
        true => snapshots,
        false => BTreeSet::new(),
    })
}

/// Has the service of this data directory repair these snapshots (all, if none is named), and waits until it has tried.
pub fn run(data_dir: &Path, snapshots: &BTreeSet<SnapshotId>) -> Result<()> {
    let connection = ConnectionArgs {
        data_dir: Some(data_dir.to_owned()),
        ..ConnectionArgs::default()
    };
    let connection = connection.resolve(&|name| std::env::var(name).ok());
    let client = Client::new(connection.context("only the running service can repair the vault")?);
    let names = (1..).zip(snapshots);
    let parameters: Vec<_> = names
        .map(|(n, id)| (format!("SnapshotId.{n}"), id.to_string()))
        .collect();
    let answer = client
        .call_json("StartVaultScrub", &parameters)
        .context("only the running service can repair the vault")?;
    let Some(number) = answer["ScrubNumber"].as_i64() else {
        bail!("the service does not say what it has started: is it of another version?");
    };
    let mut activity = Activity::new("repair");
    activity.show("the service repairs what its disks still have");
    let path = data_dir.join(SCRUB_FILE);
    for look in 1.. {
        let state = std::fs::read(&path).ok();
        let state = state.and_then(|bytes| ScrubState::decode(&bytes).ok());
        if let Some(state) = state.filter(|state| state.asked >= number) {
            activity.finish();
            return match state.trouble {
                Some(trouble) => bail!("the service cannot reach the vault: {trouble}"),
                None => Ok(()),
            };
        }
        if look % LOOKS == 0 {
            client
                .call("DescribeRegions", &[])
                .context("the service stopped before it was done")?;
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packs_are_repaired_and_an_unnamed_one_is_everybodys() {
        let loss = |kind, snapshots: &[&str]| Loss {
            object: "packs/ab/abcd".into(),
            kind,
            lost: true,
            disk: None,
            snapshots: snapshots.iter().map(|id| SnapshotId::new(*id).unwrap()).collect(),
            start: 0,
            end: 1,
            what: String::new(),
            error: String::new(),
        };
        assert_eq!(repairable(&[]), None);
        assert_eq!(repairable(&[loss(LossKind::Nodes, &["s-1"])]), None);
        let two = [loss(LossKind::Chunks, &["s-1"]), loss(LossKind::Chunks, &["s-2"])];
        assert_eq!(repairable(&two).unwrap().len(), 2);
        let unnamed = [loss(LossKind::Chunks, &["s-1"]), loss(LossKind::Frame, &[])];
        assert!(repairable(&unnamed).unwrap().is_empty());
    }
}
