//! The words that QEMU is started with: pure, so that tests can read them.
//!
//! The machine is `pc`: a card can be plugged into it while it runs without a port made for it before. Memory is a sealed memfd that
//! vhost-user back ends map. Who emulates a processor translates code, and learns that memory with translated code was written only when
//! QEMU itself writes it: what a vhost-user back end stores there goes unseen, so that a boot sector runs where the next
//! stage was loaded over it. Emulated guests therefore have their disks through QEMU's NBD client. Nothing of QEMU's defaults is taken. A comma in a value is written twice, as QEMU wants; a name that cannot be
//! said in all the places where it must be said is refused.
//! Sources: QEMU's invocation page, `net/slirp.c` and libslirp for what the user-mode network allows.

use crate::config::{Accelerator, DiskTransport, GuestDisk, GuestSpec, NetworkMode};
use crate::error::ComputeError;
use crate::guest_dir::GuestDir;
use crate::probe::Probe;
use crate::qmp::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;

/// Where a guest finds the metadata service (port 80).
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// The network of guests in the modes User and Isolated, 100.64.0.0 with this prefix: the metadata service is in it.
pub const USER_NET_PREFIX: u8 = 10;
const USER_NET: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// The gateway in that network.
pub const USER_GATEWAY: Ipv4Addr = Ipv4Addr::new(100, 127, 255, 253);
/// The name server in that network.
pub const USER_DNS: Ipv4Addr = Ipv4Addr::new(100, 127, 255, 254);

/// `sockaddr_un` has 108 bytes, one of them for the end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// QEMU cuts a forwarding rule after 1023 bytes and says nothing.
const FORWARD_BYTES_MAX: usize = 1000;
/// More queues than these cost memory on both sides and gain nothing on our disks.
const QUEUES_MAX: u32 = 8;
/// Names of block nodes have at most 31 characters.
const NODE_NAME_MAX: usize = 31;
/// A year.
const RECONNECT_SECONDS: u32 = 365 * 24 * 3600;
/// A server that is there answers at once.
const OPEN_SECONDS: u32 = 5;
/// Interfaces' names have at most 15 characters (IFNAMSIZ).
const INTERFACE_NAME_MAX: usize = 15;

