//! `tidemark image <verb>`.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, add_tags, note, print, progress, tags, text};
use crate::client::params;
use crate::image::{Format, build, export, import};
use crate::size;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An image. Its ids are a list with commas, not a JSON array, so [`Api::find`] is not for it: see [`find`].
pub const IMAGE: Kind = Kind {
    name: "image",
    describe: "DescribeImages",
    ids: "ImageId",
    wrapper: "Images",
    item: "Image",
    columns: &[
        Column::text("image", |r| text(r, "ImageId")),
        Column::text("name", |r| text(r, "ImageName")),
        Column::text("family", |r| text(r, "ImageFamily")),
        Column::number("size", |r| match r["Size"].as_u64() {
            Some(0) | None => String::new(),
            Some(size) => format!("{size} GiB"),
        }),
        Column::text("status", |r| text(r, "Status")),
        Column::number("progress", |r| text(r, "Progress")),
        Column::text("owner", |r| text(r, "ImageOwnerAlias")),
        Column::text("created", |r| text(r, "CreationTime")),
    ],
    details: &[
        Column::text("description", |r| text(r, "Description")),
        Column::text("platform", |r| text(r, "Platform")),
        Column::text("architecture", |r| text(r, "Architecture")),
        Column::text("used by", |r| text(r, "Usage")),
        Column::text("disks", disks),
        Column::text("tags", tags),
    ],
};

/// `/dev/xvda 40 GiB s-1, ...`
fn disks(row: &Value) -> String {
    let disks = row["DiskDeviceMappings"]["DiskDeviceMapping"].as_array();
    let one = |disk: &Value| {
        let of = match text(disk, "SnapshotId") {
            empty if empty.is_empty() => "empty".into(),
            snapshot => snapshot,
        };
        format!("{} {} GiB {of}", text(disk, "Device"), text(disk, "Size"))
    };
    disks
        .into_iter()
        .flatten()
        .map(one)
        .collect::<Vec<_>>()
        .join(", ")
}

const EXAMPLES: &str = "\
An image names snapshots: one of a system disk, and of data disks if it has any.
As long as there is the image, they stay.

Examples:
  tidemark image create --instance i-bp1... --name golden --family web --wait
  tidemark image create --snapshot s-bp1... --name golden
  tidemark image import debian.qcow2 --name debian --size 20G
  tidemark image export m-bp1... golden.raw
  tidemark image build small.raw              an image of our own, for trying things
  tidemark ecs RunInstances --InstanceType tidemark.external --ImageId m-bp1...
  tidemark image list
  tidemark image delete m-bp1...";

const IMPORT_HELP: &str = "\
The content goes over NBD to the system disk of an instance that is made for it
and released in the end; what stays is an image and its snapshot. If it fails
or is interrupted, nothing stays. qcow2 needs qemu-img; files that refer to
other files are refused, and internal snapshots are not taken.";

const BUILD_HELP: &str = "\
The disk boots in QEMU (BIOS, virtio) with a serial console. It says
TIDEMARK-GUEST READY, then writes numbered records to its file system and says
DURABLE n once record n is safe; at the next boot it checks them and says FOUND
n or DAMAGED. docs/images.md has all that it says and does.
Needs dosfstools, mtools, syslinux, syslinux-common, e2fsprogs, dpkg and apt; packages are fetched
once and kept: delete the cache directory to fetch newer ones.";

/// What the user says that a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Asked {
    /// Look at its first bytes
    Auto,
    /// The bytes of the disk
    Raw,
    /// QEMU's format
    Qcow2,
}

impl Asked {
    fn format(self) -> Option<Format> {
        match self {
            Asked::Auto => None,
            Asked::Raw => Some(Format::Raw),
            Asked::Qcow2 => Some(Format::Qcow2),
        }
    }
}

