//! `tidemark group <verb>`: snapshots of several disks as of one instant.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, add_tags, note, snapshot, text};
use crate::client::params;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::Value;

/// A snapshot-consistent group.
pub const GROUP: Kind = Kind {
    name: "snapshot group",
    describe: "DescribeSnapshotGroups",
    ids: "SnapshotGroupId.1",
    wrapper: "SnapshotGroups",
    item: "SnapshotGroup",
    columns: &[
        Column::text("group", |r| text(r, "SnapshotGroupId")),
        Column::text("name", |r| text(r, "Name")),
        Column::text("instance", |r| text(r, "InstanceId")),
        Column::number("snapshots", |r| members(r).len().to_string()),
        Column::text("status", |r| text(r, "Status")),
        Column::number("progress", progress),
        Column::text("created", |r| text(r, "CreationTime")),
    ],
    details: &[
        Column::text("description", |r| text(r, "Description")),
        Column::text("tags", tags),
    ],
};

/// Its snapshots, as `show` lists them.
const MEMBERS: &[Column] = &[
    Column::text("snapshot", |r| text(r, "SnapshotId")),
    Column::text("disk", |r| text(r, "SourceDiskId")),
    Column::text("disk type", |r| text(r, "SourceDiskType")),
    Column::number("progress", |r| text(r, "Progress")),
];

/// What became of each part of a request.
const OUTCOMES: &[Column] = &[
    Column::text("snapshot", |r| related(r, "SnapshotId")),
    Column::text("disk", |r| related(r, "DiskId")),
    Column::text("outcome", |r| text(r, "OperationStatus")),
    Column::text("why", |r| text(r, "ErrorMsg")),
];

const EXAMPLES: &str = "\
A group holds snapshots of several disks as of one instant, while the guest goes on writing to all of them: what a power
cut of the whole machine would have left. Its snapshots can also be used one by one.

Examples:
  tidemark group create --instance i-bp1... --name before-upgrade --wait
  tidemark group create --disk d-bp1... --disk d-bp2...
  tidemark group show ssg-bp1...
  tidemark group reset ssg-bp1...";

/// `tidemark group ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct GroupArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List groups, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this instance's disks
        #[arg(long)]
        instance: Option<String>,
        /// Only those in this state: progressing, accomplished, failed
        #[arg(long)]
        status: Option<String>,
    },
    /// Show one group and its snapshots
    Show {
        /// The group's id
        group: String,
    },
    /// Take snapshots of several disks as of one instant
    Create {
        /// All disks of this instance
        #[arg(long)]
        instance: Option<String>,
        /// This disk; may be given several times
        #[arg(long = "disk", value_name = "DISK")]
        disks: Vec<String>,
        /// Not this disk of the instance; may be given several times
        #[arg(long = "exclude", value_name = "DISK", conflicts_with = "disks")]
        excluded: Vec<String>,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// More words for people
        #[arg(long)]
        description: Option<String>,
        /// A tag of the group; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
        /// Tell the guests that are run here: file-system or application (`tidemark snapshot create --help`)
        #[arg(long, value_name = "LEVEL", value_parser = ["crash", "file-system", "application"])]
        consistency: Option<String>,
        /// Wait until all its snapshots are accomplished
        #[arg(long)]
        wait: bool,
    },
    /// Change what people see of a group
    Modify {
        /// The group's id
        group: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        /// New words
        #[arg(long)]
        description: Option<String>,
    },
    /// Roll the disks of a group back to it, all of them or those named; their instance must be stopped
    Reset {
        /// The group's id
        group: String,
        /// Only this disk; may be given several times
        #[arg(long = "disk", value_name = "DISK")]
        disks: Vec<String>,
    },
    /// Delete a group with its snapshots; one that is locked stays, as a single snapshot
    #[command(visible_alias = "rm")]
    Delete {
        /// The group's id
        group: String,
    },
}