/// The words after the program's name.
pub fn words(
    spec: &GuestSpec,
    dir: &GuestDir,
    probe: &Probe,
    network: &NetworkMode,
    disks: DiskTransport,
    relay: &[OsString],
) -> Result<Vec<String>, ComputeError> {
    let mut words = Words::default();
    let cpus = spec.cpus;
    words.add("-name", format!("guest={}", doubled(&spec.id)));
    words.add("-uuid", spec.uuid.clone());
    words.all(&["-no-user-config", "-nodefaults", "-display", "none"]);
    // Without graphics, firmware and boot loader speak on the serial line. A dump of the process need not hold the guest's memory.
    words.add(
        "-machine",
        "pc,memory-backend=memory,graphics=off,dump-guest-core=off",
    );
    let (accelerator, processor) = match probe.accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg | Accelerator::Auto => ("tcg", "max"),
    };
    words.all(&["-accel", accelerator, "-cpu", processor]);
    words.add("-smp", format!("cpus={cpus},sockets=1,cores={cpus},threads=1"));
    words.add("-m", format!("size={}M", spec.memory_mib));
    words.add(
        "-object",
        format!(
            "memory-backend-memfd,id=memory,size={}M,share=on",
            spec.memory_mib
        ),
    );
    // cloud-init knows the platform by the product's name.
    words.add(
        "-smbios",
        format!(
            "type=1,manufacturer=Alibaba Cloud,product=Alibaba Cloud ECS,serial={0},uuid={0}",
            doubled(&spec.uuid)
        ),
    );
    words.all(&["-rtc", "base=utc", "-boot", "strict=on"]);
    // A guest that panics restarts or stays, as it was set up to; we tell of it.
    words.all(&["-action", "panic=none", "-device", "pvpanic"]);
    sandbox(&mut words, probe, network);

    words.add("-chardev", dir.qmp_word()?);
    words.add("-mon", "chardev=qmp,mode=control");
    words.add("-chardev", listening("agent", &dir.agent())?);
    words.all(&["-device", "virtio-serial-pci"]);
    words.add(
        "-device",
        "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
    );
    let console = dir.console();
    words.add(
        "-chardev",
        format!("file,id=console,append=on,path={}", doubled(said(&console)?)),
    );
    words.add("-serial", "chardev:console");
    words.add("-object", "rng-random,id=rng,filename=/dev/urandom");
    words.add("-device", "virtio-rng-pci,rng=rng");

    words.add("-netdev", netdev(spec, network, relay)?);
    words.add(
        "-device",
        format!("virtio-net-pci,netdev=net,romfile=,mac={}", doubled(&spec.mac)),
    );
    let transport = transport(disks, probe);
    for disk in &spec.disks {
        let boot = if disk.boot { ",bootindex=1" } else { "" };
        let (device, queues) = (device_of(&disk.id), queues(cpus));
        match transport {
            Transport::VhostUser => {
                let chardev = format!(
                    "socket,id={},path={},{}",
                    chardev_of(&disk.id),
                    doubled(socket_path(&disk.socket)?),
                    reconnecting(probe.version)
                );
                words.add("-chardev", chardev);
                let chardev = chardev_of(&disk.id);
                words.add(
                    "-device",
                    format!("vhost-user-blk-pci,id={device},chardev={chardev},num-queues={queues}{boot}"),
                );
            }
            Transport::Nbd => {
                words.add("-blockdev", block_node(disk, probe.version)?.to_string());
                let (node, serial) = (node_of(&disk.id)?, doubled(&disk.serial));
                let [cyls, heads, secs] = CYLINDERS_HEADS_SECTORS;
                words.add(
                    "-device",
                    format!("virtio-blk-pci,id={device},drive={node},serial={serial},num-queues={queues},cyls={cyls},heads={heads},secs={secs},rerror=report,werror=report{boot}"),
                );
            }
        }
    }
    Ok(words.0)
}

/// System calls that a machine needs none of are refused to it. Not those that start programs, nor those by which a program changes
/// its session or user, which QEMU has in one class: the user-mode network starts the relay in a session of its own (without
/// `setsid` each connection dies in silence), the bridge helper changes its user.
fn sandbox(words: &mut Words, probe: &Probe, network: &NetworkMode) {
    if !probe.sandbox {
        return;
    }
    let value = match network {
        NetworkMode::Tap(_) => "on,obsolete=deny,elevateprivileges=deny",
        _ => "on,obsolete=deny",
    };
    words.add("-sandbox", value);
}

fn netdev(spec: &GuestSpec, network: &NetworkMode, relay: &[OsString]) -> Result<String, ComputeError> {
    let restrict = match network {
        NetworkMode::Bridge(bridge) => return Ok(format!("bridge,id=net,br={}", doubled(bridge))),
        NetworkMode::Tap(prefix) => {
            let name = doubled(&tap_name(prefix, &spec.id));
            return Ok(format!("tap,id=net,ifname={name},script=no,downscript=no"));
        }
        NetworkMode::User => "off",
        NetworkMode::Isolated => "on",
    };
    check_address(spec.address)?;
    let mut command = Vec::new();
    for word in relay {
        let word = word.to_str().filter(|word| !word.contains(['\0', '\n']));
        command.push(quoted(word.ok_or_else(|| {
            ComputeError::failed("the relay's command has a word that QEMU cannot be told")
        })?));
    }
    command.push(quoted(socket_path(&spec.metadata_socket)?));
    let forward = format!("tcp:{METADATA_ADDRESS}:80-cmd:{}", command.join(" "));
    if forward.len() > FORWARD_BYTES_MAX {
        return Err(ComputeError::failed(format!(
            "the relay's command and the metadata socket are {} bytes together, more than QEMU takes: {forward}",
            forward.len()
        )));
    }
    Ok(format!(
        "user,id=net,ipv6=off,restrict={restrict},net={USER_NET}/{USER_NET_PREFIX},host={USER_GATEWAY},dns={USER_DNS},dhcpstart={},guestfwd={}",
        spec.address,
        doubled(&forward)
    ))
}

