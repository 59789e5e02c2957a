//! `tidemark disk <verb>`.

use super::hydration::{self, HydrationArgs};
use super::{Api, Column, CommonArgs, Kind, Parameters, add, add_tags, note, print, tags, text};
use crate::client::params;
use crate::people::instance::INSTANCE;
use crate::size;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::Value;
use std::path::Path;

/// A cloud disk.
pub const DISK: Kind = Kind {
    name: "disk",
    describe: "DescribeDisks",
    ids: "DiskIds",
    wrapper: "Disks",
    item: "Disk",
    columns: &[
        Column::text("disk", |r| text(r, "DiskId")),
        Column::text("name", |r| text(r, "DiskName")),
        Column::number("size", gib),
        Column::text("status", |r| text(r, "Status")),
        Column::text("encrypted", encrypted),
        Column::text("instance", |r| text(r, "InstanceId")),
        Column::text("device", |r| text(r, "Device")),
        Column::text("created", |r| text(r, "CreationTime")),
    ],
    details: &[
        Column::text("description", |r| text(r, "Description")),
        Column::text("type", |r| text(r, "Type")),
        Column::text("category", |r| text(r, "Category")),
        Column::text("zone", |r| text(r, "ZoneId")),
        Column::text("made from", |r| text(r, "SourceSnapshotId")),
        Column::text("goes with instance", |r| text(r, "DeleteWithInstance")),
        Column::text("tags", tags),
    ],
};

/// `yes`, or nothing.
pub(super) fn encrypted(row: &Value) -> String {
    match row["Encrypted"].as_bool() {
        Some(true) => "yes".into(),
        _ => String::new(),
    }
}

fn gib(row: &Value) -> String {
    row["Size"]
        .as_u64()
        .map(|size| format!("{size} GiB"))
        .unwrap_or_default()
}

const EXAMPLES: &str = "\
Examples:
  tidemark disk create --size 8G --name data --wait
  tidemark disk create --size 8G --encrypted
  tidemark disk attach d-bp1... --instance i-bp1... --wait
  qemu-img info \"$(tidemark disk endpoint d-bp1...)\"
  nbdcopy image.raw \"$(tidemark disk endpoint d-bp1...)\"
  tidemark snapshot create d-bp1... --wait
  tidemark instance stop i-bp1... --wait
  tidemark disk reset d-bp1... --snapshot s-bp1... --wait
  tidemark disk create --snapshot s-bp1... --name copy
  tidemark disk resize d-bp1... --size 16G
  tidemark disk reinit d-bp1... --wait
  tidemark disk hydration d-bp1... --watch
  tidemark disk hydration d-bp1... --limit 50M";

