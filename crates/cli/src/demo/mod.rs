//! `tidemark up --demo`: a tour that a newcomer can watch, against the service that was just started.
//!
//! It uses what any user has: the API for the resources and NBD for the data. Every comparison is of
//! all bytes that must be there, told independently of the disk, with all that is. A failure ends the
//! tour with what was wrong; the service goes on.

mod compare;
mod content;
mod guest;
mod writer;

use crate::client::{Client, params};
use crate::credentials::Connection;
use crate::nbd::Connection as Nbd;
use crate::people::disk::{DISK, nbd_uri};
use crate::people::instance::{self, INSTANCE};
use crate::people::progress::{Progress, Unit};
use crate::people::snapshot;
use crate::people::{Api, print};
use crate::size::human;
use crate::tools::find_tool;
use anyhow::{Context, Result, bail};
use compare::{Expected, Same, compare};
use content::{AREA_BYTES, IMAGE_BYTES, Image, Images};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tidemark_units::{CHUNK_BYTES, MIB};
use writer::Writer;

/// Where the tour takes place.
pub struct Stage {
    /// The service.
    pub connection: Connection,
    /// Where disks are exported.
    pub socket: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The vault's directory, if it is in one.
    pub vault_dir: Option<PathBuf>,
}

/// A tour under way.
struct Tour {
    api: Api,
    socket: PathBuf,
    data_dir: PathBuf,
    vault_dir: Option<PathBuf>,
    step: usize,
}

/// Runs the tour to its end.
pub fn run(stage: Stage) -> Result<()> {
    let scratch = stage.data_dir.join("demo");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let api = Api::on(Client::new(stage.connection));
    let mut tour = Tour {
        api,
        socket: stage.socket,
        data_dir: stage.data_dir,
        vault_dir: stage.vault_dir,
        step: 0,
    };
    let result = tour.walk(&scratch);
    let _ = fs::remove_dir_all(&scratch);
    result
}

impl Tour {
    fn title(&mut self, text: &str) -> Result<()> {
        self.step += 1;
        print(&format!("\n{}. {text}", self.step))
    }

    fn walk(&mut self, scratch: &Path) -> Result<()> {
        let begun = Instant::now();
        print("\nA tour of Tidemark: one disk, its snapshots, and what they are good for.")?;

        self.title("A machine of yours, and a disk attached to it")?;
        let instance = self.new_instance()?;
        let disk = self.new_disk("demo-disk", None)?;
        self.attach(&disk, &instance)?;
        print(&format!(
            "   instance {instance}, disk {disk} of 1 GiB, exported as\n   {}",
            nbd_uri(&disk, &self.socket)
        ))?;

        self.title("Data on the disk")?;
        let images = Images::make(scratch)?;
        let written = self.write_image(&disk, &images.versions[0], None)?;
        print(&format!(
            "   {}; {} written through NBD",
            images.description,
            human(written)
        ))?;

        self.title("A full snapshot, while the guest goes on writing")?;
        let writer = Writer::start(&self.socket, &disk)?;
        std::thread::sleep(Duration::from_millis(300));
        let first = self.snapshot(&disk, "demo-full", &writer)?;

        self.title("Some work on the disk, then an incremental snapshot: it stores only what changed")?;
        let changed = self.write_image(&disk, &images.versions[1], Some(&images.versions[0]))?;
        print(&format!(
            "   {} of the image changed, and up to {} by the guest's writes",
            human(changed),
            human(AREA_BYTES)
        ))?;
        let second = self.snapshot(&disk, "demo-incremental", &writer)?;
        let done = writer.stop()?;
        print(&format!(
            "   the guest made {} writes of 4 KiB meanwhile, through both snapshots; the slowest took {}",
            done.writes,
            millis(done.slowest)
        ))?;

        self.title("Both snapshots, read back in full through their read-only exports")?;
        let full = self.verify(&first, &images.versions[0], None)?;
        let incremental = self.verify(&second, &images.versions[1], None)?;

        self.title("An accident: 64 MiB of the disk are overwritten. Roll it back to the first snapshot")?;
        self.ruin(&disk)?;
        let rolled = Instant::now();
        self.api
            .call("StopInstance", &params([("InstanceId", &instance)]))?;
        self.api.wait_status(&INSTANCE, &instance, "Stopped")?;
        self.api.call(
            "ResetDisk",
            &params([("DiskId", &disk), ("SnapshotId", &first.id)]),
        )?;
        self.api.wait_status(&DISK, &disk, "In_use")?;
        self.api
            .call("StartInstance", &params([("InstanceId", &instance)]))?;
        self.api.wait_status(&INSTANCE, &instance, "Running")?;
        print(&format!("   in use again after {}", millis(rolled.elapsed())))?;
        let back = self.verify(
            &Taken {
                id: disk.clone(),
                ..first.clone()
            },
            &images.versions[0],
            None,
        )?;
        same_as("the disk", &back, "the first snapshot", &full)?;

        self.title("A new disk from the second snapshot, usable at once and filled as it is read")?;
        let made = Instant::now();
        let copy = self.new_disk("demo-copy", Some(&second.id))?;
        self.attach(&copy, &instance)?;
        print(&format!(
            "   disk {copy}, attached after {}",
            millis(made.elapsed())
        ))?;
        let dump = images.file_system.then(|| scratch.join("copy.img"));
        let filled = self.verify(
            &Taken {
                id: copy.clone(),
                ..second.clone()
            },
            &images.versions[1],
            dump.as_deref(),
        )?;
        same_as("the new disk", &filled, "the second snapshot", &incremental)?;
        if let Some(dump) = &dump {
            self.check_file_system(dump)?;
        }

        if let Some(why) = self.walk_with_a_guest(scratch)? {
            print(&format!(
                "\nThe part with a machine that Tidemark runs is left out: {why}"
            ))?;
        }

        let seconds = begun.elapsed().as_secs_f64();
        print(&format!(
            "\nThat was the tour: {seconds:.0} s, four comparisons of all bytes, all the same."
        ))?;
        self.farewell(&disk)
    }

