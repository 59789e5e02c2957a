//! `tidemark vault`: work on a vault itself, without a service.

pub mod key;
pub mod place;
pub mod secret;

use anyhow::Result;
use clap::Subcommand;
use secret::{SECRETS, SecretArgs};
use std::process::ExitCode;

/// Arguments of `tidemark vault`.
#[derive(Debug, clap::Args)]
#[command(after_help = SECRETS)]
pub struct VaultArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a vault: encrypted, and for good, if a passphrase or key file is given
    #[command(after_help = SECRETS)]
    Init {
        /// Where it shall be
        #[arg(value_name = "VAULT")]
        vault: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Passphrases and key files of an encrypted vault: list, add, remove, rotate
    #[command(subcommand, after_help = SECRETS)]
    Key(key::KeyCommand),
}

/// Runs the command; the exit status is its verdict.
pub fn run(args: &VaultArgs) -> Result<ExitCode> {
    match &args.command {
        Command::Init { vault, secret } => key::init(vault, secret)?,
        Command::Key(command) => key::run(command)?,
    }
    Ok(ExitCode::SUCCESS)
}
