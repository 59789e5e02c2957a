//! The guest's whole system in one archive: busybox, our scripts, kernel modules, and QEMU's agent with its libraries.

use super::TIME;
use super::cpio::Archive;
use super::modules::{Modules, WANTED};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs;
use std::path::{Path, PathBuf};

const INIT: &str = include_str!("../guest/init");
const DOWN: &str = include_str!("../guest/down");
const DHCP: &str = include_str!("../guest/dhcp");
const RECORDS: &str = include_str!("../guest/records.awk");

/// Where the program loader looks for libraries, and the loader itself.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
/// Where packages put libraries.
const PLACES: [&str; 4] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib64",
    "usr/lib64",
];

/// A kernel out of its package.
pub struct Kernel {
    /// Its version.
    pub version: String,
    /// Its image.
    pub image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The only one in the tree.
    pub fn find(tree: &Path) -> Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir(tree.join("boot")).context("the packages bring no kernel")? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(version) = name.strip_prefix("vmlinuz-") {
                found.push((version.to_owned(), path.clone()));
            }
        }
        let [(version, image)] = found.as_slice() else {
            bail!("the packages bring {} kernels", found.len());
        };
        let places = ["lib/modules", "usr/lib/modules"].map(|place| tree.join(place).join(version));
        let modules = places.into_iter().find(|place| place.is_dir());
        Ok(Self {
            version: version.clone(),
            image: image.clone(),
            modules: modules.with_context(|| format!("the packages bring no modules of {version}"))?,
        })
    }
}

/// The archive.
pub fn make(tree: &Path, kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in [
        "data",
        "dev",
        "etc/acpi/PWRF",
        "proc",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr/bin",
        "usr/sbin",
        "var",
    ] {
        archive.directory(dir);
    }
    archive.file("init", true, INIT);
    archive.file("sbin/down", true, DOWN);
    archive.file("etc/dhcp", true, DHCP);
    archive.file("etc/records.awk", false, RECORDS);
    archive.file("etc/acpi/PWRF/00000080", true, "#!/bin/sh\nexec /sbin/down\n");
    // What QEMU's agent calls when it is told to shut down.
    archive.file("sbin/shutdown", true, "#!/bin/sh\nexec /sbin/down\n");
    archive.link("var/run", "../run");
    archive.file(
        "bin/busybox",
        true,
        read(tree, &["bin/busybox", "usr/bin/busybox"])?,
    );
    archive.link("bin/sh", "busybox");

    let modules = Modules::find(&kernel.modules)?.in_order(WANTED)?;
    let names: String = modules
        .iter()
        .map(|module| format!("{}\n", module.name))
        .collect();
    for module in modules {
        archive.file(&format!("modules/{}.ko", module.name), false, module.content);
    }
    archive.file("modules/order", false, names);

    let agent = read(tree, &["usr/sbin/qemu-ga", "usr/bin/qemu-ga", "sbin/qemu-ga"])?;
    for (name, library) in libraries(tree, &agent)? {
        let path = match name.starts_with("ld-linux") {
            true => LOADER.to_owned(),
            false => format!("{LIBRARIES}/{name}"),
        };
        archive.file(&path, true, library);
    }
    archive.file("sbin/qemu-ga", true, agent);
    Ok(archive.bytes(TIME))
}

/// The first of these files that the packages bring.
fn read(tree: &Path, places: &[&str]) -> Result<Vec<u8>> {
    let found = places
        .iter()
        .map(|place| tree.join(place))
        .find(|path| path.is_file());
    let path = found.with_context(|| format!("the packages bring no {}", places[0]))?;
    Ok(fs::read(path)?)
}

/// The libraries that a program is linked with, and those that they are. A program names its libraries in a table of strings; whatever
/// file of such a name there is, is taken.
fn libraries(tree: &Path, program: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let tree = fs::canonicalize(tree)?;
    let mut there = BTreeMap::new();
    for place in PLACES.map(|place| tree.join(place)) {
        for entry in place.read_dir().into_iter().flatten() {
            let path = entry?.path();
            if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && name.contains(".so")
                && path.is_file()
                // A link may lead to this machine's own library.
                && fs::canonicalize(&path)?.starts_with(&tree)
            {
                there.insert(name.to_owned(), path.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    let mut todo = vec![program.to_vec()];
    while let Some(program) = todo.pop() {
        for name in needed(&program, &there) {
            if let Entry::Vacant(place) = found.entry(name) {
                let content = fs::read(&there[place.key()])?;
                todo.push(place.insert(content).clone());
            }
        }
    }
    if !found.keys().any(|name| name.starts_with("libc.so")) {
        bail!("the packages bring no C library for QEMU's agent");
    }
    Ok(found)
}

/// Of the libraries that are there, those that stand as a string of their own in a program.
fn needed(program: &[u8], there: &BTreeMap<String, PathBuf>) -> BTreeSet<String> {
    program
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        // The loader is named by its path.
        .map(|text| text.rsplit('/').next().unwrap_or(text))
        .filter(|name| there.contains_key(*name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_libraries_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(PLACES[1]);
        fs::create_dir_all(&place).unwrap();
        let library = |name: &str, content: &str| fs::write(place.join(name), content).unwrap();
        library("libc.so.6", "\0libc.so.6\0ld-linux-x86-64.so.2\0");
        library("liba.so.1", "\0libb.so.2\0libc.so.6\0");
        library("libb.so.2", "\0");
        library("libother.so.1", "\0");
        library("ld-linux-x86-64.so.2", "\0");
        let found = libraries(
            dir.path(),
            b"\x7fELF\0/lib64/ld-linux-x86-64.so.2\0liba.so.1\0not libother.so.1\0",
        )
        .unwrap();
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["ld-linux-x86-64.so.2", "liba.so.1", "libb.so.2", "libc.so.6"]
        );
        assert!(libraries(dir.path(), b"static").is_err());
    }
}
