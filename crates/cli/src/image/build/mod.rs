//! `tidemark image build`: a small bootable disk of our own, made from Debian packages without root, loop devices or mounts.
//!
//! The disk: an MBR with syslinux's boot code; a FAT partition with syslinux, Debian's cloud kernel and an initramfs that is the whole
//! system ([`initramfs`]); an ext4 partition for data. What the system does is in `guest/init`.
//!
//! What must stay true: nothing of a package is installed or run here, it is only unpacked; the same packages and the same
//! program make the same bytes (times and ids are fixed); once packages are in the cache no network is needed. It is for amd64.

mod cpio;
mod disk;
mod initramfs;
mod modules;
mod packages;

use super::interrupt::Interrupt;
use super::target::Target;
use crate::client::random_hex;
use crate::size::human;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidemark_units::MIB;

/// What is asked for.
pub struct Order<'a> {
    /// The file.
    pub file: &'a Path,
    /// Bytes of the disk.
    pub bytes: u64,
    /// Where packages are kept, if not at the usual place.
    pub cache: Option<&'a Path>,
    /// The file may be there, and is replaced.
    pub force: bool,
}

/// What was made.
pub struct Built {
    bytes: u64,
    kernel: String,
    packages: Vec<String>,
}

impl Built {
    /// For people.
    pub fn sentence(&self) -> String {
        format!(
            "a bootable disk of {} with Linux {}",
            human(self.bytes),
            self.kernel
        )
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({ "Size": self.bytes, "Kernel": self.kernel, "Packages": self.packages })
    }
}

/// The time of everything in the disk: 2023-11-14.
const TIME: u64 = 1_700_000_000;

/// Makes the file.
pub fn run(order: &Order<'_>) -> Result<Built> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("images are built on and for amd64 only");
    }
    if !order.bytes.is_multiple_of(MIB) || order.bytes < disk::BYTES_MIN {
        bail!(
            "the disk's size must be in whole MiB, and at least {}",
            human(disk::BYTES_MIN)
        );
    }
    let tools = disk::Tools::find()?;
    let packages = packages::Tools::find()?;
    let interrupt = Interrupt::listen()?;
    let target = Target::begin(order.file, order.force)?;
    let cache = match order.cache {
        Some(dir) => std::path::absolute(dir)?,
        None => usual_cache()?,
    };
    let work = Work::new(&cache)?;
    let found = packages::fetched(&packages, &cache, &work.0, &interrupt)?;
    let tree = work.0.join("tree");
    packages::unpack(&packages, &found, &tree, &interrupt)?;
    let kernel = initramfs::Kernel::find(&tree)?;
    let archive = initramfs::make(&tree, &kernel)?;
    interrupt.check()?;
    disk::write(&tools, &target, order.bytes, &kernel.image, &archive, &work.0)?;
    interrupt.check()?;
    target.finish()?;
    let name = |path: &PathBuf| {
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    Ok(Built {
        bytes: order.bytes,
        kernel: kernel.version,
        packages: found.iter().map(name).collect(),
    })
}

/// The user's cache directory, as the XDG base directories say.
fn usual_cache() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME is set: say --cache")?
        .join("tidemark/guest"))
}

/// A directory for what is in between, removed in the end.
struct Work(PathBuf);

impl Work {
    fn new(cache: &Path) -> Result<Self> {
        let dir = cache.join(format!("work-{}", random_hex::<6>()?));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What is left of it is seen in the cache, and harmless.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program to its end; a failure shows what it said.
fn run_tool(command: &mut Command) -> Result<Vec<u8>> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let words = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
        let words = String::from_utf8_lossy(&words);
        bail!("{shown} ended with {}: {}", output.status, words.trim());
    }
    Ok(output.stdout)
}