/// `tidemark disk ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DiskArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List disks
    #[command(visible_alias = "ls")]
    List {
        /// Only those attached to this instance
        #[arg(long)]
        instance: Option<String>,
        /// Only those in this state: Available, In_use, Creating, Attaching, Detaching, ReIniting
        #[arg(long)]
        status: Option<String>,
        /// Only those made from this snapshot
        #[arg(long)]
        snapshot: Option<String>,
    },
    /// Show one disk
    Show {
        /// The disk's id
        disk: String,
    },
    /// Make a disk: empty, or with the content of a snapshot (usable at once, filled as needed)
    Create {
        /// Its size, in whole GiB: 8G, 1T, 40
        #[arg(long, value_parser = size::gib, required_unless_present = "snapshot")]
        size: Option<u64>,
        /// The snapshot whose content it gets
        #[arg(long)]
        snapshot: Option<String>,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// More words for people
        #[arg(long)]
        description: Option<String>,
        /// The zone [default: the region's first]
        #[arg(long)]
        zone: Option<String>,
        /// The category: a label that checks sizes
        #[arg(long, default_value = "cloud_essd")]
        category: String,
        /// The level of a cloud_essd disk; PL0 allows any size
        #[arg(long, value_name = "LEVEL")]
        performance_level: Option<String>,
        /// Give it a key of its own, destroyed with the disk and its snapshots; the vault must be encrypted.
        /// A disk made from an encrypted snapshot always has one
        #[arg(long)]
        encrypted: bool,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
        /// Wait until it is Available
        #[arg(long)]
        wait: bool,
    },
    /// Attach a disk to an instance
    Attach {
        /// The disk's id
        disk: String,
        /// The instance's id
        #[arg(long)]
        instance: String,
        /// The device name that it asks for, /dev/xvdb to /dev/xvdz
        #[arg(long)]
        device: Option<String>,
        /// Delete the disk when the instance is deleted
        #[arg(long)]
        delete_with_instance: bool,
        /// Wait until it is In_use
        #[arg(long)]
        wait: bool,
    },
    /// Detach a disk from its instance
    Detach {
        /// The disk's id
        disk: String,
        /// The instance's id [default: the one that it is attached to]
        #[arg(long)]
        instance: Option<String>,
        /// Wait until it is Available
        #[arg(long)]
        wait: bool,
    },
    /// Roll a disk back to one of its snapshots; what was written since is lost
    #[command(visible_alias = "rollback")]
    Reset {
        /// The disk's id
        disk: String,
        /// The snapshot's id
        #[arg(long)]
        snapshot: String,
        /// Wait until it is done
        #[arg(long)]
        wait: bool,
    },
    /// Make a disk larger; it never shrinks, and partitions on it are the guest's affair
    Resize {
        /// The disk's id
        disk: String,
        /// Its new size, in whole GiB: 16G, 1T, 40
        #[arg(long, value_parser = size::gib)]
        size: u64,
    },
    /// Make a disk anew: empty, or with the content of the image or snapshot that it was made from; its instance
    /// must be Stopped, and everything written since is lost
    Reinit {
        /// The disk's id
        disk: String,
        /// Start the instance afterwards
        #[arg(long)]
        start: bool,
        /// Wait until it is done
        #[arg(long)]
        wait: bool,
    },
    /// Delete a disk; its snapshots stay
    #[command(visible_alias = "rm")]
    Delete {
        /// The disk's id
        disk: String,
        /// Wait until it is gone
        #[arg(long)]
        wait: bool,
    },
    /// How a disk is filled from its snapshot: show, watch, pause, resume, limit
    Hydration(HydrationArgs),
    /// Print the NBD URI of a disk, for nbdcopy, qemu, fio, nbd-client
    Endpoint {
        /// The disk's id
        disk: String,
    },
}

/// Runs a verb.
pub fn run(args: &DiskArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List {
            instance,
            status,
            snapshot,
        } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "InstanceId", instance.as_ref());
            add(&mut parameters, "Status", status.as_ref());
            add(&mut parameters, "SnapshotId", snapshot.as_ref());
            api.print_list(&DISK, &api.list(&DISK, &parameters)?)
        }
        Verb::Show { disk } => api.print_one(&DISK, &api.get(&DISK, disk)?),
        Verb::Create {
            size,
            snapshot,
            name,
            description,
            zone,
            category,
            performance_level,
            encrypted,
            tags,
            wait,
        } => {
            let zone = api.zone(zone.as_deref())?;
            let mut parameters = params([("ZoneId", &zone), ("DiskCategory", category)]);
            let level = performance_level
                .clone()
                .or((category == "cloud_essd").then(|| "PL0".to_string()));
            add(&mut parameters, "PerformanceLevel", level);
            add(&mut parameters, "Size", *size);
            add(&mut parameters, "SnapshotId", snapshot.as_ref());
            add(&mut parameters, "DiskName", name.as_ref());
            add(&mut parameters, "Description", description.as_ref());
            add(&mut parameters, "Encrypted", encrypted.then_some(true));
            add_tags(&mut parameters, tags);
            let answer = api.call("CreateDisk", &parameters)?;
            let id = answer["DiskId"]
                .as_str()
                .context("CreateDisk answered no disk id")?;
            settled(&api, id, wait.then_some("Available"))
        }
        Verb::Attach {
            disk,
            instance,
            device,
            delete_with_instance,
            wait,
        } => {
            let goes = delete_with_instance.to_string();
            let mut parameters = params([
                ("DiskId", disk),
                ("InstanceId", instance),
                ("DeleteWithInstance", &goes),
            ]);
            add(&mut parameters, "Device", device.as_ref());
            api.call("AttachDisk", &parameters)?;
            settled(&api, disk, wait.then_some("In_use"))
        }
        Verb::Detach { disk, instance, wait } => {
            let instance = match instance {
                Some(instance) => instance.clone(),
                None => text(&api.get(&DISK, disk)?, "InstanceId"),
            };
            if instance.is_empty() {
                bail!("disk {disk} is not attached to any instance");
            }
            api.call(
                "DetachDisk",
                &params([("DiskId", disk), ("InstanceId", &instance)]),
            )?;
            settled(&api, disk, wait.then_some("Available"))
        }
        Verb::Reset { disk, snapshot, wait } => {
            let before = text(&api.get(&DISK, disk)?, "Status");
            api.call("ResetDisk", &params([("DiskId", disk), ("SnapshotId", snapshot)]))?;
            settled(&api, disk, wait.then_some(before.as_str()))
        }
        Verb::Resize { disk, size } => {
            let size = size.to_string();
            api.call("ResizeDisk", &params([("DiskId", disk), ("NewSize", &size)]))?;
            note("clients that are connected see the new size when they connect again")?;
            settled(&api, disk, None)
        }
        Verb::Reinit { disk, start, wait } => {
            let start = start.to_string();
            let parameters = params([("DiskId", disk), ("AutoStartInstance", &start)]);
            api.call("ReInitDisk", &parameters)?;
            settled(&api, disk, wait.then_some("In_use"))
        }
        Verb::Delete { disk, wait } => {
            let answer = api.call("DeleteDisk", &params([("DiskId", disk)]))?;
            if *wait {
                api.wait_gone(&DISK, disk)?;
            }
            api.print_done(&format!("disk {disk} deleted"), &answer)
        }
        Verb::Hydration(args) => hydration::run(&api, args),
        Verb::Endpoint { disk } => {
            let row = api.get(&DISK, disk)?;
            print(&endpoint(&api, disk)?)?;
            not_exported(&api, &row)
        }
    }
}

