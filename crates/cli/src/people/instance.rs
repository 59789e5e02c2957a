//! `tidemark instance <verb>`.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, add_tags, note, tags, text};
use crate::client::params;
use anyhow::{Context, Result};
use clap::Subcommand;
use data_encoding::BASE64;
use std::io::Write;

/// A machine that disks are attached to.
pub const INSTANCE: Kind = Kind {
    name: "instance",
    describe: "DescribeInstances",
    ids: "InstanceIds",
    wrapper: "Instances",
    item: "Instance",
    columns: &[
        Column::text("instance", |r| text(r, "InstanceId")),
        Column::text("name", |r| text(r, "InstanceName")),
        Column::text("status", |r| text(r, "Status")),
        Column::text("type", |r| text(r, "InstanceType")),
        Column::text("zone", |r| text(r, "ZoneId")),
        Column::text("created", |r| text(r, "CreationTime")),
    ],
    details: &[
        Column::text("description", |r| text(r, "Description")),
        Column::text("image", |r| text(r, "ImageId")),
        Column::text("started", |r| text(r, "StartTime")),
        Column::text("tags", tags),
    ],
};

const EXAMPLES: &str = "\
An instance of type tidemark.external is a machine that Tidemark does not run:
yours. While it is Running, its disks are exported by NBD (`tidemark disk
endpoint <disk>`); while it is Stopped they are not, and can be rolled back.
Instances of the other types (ecs.t6-c2m1.large, ecs.g6.large, ...; `tidemark ecs
DescribeInstanceTypes`) are run here with QEMU, from an image (`tidemark image`).

Examples:
  tidemark instance create --name db --wait
  tidemark instance create --type ecs.t5-lc1m1.small --image m-bp1... --wait
  tidemark instance console i-bp1...
  tidemark instance list
  tidemark instance stop i-bp1... --wait     before rolling a disk back
  tidemark instance delete i-bp1... --force  also when it is Running";

/// `tidemark instance ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct InstanceArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List instances
    #[command(visible_alias = "ls")]
    List {
        /// Only those in this state: Pending, Starting, Running, Stopping, Stopped
        #[arg(long)]
        status: Option<String>,
        /// Only those with this name; * matches anything
        #[arg(long)]
        name: Option<String>,
    },
    /// Show one instance
    Show {
        /// The instance's id
        instance: String,
    },
    /// Make an instance and start it
    #[command(visible_alias = "run")]
    Create {
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// More words for people
        #[arg(long)]
        description: Option<String>,
        /// The type; tidemark.external is a machine that Tidemark does not run
        #[arg(long = "type", default_value = "tidemark.external")]
        instance_type: String,
        /// The image that it starts from; an external instance needs none
        #[arg(long)]
        image: Option<String>,
        /// The zone [default: the region's first]
        #[arg(long)]
        zone: Option<String>,
        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
        /// Wait until it is Running
        #[arg(long)]
        wait: bool,
    },
    /// Start an instance: its disks are exported
    Start {
        /// The instance's id
        instance: String,
        /// Wait until it is Running
        #[arg(long)]
        wait: bool,
    },
    /// Stop an instance: its disks are exported no more
    Stop {
        /// The instance's id
        instance: String,
        /// Power off without asking the guest
        #[arg(long)]
        force: bool,
        /// Wait until it is Stopped
        #[arg(long)]
        wait: bool,
    },
    /// Shut an instance down and start it again
    Reboot {
        /// The instance's id
        instance: String,
        /// Without asking the guest
        #[arg(long)]
        force: bool,
        /// Wait until it is Running
        #[arg(long)]
        wait: bool,
    },
    /// Print what an instance that is run here has last written to its serial console
    Console {
        /// The instance's id
        instance: String,
    },
    /// Delete an instance; its disks stay unless they were made to go with it
    #[command(visible_alias = "rm")]
    Delete {
        /// The instance's id
        instance: String,
        /// Also when it is Running
        #[arg(long)]
        force: bool,
        /// Wait until it is gone
        #[arg(long)]
        wait: bool,
    },
}

/// Runs a verb.
pub fn run(args: &InstanceArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List { status, name } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "Status", status.as_ref());
            add(&mut parameters, "InstanceName", name.as_ref());
            api.print_list(&INSTANCE, &api.list(&INSTANCE, &parameters)?)
        }
        Verb::Show { instance } => api.print_one(&INSTANCE, &api.get(&INSTANCE, instance)?),
        Verb::Create {
            name,
            description,
            instance_type,
            image,
            zone,
            tags,
            wait,
        } => {
            let mut parameters = params([
                ("InstanceType", instance_type),
                ("ZoneId", &api.zone(zone.as_deref())?),
            ]);
            add(&mut parameters, "InstanceName", name.as_ref());
            add(&mut parameters, "Description", description.as_ref());
            add(&mut parameters, "ImageId", image.as_ref());
            add_tags(&mut parameters, tags);
            let id = create(&api, &parameters)?;
            if *wait {
                api.wait_status(&INSTANCE, &id, "Running")?;
            }
            let row = api.get(&INSTANCE, &id)?;
            api.print_done(&format!("instance {id} is {}", text(&row, "Status")), &row)
        }
        Verb::Start { instance, wait } => {
            api.call("StartInstance", &params([("InstanceId", instance)]))?;
            settled(&api, instance, wait.then_some("Running"))
        }
        Verb::Stop {
            instance,
            force,
            wait,
        } => {
            let force = force.to_string();
            api.call(
                "StopInstance",
                &params([("InstanceId", instance), ("ForceStop", &force)]),
            )?;
            settled(&api, instance, wait.then_some("Stopped"))
        }
        Verb::Reboot {
            instance,
            force,
            wait,
        } => {
            let force = force.to_string();
            api.call(
                "RebootInstance",
                &params([("InstanceId", instance), ("ForceStop", &force)]),
            )?;
            settled(&api, instance, wait.then_some("Running"))
        }
        Verb::Console { instance } => {
            let answer = api.call("GetInstanceConsoleOutput", &params([("InstanceId", instance)]))?;
            let text = answer["ConsoleOutput"].as_str().unwrap_or_default();
            let bytes = BASE64
                .decode(text.as_bytes())
                .context("GetInstanceConsoleOutput answered no base64")?;
            Ok(std::io::stdout().lock().write_all(&bytes)?)
        }
        Verb::Delete {
            instance,
            force,
            wait,
        } => {
            let force = force.to_string();
            let answer = api.call(
                "DeleteInstance",
                &params([("InstanceId", instance), ("Force", &force)]),
            )?;
            if *wait {
                api.wait_gone(&INSTANCE, instance)?;
            }
            api.print_done(&format!("instance {instance} deleted"), &answer)
        }
    }
}

/// Makes one instance and returns its id.
pub fn create(api: &Api, parameters: &[(String, String)]) -> Result<String> {
    let answer = api.call("RunInstances", parameters)?;
    let id = answer["InstanceIdSets"]["InstanceIdSet"][0].as_str();
    id.map(str::to_string)
        .context("RunInstances answered no instance id")
}

/// Tells the state that an instance reached, or is on its way to.
fn settled(api: &Api, instance: &str, wanted: Option<&str>) -> Result<()> {
    let row = match wanted {
        Some(status) => api.wait_status(&INSTANCE, instance, status)?,
        None => api.get(&INSTANCE, instance)?,
    };
    if wanted.is_none() && matches!(text(&row, "Status").as_str(), "Starting" | "Stopping") {
        note("it goes on in the background; --wait waits for it")?;
    }
    api.print_done(&format!("instance {instance} is {}", text(&row, "Status")), &row)
}
