//! The one binary, `tidemark`: wires everything together.
//!
//! One file or folder per command group. Commands for people and `ecs` reach the service over HTTP
//! only, as any other client does; `up`, `volume`, `vault`, `gc`, `verify` and `doctor` work on the data
//! themselves. Exit status: 0 done, 1 failed, 2 wrong command line, 3 (`verify`) could not be checked.

mod client;
mod credentials;
mod demo;
mod doctor;
mod ecs;
mod endpoint;
mod gc;
mod image;
mod log;
mod nbd;
mod people;
mod rebuild;
mod size;
mod tools;
mod up;
mod vault;
mod verify;
mod volume;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Snapshots for cloud disks, self-hosted: take one in microseconds, restore it at once.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tidemark completions bash > ~/.local/share/bash-completion/completions/tidemark
  tidemark completions zsh  > \"${fpath[1]}/_tidemark\"
  tidemark completions fish > ~/.config/fish/completions/tidemark.fish";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the service
    Up(up::UpArgs),
    /// Disks: list, show, create, attach, detach, resize, reset, reinit, delete, endpoint
    Disk(people::disk::DiskArgs),
    /// Snapshots: list, show, create, copy, wait, modify, lock, delete, export, endpoint
    Snapshot(people::snapshot::SnapshotArgs),
    /// Snapshots of several disks as of one instant: list, show, create, modify, reset, delete
    Group(people::group::GroupArgs),
    /// What snapshots have taken for how long
    Usage(people::usage::UsageArgs),
    /// Instances: list, show, create, start, stop, reboot, console, delete
    Instance(people::instance::InstanceArgs),
    /// Images: list, show, create, import, export, build, delete
    Image(people::image::ImageArgs),
    /// Users of the account: list, show, create, delete
    User(people::user::UserArgs),
    /// Access keys: list, create, disable, enable, rotate, delete
    Key(people::key::KeyArgs),
    /// SSH key pairs, for machines to let people in with: create, import, list, attach, detach, delete
    Keypair(people::keypair::KeypairArgs),
    /// What users may do: list, show, create, change, attach, detach, delete
    Permission(people::permission::PermissionArgs),
    /// Roles, and temporary keys of them: list, show, create, assume, delete
    Role(people::role::RoleArgs),
    /// What happened, and what happens
    Events(people::events::EventsArgs),
    /// Who is told of events: list, create, delete
    Webhook(people::webhook::WebhookArgs),
    /// Automatic snapshots: list, show, create, apply, cancel, delete, next
    Policy(people::policy::PolicyArgs),
    /// Call any action of the ECS API, with the output of the reference client
    #[command(override_usage = "tidemark ecs <ACTION> [--Name value]... [FLAGS]")]
    Ecs {
        #[command(flatten)]
        connection: credentials::ConnectionArgs,
        #[command(flatten)]
        args: ecs::EcsArgs,
    },
    /// One volume without a service: create, serve, info, log
    Volume(volume::VolumeArgs),
    /// Vaults themselves: init, check, ls, show, cp, key
    Vault(vault::VaultArgs),
    /// Free what nobody needs in a vault
    Gc(gc::GcArgs),
    /// Read snapshots through in the vault, and say what is damaged
    Verify(verify::VerifyArgs),
    /// Make a lost catalogue of snapshots again, from the vault alone
    Rebuild(rebuild::RebuildArgs),
    /// Check a data directory for damage while its service is stopped
    Doctor(doctor::DoctorArgs),
    /// Connect standard input and output with the socket of a guest's metadata service: QEMU runs this for a guest
    #[command(hide = true)]
    MetadataRelay {
        /// The socket
        socket: PathBuf,
    },
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => return up::run(args),
        Command::Disk(args) => people::disk::run(&args)?,
        Command::Snapshot(args) => people::snapshot::run(&args)?,
        Command::Group(args) => people::group::run(&args)?,
        Command::Usage(args) => people::usage::run(&args)?,
        Command::Instance(args) => people::instance::run(&args)?,
        Command::Image(args) => people::image::run(&args)?,
        Command::User(args) => people::user::run(&args)?,
        Command::Key(args) => people::key::run(&args)?,
        Command::Keypair(args) => people::keypair::run(&args)?,
        Command::Permission(args) => people::permission::run(&args)?,
        Command::Role(args) => people::role::run(&args)?,
        Command::Events(args) => people::events::run(&args)?,
        Command::Webhook(args) => people::webhook::run(&args)?,
        Command::Policy(args) => people::policy::run(&args)?,
        Command::Ecs { connection, args } => ecs::run(&args, &connection, || help_of("ecs"))?,
        Command::Volume(args) => volume::run(args)?,
        Command::Vault(args) => return vault::run(&args),
        Command::Gc(args) => gc::run(&args)?,
        Command::Verify(args) => return Ok(verify::run(&args)),
        Command::Rebuild(args) => return rebuild::run(&args),
        Command::Doctor(args) => return doctor::run(&args),
        Command::MetadataRelay { socket } => relay(&socket),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidemark", &mut script);
            std::io::stdout().write_all(&script)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Until either side is through. Says nothing: what a relay writes to standard error QEMU sends to the guest.
fn relay(socket: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let relayed = runtime.and_then(|runtime| runtime.block_on(tidemark_compute::relay(socket)));
    // A read of standard input that is under way ends with the process, not before.
    std::process::exit(relayed.is_err().into())
}

/// Prints the long help of a subcommand that reads its own words.
fn help_of(name: &str) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    if let Some(sub) = command.find_subcommand_mut(name) {
        sub.print_long_help()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            // A closed pipe (`| head`) is the reader's decision, not a failure to report.
            let closed = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if closed != Some(std::io::ErrorKind::BrokenPipe) {
                eprintln!("ERROR: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
