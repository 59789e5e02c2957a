//! `tidemark snapshot <verb>`.

use super::progress::{Progress, Unit};
use super::{Api, Column, CommonArgs, Kind, Parameters, add, add_tags, disk, note, print, tags, text};
use crate::client::params;
use crate::image::{Format, export};
use crate::size::human;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;

/// A snapshot of one disk.
pub const SNAPSHOT: Kind = Kind {
    name: "snapshot",
    describe: "DescribeSnapshots",
    ids: "SnapshotIds",
    wrapper: "Snapshots",
    item: "Snapshot",
    columns: &[
        Column::text("snapshot", |r| text(r, "SnapshotId")),
        Column::text("name", |r| text(r, "SnapshotName")),
        Column::text("disk", |r| text(r, "SourceDiskId")),
        Column::number("disk size", |r| format!("{} GiB", text(r, "SourceDiskSize"))),
        Column::text("status", |r| text(r, "Status")),
        Column::number("progress", |r| text(r, "Progress")),
        Column::text("encrypted", disk::encrypted),
        Column::text("created", |r| text(r, "CreationTime")),
    ],
    details: &[
        Column::text("description", |r| text(r, "Description")),
        Column::text("disk type", |r| text(r, "SourceDiskType")),
        Column::text("made by", |r| text(r, "SnapshotType")),
        Column::text("used for", |r| text(r, "Usage")),
        Column::text("data", |r| {
            r["FullSnapshotSizeInBytes"]
                .as_u64()
                .map(human)
                .unwrap_or_default()
        }),
        Column::text("kept for days", |r| {
            r["RetentionDays"]
                .as_u64()
                .filter(|d| *d > 0)
                .map(|d| d.to_string())
                .unwrap_or_default()
        }),
        Column::text("copy of", |r| {
            let of = text(r, "SourceSnapshotId");
            match of.is_empty() {
                true => of,
                false => format!("{of} in {}", text(r, "SourceRegionId")),
            }
        }),
        Column::text("tags", tags),
    ],
};

/// A snapshot that can be brought back.
const DELETED: Kind = Kind {
    name: "deleted snapshot",
    describe: "DescribeDeletedSnapshots",
    // All of them come in one answer.
    ids: "",
    wrapper: "DeletedSnapshots",
    item: "DeletedSnapshot",
    columns: &[
        Column::text("snapshot", |r| text(r, "SnapshotId")),
        Column::text("name", |r| text(r, "SnapshotName")),
        Column::text("disk", |r| text(r, "SourceDiskId")),
        Column::text("until", |r| text(r, "DeletedUntil")),
    ],
    details: &[],
};

/// A snapshot with a lock.
const LOCKED: Kind = Kind {
    name: "locked snapshot",
    describe: "DescribeLockedSnapshots",
    // A repeat list, and the answer's list is bare: `locked` reads it.
    ids: "",
    wrapper: "LockedSnapshotsInfo",
    item: "",
    columns: &[
        Column::text("snapshot", |r| text(r, "SnapshotId")),
        Column::text("status", |r| text(r, "LockStatus")),
        Column::number("days", |r| text(r, "LockDuration")),
        Column::text("can be changed until", |r| text(r, "CoolOffPeriodExpiredTime")),
        Column::text("locked until", |r| text(r, "LockExpiredTime")),
    ],
    details: &[],
};

const EXAMPLES: &str = "\
A snapshot fixes the disk's content at the instant of the call, while the guest
keeps writing; its data is stored in the background. It is done when its status
is `accomplished`. Take snapshots when little is going on: until then the disk
shares its medium with the capture. Delete those that are not needed any more:
each takes space, and costs where there is a price, for as long as it is there.

Examples:
  tidemark snapshot create d-bp1... --name before-upgrade --wait
  tidemark snapshot list --disk d-bp1...
  tidemark snapshot wait s-bp1...
  tidemark snapshot copy s-bp1... --to cn-beijing --wait
  tidemark snapshot undelete s-bp1...
  tidemark snapshot lock s-bp1... --days 30 --cool-off 24
  tidemark snapshot export s-bp1... disk.qcow2 --format qcow2
  nbdcopy \"$(tidemark snapshot endpoint s-bp1...)\" image.raw
  tidemark disk reset d-bp1... --snapshot s-bp1...";

