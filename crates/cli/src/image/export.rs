//! A snapshot, or the system disk of an image, becomes a file: read through its read-only export.

use super::interrupt::Interrupt;
use super::qemu::{self, Qemu, Run};
use super::target::Target;
use super::{Format, STEP, without_zeros};
use crate::nbd::{Connection, Map};
use crate::people::disk;
use crate::people::progress::{Progress, Unit};
use crate::people::snapshot::SNAPSHOT;
use crate::people::{Api, text};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is asked for.
pub struct Order<'a> {
    /// The snapshot's id.
    pub snapshot: &'a str,
    /// The file, which is not there yet.
    pub file: &'a Path,
    /// What it becomes.
    pub format: Format,
    /// It may be there, and is replaced.
    pub force: bool,
}

/// The snapshot of an image's system disk, and how many data disks there are beside it.
pub fn system_snapshot(image: &Value) -> Result<(String, usize)> {
    let disks = image["DiskDeviceMappings"]["DiskDeviceMapping"].as_array();
    let disks: Vec<_> = disks.into_iter().flatten().collect();
    let system = disks.iter().find(|disk| text(disk, "Type") == "system");
    let snapshot = system.map(|disk| text(disk, "SnapshotId")).unwrap_or_default();
    if snapshot.is_empty() {
        bail!("the image {} has no disk with content", text(image, "ImageId"));
    }
    Ok((snapshot, disks.len() - 1))
}

/// Writes the file; answers the disk's size in bytes.
pub fn run(api: &Api, order: &Order<'_>) -> Result<u64> {
    let row = api.get(&SNAPSHOT, order.snapshot)?;
    let status = text(&row, "Status");
    if status != "accomplished" {
        bail!(
            "the snapshot {} is {status}; it has no content yet",
            order.snapshot
        );
    }
    let socket = disk::socket(api)?.to_owned();
    let qemu = match order.format {
        Format::Raw => None,
        Format::Qcow2 => Some(Qemu::find()?),
    };
    let target = Target::begin(order.file, order.force)?;
    let interrupt = Interrupt::listen()?;
    let mut connection = Connection::open(&socket, order.snapshot)?;
    let bytes = connection.size_bytes();
    let mut progress = Progress::new(format!("read {}", order.snapshot), Unit::Bytes, bytes);
    match qemu {
        None => copy(
            &mut connection,
            &mut Map::open(&socket, order.snapshot)?,
            &target,
            &interrupt,
            &mut |at| {
                progress.show(at, None);
            },
        )?,
        Some(qemu) => {
            let from = qemu::Export {
                socket: &socket,
                name: order.snapshot,
            };
            let mut run = Run {
                interrupt: &interrupt,
                shown: &mut |percent| progress.show((bytes as f64 * percent / 100.0) as u64, None),
            };
            qemu.save(&from, bytes, target.temporary(), &mut run)?;
        }
    }
    target.finish()?;
    progress.finish();
    Ok(bytes)
}

/// Copies what is not known to be zeros, and of that what is none.
fn copy(
    connection: &mut Connection,
    map: &mut Map,
    target: &Target,
    interrupt: &Interrupt,
    shown: &mut dyn FnMut(u64),
) -> Result<()> {
    let bytes = connection.size_bytes();
    let file = target.file();
    file.set_len(bytes).context("cannot make the file that long")?;
    let mut buffer = vec![0; STEP];
    let mut at = 0;
    while at < bytes {
        interrupt.check()?;
        for extent in map.extents(at, bytes - at)? {
            let end = at + extent.length;
            if extent.zero {
                at = end;
            }
            while at < end {
                interrupt.check()?;
                // Up to the next step's start, so that pieces are the service's own.
                let step = STEP as u64 - at % STEP as u64;
                let part = &mut buffer[..step.min(end - at) as usize];
                connection.read(at, part)?;
                without_zeros(at, part, |at, data| {
                    file.write_all_at(data, at).context("cannot write the file")
                })?;
                at += part.len() as u64;
                shown(at);
            }
        }
        shown(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_system_disk_is_what_is_exported() {
        let image =
            |disks: Value| json!({"ImageId": "m-1", "DiskDeviceMappings": {"DiskDeviceMapping": disks}});
        let data = json!({"Type": "data", "SnapshotId": "s-2"});
        let system = json!({"Type": "system", "SnapshotId": "s-1"});
        assert_eq!(
            system_snapshot(&image(json!([data, system]))).unwrap(),
            ("s-1".into(), 1)
        );
        assert!(system_snapshot(&image(json!([data]))).is_err());
        assert!(system_snapshot(&image(json!([{"Type": "system", "SnapshotId": ""}]))).is_err());
    }
}