fn check_address(address: Ipv4Addr) -> Result<(), ComputeError> {
    let mask = u32::MAX << (32 - u32::from(USER_NET_PREFIX));
    let inside = address.to_bits() & mask == USER_NET.to_bits();
    let host = address.to_bits() & !mask;
    let taken = [METADATA_ADDRESS, USER_GATEWAY, USER_DNS].contains(&address);
    if !inside || taken || host == 0 || host == !mask {
        return Err(ComputeError::failed(format!(
            "address {address}: in QEMU's user-mode network a guest's address is one of {USER_NET}/{USER_NET_PREFIX} \
             other than {METADATA_ADDRESS}, {USER_GATEWAY} and {USER_DNS}"
        )));
    }
    Ok(())
}

/// The tap interface of a guest: the prefix and the end of its id, 15 characters at most.
pub fn tap_name(prefix: &str, id: &str) -> String {
    let letters: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let room = INTERFACE_NAME_MAX.saturating_sub(prefix.len());
    let end = &letters[letters.len().saturating_sub(room)..];
    prefix.chars().chain(end.iter().copied()).collect()
}

/// A character device on a socket that QEMU listens on.
pub fn listening(id: &str, socket: &Path) -> Result<String, ComputeError> {
    let path = doubled(socket_path(socket)?);
    Ok(format!("socket,id={id},path={path},server=on,wait=off"))
}

/// The same with the path as it is written: how it was told before directories had one name only.
pub fn listening_as_written(id: &str, socket: &Path) -> String {
    let path = doubled(&socket.to_string_lossy());
    format!("socket,id={id},path={path},server=on,wait=off")
}

/// How QEMU is told to connect again after the back end has gone: in seconds before 9.2, in milliseconds since.
fn reconnecting(version: Version) -> &'static str {
    if reconnects_in_ms(version) {
        "reconnect-ms=200"
    } else {
        "reconnect=1"
    }
}

/// Whether this QEMU has `reconnect-ms`.
pub fn reconnects_in_ms(version: Version) -> bool {
    version >= Version { major: 9, minor: 2 }
}

/// Queues of a disk, for a guest with so many processors.
pub fn queues(cpus: u32) -> u32 {
    cpus.clamp(1, QUEUES_MAX)
}

/// QEMU's names for a disk's device and for its character device.
pub fn device_of(disk: &str) -> String {
    format!("disk-{disk}")
}

/// The disk whose device has this name.
pub fn disk_of(device: &str) -> Option<&str> {
    device.strip_prefix("disk-")
}

pub fn chardev_of(disk: &str) -> String {
    format!("socket-{disk}")
}

/// How disks are connected, once it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    VhostUser,
    Nbd,
}

pub fn transport(wanted: DiskTransport, probe: &Probe) -> Transport {
    match (wanted, probe.accelerator) {
        (DiskTransport::VhostUser, _) | (DiskTransport::Auto, Accelerator::Kvm) => Transport::VhostUser,
        (DiskTransport::Nbd | DiskTransport::Auto, _) => Transport::Nbd,
    }
}