/// `tidemark snapshot ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List snapshots, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this disk
        #[arg(long)]
        disk: Option<String>,
        /// Only those of this instance's disks
        #[arg(long)]
        instance: Option<String>,
        /// Only those in this state: progressing, accomplished, failed
        #[arg(long)]
        status: Option<String>,
    },
    /// Show one snapshot
    Show {
        /// The snapshot's id
        snapshot: String,
    },
    /// Take a snapshot of a disk
    Create {
        /// The disk's id
        disk: String,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// More words for people
        #[arg(long)]
        description: Option<String>,
        /// Delete it after so many days [default: keep it]
        #[arg(long, value_name = "DAYS")]
        retention_days: Option<u32>,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
        /// Tell the guest, if it is run here: file-system (synced and frozen for the moment) or application (its
        /// /tmp/prescript.sh runs before, too); tags say what was reached [default: crash]
        #[arg(long, value_name = "LEVEL", value_parser = ["crash", "file-system", "application"])]
        consistency: Option<String>,
        /// Wait until it is accomplished, and show its progress
        #[arg(long)]
        wait: bool,
    },
    /// Copy a snapshot to another region; only what the region lacks is copied
    Copy {
        /// The snapshot's id
        snapshot: String,
        /// The region that it is copied to
        #[arg(long, value_name = "REGION")]
        to: String,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// More words for people
        #[arg(long)]
        description: Option<String>,
        /// Delete the copy after so many days [default: keep it]
        #[arg(long, value_name = "DAYS")]
        retention_days: Option<u32>,
        /// A tag of the copy; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
        /// Wait until it is accomplished, and show its progress
        #[arg(long)]
        wait: bool,
    },
    /// Wait until a snapshot is accomplished, and show its progress
    Wait {
        /// The snapshot's id
        snapshot: String,
    },
    /// Change what people see of a snapshot, or how long it is kept
    Modify {
        /// The snapshot's id
        snapshot: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        /// New words
        #[arg(long)]
        description: Option<String>,
        /// Delete it so many days after its creation
        #[arg(long, value_name = "DAYS")]
        retention_days: Option<u32>,
    },
    /// Delete a snapshot, or cancel one that is progressing; any may go, in any order
    #[command(visible_alias = "rm")]
    Delete {
        /// The snapshot's id
        snapshot: String,
        /// Also when disks were made from it
        #[arg(long)]
        force: bool,
    },
    /// Bring a deleted snapshot back, with its name and tags
    Undelete {
        /// The snapshot's id
        snapshot: String,
    },
    /// List deleted snapshots that can be brought back
    Deleted,
    /// Keep a snapshot from being deleted, by anyone, for so many days
    Lock {
        /// The snapshot's id
        snapshot: String,
        /// For so many days; a lock can be made longer, never shorter
        #[arg(long, value_name = "DAYS")]
        days: u32,
        /// For so many hours it can still be taken off or changed, at most 72
        #[arg(long, value_name = "HOURS", default_value_t = 0)]
        cool_off: u32,
    },
    /// Take a lock off while its cool-off period lasts
    Unlock {
        /// The snapshot's id
        snapshot: String,
    },
    /// List snapshots that have a lock
    Locked {
        /// Only those in this state: compliance-cooloff, compliance, expired
        #[arg(long)]
        status: Option<String>,
    },
    /// Write a snapshot to a file, holes left out
    Export {
        /// The snapshot's id
        snapshot: String,
        /// The file
        file: PathBuf,
        /// What the file becomes
        #[arg(long, value_enum, default_value = "raw")]
        format: Format,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Print the NBD URI of a snapshot: a read-only export of its content
    Endpoint {
        /// The snapshot's id
        snapshot: String,
    },
}

/// The API's word for a level.
pub fn consistency_word(level: &str) -> &'static str {
    match level {
        "file-system" => "FileSystem",
        "application" => "Application",
        _ => "Crash",
    }
}