/// Runs a verb.
pub fn run(args: &GroupArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List { instance, status } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "InstanceId", instance.as_ref());
            add(&mut parameters, "Status.1", status.as_ref());
            api.print_list(&GROUP, &api.list(&GROUP, &parameters)?)
        }
        Verb::Show { group } => {
            let row = get(&api, group)?;
            api.print_one(&GROUP, &row)?;
            if args.common.json {
                return Ok(());
            }
            super::print("")?;
            super::print(&super::table(MEMBERS, members(&row)))
        }
        Verb::Create {
            instance,
            disks,
            excluded,
            name,
            description,
            tags,
            consistency,
            wait,
        } => {
            if instance.is_none() && disks.is_empty() {
                bail!("of what? Give --instance, or --disk for each disk");
            }
            let mut parameters = Parameters::new();
            add(&mut parameters, "InstanceId", instance.as_ref());
            add_numbered(&mut parameters, "DiskId", disks);
            add_numbered(&mut parameters, "ExcludeDiskId", excluded);
            add(&mut parameters, "Name", name.as_ref());
            add(&mut parameters, "Description", description.as_ref());
            let level = consistency.as_deref().map(snapshot::consistency_word);
            add(&mut parameters, "Consistency", level);
            add_tags(&mut parameters, tags);
            let answer = api.call("CreateSnapshotGroup", &parameters)?;
            let id = text(&answer, "SnapshotGroupId");
            if *wait {
                for member in members(&get(&api, &id)?) {
                    snapshot::wait_accomplished(&api, &text(member, "SnapshotId"))?;
                }
            } else {
                note("its snapshots are stored in the background; --wait waits for them")?;
            }
            let row = get(&api, &id)?;
            let sentence = format!(
                "group {id} of {} disks is {}",
                members(&row).len(),
                text(&row, "Status")
            );
            api.print_done(&sentence, &row)
        }
        Verb::Modify {
            group,
            name,
            description,
        } => {
            if name.is_none() && description.is_none() {
                bail!("nothing to change: give --name or --description");
            }
            let mut parameters = params([("SnapshotGroupId", group)]);
            add(&mut parameters, "Name", name.as_ref());
            add(&mut parameters, "Description", description.as_ref());
            api.call("ModifySnapshotGroup", &parameters)?;
            api.print_done(&format!("group {group} changed"), &get(&api, group)?)
        }
        Verb::Reset { group, disks } => {
            let row = get(&api, group)?;
            let mut parameters = Parameters::new();
            let chosen = |member: &&Value| disks.is_empty() || disks.contains(&text(member, "SourceDiskId"));
            for (at, member) in members(&row).iter().filter(chosen).enumerate() {
                let number = at + 1;
                parameters.push((format!("Disk.{number}.DiskId"), text(member, "SourceDiskId")));
                parameters.push((format!("Disk.{number}.SnapshotId"), text(member, "SnapshotId")));
            }
            if parameters.is_empty() || (!disks.is_empty() && parameters.len() != 2 * disks.len()) {
                bail!("group {group} has no snapshot of every disk that is named");
            }
            outcomes(&args.common, &api.call("ResetDisks", &parameters)?)
        }
        Verb::Delete { group } => outcomes(
            &args.common,
            &api.call("DeleteSnapshotGroup", &params([("SnapshotGroupId", group)]))?,
        ),
    }
}

fn get(api: &Api, group: &str) -> Result<Value> {
    // This list takes its ids one by one, not as a JSON array.
    let mut rows = api.list(&GROUP, &params([("SnapshotGroupId.1", group)]))?;
    rows.pop().with_context(|| format!("no snapshot group {group}"))
}

/// Prints what became of each part; fails if one failed.
fn outcomes(common: &CommonArgs, answer: &Value) -> Result<()> {
    let items = answer["OperationProgressSet"]["OperationProgress"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    match common.json {
        true => super::print(&crate::ecs::json::print(&Value::from(items.to_vec())))?,
        false => super::print(&super::table(OUTCOMES, items))?,
    }
    match items
        .iter()
        .filter(|item| text(item, "OperationStatus") != "Success")
        .count()
    {
        0 => Ok(()),
        failed => bail!("{failed} of {} failed", items.len()),
    }
}

fn add_numbered(parameters: &mut Parameters, name: &str, values: &[String]) {
    for (at, value) in values.iter().enumerate() {
        parameters.push((format!("{name}.{}", at + 1), value.clone()));
    }
}

fn members(group: &Value) -> &[Value] {
    group["Snapshots"]["Snapshot"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// That of the member that has come least far.
fn progress(group: &Value) -> String {
    let percent = |member: &Value| text(member, "Progress").trim_end_matches('%').parse::<u64>().ok();
    let least = members(group).iter().filter_map(percent).min();
    least.map(|percent| format!("{percent}%")).unwrap_or_default()
}

/// Tags have other names here than everywhere else.
fn tags(row: &Value) -> String {
    let tags = row["Tags"]["Tag"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let tags: Vec<_> = tags
        .iter()
        .map(|tag| format!("{}={}", text(tag, "Key"), text(tag, "Value")))
        .collect();
    tags.join(" ")
}

fn related(item: &Value, name: &str) -> String {
    let items = item["RelatedItemSet"]["RelatedItem"].as_array();
    let found = items.and_then(|items| items.iter().find(|item| text(item, "Name") == name));
    found.map(|item| text(item, "Value")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_group_is_as_far_as_its_last_member() {
        let member = |progress: &str| json!({ "Progress": progress });
        let group = |members: Vec<Value>| json!({ "Snapshots": { "Snapshot": members } });
        assert_eq!(
            progress(&group(vec![member("100%"), member("7%"), member("40%")])),
            "7%"
        );
        assert_eq!(progress(&group(vec![])), "");
    }

    #[test]
    fn outcomes_name_both_ends() {
        let item = json!({"RelatedItemSet": {"RelatedItem": [
            {"Name": "SnapshotId", "Value": "s-1"}, {"Name": "DiskId", "Value": "d-1"}]}});
        assert_eq!(
            (related(&item, "SnapshotId"), related(&item, "DiskId")),
            ("s-1".into(), "d-1".into())
        );
        assert_eq!(related(&json!({}), "DiskId"), "");
    }
}
