//! What guests are made of, and where.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// How guests are run on this machine.
#[derive(Debug, Clone)]
pub struct ComputeConfig {
    /// Holds one subdirectory for each guest: sockets, logs, what it was started with. Socket names are limited to 107
    /// bytes, so this one should be short.
    pub dir: PathBuf,
    /// QEMU's program, or its name in `PATH`.
    pub qemu: PathBuf,
    /// What runs the guests' instructions.
    pub accelerator: Accelerator,
    /// What guests reach.
    pub network: NetworkMode,
    /// Words of a command that connects its standard input and output to the unix socket that one more word names
    /// ([`relay`](crate::relay) does). It must not write to standard error: QEMU sends that to the guest too.
    pub relay: Vec<OsString>,
    /// How guests' disks are connected.
    pub disks: DiskTransport,
    /// The most memory of all guests together, in MiB. Without it, nine tenths of what the machine has.
    pub memory_mib_max: Option<u64>,
}

impl ComputeConfig {
    /// Guests below `dir`, run by whatever works, that reach the metadata service only.
    pub fn new(dir: PathBuf, relay: Vec<OsString>) -> Self {
        Self {
            dir,
            qemu: PathBuf::from("qemu-system-x86_64"),
            accelerator: Accelerator::Auto,
            network: NetworkMode::Isolated,
            disks: DiskTransport::Auto,
            relay,
            memory_mib_max: None,
        }
    }
}

/// What runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM where it is of use, else emulation.
    Auto,
    /// The processor itself.
    Kvm,
    /// QEMU's emulation.
    Tcg,
}

/// How a guest's disk is connected to who serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskTransport {
    /// vhost-user-blk with KVM, NBD with emulation.
    Auto,
    /// vhost-user-blk. Not for guests that start from their disks under emulation: see `command_line`.
    VhostUser,
    /// NBD, through QEMU's own block layer.
    Nbd,
}

/// What a guest reaches over its network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// What this machine reaches, over QEMU's user-mode network, **this machine's loopback addresses included**; and the metadata service.
    User,
    /// The metadata service and nothing else.
    Isolated,
    /// A bridge of this machine, by QEMU's bridge helper. The metadata service is not ours to bring there.
    Bridge(String),
    /// A tap interface that exists or that QEMU may make; its name is [`tap_name`](crate::tap_name) of this prefix and the guest's id.
    /// The metadata service is not ours to bring there.
    Tap(String),
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// Its name here: letters, digits, `.`, `_` and `-`.
    pub id: String,
    /// What firmware says of it, as UUID and as serial number.
    pub uuid: String,
    /// Processors.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Of its network card, as `00:16:3e:00:00:01`.
    pub mac: String,
    /// What it gets by DHCP. In the modes [`NetworkMode::User`] and [`NetworkMode::Isolated`] out of 100.64.0.0/10, because the metadata
    /// service must be in the guest's own network to be reached without set-up.
    pub address: Ipv4Addr,
    /// In the order in which the guest sees them.
    pub disks: Vec<GuestDisk>,
    /// Where the metadata service answers for this guest.
    pub metadata_socket: PathBuf,
}

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestDisk {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub id: String,
    /// Where its vhost-user-blk back end listens. It may go away and come back; the guest waits.
    pub socket: PathBuf,
    /// Where it is served by NBD, under its id; the same holds.
    pub nbd: PathBuf,
    /// What the guest sees as its serial number, of which that is 20 bytes.
    pub serial: String,
    /// Whether the guest boots from it.
    pub boot: bool,
}

/// How a guest is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Its power button is pressed; it may take its time, or ignore it.
    Ask,
    /// At once.
    Now,
}