/// `tidemark image ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImageArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List images, newest first, whatever their state
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this family
        #[arg(long)]
        family: Option<String>,
        /// Only those in this state: Creating, Available, CreateFailed, Deprecated
        #[arg(long)]
        status: Option<String>,
    },
    /// Show one image
    Show {
        /// The image's id
        image: String,
    },
    /// Make an image: of all disks of an instance, which are snapshotted now, or of a system disk's snapshot
    Create {
        /// The instance's id
        #[arg(long, required_unless_present = "snapshot", conflicts_with = "snapshot")]
        instance: Option<String>,
        /// The snapshot's id
        #[arg(long)]
        snapshot: Option<String>,
        /// A name, of which there is only one [default: the image's id]
        #[arg(long)]
        name: Option<String>,
        /// The family, whose newest image is taken when an instance names the family
        #[arg(long)]
        family: Option<String>,
        /// More words for people
        #[arg(long)]
        description: Option<String>,
        /// The system on it, such as Ubuntu or Debian
        #[arg(long)]
        platform: Option<String>,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
        /// Wait until it is Available
        #[arg(long)]
        wait: bool,
    },
    /// Make an image of a file: a disk's bytes, or qcow2
    #[command(after_help = IMPORT_HELP)]
    Import {
        /// The file
        file: PathBuf,
        /// A name, of which there is only one [default: the image's id]
        #[arg(long)]
        name: Option<String>,
        /// The family, whose newest image is taken when an instance names the family
        #[arg(long)]
        family: Option<String>,
        /// More words for people
        #[arg(long)]
        description: Option<String>,
        /// The system on it, such as Ubuntu or Debian
        #[arg(long)]
        platform: Option<String>,
        /// How it starts: BIOS, UEFI or UEFI-Preferred
        #[arg(long)]
        boot_mode: Option<String>,
        /// What the file is; `auto` looks at its first bytes
        #[arg(long, value_enum, default_value = "auto")]
        format: Asked,
        /// Size of the image's disk, rounded up to GiB [default: the content's]
        #[arg(long, value_parser = size::parse)]
        size: Option<u64>,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// Write an image's system disk to a file, holes left out
    Export {
        /// The image's id
        image: String,
        /// The file
        file: PathBuf,
        /// What the file becomes
        #[arg(long, value_enum, default_value = "raw")]
        format: Format,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Make a file with a small bootable disk of our own, from Debian packages; needs no service
    #[command(after_help = BUILD_HELP)]
    Build {
        /// The file, which becomes a raw disk
        file: PathBuf,
        /// Size of the disk
        #[arg(long, default_value = "1G", value_parser = size::parse)]
        size: u64,
        /// Where packages are kept [default: tidemark/guest in the user's cache directory]
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Delete an image; its snapshots stay, and so do instances that were made of it
    #[command(visible_alias = "rm")]
    Delete {
        /// The image's id
        image: String,
        /// Although instances of it exist: their system disks can then not be made anew
        #[arg(long)]
        force: bool,
    },
}

/// Runs a verb.
pub fn run(args: &ImageArgs) -> Result<()> {
    if let Verb::Build {
        file,
        size,
        cache,
        force,
    } = &args.verb
    {
        return built(file, *size, cache.as_deref(), *force, args.common.json);
    }
    let api = Api::new(&args.common)?;
    match &args.verb {
        // It needs no service, and is done above.
        Verb::Build { .. } => Ok(()),
        Verb::Import {
            file,
            name,
            family,
            description,
            platform,
            boot_mode,
            format,
            size,
            tags,
        } => {
            let order = import::Order {
                file,
                format: format.format(),
                size: *size,
                name: name.as_deref(),
                family: family.as_deref(),
                description: description.as_deref(),
                platform: platform.as_deref(),
                boot_mode: boot_mode.as_deref(),
                tags,
            };
            let row = import::run(&api, &order)?;
            api.print_done(&format!("image {} is Available", text(&row, "ImageId")), &row)
        }
        Verb::Export {
            image,
            file,
            format,
            force,
        } => exported(&api, image, file, *format, *force),
        Verb::List { family, status } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "ImageFamily", family.as_ref());
            add(
                &mut parameters,
                "Status",
                Some(status.as_deref().unwrap_or("ALL")),
            );
            api.print_list(&IMAGE, &api.list(&IMAGE, &parameters)?)
        }
        Verb::Show { image } => api.print_one(&IMAGE, &find(&api, image)?),
        Verb::Create {
            instance,
            snapshot,
            name,
            family,
            description,
            platform,
            tags,
            wait,
        } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "InstanceId", instance.as_ref());
            add(&mut parameters, "SnapshotId", snapshot.as_ref());
            add(&mut parameters, "ImageName", name.as_ref());
            add(&mut parameters, "ImageFamily", family.as_ref());
            add(&mut parameters, "Description", description.as_ref());
            add(&mut parameters, "Platform", platform.as_ref());
            add_tags(&mut parameters, tags);
            let answer = api.call("CreateImage", &parameters)?;
            let id = answer["ImageId"]
                .as_str()
                .context("CreateImage answered no image id")?;
            created(&api, id, *wait)
        }
        Verb::Delete { image, force } => {
            let force = force.to_string();
            api.call("DeleteImage", &params([("ImageId", image), ("Force", &force)]))?;
            api.print_done(&format!("image {image} deleted"), &json!({ "ImageId": image }))
        }
    }
}

