//! What tests need: a directory of guests whose processes end with the test, disks served by `qemu-storage-daemon`, a boot sector.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tidemark_compute::{Accelerator, Compute, ComputeConfig, GuestDisk, GuestEvent, GuestSpec};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

pub const LONG: Duration = Duration::from_secs(60);

/// A boot sector, assembled by hand: says `HELLO` on the serial line. The first time it then resets the machine, the second time it
/// switches it off; a byte of the clock's memory, which a reset leaves alone, tells which time it is.
const BOOT_SECTOR: &[u8] = &[
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xfc, // cld
    0xbe, 0x36, 0x7c, // mov si, message
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x06, // jz said
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xee, // out dx, al
    0xeb, 0xf5, // jmp next
    0xb0, 0x50, // said: mov al, 0x50
    0xe6, 0x70, // out 0x70, al
    0xe4, 0x71, // in al, 0x71
    0x3c, 0x5a, // cmp al, 0x5a
    0x74, 0x0f, // je off
    0xb0, 0x50, // mov al, 0x50
    0xe6, 0x70, // out 0x70, al
    0xb0, 0x5a, // mov al, 0x5a
    0xe6, 0x71, // out 0x71, al
    0xb0, 0xfe, // mov al, 0xfe
    0xe6, 0x64, // out 0x64, al: reset
    0xf4, // stop: hlt
    0xeb, 0xfd, // jmp stop
    0xba, 0x04, 0x06, // off: mov dx, 0x604
    0xb8, 0x00, 0x20, // mov ax, 0x2000
    0xef, // out dx, ax: off
    0xf4, // hlt
    0xeb, 0xfd, // jmp to it
    b'H', b'E', b'L', b'L', b'O', b'\n', 0, // message
];

/// A directory of guests. Whatever process names it ends with it.
pub struct Machine {
    dir: tempfile::TempDir,
    servers: Vec<Child>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        for process in self.processes() {
            kill(process);
        }
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Machine {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            servers: Vec::new(),
        }
    }

    pub fn guests(&self) -> PathBuf {
        self.dir.path().join("g")
    }

    pub fn config(&self) -> ComputeConfig {
        let mut config = ComputeConfig::new(self.guests(), vec!["/bin/false".into()]);
        config.accelerator = Accelerator::Tcg;
        config
    }

    pub fn compute(&self) -> Compute {
        Compute::open(self.config())
    }

    pub fn spec(&self, id: &str) -> GuestSpec {
        GuestSpec {
            id: id.to_owned(),
            uuid: "6bf2b4f4-0d0a-4b4e-9d33-0a0b0c0d0e0f".to_owned(),
            cpus: 1,
            memory_mib: 32,
            mac: "00:16:3e:00:00:01".to_owned(),
            address: Ipv4Addr::new(100, 64, 0, 7),
            disks: Vec::new(),
            metadata_socket: self.dir.path().join("metadata.sock"),
        }
    }

    /// A disk of 1 MiB, served; with the boot sector if it is to be booted from.
    pub fn disk(&mut self, id: &str, boot: bool) -> GuestDisk {
        let place = |name: String| self.dir.path().join(name);
        let (file, socket, nbd) = (
            place(id.into()),
            place(format!("{id}.sock")),
            place(format!("{id}.nbd")),
        );
        let mut content = vec![0; 1 << 20];
        if boot {
            content[..BOOT_SECTOR.len()].copy_from_slice(BOOT_SECTOR);
            content[510..512].copy_from_slice(&[0x55, 0xaa]);
        }
        fs::write(&file, content).unwrap();
        let mut server = Command::new("qemu-storage-daemon");
        server.args([
            "--blockdev",
            &format!("driver=file,node-name=disk,filename={}", file.display()),
        ]);
        server.args([
            "--export",
            &format!(
                "type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=8,addr.type=unix,addr.path={}",
                socket.display()
            ),
        ]);
        server.args([
            "--nbd-server",
            &format!("addr.type=unix,addr.path={}", nbd.display()),
            "--export",
            &format!("type=nbd,id=nbd,node-name=disk,name={id},writable=on"),
        ]);
        self.servers.push(
            server
                .spawn()
                .expect("qemu-storage-daemon, of Debian's package qemu-system-common"),
        );
        let deadline = Instant::now() + LONG;
        while !socket.exists() || !nbd.exists() {
            assert!(Instant::now() < deadline, "qemu-storage-daemon does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        GuestDisk {
            id: id.to_owned(),
            socket,
            nbd,
            serial: id.to_owned(),
            boot,
        }
    }

    /// Processes of guests.
    pub fn processes(&self) -> Vec<u32> {
        let named = format!("{}/", self.guests().display());
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |number: &u32| {
            let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&named)
        };
        numbers.filter(ours).collect()
    }

    /// Names in a guest's directory.
    pub fn files_of(&self, id: &str) -> Vec<String> {
        let entries = fs::read_dir(self.guests().join(id))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub fn kill(process: u32) {
    let pid = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The next thing that happens.
pub async fn next(events: &mut Receiver<GuestEvent>) -> GuestEvent {
    timeout(LONG, events.recv())
        .await
        .expect("nothing happens")
        .unwrap()
}

/// The next thing that happens but for a reboot: firmware adds a reset of its own to some.
pub async fn next_but_reboots(events: &mut Receiver<GuestEvent>) -> GuestEvent {
    loop {
        match next(events).await {
            GuestEvent::Rebooted { .. } => {}
            other => return other,
        }
    }
}

/// Waits until a file has this text in it.
pub async fn says(path: &Path, text: &str) {
    let deadline = Instant::now() + LONG;
    loop {
        let said = fs::read(path).map(|said| String::from_utf8_lossy(&said).into_owned());
        if said.as_ref().is_ok_and(|said| said.contains(text)) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{} says {said:?}, not {text}",
            path.display()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
