//! A file becomes an image: a machine of ours that nobody runs, its system disk filled over NBD, a snapshot, an image of it.
//!
//! What must stay true: when this fails or is interrupted, what it made is gone again, also what was made by a request whose answer
//! never came: machine and image are found by the name and by what they are made of, not only by an id that was answered. What could not be
//! taken away is named in the error. On success image and snapshot stay, and the machine with its disk goes.

use super::Format;
use super::interrupt::Interrupt;
use super::qemu::{self, Qemu, Run};
use super::source::{Content, Source};
use crate::client::{params, random_hex};
use crate::nbd::Connection;
use crate::people::disk::{self, DISK};
use crate::people::image::IMAGE;
use crate::people::instance::{self, INSTANCE};
use crate::people::progress::{Progress, Unit};
use crate::people::snapshot::{self, SNAPSHOT};
use crate::people::{Api, Kind, add, add_tags, note, text};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tidemark_units::GIB;

/// The category of the disk in between: it may be as small as 1 GiB.
const CATEGORY: (&str, &str) = ("cloud_essd", "PL0");
/// GiB of a system disk at most (ecs-api.md 2.3).
const SYSTEM_GIB_MAX: u64 = 2048;
/// How long taking away is tried: a machine that is just starting cannot be released yet.
const TAKING_AWAY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// What is asked for.
pub struct Order<'a> {
    /// The file.
    pub file: &'a Path,
    /// What it is; otherwise its first bytes tell.
    pub format: Option<Format>,
    /// Bytes of the disk; at least the content's.
    pub size: Option<u64>,
    /// The image's name.
    pub name: Option<&'a str>,
    /// The image's family.
    pub family: Option<&'a str>,
    /// Words for people.
    pub description: Option<&'a str>,
    /// The system on it, such as Debian.
    pub platform: Option<&'a str>,
    /// How it starts: `BIOS`, `UEFI` or `UEFI-Preferred`.
    pub boot_mode: Option<&'a str>,
    /// `key=value` words.
    pub tags: &'a [String],
}

/// Makes the image and answers its row.
pub fn run(api: &Api, order: &Order<'_>) -> Result<Value> {
    let source = Source::open(order.file)?;
    let content = source.content(order.format)?;
    let gib = disk_gib(content.disk_bytes, order.size)?;
    let qemu = match content.format {
        Format::Raw => None,
        Format::Qcow2 => Some(Qemu::find()?),
    };
    let mut work = Work {
        api,
        order,
        source,
        content,
        qemu,
        socket: disk::socket(api)?.to_owned(),
        interrupt: Interrupt::listen()?,
        name: format!("image-import-{}", random_hex::<6>()?),
        disk: None,
    };
    match work.make(gib) {
        Ok(row) => {
            let left = work.release();
            if !left.is_empty() {
                // The image is there, whether or not this can be said.
                let _ = note(&format!("note: {} could not be released", left.join(", ")));
            }
            Ok(row)
        }
        Err(error) => {
            let left = work.take_back();
            match left.is_empty() {
                true => Err(error.context("the import failed; what it had made is taken away again")),
                false => Err(error.context(format!("the import failed, and left {}", left.join(", ")))),
            }
        }
    }
}

/// GiB of a disk that holds the content.
fn disk_gib(content_bytes: u64, asked_bytes: Option<u64>) -> Result<u64> {
    let bytes = match asked_bytes {
        Some(asked) if asked < content_bytes => {
            bail!("--size is {asked} bytes, and the disk in the file has {content_bytes}: nothing is cut off")
        }
        Some(asked) => asked,
        None => content_bytes,
    };
    match bytes.div_ceil(GIB) {
        gib @ 1..=SYSTEM_GIB_MAX => Ok(gib),
        gib => bail!("{gib} GiB are more than a system disk's {SYSTEM_GIB_MAX}"),
    }
}

/// An import under way, and what it may have made.
struct Work<'a> {
    api: &'a Api,
    order: &'a Order<'a>,
    source: Source,
    content: Content,
    qemu: Option<Qemu>,
    socket: PathBuf,
    interrupt: Interrupt,
    /// The machine's, and the snapshot's: nothing else has it.
    name: String,
    /// Known once there is the machine.
    disk: Option<String>,
}

