//! A file system in memory whose power can be cut, for tests of the real binary.
//!
//! `tidemark-powercut MOUNTPOINT` mounts it and obeys the lines on its standard input, each answered
//! by one line: `cut` (of all that is not synced a part is lost, chosen by the seed; from then on every
//! request fails with EIO), `mount` (the power is back: an empty kernel cache, no old handle), `status`.
//! At the end of the input the mount goes, and all that was in it. Needs the right to mount.
//! It is written apart from the simulator's model of a medium, on purpose: a wrong belief about what
//! media keep must not hide in both. Not modelled: torn 512-byte sectors, bit rot, lying syncs.

mod content;
mod disk;
mod layer;
mod names;
mod rng;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::io::{BufRead, Write};
use std::path::PathBuf;

/// A file system in memory that can lose its power.
#[derive(Parser)]
struct Args {
    /// Where it appears
    mountpoint: PathBuf,
    /// Decides what each cut keeps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What fits in, in MiB
    #[arg(long, default_value_t = 16384)]
    capacity_mib: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mountpoint = std::path::absolute(&args.mountpoint)?;
    ensure!(
        mountpoint.is_dir(),
        "the mount point {} is not a directory",
        mountpoint.display()
    );
    let capacity_bytes = args
        .capacity_mib
        .checked_mul(1 << 20)
        .context("--capacity-mib is too large")?;
    let disk = disk::Disk::new(capacity_bytes, args.seed);
    let mut machine = layer::Machine::new(disk, &mountpoint, args.seed);
    machine.mount()?;
    answer("mounted")?;
    for line in std::io::stdin().lock().lines() {
        match line.context("read a command")?.trim() {
            "cut" => {
                let toll = machine.cut();
                answer(&format!(
                    "cut sectors_kept={} sectors_lost={} names_kept={} names_lost={}",
                    toll.sectors_kept, toll.sectors_lost, toll.names_kept, toll.names_lost
                ))?;
            }
            "mount" => {
                machine.mount()?;
                answer("mounted")?;
            }
            "status" => answer(&machine.status())?,
            other => answer(&format!("error: no command is called {other:?}"))?,
        }
    }
    machine.unmount()
}

fn answer(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("answer a command")
}