/// Runs a verb.
pub fn run(args: &SnapshotArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List {
            disk,
            instance,
            status,
        } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "DiskId", disk.as_ref());
            add(&mut parameters, "InstanceId", instance.as_ref());
            add(&mut parameters, "Status", status.as_ref());
            api.print_list(&SNAPSHOT, &api.list(&SNAPSHOT, &parameters)?)
        }
        Verb::Show { snapshot } => api.print_one(&SNAPSHOT, &api.get(&SNAPSHOT, snapshot)?),
        Verb::Create {
            disk,
            name,
            description,
            retention_days,
            tags,
            consistency,
            wait,
        } => {
            let mut parameters = params([("DiskId", disk)]);
            add(
                &mut parameters,
                "Consistency",
                consistency.as_deref().map(consistency_word),
            );
            add(&mut parameters, "SnapshotName", name.as_ref());
            add(&mut parameters, "Description", description.as_ref());
            add(&mut parameters, "RetentionDays", *retention_days);
            add_tags(&mut parameters, tags);
            let id = create(&api, &parameters)?;
            if !wait {
                note("it is stored in the background; --wait waits for it")?;
                let row = api.get(&SNAPSHOT, &id)?;
                return api.print_done(&format!("snapshot {id} is {}", text(&row, "Status")), &row);
            }
            let row = wait_accomplished(&api, &id)?;
            api.print_done(&format!("snapshot {id} is accomplished"), &row)
        }
        Verb::Copy {
            snapshot,
            to,
            name,
            description,
            retention_days,
            tags,
            wait,
        } => {
            let mut parameters = params([("SnapshotId", snapshot), ("DestinationRegionId", to)]);
            add(&mut parameters, "DestinationSnapshotName", name.as_ref());
            add(
                &mut parameters,
                "DestinationSnapshotDescription",
                description.as_ref(),
            );
            add(&mut parameters, "RetentionDays", *retention_days);
            add_tags(&mut parameters, tags);
            copy(&api, to, &parameters, *wait)
        }
        Verb::Wait { snapshot } => {
            let row = wait_accomplished(&api, snapshot)?;
            api.print_done(&format!("snapshot {snapshot} is accomplished"), &row)
        }
        Verb::Modify {
            snapshot,
            name,
            description,
            retention_days,
        } => {
            if name.is_none() && description.is_none() && retention_days.is_none() {
                bail!("nothing to change: give --name, --description or --retention-days");
            }
            let mut parameters = params([("SnapshotId", snapshot)]);
            add(&mut parameters, "SnapshotName", name.as_ref());
            add(&mut parameters, "Description", description.as_ref());
            add(&mut parameters, "RetentionDays", *retention_days);
            api.call("ModifySnapshotAttribute", &parameters)?;
            api.print_done(
                &format!("snapshot {snapshot} changed"),
                &api.get(&SNAPSHOT, snapshot)?,
            )
        }
        Verb::Delete { snapshot, force } => {
            let force = force.to_string();
            let answer = api.call(
                "DeleteSnapshot",
                &params([("SnapshotId", snapshot), ("Force", &force)]),
            )?;
            api.print_done(&format!("snapshot {snapshot} deleted"), &answer)
        }
        Verb::Undelete { snapshot } => {
            api.call("UndeleteSnapshot", &params([("SnapshotId", snapshot)]))?;
            api.print_done(
                &format!("snapshot {snapshot} is back"),
                &api.get(&SNAPSHOT, snapshot)?,
            )
        }
        Verb::Deleted => {
            let mut answer = api.call("DescribeDeletedSnapshots", &[])?;
            match answer[DELETED.wrapper][DELETED.item].take() {
                Value::Array(rows) => api.print_list(&DELETED, &rows),
                _ => bail!("{} answered no list", DELETED.describe),
            }
        }
        Verb::Lock {
            snapshot,
            days,
            cool_off,
        } => {
            let (days, cool_off) = (days.to_string(), cool_off.to_string());
            let parameters = params([
                ("SnapshotId", snapshot.as_str()),
                ("LockMode", "compliance"),
                ("LockDuration", &days),
                ("CoolOffPeriod", &cool_off),
            ]);
            let lock = api.call("LockSnapshot", &parameters)?["LockedSnapshotInfo"].take();
            let until = match text(&lock, "LockExpiredTime").as_str() {
                "" => format!("for {days} days from its completion"),
                until => format!("until {until}"),
            };
            api.print_done(&format!("snapshot {snapshot} is locked {until}"), &lock)
        }
        Verb::Unlock { snapshot } => {
            let answer = api.call("UnlockSnapshot", &params([("SnapshotId", snapshot)]))?;
            api.print_done(&format!("snapshot {snapshot} is not locked any more"), &answer)
        }
        Verb::Locked { status } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "LockStatus", status.as_ref());
            api.print_list(&LOCKED, &locked(&api, parameters)?)
        }
        Verb::Export {
            snapshot,
            file,
            format,
            force,
        } => {
            let order = export::Order {
                snapshot,
                file,
                format: *format,
                force: *force,
            };
            let bytes = export::run(&api, &order)?;
            let sentence = format!("{snapshot}, a disk of {}, is in {}", human(bytes), file.display());
            api.print_done(&sentence, &api.get(&SNAPSHOT, snapshot)?)
        }
        Verb::Endpoint { snapshot } => {
            let row = api.get(&SNAPSHOT, snapshot)?;
            print(&disk::endpoint(&api, snapshot)?)?;
            match text(&row, "Status").as_str() {
                "accomplished" => Ok(()),
                status => note(&format!("note: {snapshot} is not exported yet: it is {status}")),
            }
        }
    }
}