impl Work<'_> {
    fn make(&mut self, gib: u64) -> Result<Value> {
        let machine = self.new_machine(gib)?;
        let disk = self.system_disk(&machine)?;
        self.disk = Some(disk.clone());
        self.fill(&disk)?;
        // Whatever was not acknowledged would be lost with the machine's stop: now nothing is.
        Connection::open(&self.socket, &disk)?.flush()?;
        self.api
            .call("StopInstance", &params([("InstanceId", &machine)]))?;
        self.settled(&INSTANCE, &machine, "Stopped")?;
        let wanted = params([
            ("DiskId", &disk),
            ("SnapshotName", &self.name),
            ("Description", &self.words()),
        ]);
        let snapshot = snapshot::create(self.api, &wanted)?;
        snapshot::wait_accomplished_unless(self.api, &snapshot, &|| self.interrupt.check())?;
        self.new_image(&snapshot)
    }

    fn new_machine(&self, gib: u64) -> Result<String> {
        let (zone, gib) = (self.api.zone(None)?, gib.to_string());
        let wanted = params([
            ("InstanceType", "tidemark.external"),
            ("InstanceName", &self.name),
            ("Description", &self.words()),
            ("ZoneId", &zone),
            ("SystemDisk.Category", CATEGORY.0),
            ("SystemDisk.PerformanceLevel", CATEGORY.1),
            ("SystemDisk.Size", &gib),
        ]);
        let id = instance::create(self.api, &wanted)?;
        self.settled(&INSTANCE, &id, "Running")?;
        Ok(id)
    }

    /// For people who meet machine or snapshot while it is under way.
    fn words(&self) -> String {
        let name: String = self
            .source
            .name()
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        format!("Import of the image file {name}.")
    }

    fn system_disk(&self, machine: &str) -> Result<String> {
        let disks = self.api.list(&DISK, &params([("InstanceId", machine)]))?;
        let disk = disks.first().map(|row| text(row, "DiskId"));
        disk.with_context(|| format!("the instance {machine} has no disk"))
    }

    fn fill(&self, disk: &str) -> Result<()> {
        let bytes = self.content.disk_bytes;
        let mut progress = Progress::new(format!("write {disk}"), Unit::Bytes, bytes);
        match &self.qemu {
            None => {
                let mut connection = Connection::open(&self.socket, disk)?;
                let write = |at: u64, data: &[u8]| connection.write(at, data);
                self.source
                    .copy(&self.interrupt, write, |at| progress.show(at, None))?;
                connection.flush()?;
            }
            Some(qemu) => {
                let to = qemu::Export {
                    socket: &self.socket,
                    name: disk,
                };
                let mut run = Run {
                    interrupt: &self.interrupt,
                    shown: &mut |percent| progress.show((bytes as f64 * percent / 100.0) as u64, None),
                };
                qemu.fill(self.source.file(), bytes, &to, &mut run)?;
            }
        }
        progress.finish();
        Ok(())
    }

    fn new_image(&self, snapshot: &str) -> Result<Value> {
        let mut wanted = params([("SnapshotId", snapshot)]);
        add(&mut wanted, "ImageName", self.order.name);
        add(&mut wanted, "ImageFamily", self.order.family);
        add(&mut wanted, "Platform", self.order.platform);
        add(&mut wanted, "BootMode", self.order.boot_mode);
        let words = self.words();
        add(
            &mut wanted,
            "Description",
            self.order.description.or(Some(words.as_str())),
        );
        add_tags(&mut wanted, self.order.tags);
        let answer = self.api.call("CreateImage", &wanted)?;
        let id = answer["ImageId"]
            .as_str()
            .context("CreateImage answered no image id")?;
        let asked = params([("ImageId", id), ("Status", "ALL")]);
        loop {
            self.interrupt.check()?;
            let rows = self.api.list(&IMAGE, &asked)?;
            let row = rows
                .into_iter()
                .next()
                .with_context(|| format!("the image {id} is gone"))?;
            match text(&row, "Status").as_str() {
                "Creating" => std::thread::sleep(POLL),
                "Available" => return Ok(row),
                status => bail!("the image {id} is {status}"),
            }
        }
    }

    fn settled(&self, kind: &Kind, id: &str, wanted: &str) -> Result<()> {
        self.api.wait(kind, id, |row| {
            self.interrupt.check()?;
            let row = row.with_context(|| format!("the {} {id} is gone", kind.name))?;
            Ok(text(row, "Status") == wanted)
        })?;
        Ok(())
    }

    /// Takes everything away; answers what is left.
    fn take_back(&self) -> Vec<String> {
        let mut left = Vec::new();
        if let Some(disk) = &self.disk {
            left.extend(self.remove_snapshots(disk));
        }
        left.extend(self.release());
        left
    }

    /// The snapshots of the disk, and the images of them.
    fn remove_snapshots(&self, disk: &str) -> Vec<String> {
        let mut left = Vec::new();
        let rows = match self.api.list(&SNAPSHOT, &params([("DiskId", disk)])) {
            Ok(rows) => rows,
            Err(error) => return vec![format!("snapshots of the disk {disk} ({error:#})")],
        };
        for snapshot in rows.iter().map(|row| text(row, "SnapshotId")) {
            let images = params([("SnapshotId", snapshot.as_str()), ("Status", "ALL")]);
            let images = self.api.list(&IMAGE, &images).unwrap_or_else(|error| {
                left.push(format!("images of {snapshot} ({error:#})"));
                Vec::new()
            });
            for image in images {
                let image = text(&image, "ImageId");
                left.extend(self.gone("image", &image, "DeleteImage", "ImageId"));
            }
            left.extend(self.gone("snapshot", &snapshot, "DeleteSnapshot", "SnapshotId"));
        }
        left
    }

    /// The machine, with its disk.
    fn release(&self) -> Vec<String> {
        let rows = match self.api.list(&INSTANCE, &params([("InstanceName", &self.name)])) {
            Ok(rows) => rows,
            Err(error) => return vec![format!("the instance {} ({error:#})", self.name)],
        };
        let ids = rows.iter().map(|row| text(row, "InstanceId"));
        ids.filter_map(|id| self.gone("instance", &id, "DeleteInstance", "InstanceId"))
            .collect()
    }

    /// Deletes one, again and again while it is refused; answers what it is when it stays.
    fn gone(&self, what: &str, id: &str, action: &str, parameter: &str) -> Option<String> {
        let begun = Instant::now();
        loop {
            let error = match self
                .api
                .call(action, &params([(parameter, id), ("Force", "true")]))
            {
                Ok(_) => match self.is_gone(what, id) {
                    Ok(true) => return None,
                    Ok(false) => anyhow!("it is still there"),
                    Err(error) => error,
                },
                // Gone already: a delete whose answer did not come.
                Err(_) if self.is_gone(what, id).unwrap_or(false) => return None,
                Err(error) => error,
            };
            if begun.elapsed() > TAKING_AWAY {
                return Some(format!("the {what} {id} ({error:#})"));
            }
            std::thread::sleep(POLL);
        }
    }

    fn is_gone(&self, what: &str, id: &str) -> Result<bool> {
        match what {
            "image" => Ok(self
                .api
                .list(&IMAGE, &params([("ImageId", id), ("Status", "ALL")]))?
                .is_empty()),
            "snapshot" => Ok(self.api.find(&SNAPSHOT, id)?.is_none()),
            _ => Ok(self.api.find(&INSTANCE, id)?.is_none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_holds_the_content() {
        assert_eq!(disk_gib(1, None).unwrap(), 1);
        assert_eq!(disk_gib(GIB, None).unwrap(), 1);
        assert_eq!(disk_gib(GIB + 1, None).unwrap(), 2);
        assert_eq!(disk_gib(GIB + 1, Some(20 * GIB)).unwrap(), 20);
        assert!(
            disk_gib(2 * GIB, Some(GIB))
                .unwrap_err()
                .to_string()
                .contains("nothing is cut off")
        );
        assert!(
            disk_gib(2049 * GIB, None)
                .unwrap_err()
                .to_string()
                .contains("2048")
        );
    }
}
