//! `tidemark volume <verb>`: one volume without a service, for embedding, repair and tests.
//!
//! The directory is a volume's own (in a service's data directory: `volumes/<disk-id>`). It has one
//! owner at a time; what a service has open is refused.

mod directory;
mod serve;

use crate::people::print;
use crate::size::{self, human};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use tidemark_env::real::{RealEnv, RuntimeOptions, try_run};
use tidemark_units::CHUNK_BYTES;
use tidemark_volume::{CreateOptions, Volume, VolumeConfig, VolumeInfo, read_log};

const EXAMPLES: &str = "\
Examples:
  tidemark volume create ./vol --size 8G
  tidemark volume serve ./vol --socket /tmp/vol.sock &
  nbdinfo 'nbd+unix:///?socket=/tmp/vol.sock'
  tidemark volume info ./vol
  tidemark volume log ./vol";

/// `tidemark volume ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VolumeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an empty volume
    Create {
        /// Its directory: a new one, or an empty one
        dir: PathBuf,
        /// Its size: 8G, 512M, 1T; a multiple of 4 KiB
        #[arg(long, value_parser = size::parse)]
        size: u64,
        /// Its name, kept inside [default: the directory's]
        #[arg(long)]
        name: Option<String>,
    },
    /// Serve a volume over NBD in the foreground, until SIGTERM or Ctrl-C
    Serve {
        /// Its directory
        dir: PathBuf,
        /// The unix socket to make
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// The export's name; clients that name none get it, too
        #[arg(long, value_name = "NAME", default_value = "disk")]
        export: String,
    },
    /// Show what a volume is and does; recovers one that was not closed
    Info {
        /// Its directory
        dir: PathBuf,
    },
    /// Print the records of the log that the next opening would read
    Log {
        /// Its directory
        dir: PathBuf,
    },
}

/// Runs a verb.
pub fn run(args: VolumeArgs) -> Result<()> {
    match args.verb {
        Verb::Create { dir, size, name } => create(&dir, size, name),
        Verb::Serve { dir, socket, export } => {
            crate::log::start("info")?;
            let (dir, socket) = (std::path::absolute(dir)?, std::path::absolute(socket)?);
            engine(|real| serve::run(real, dir, socket, export))
        }
        Verb::Info { dir } => info(&dir),
        Verb::Log { dir } => log(&dir),
    }
}

/// Makes this thread an engine thread for a while.
pub fn engine<T, F: Future<Output = Result<T>>>(main: impl FnOnce(RealEnv) -> F) -> Result<T> {
    try_run(RuntimeOptions::default(), main).context("cannot start the engine")?
}

/// As [`engine`], for long work that may run beside a service: its guests go first.
pub fn background_engine<T, F: Future<Output = Result<T>>>(main: impl FnOnce(RealEnv) -> F) -> Result<T> {
    // Refused only where it would change nothing that matters: the work is done as fast as anything else.
    let _ = rustix::process::nice(10);
    engine(main)
}

fn create(dir: &Path, size_bytes: u64, name: Option<String>) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let of_dir = || {
        dir.file_name()
            .map(|n| n.to_string_lossy().chars().take(60).collect())
    };
    let name = name.or_else(of_dir).unwrap_or_else(|| "volume".into());
    let options = CreateOptions {
        name,
        size_bytes,
        source: None,
    };
    let at = dir.clone();
    engine(
        |real| async move { Ok(Volume::create(&real.env, &at, &options, &VolumeConfig::default()).await?) },
    )?;
    print(&format!("volume of {} in {}", human(size_bytes), dir.display()))
}

fn info(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let info = engine(|real| async move {
        let volume = Volume::open(&real.env, &dir, None, &VolumeConfig::default()).await?;
        let info = volume.info();
        volume.close().await?;
        Ok(info)
    })?;
    print(&describe(&info))
}

fn describe(info: &VolumeInfo) -> String {
    let (log_used, log_max) = info.log_bytes;
    let marks: Vec<String> = info
        .pending
        .iter()
        .map(|pending| {
            format!(
                "\nmark not captured   {} at LSN {}",
                pending.mark.snapshot, pending.mark.lsn
            )
        })
        .collect();
    format!(
        "name                {}\n\
         size                {} ({} bytes)\n\
         last LSN            {}\n\
         base holds LSN      {}\n\
         epoch               {}\n\
         log                 {} of at most {}\n\
         extents in memory   {}\n\
         changed since mark  {}\n\
         not local           {}\n\
         ever connected      {}\n\
         state               {}{}",
        info.name,
        human(info.size_bytes),
        info.size_bytes,
        info.last_lsn,
        info.checkpoint_lsn,
        info.epoch,
        human(log_used),
        human(log_max),
        info.extents,
        human(info.changed_chunks * CHUNK_BYTES),
        human(info.absent_chunks * CHUNK_BYTES),
        if info.ever_connected { "yes" } else { "no" },
        info.poisoned.as_deref().unwrap_or("good"),
        marks.concat()
    )
}

fn log(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    engine(|real| async move {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut written = writeln!(out, "{:>12}  {:>8}  RECORD", "LSN", "SEGMENT");
        read_log(&real.env, &dir, |line| {
            if written.is_ok() {
                written = writeln!(
                    out,
                    "{:>12}  {:>8}  {}",
                    line.lsn.to_string(),
                    line.segment,
                    line.text
                );
            }
        })
        .await?;
        written?;
        Ok(out.flush()?)
    })
}
