//! How `tidemark up` runs instances: what it is told, and what it finds on this machine.
//!
//! Nobody has to say anything: with QEMU on the machine instances can be run, without it only machines that others run
//! can be registered, and `up` says so. What was asked for by name and is not there is an error.

use crate::size;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemark_compute::{Accelerator, Compute, ComputeConfig, DiskTransport, NetworkMode};
use tidemark_control::GuestsConfig;
use tidemark_units::MIB;

/// Looked for when nobody names another.
const QEMU: &str = "qemu-system-x86_64";
/// How long a guest that is asked to shut down has for it.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// How long a guest has to let go of a disk.
const UNPLUG_PATIENCE: Duration = Duration::from_secs(20);

/// The flags, and the `[guests]` table of the configuration file with the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GuestArgs {
    /// The QEMU that runs instances, or "none" [default: qemu-system-x86_64, if it is there]
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<String>,
    /// What instances run on: auto, kvm, or tcg, which is software and works everywhere [default: auto]
    #[arg(long, value_name = "NAME")]
    pub accelerator: Option<String>,
    /// Instances' network: isolated (their metadata and nothing else), user (out through this machine, whose loopback
    /// addresses they then reach, too), bridge:NAME, tap:PREFIX [default: isolated]
    #[arg(long, value_name = "KIND")]
    pub guest_network: Option<String>,
    /// Most memory of all instances together [default: three quarters of this machine's]
    #[arg(long, value_name = "SIZE")]
    pub guest_memory: Option<String>,
}

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSettings {
    /// `None`: instances are not run here.
    qemu: Option<PathBuf>,
    /// Whether somebody has named it.
    is_named: bool,
    accelerator: Accelerator,
    network: NetworkMode,
    memory_mib: u64,
}

impl GuestArgs {
    /// These where they say something, else `others`.
    pub fn or(self, others: Self) -> Self {
        Self {
            qemu: self.qemu.or(others.qemu),
            accelerator: self.accelerator.or(others.accelerator),
            guest_network: self.guest_network.or(others.guest_network),
            guest_memory: self.guest_memory.or(others.guest_memory),
        }
    }

    /// Checks what can be checked now.
    pub fn resolve(self) -> Result<GuestSettings> {
        Ok(GuestSettings {
            is_named: self.qemu.is_some(),
            qemu: match self.qemu.as_deref() {
                Some("none") => None,
                other => Some(other.unwrap_or(QEMU).into()),
            },
            accelerator: match self.accelerator.as_deref() {
                None | Some("auto") => Accelerator::Auto,
                Some("kvm") => Accelerator::Kvm,
                Some("tcg") => Accelerator::Tcg,
                Some(other) => bail!("accelerator {other:?} is not known; write auto, kvm or tcg"),
            },
            network: match self.guest_network.as_deref() {
                None => NetworkMode::Isolated,
                Some(text) => network(text)?,
            },
            memory_mib: match self.guest_memory {
                Some(text) => size::parse(&text).context("guest-memory is no size")? / MIB,
                None => machine_memory_mib()? / 4 * 3,
            },
        })
    }
}

fn network(text: &str) -> Result<NetworkMode> {
    let named = |name: &str| {
        let fine = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        fine.then(|| name.to_owned())
            .with_context(|| format!("guest-network {text:?} names no interface"))
    };
    match text.split_once(':') {
        None if text == "user" => Ok(NetworkMode::User),
        None if text == "isolated" => Ok(NetworkMode::Isolated),
        Some(("bridge", name)) => Ok(NetworkMode::Bridge(named(name)?)),
        Some(("tap", prefix)) => Ok(NetworkMode::Tap(named(prefix)?)),
        _ => bail!("guest-network {text:?} is not known; write user, isolated, bridge:NAME or tap:PREFIX"),
    }
}

/// Of the machine, in MiB.
fn machine_memory_mib() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib / 1024)
        .with_context(|| format!("{path} does not say how much memory there is; name it with --guest-memory"))
}