/// All locked snapshots, page after page.
fn locked(api: &Api, mut parameters: Parameters) -> Result<Vec<Value>> {
    parameters.push(("MaxResults".into(), "100".into()));
    let mut rows = Vec::new();
    loop {
        let mut answer = api.call(LOCKED.describe, &parameters)?;
        match answer[LOCKED.wrapper].take() {
            Value::Array(items) => rows.extend(items),
            _ => bail!("{} answered no list", LOCKED.describe),
        }
        let token = text(&answer, "NextToken");
        parameters.retain(|(name, _)| name != "NextToken");
        if token.is_empty() {
            return Ok(rows);
        }
        parameters.push(("NextToken".into(), token));
    }
}

/// Takes a snapshot and returns its id.
pub fn create(api: &Api, parameters: &[(String, String)]) -> Result<String> {
    let answer = api.call("CreateSnapshot", parameters)?;
    answer["SnapshotId"]
        .as_str()
        .map(str::to_string)
        .context("CreateSnapshot answered no snapshot id")
}

/// Copies a snapshot, and tells of the copy in its region.
fn copy(api: &Api, to: &str, parameters: &[(String, String)], wait: bool) -> Result<()> {
    let answer = api.call("CopySnapshot", parameters)?;
    let id = answer["SnapshotId"].as_str();
    let id = id.context("CopySnapshot answered no snapshot id")?;
    let there = api.in_region(to);
    let row = match wait {
        true => wait_accomplished(&there, id)?,
        false => {
            note(
                "it is copied in the background; --wait waits for it, deleting it in its region cancels it",
            )?;
            there.get(&SNAPSHOT, id)?
        }
    };
    there.print_done(
        &format!("snapshot {id} in {to} is {}", text(&row, "Status")),
        &row,
    )
}

/// Waits for the end of a snapshot and shows its progress; fails when the snapshot does.
pub fn wait_accomplished(api: &Api, snapshot: &str) -> Result<Value> {
    wait_accomplished_unless(api, snapshot, &|| Ok(()))
}

/// The same; ends early when `goes_on` fails.
pub fn wait_accomplished_unless(
    api: &Api,
    snapshot: &str,
    goes_on: &dyn Fn() -> Result<()>,
) -> Result<Value> {
    let mut progress = Progress::new(format!("snapshot {snapshot}"), Unit::Percent, 100);
    let row = api.wait(&SNAPSHOT, snapshot, |row| {
        goes_on()?;
        let Some(row) = row else {
            bail!("no snapshot {snapshot}: it does not exist or was deleted")
        };
        progress.show(percent(row), row["RemainTime"].as_u64());
        match text(row, "Status").as_str() {
            "accomplished" => Ok(true),
            "progressing" => Ok(false),
            status if !text(row, "SourceSnapshotId").is_empty() => {
                bail!("the copy {snapshot} is {status}; the service's log says why")
            }
            status => bail!("snapshot {snapshot} is {status}; its changes go into the disk's next snapshot"),
        }
    })?;
    progress.finish();
    row.with_context(|| format!("no snapshot {snapshot}"))
}

/// `"37%"` -> 37.
fn percent(row: &Value) -> u64 {
    text(row, "Progress").trim_end_matches('%').parse().unwrap_or(0)
}
