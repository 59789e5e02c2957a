//! What tests and benchmarks need from the machine: Debian packages, a Python environment, and packages for Node.js.
//!
//! A missing tool is never a skipped test: as root on Debian it is installed, otherwise the exact
//! command is printed and the run fails. The Python environments live under the target directory and
//! hold the versions pinned in `tests/requirements.txt` and `bench/requirements.txt`, made anew whenever these files change; so do
//! Node's packages, with `tests/node/package-lock.json`. None of their install scripts is run.

use crate::process;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// A program, or a file with its whole path, and the Debian package that brings it.
pub type Tool = (&'static str, &'static str);

/// What the end-to-end tests run.
pub const FOR_TESTS: &[Tool] = &[
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-storage-daemon", "qemu-system-common"),
    ("busybox", "busybox-static"),
    ("nbdcopy", "libnbd-bin"),
    ("nbdinfo", "libnbd-bin"),
    ("fio", "fio"),
    ("mke2fs", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("mdadm", "mdadm"),
    ("mount", "mount"),
    ("mkfs.fat", "dosfstools"),
    ("mcopy", "mtools"),
    ("syslinux", "syslinux"),
    ("/usr/lib/syslinux/mbr/mbr.bin", "syslinux-common"),
    ("setpriv", "util-linux"),
    ("prlimit", "util-linux"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("ssh-keygen", "openssh-client"),
    ("chromium", "chromium"),
];

/// What the fuzzer is built with: it is C++.
pub const FOR_FUZZING: &[Tool] = &[("g++", "g++")];

/// A cluster of one with a RADOS gateway, for the soak.
pub const FOR_CEPH: &[Tool] = &[
    ("ceph", "ceph-common"),
    ("ceph-mon", "ceph-mon"),
    ("monmaptool", "ceph-base"),
    ("ceph-mgr", "ceph-mgr"),
    ("ceph-osd", "ceph-osd"),
    ("radosgw", "radosgw"),
];

/// What the benchmarks run besides.
pub const FOR_BENCH: &[Tool] = &[
    ("qemu-nbd", "qemu-utils"),
    ("qemu-storage-daemon", "qemu-system-common"),
    ("nbdkit", "nbdkit"),
    ("nbdfuse", "libnbd-bin"),
    ("restic", "restic"),
    ("borg", "borgbackup"),
    ("zstd", "zstd"),
    ("mkfs.xfs", "xfsprogs"),
];

/// Makes sure that every tool is there.
///
/// In two rounds at most: a package may come at the price of another of ours, as Debian's `qemu-system-x86` removes a
/// `qemu-utils` from elsewhere that has another version. The second round brings the one that fits.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    for _ in 0..2 {
        let packages = missing(tools)?;
        if packages.is_empty() {
            return Ok(());
        }
        install(&packages)?;
    }
    for (program, package) in tools {
        find(program)
            .with_context(|| format!("package {package} is installed but brought no `{program}`"))?;
    }
    Ok(())
}

/// The packages whose programs are not there.
fn missing(tools: &[Tool]) -> Result<Vec<&'static str>> {
    let mut packages: Vec<&str> = tools
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if find("python3").is_none() || !python_can_make_environments()? {
        packages.push("python3-venv");
    }
    packages.sort_unstable();
    packages.dedup();
    Ok(packages)
}

fn install(packages: &[&str]) -> Result<()> {
    let install = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if find("apt-get").is_none() || !is_root()? {
        bail!("tools are missing; install them with:\n  sudo apt-get update && sudo {install}");
    }
    process::run(process::command("apt-get", &["update", "-q"])?)?;
    let words: Vec<&str> = install.split(' ').collect();
    let mut command = process::command(words[0], &words[1..])?;
    command.env("DEBIAN_FRONTEND", "noninteractive");
    process::run(command)
}

/// A Python environment: its name below the target directory, and the files of pinned versions that it holds exactly.
pub struct Environment {
    name: &'static str,
    requirements: &'static [&'static str],
}

/// What the end-to-end tests run in.
pub const PYTHON_FOR_TESTS: Environment = Environment {
    name: "venv",
    requirements: &["tests/requirements.txt"],
};

/// What the benchmarks run in: they use the tests' helpers.
pub const PYTHON_FOR_BENCH: Environment = Environment {
    name: "venv-bench",
    requirements: &["tests/requirements.txt", "bench/requirements.txt"],
};

/// The interpreter of an environment, which is made if it is not there as its files say.
pub fn python(environment: &Environment) -> Result<PathBuf> {
    let root = process::root()?;
    let mut wanted = String::new();
    for file in environment.requirements {
        let path = root.join(file);
        wanted += &std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    }
    let venv = process::target_dir()?.join(environment.name);
    let stamp = venv.join("requirements.installed");
    let python = venv.join("bin/python3");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    process::run(process::command(
        "python3",
        &["-m", "venv", "--clear", path_text(&venv)?],
    )?)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let mut command = process::command(&python, &pip)?;
    for file in environment.requirements {
        command.arg("-r").arg(root.join(file));
    }
    process::run(command)?;
    std::fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(python)
}

/// The directory of Node's packages that holds exactly `tests/node/package-lock.json`.
pub fn node_modules() -> Result<PathBuf> {
    let from = process::root()?.join("tests/node");
    let read = |name: &str| {
        let path = from.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let wanted = read("package-lock.json")?;
    let place = process::target_dir()?.join("node");
    let (modules, stamp) = (place.join("node_modules"), place.join("lock.installed"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(modules);
    }
    std::fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    for (name, text) in [
        ("package.json", read("package.json")?),
        ("package-lock.json", wanted.clone()),
    ] {
        let path = place.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let words = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ];
    let mut command = process::command("npm", &words)?;
    command.current_dir(&place);
    process::run(command)?;
    std::fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(modules)
}

/// The directory of Debian's cloud-init, unpacked and not installed: installed, it would take this machine over at its
/// next start.
pub fn cloud_init() -> Result<PathBuf> {
    let place = process::target_dir()?.join("cloud-init");
    if place.join("usr/lib/python3/dist-packages/cloudinit").is_dir() {
        return Ok(place);
    }
    if find("apt-get").is_none() {
        bail!(
            "cloud-init is missing: unpack Debian's package of it into {}",
            place.display()
        );
    }
    let fetched = place.join("package");
    std::fs::create_dir_all(&fetched).with_context(|| format!("make {}", fetched.display()))?;
    if is_root()? {
        process::run(process::command("apt-get", &["update", "-q"])?)?;
    }
    let mut download = process::command("apt-get", &["download", "-q", "cloud-init"])?;
    download.current_dir(&fetched);
    process::run(download)?;
    let entries = std::fs::read_dir(&fetched).with_context(|| format!("list {}", fetched.display()))?;
    for entry in entries {
        let package = entry?.path();
        let words = ["-x", path_text(&package)?, path_text(&place)?];
        process::run(process::command("dpkg-deb", &words)?)?;
    }
    Ok(place)
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Where a program is, if it is on the search path; a whole path stands for itself.
fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&process::search_path())
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

fn is_root() -> Result<bool> {
    Ok(process::output(process::command("id", &["-u"])?)? == b"0\n")
}

/// Debian splits `ensurepip` off into a package of its own.
fn python_can_make_environments() -> Result<bool> {
    let mut command = process::command("python3", &["-c", "import ensurepip, venv"])?;
    Ok(command.output().context("cannot start python3")?.status.success())
}