/// The NBD URI of a disk or a snapshot.
pub fn endpoint(api: &Api, export: &str) -> Result<String> {
    Ok(nbd_uri(export, socket(api)?))
}

/// The socket at which disks and snapshots are exported.
pub fn socket(api: &Api) -> Result<&Path> {
    api.client().connection().nbd_socket.as_deref().context(
        "where disks of this region are exported is only known from credentials.toml: give the server's --data-dir",
    )
}

/// `nbd+unix:///<export>?socket=<path>`, the path percent-encoded but for its slashes.
pub fn nbd_uri(export: &str, socket: &Path) -> String {
    let path = socket.to_string_lossy();
    let parts: Vec<String> = path.split('/').map(tidemark_ecs::sign::encode).collect();
    format!(
        "nbd+unix:///{}?socket={}",
        tidemark_ecs::sign::encode(export),
        parts.join("/")
    )
}

/// Says why a client would be refused now, if it would.
fn not_exported(api: &Api, disk: &Value) -> Result<()> {
    let (id, instance) = (text(disk, "DiskId"), text(disk, "InstanceId"));
    if instance.is_empty() {
        return note(&format!(
            "note: {id} is not exported now; attach it first: tidemark disk attach {id} --instance ..."
        ));
    }
    match api.find(&INSTANCE, &instance)?.map(|row| text(&row, "Status")) {
        Some(status) if status == "Running" => Ok(()),
        status => note(&format!(
            "note: {id} is not exported now: its instance {instance} is {}, not Running",
            status.unwrap_or("gone".into())
        )),
    }
}

/// Tells the state that a disk reached, or is on its way to.
fn settled(api: &Api, disk: &str, wanted: Option<&str>) -> Result<()> {
    let row = match wanted {
        Some(status) => api.wait_status(&DISK, disk, status)?,
        None => api.get(&DISK, disk)?,
    };
    let status = text(&row, "Status");
    if wanted.is_none() && !matches!(status.as_str(), "Available" | "In_use") {
        note("it goes on in the background; --wait waits for it")?;
    }
    let place = match (text(&row, "InstanceId"), text(&row, "Device")) {
        (instance, _) if instance.is_empty() => String::new(),
        (instance, device) => format!(": {device} of {instance}"),
    };
    api.print_done(&format!("disk {disk} is {status}{place}"), &row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_is_what_nbd_tools_parse() {
        assert_eq!(
            nbd_uri("d-1", Path::new("/data/run/nbd.sock")),
            "nbd+unix:///d-1?socket=/data/run/nbd.sock"
        );
        assert_eq!(
            nbd_uri("d-1", Path::new("/my data/n&d")),
            "nbd+unix:///d-1?socket=/my%20data/n%26d"
        );
    }
}