/// A disk's block node, as QMP and the command line take it. A server that goes away is waited for: requests are sent again when it is
/// back, for as long as a guest can wait.
///
/// QEMU stands still while it connects: with a limit, where it knows one.
pub fn block_node(disk: &GuestDisk, version: Version) -> Result<Value, ComputeError> {
    let mut node = json!({
        "driver": "nbd",
        "node-name": node_of(&disk.id)?,
        "server": { "type": "unix", "path": socket_path(&disk.nbd)? },
        "export": disk.id,
        "reconnect-delay": RECONNECT_SECONDS,
        "discard": "unmap",
    });
    if version >= (Version { major: 7, minor: 0 }) {
        node["open-timeout"] = OPEN_SECONDS.into();
    }
    Ok(node)
}

/// What QEMU would otherwise guess from the disk's first sector, which it reads while the guest stands still: a disk that is being
/// filled from a snapshot may take long to have it. Nothing that boots today asks for it.
pub const CYLINDERS_HEADS_SECTORS: [u32; 3] = [16383, 16, 63];

/// QEMU's name for a disk's block node, of which that has at most 31 characters.
pub fn node_of(disk: &str) -> Result<String, ComputeError> {
    let name = format!("nbd-{disk}");
    match name.len() <= NODE_NAME_MAX {
        true => Ok(name),
        false => Err(ComputeError::failed(format!(
            "disk {disk}: its name is too long for QEMU"
        ))),
    }
}

/// Ids go into file names and QEMU's names, which begin with a letter (ours have a word before them).
pub fn check_id(what: &str, id: &str) -> Result<(), ComputeError> {
    let letters = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let begins = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if letters && begins && id.len() <= 64 {
        return Ok(());
    }
    Err(ComputeError::failed(format!(
        "{what} {id:?}: 1 to 64 letters, digits, dots, underscores and hyphens are wanted"
    )))
}

/// What has to be true of a guest before anything is done for it.
pub fn check(spec: &GuestSpec) -> Result<(), ComputeError> {
    check_id("guest", &spec.id)?;
    if spec.cpus == 0 || spec.memory_mib == 0 {
        return Err(ComputeError::failed(format!(
            "guest {} has {} processors and {} MiB",
            spec.id, spec.cpus, spec.memory_mib
        )));
    }
    for (at, disk) in spec.disks.iter().enumerate() {
        check_disk(disk)?;
        if spec.disks[..at].iter().any(|other| other.id == disk.id) {
            return Err(ComputeError::failed(format!(
                "guest {} has disk {} twice",
                spec.id, disk.id
            )));
        }
    }
    if spec.disks.iter().filter(|disk| disk.boot).count() > 1 {
        return Err(ComputeError::failed(format!(
            "guest {} boots from two disks",
            spec.id
        )));
    }
    Ok(())
}

/// The same for a disk.
pub fn check_disk(disk: &GuestDisk) -> Result<(), ComputeError> {
    check_id("disk", &disk.id)?;
    node_of(&disk.id)?;
    socket_path(&disk.nbd)?;
    socket_path(&disk.socket).map(drop)
}

/// A socket's name that fits.
pub fn socket_path(path: &Path) -> Result<&str, ComputeError> {
    let text = said(path)?;
    if text.len() > SOCKET_PATH_BYTES_MAX {
        return Err(ComputeError::failed(format!(
            "{text}: {} bytes, and a socket's name has at most {SOCKET_PATH_BYTES_MAX}; a shorter data directory helps",
            text.len()
        )));
    }
    Ok(text)
}

/// A file's name in words that QEMU can be told.
fn said(path: &Path) -> Result<&str, ComputeError> {
    path.to_str()
        .filter(|text| !text.contains(['\0', '\n']))
        .ok_or_else(|| ComputeError::failed(format!("{}: not a name that QEMU can be told", path.display())))
}

fn doubled(value: &str) -> String {
    value.replace(',', ",,")
}

/// A word for `g_shell_parse_argv`, which libslirp uses; older ones cut at spaces, so what needs no quotes gets none.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }

    fn all(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| (*word).to_owned()));
    }
}

#[cfg(test)]
#[path = "command_line_tests.rs"]
mod tests;
