//! Starting other programs: always from the workspace root, echoed, and a failure names the command.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory that holds the workspace's `Cargo.toml`.
pub fn root() -> Result<PathBuf> {
    // Cargo sets this at run time, so a moved checkout with an old build still finds itself.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let root = Path::new(&xtask)
        .parent()
        .context("xtask lives below the workspace root")?;
    Ok(root.to_owned())
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    let root = root()?;
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    })
}

/// `PATH` with the system administrator's directories, where some tools live (`mke2fs`).
pub fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// A command that runs in the workspace root.
pub fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()?).env("PATH", search_path());
    Ok(command)
}

/// The cargo that runs us.
pub fn cargo(args: &[&str]) -> Result<Command> {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// Shows a command, runs it with our output, and fails unless it succeeds.
pub fn run(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    eprintln!("$ {shown}");
    let status = command
        .status()
        .with_context(|| format!("cannot start: {shown}"))?;
    if !status.success() {
        bail!("failed ({status}): {shown}");
    }
    Ok(())
}

/// Runs a command quietly and hands back what it printed; fails unless it succeeds.
pub fn output(mut command: Command) -> Result<Vec<u8>> {
    let shown = shown(&command);
    let output = command
        .output()
        .with_context(|| format!("cannot start: {shown}"))?;
    if !output.status.success() {
        bail!(
            "failed ({}): {shown}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

/// The command as a person would type it (without quoting), program shortened to its name.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut text = program.to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
