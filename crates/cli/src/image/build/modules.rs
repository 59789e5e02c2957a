//! Kernel modules: those that the guest needs, in an order in which they can be loaded.
//!
//! A package of a kernel has no `modules.dep` (that is made where it is installed), so what a module needs is read from the module itself:
//! its `depends=` and, for what it finds by an alias, its `softdep=pre:`.

use super::run_tool;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk, a network card, a channel for the agent, randomness, the power button, and packets for DHCP.
pub const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "ext4",
    "button",
    "evdev",
    "af_packet",
];

/// A module as it is put into the archive.
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its file, unpacked.
    pub content: Vec<u8>,
}

/// The modules of a kernel.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Those below `/lib/modules/<version>`.
    pub fn find(dir: &Path) -> Result<Self> {
        let list = dir.join("modules.builtin");
        let builtin = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let mut modules = Self {
            files: BTreeMap::new(),
            builtin: builtin
                .lines()
                .filter_map(|line| name_of(Path::new(line)))
                .collect(),
        };
        modules.collect(&dir.join("kernel"))?;
        Ok(modules)
    }

    fn collect(&mut self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.collect(&path)?;
            } else if let Some(name) = name_of(&path) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// What is wanted and all that it needs, each after what it needs itself.
    pub fn in_order(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut begun = BTreeSet::new();
        for name in wanted {
            self.add(name, &mut begun, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, begun: &mut BTreeSet<String>, order: &mut Vec<Module>) -> Result<()> {
        if self.builtin.contains(name) || !begun.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(path) = self.files.get(name) else {
            bail!("the kernel has no module {name}");
        };
        let content = unpacked(path)?;
        for softly in words(&content, "softdep=") {
            // Often an alias, such as crc32c, which a module may stand for by another name.
            for name in [softly.clone(), format!("{softly}_generic")] {
                if self.files.contains_key(&name) {
                    self.add(&name, begun, order)?;
                }
            }
        }
        for needed in words(&content, "depends=") {
            self.add(&needed, begun, order)?;
        }
        order.push(Module {
            name: name.to_owned(),
            content,
        });
        Ok(())
    }
}

/// `virtio-rng.ko.xz` -> `virtio_rng`.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (name, rest) = name.split_once(".ko")?;
    (rest.is_empty() || rest.starts_with('.')).then(|| name.replace('-', "_"))
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return Ok(fs::read(path)?),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{} is packed in an unknown way", path.display()),
    };
    run_tool(Command::new(program).arg("-dc").arg(path))
}

/// The names in an entry of a module's own description; of a `softdep` those that come before it.
fn words(module: &[u8], key: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Entries follow each other, each ended by a zero byte.
    for entry in module.split(|byte| *byte == 0) {
        let Some(value) = entry.strip_prefix(key.as_bytes()) else {
            continue;
        };
        let value = String::from_utf8_lossy(value);
        let value = match value.split_once("pre:") {
            Some((_, pre)) => pre.split("post:").next().unwrap_or_default(),
            None if key == "softdep=" => "",
            None => &value,
        };
        let names = value.split([',', ' ']).filter(|name| !name.is_empty());
        found.extend(names.map(|name| name.replace('-', "_")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_after_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("kernel/drivers");
        fs::create_dir_all(&kernel).unwrap();
        let module = |name: &str, info: &str| {
            fs::write(kernel.join(name), format!("\x7fELF\0license=GPL\0{info}\0x\0")).unwrap()
        };
        module("virtio-rng.ko", "depends=virtio,virtio_ring");
        module("virtio.ko", "depends=virtio_ring");
        module("virtio_ring.ko", "depends=");
        module("ext4.ko", "softdep=pre: crc32c gone post: later\0depends=jbd2");
        module("jbd2.ko", "depends=");
        module("later.ko", "depends=");
        module("crc32c_generic.ko", "depends=");
        module("broken.ko", "depends=nowhere");
        fs::write(
            dir.path().join("modules.builtin"),
            "kernel/net/packet/af_packet.ko\n",
        )
        .unwrap();
        let modules = Modules::find(dir.path()).unwrap();
        let order = |wanted: &[&str]| -> Vec<String> {
            modules
                .in_order(wanted)
                .unwrap()
                .into_iter()
                .map(|m| m.name)
                .collect()
        };
        assert_eq!(
            order(&["virtio_rng", "af_packet", "virtio"]),
            ["virtio_ring", "virtio", "virtio_rng"]
        );
        assert_eq!(order(&["ext4"]), ["crc32c_generic", "jbd2", "ext4"]);
        let error = modules.in_order(&["broken"]).err().unwrap().to_string();
        assert!(error.contains("nowhere"), "{error}");
        assert!(modules.in_order(&["gone"]).is_err());
    }
}
