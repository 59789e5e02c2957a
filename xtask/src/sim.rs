//! `cargo xtask sim`: builds the simulator of the whole engine and hands over to it.
//!
//! The simulator is built with the development profile and with the features that the whole workspace asks for,
//! so that it shares what `cargo test --workspace` compiled; `cargo run --package tidemark-sim` would choose fewer
//! features and compile the dependencies a second time.

use crate::process;
use anyhow::Result;

/// Runs the simulator with these arguments of its own.
pub fn run(args: &[&str]) -> Result<()> {
    process::run(process::cargo(&[
        "build",
        "--workspace",
        "--bin",
        "tidemark-sim",
        "--locked",
        "--quiet",
    ])?)?;
    let binary = process::target_dir()?.join("debug/tidemark-sim");
    process::run(process::command(binary, args)?)
}

/// What every change must pass: no history fails, and every deliberate bug is found, so that the former means something.
pub fn run_all() -> Result<()> {
    run(&["--all", "--seeds", "2500"])?;
    run(&["--mutants"])
}
