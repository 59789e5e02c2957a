//! Debian packages: fetched by apt with lists of its own, kept in a directory, unpacked.
//!
//! What must stay true: the system's own package lists and states are not touched; a cache counts when its list is there, which is written
//! last. apt checks signatures and hashes as it does for any package.

use super::run_tool;
use crate::image::interrupt::Interrupt;
use crate::tools::need;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name that stands for the newest cloud kernel.
const KERNEL: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "busybox-static";
/// Freezes and thaws file systems for consistent snapshots; brings libraries.
const AGENT: &str = "qemu-guest-agent";
/// The list of packages in a cache.
const LIST: &str = "packages.list";
/// More packages than this are none that we mean.
const PACKAGES_MAX: usize = 60;

/// Programs that packages are fetched and unpacked with.
pub struct Tools {
    apt_get: PathBuf,
    apt_cache: PathBuf,
    dpkg_deb: PathBuf,
}

impl Tools {
    /// Fails with the names of what is missing.
    pub fn find() -> Result<Self> {
        let tools = [("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")];
        let [apt_get, apt_cache, dpkg_deb] = need("image build", tools)?;
        Ok(Self {
            apt_get,
            apt_cache,
            dpkg_deb,
        })
    }
}

/// The packages, from the cache or, where it has none, fetched into it.
pub fn fetched(tools: &Tools, cache: &Path, work: &Path, interrupt: &Interrupt) -> Result<Vec<PathBuf>> {
    let place = cache.join("packages");
    if let Ok(list) = fs::read_to_string(place.join(LIST)) {
        let files: Vec<_> = list.lines().map(|name| place.join(name)).collect();
        if let Some(gone) = files.iter().find(|file| !file.is_file()) {
            bail!(
                "{} is gone; delete {} to fetch all anew",
                gone.display(),
                place.display()
            );
        }
        return Ok(files);
    }
    eprintln!("packages: fetched once into {}", place.display());
    let files = fetch(tools, work, interrupt).context("fetching packages of the guest's system")?;
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place)?;
    let mut names = Vec::new();
    for file in files {
        let name = file.file_name().context("a package has a name")?;
        fs::rename(&file, place.join(name))?;
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    fs::write(place.join(LIST), names.join("\n") + "\n")?;
    Ok(names.iter().map(|name| place.join(name)).collect())
}

fn fetch(tools: &Tools, work: &Path, interrupt: &Interrupt) -> Result<Vec<PathBuf>> {
    let apt = |program: &Path| {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").current_dir(work);
        command.arg(format!("-oDir::State::lists={}/lists", work.display()));
        command.arg(format!("-oDir::Cache={}/cache", work.display()));
        command
    };
    for dir in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(dir))?;
    }
    run_tool(apt(&tools.apt_get).arg("update"))?;
    interrupt.check()?;
    let said = |words: &[&str]| -> Result<String> {
        let out = run_tool(apt(&tools.apt_cache).args(words))?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    };
    let kernel = kernel_of(&said(&["depends", KERNEL])?)
        .with_context(|| format!("{KERNEL} is in none of apt's sources, or depends on no kernel"))?;
    let only = [
        "recommends",
        "suggests",
        "conflicts",
        "breaks",
        "replaces",
        "enhances",
    ];
    let without: Vec<_> = only.iter().map(|kind| format!("--no-{kind}")).collect();
    let mut words = vec!["depends", "--recurse", AGENT];
    words.extend(without.iter().map(String::as_str));
    let mut names = libraries_of(&said(&words)?);
    names.extend([kernel, BUSYBOX.into(), AGENT.into()]);
    if names.len() > PACKAGES_MAX {
        bail!("{AGENT} depends on {} packages", names.len());
    }
    interrupt.check()?;
    run_tool(apt(&tools.apt_get).arg("download").args(&names))?;
    interrupt.check()?;
    let mut files = Vec::new();
    for entry in fs::read_dir(work)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    if files.len() != names.len() {
        bail!("apt-get fetched {} packages of {}", files.len(), names.len());
    }
    Ok(files)
}

/// The kernel that the name stands for.
fn kernel_of(depends: &str) -> Option<String> {
    let mut names = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
}

/// Of everything that a package needs, the libraries of programs: names that stand at the beginning of a line. Perl's are those of
/// scripts that run when a package is installed, which is not done here.
fn libraries_of(depends: &str) -> BTreeSet<String> {
    depends
        .lines()
        // A colon comes before another architecture.
        .filter(|name| (name.starts_with("lib") || name.starts_with("zlib")) && !name.contains(':'))
        .filter(|name| !name.contains("perl"))
        .map(str::to_owned)
        .collect()
}

/// Unpacks them over each other.
pub fn unpack(tools: &Tools, packages: &[PathBuf], tree: &Path, interrupt: &Interrupt) -> Result<()> {
    fs::create_dir_all(tree)?;
    for package in packages {
        interrupt.check()?;
        run_tool(
            Command::new(&tools.dpkg_deb)
                .arg("-x")
                .args([package.as_path(), tree]),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_out_of_what_apt_says() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-57-cloud-amd64\n";
        assert_eq!(
            kernel_of(said).as_deref(),
            Some("linux-image-6.1.0-57-cloud-amd64")
        );
        assert_eq!(kernel_of("linux-image-cloud-amd64\n"), None);
        let said = "qemu-guest-agent\n  Depends: libc6\n |Depends: lsb-base\nlibc6\n  Depends: libgcc-s1\nlibgcc-s1\nlibperl5.36\n<debconf-2.0>\nlibc6:i386\nzlib1g\nlsb-base\n";
        let names: Vec<_> = libraries_of(said).into_iter().collect();
        assert_eq!(names, ["libc6", "libgcc-s1", "zlib1g"]);
    }
}