fn exported(api: &Api, image: &str, file: &Path, format: Format, force: bool) -> Result<()> {
    let row = find(api, image)?;
    let (snapshot, others) = export::system_snapshot(&row)?;
    if others > 0 {
        note(&format!(
            "note: the {others} data disks of {image} are not in the file; `tidemark snapshot export` writes each"
        ))?;
    }
    let order = export::Order {
        snapshot: &snapshot,
        file,
        format,
        force,
    };
    let bytes = export::run(api, &order)?;
    let sentence = format!(
        "{image}, a disk of {}, is in {}",
        size::human(bytes),
        file.display()
    );
    api.print_done(&sentence, &row)
}

fn built(file: &Path, bytes: u64, cache: Option<&Path>, force: bool, json: bool) -> Result<()> {
    let built = build::run(&build::Order {
        file,
        bytes,
        cache,
        force,
    })?;
    match json {
        true => print(&built.to_json().to_string()),
        false => print(&format!("{} is {}", file.display(), built.sentence())),
    }
}

/// One image that must exist, whatever its state.
pub fn find(api: &Api, image: &str) -> Result<Value> {
    let parameters = params([("ImageId", image), ("Status", "ALL")]);
    let found = api.list(&IMAGE, &parameters)?.into_iter().next();
    found.with_context(|| format!("no image {image} in {}", api.client().connection().region))
}

/// How often an image in creation is looked at.
const POLL: Duration = Duration::from_millis(300);

/// Tells the state of a new image, once it has settled if that is to be waited for.
fn created(api: &Api, image: &str, wait: bool) -> Result<()> {
    let mut shown = progress::Activity::new(format!("image {image}"));
    let row = loop {
        let row = find(api, image)?;
        let status = text(&row, "Status");
        match status.as_str() {
            "Creating" if wait => shown.show(&text(&row, "Progress")),
            "CreateFailed" => bail!("image {image} could not be made: {}", text(&row, "Description")),
            _ => break row,
        }
        std::thread::sleep(POLL);
    };
    shown.finish();
    let status = text(&row, "Status");
    if status == "Creating" {
        note("its snapshots are stored in the background; --wait waits for them")?;
    }
    api.print_done(&format!("image {image} is {status}"), &row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disks_of_an_image_in_a_line() {
        let row = json!({"DiskDeviceMappings": {"DiskDeviceMapping": [
            {"Device": "/dev/xvda", "Size": "40", "SnapshotId": "s-1"},
            {"Device": "/dev/xvdb", "Size": "5", "SnapshotId": ""},
        ]}});
        assert_eq!(disks(&row), "/dev/xvda 40 GiB s-1, /dev/xvdb 5 GiB empty");
    }
}