impl GuestSettings {
    /// Whether guests may reach what listens on this machine's loopback addresses: those that are started now, or those of an
    /// earlier start, which keep the network that they were started with.
    pub fn may_reach_loopback(&self, data_dir: &Path) -> bool {
        self.qemu.is_some()
            && (self.network == NetworkMode::User || may_run(&dir_of(data_dir)).unwrap_or(true))
    }

    /// What runs instances, with its files below `data_dir`; `None`, and said why, when nothing can.
    pub async fn open(&self, data_dir: &Path) -> Result<Option<GuestsConfig>> {
        let dir = dir_of(data_dir);
        let Some(qemu) = &self.qemu else {
            if may_run(&dir)? {
                bail!(
                    "--qemu none: {} has instances that may be running, and nobody would look after them; stop them first",
                    dir.display()
                );
            }
            return Ok(None);
        };
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let compute = Compute::open(ComputeConfig {
            dir: dir.clone(),
            qemu: qemu.clone(),
            accelerator: self.accelerator,
            network: self.network.clone(),
            disks: DiskTransport::Auto,
            relay: vec![own.into(), "metadata-relay".into()],
            memory_mib_max: Some(self.memory_mib),
        });
        match compute.probe().await {
            Ok(probe) => {
                tracing::info!(version = %probe.version, accelerator = ?probe.accelerator, "instances can be run")
            }
            Err(error) if self.is_named => bail!("instances cannot be run: {}", error.message),
            // None can be started; those that run go on, and are looked after.
            Err(error) if may_run(&dir)? => {
                tracing::error!(error = %error.message, "instances run, and no more can be started");
            }
            Err(error) => {
                tracing::info!(error = %error.message, "instances cannot be run here; those that others run can be registered");
                return Ok(None);
            }
        }
        Ok(Some(GuestsConfig {
            compute,
            memory_mib: self.memory_mib,
            stop_patience: STOP_PATIENCE,
            unplug_patience: UNPLUG_PATIENCE,
            metadata_dir: data_dir.join("run").join("metadata"),
            have_own_network: matches!(self.network, NetworkMode::User | NetworkMode::Isolated),
        }))
    }
}

/// Where guests' files are.
fn dir_of(data_dir: &Path) -> PathBuf {
    data_dir.join("guests")
}

fn may_run(dir: &Path) -> Result<bool> {
    Compute::may_run(dir).with_context(|| format!("cannot read {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named_or_refused() {
        assert_eq!(network("isolated").unwrap(), NetworkMode::Isolated);
        assert_eq!(network("bridge:br0").unwrap(), NetworkMode::Bridge("br0".into()));
        assert_eq!(network("tap:tm-").unwrap(), NetworkMode::Tap("tm-".into()));
        for wrong in ["", "bridge", "bridge:", "bridge:a,b", "tap:x y", "nat"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_said_is_qemu_if_it_is_there() {
        let settings = GuestArgs::default().resolve().unwrap();
        assert_eq!(settings.qemu.as_deref(), Some(Path::new(QEMU)));
        assert!(!settings.is_named && settings.memory_mib > 0);
        let user = GuestArgs {
            guest_network: Some("user".into()),
            ..GuestArgs::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let may = |settings: &GuestSettings| settings.may_reach_loopback(dir.path());
        assert!(may(&user.resolve().unwrap()) && !may(&settings));
        // One of an earlier start, whatever network that had.
        let left = dir.path().join("guests").join("i-1");
        std::fs::create_dir_all(&left).unwrap();
        std::fs::write(left.join("guest.json"), "{}").unwrap();
        assert!(may(&settings));
        let none = GuestArgs {
            qemu: Some("none".into()),
            ..GuestArgs::default()
        };
        assert!(!may(&none.resolve().unwrap()));
        let wrong = GuestArgs {
            accelerator: Some("xen".into()),
            ..GuestArgs::default()
        };
        assert!(wrong.resolve().unwrap_err().to_string().contains("xen"));
    }
}