    fn farewell(&self, disk: &str) -> Result<()> {
        let data_dir = self.data_dir.display();
        print(&format!(
            "\nWhere to look next (in another terminal):\n  \
             tidemark --help\n  \
             tidemark disk list --data-dir {data_dir}\n  \
             tidemark snapshot list --data-dir {data_dir}\n  \
             tidemark ecs DescribeSnapshots --data-dir {data_dir} --DiskId {disk} \\\n      \
             --output cols=SnapshotId,SnapshotName,Status,Progress rows=Snapshots.Snapshot[]\n  \
             qemu-img info '{}'\n\
             The key for other clients is in {data_dir}/credentials.toml. The service is still running at {}; Ctrl-C stops it.",
            nbd_uri(disk, &self.socket),
            self.api.client().connection().endpoint.url()
        ))
    }

    fn new_instance(&self) -> Result<String> {
        let zone = self.api.zone(None)?;
        let parameters = params([
            ("InstanceType", "tidemark.external"),
            ("InstanceName", "demo-box"),
            ("ZoneId", &zone),
        ]);
        let id = instance::create(&self.api, &parameters)?;
        self.api.wait_status(&INSTANCE, &id, "Running")?;
        Ok(id)
    }

    fn new_disk(&self, name: &str, snapshot: Option<&str>) -> Result<String> {
        let zone = self.api.zone(None)?;
        let mut parameters = params([
            ("ZoneId", &zone),
            ("DiskCategory", "cloud_essd"),
            ("PerformanceLevel", "PL0"),
            ("DiskName", name),
        ]);
        match snapshot {
            Some(snapshot) => parameters.push(("SnapshotId".into(), snapshot.into())),
            None => parameters.push(("Size".into(), "1".into())),
        }
        let answer = self.api.call("CreateDisk", &parameters)?;
        let id = answer["DiskId"]
            .as_str()
            .context("CreateDisk answered no disk id")?;
        self.api.wait_status(&DISK, id, "Available")?;
        Ok(id.to_string())
    }

    fn attach(&self, disk: &str, instance: &str) -> Result<()> {
        self.api.call(
            "AttachDisk",
            &params([("DiskId", disk), ("InstanceId", instance)]),
        )?;
        self.api.wait_status(&DISK, disk, "In_use").map(drop)
    }

    /// Writes the chunks of an image that are not zero, or not as in `before`; returns how many bytes.
    fn write_image(&self, disk: &str, image: &Path, before: Option<&Path>) -> Result<u64> {
        let image = Image::open(image)?;
        let before = before.map(Image::open).transpose()?;
        let mut connection = Nbd::open(&self.socket, disk)?;
        let mut progress = Progress::new(format!("write {disk}"), Unit::Bytes, IMAGE_BYTES);
        let (step, chunk) = (MIB as usize, CHUNK_BYTES as usize);
        let (mut data, mut old) = (vec![0; step], vec![0; step]);
        let mut written = 0;
        for at in (0..IMAGE_BYTES).step_by(step) {
            image.read(at, &mut data)?;
            if let Some(before) = &before {
                before.read(at, &mut old)?;
            }
            for (index, (data, old)) in data.chunks(chunk).zip(old.chunks(chunk)).enumerate() {
                if data != old {
                    connection.write(at + index as u64 * CHUNK_BYTES, data)?;
                    written += CHUNK_BYTES;
                }
            }
            progress.show(at + MIB, None);
        }
        connection.flush()?;
        progress.finish();
        Ok(written)
    }

    /// Takes a snapshot and waits for it; tells how long the call took and what the vault grew by.
    fn snapshot(&self, disk: &str, name: &str, writer: &Writer) -> Result<Taken> {
        let vault = self.vault_dir.as_deref();
        let before = vault.map(size_of);
        let least = writer.acknowledged();
        let called = Instant::now();
        let id = snapshot::create(&self.api, &params([("DiskId", disk), ("SnapshotName", name)]))?;
        let took = called.elapsed();
        let most = writer.issued();
        print(&format!(
            "   snapshot {id}: the instant is fixed and safe after {}",
            millis(took)
        ))?;
        snapshot::wait_accomplished(&self.api, &id)?;
        match (vault.map(size_of), before) {
            (Some(after), Some(before)) => print(&format!(
                "   all of it stored; the vault grew by {}",
                human(after.saturating_sub(before))
            ))?,
            _ => print("   all of it stored in the bucket")?,
        }
        Ok(Taken { id, least, most })
    }

    /// Compares an export with an image and a prefix of the writer's writes.
    fn verify(&self, taken: &Taken, image: &Path, dump: Option<&Path>) -> Result<Same> {
        let copy = dump.map(File::create).transpose()?;
        if let Some(copy) = &copy {
            copy.set_len(IMAGE_BYTES)?;
        }
        let expected = Expected {
            image,
            writes: taken.least..=taken.most,
        };
        let same = compare(&self.socket, &taken.id, &expected, copy.as_ref())?;
        print(&format!(
            "   {}: all 1 GiB the same as at the instant of the snapshot, {} of the guest's writes in it (BLAKE3 {}...)",
            taken.id,
            same.writes,
            &same.hash.to_hex()[..16]
        ))?;
        Ok(same)
    }

    /// Overwrites the front of the disk, where the file system's heart is.
    fn ruin(&self, disk: &str) -> Result<()> {
        let mut connection = Nbd::open(&self.socket, disk)?;
        for piece in 0..64 {
            connection.write(
                piece * MIB,
                &content::bytes(&format!("accident {piece}"), MIB as usize),
            )?;
        }
        connection.flush()
    }

    fn check_file_system(&self, image: &Path) -> Result<()> {
        let Some(e2fsck) = find_tool("e2fsck") else {
            return Ok(());
        };
        let output = std::process::Command::new(e2fsck)
            .arg("-fn")
            .arg(image)
            .output()?;
        if !output.status.success() {
            bail!(
                "e2fsck is not content with the copy: {}",
                String::from_utf8_lossy(&output.stdout).trim()
            );
        }
        print("   e2fsck -fn: the file system on the new disk is clean")
    }
}

/// A snapshot and which of the writer's writes it may hold.
#[derive(Clone)]
struct Taken {
    id: String,
    least: u64,
    most: u64,
}

/// What was compared with the expectation must be one content, too: the same writes, not just possible ones.
fn same_as(what: &str, found: &Same, whose: &str, wanted: &Same) -> Result<()> {
    if found.hash != wanted.hash {
        bail!(
            "{what} has hash {} and {whose} has {}: they differ",
            found.hash,
            wanted.hash
        );
    }
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Bytes of all files below a directory. What vanishes meanwhile does not count.
fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
