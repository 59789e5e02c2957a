//! The last part of the tour: a guest that Tidemark runs is released by mistake, and made again from its snapshot.
//!
//! Everything in it goes through the commands and calls that a user has; what the guest says on its console is the evidence. Where no
//! guest can be run, or no image built, the part is left out, and said why: the rest of the tour stands without it.

use super::{Tour, millis};
use crate::client::params;
use crate::nbd::{Connection as Nbd, REQUEST_BYTES_MAX};
use crate::people::disk::DISK;
use crate::people::image;
use crate::people::instance::{self, INSTANCE};
use crate::people::{print, snapshot, text};
use crate::tools::find_tool;
use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The smallest type.
const TYPE: &str = "ecs.t5-lc2m1.nano";
/// An emulated guest on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const POLL: Duration = Duration::from_millis(200);
/// Records that are durable before the snapshot.
const RECORDS: u64 = 10;

/// Where the guest's second partition is in a disk's MBR, and in sectors of this size.
const SECOND_PARTITION: usize = 446 + 16 + 8;
const SECTOR: u64 = 512;

impl Tour {
    /// Why there is no such part, or `None` after it.
    pub(super) fn walk_with_a_guest(&mut self, scratch: &Path) -> Result<Option<String>> {
        let types = self
            .api
            .call("DescribeInstanceTypes", &params([("InstanceTypes.1", TYPE)]))?;
        if types["InstanceTypes"]["InstanceType"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            return Ok(Some("there is no QEMU here (Debian: qemu-system-x86)".into()));
        }
        let image = scratch.join("guest.raw");
        if let Err(why) = own([
            "image".as_ref(),
            "build".as_ref(),
            image.as_os_str(),
            "--json".as_ref(),
        ]) {
            return Ok(Some(format!("{why:#}")));
        }

        self.title("A machine that Tidemark runs, from an image made of Debian packages")?;
        let begun = Instant::now();
        let image = self.import(&image)?;
        let first = self.launch(&image, "demo-guest")?;
        let id = self.said(&first, "INSTANCE-ID ")?;
        let data_dir = self.data_dir.display();
        print(&format!(
            "   instance {first} runs {} after it was asked for; it asked http://100.100.100.200 for its own id,\n   and was told {id}. \
             Its console: tidemark instance console {first} --data-dir {data_dir}",
            millis(begun.elapsed())
        ))?;
        if id != first {
            bail!("the metadata service told {first} that it is {id}");
        }

        self.title("It writes records, and says of each when it is durable. A snapshot, while it goes on")?;
        let least = self.durable(&first, RECORDS)?;
        let disk = self.system_disk(&first)?;
        let taken = snapshot::create(&self.api, &params([("DiskId", disk.as_str())]))?;
        let most = self.durable(&first, least + 3)?;
        snapshot::wait_accomplished(&self.api, &taken)?;
        print(&format!(
            "   snapshot {taken}: before the call {least} records were durable, now {most}"
        ))?;

        self.title("The machine is released by mistake, with its disk, and made again from the snapshot")?;
        self.api.call(
            "DeleteInstance",
            &params([("InstanceId", first.as_str()), ("Force", "true")]),
        )?;
        self.api.wait_gone(&INSTANCE, &first)?;
        self.api.wait_gone(&DISK, &disk)?;
        let again = self.image_of(&taken)?;
        let second = self.launch(&again, "demo-guest-again")?;
        let found: u64 = self
            .said(&second, "FOUND ")?
            .parse()
            .context("the guest counts its records")?;
        // One may have been written in the moment of the call and told of after it.
        if !(least..=most + 1).contains(&found) {
            bail!("{least} to {most} records were durable, and {second} found {found}");
        }
        print(&format!(
            "   instance {second} found {found} records, whole and without a gap: all that were durable before the snapshot"
        ))?;
        self.durable(&second, found + 1)?;
        self.check_guest(&second, scratch)?;
        Ok(None)
    }

    fn import(&self, file: &Path) -> Result<String> {
        let said = own([
            "image".as_ref(),
            "import".as_ref(),
            file.as_os_str(),
            "--name".as_ref(),
            "demo-guest".as_ref(),
            "--json".as_ref(),
            "--data-dir".as_ref(),
            self.data_dir.as_os_str(),
        ])?;
        let image: Value =
            serde_json::from_str(&said).context("`tidemark image import --json` prints JSON")?;
        Ok(text(&image, "ImageId"))
    }

    fn launch(&self, image: &str, name: &str) -> Result<String> {
        let zone = self.api.zone(None)?;
        let parameters = params([
            ("InstanceType", TYPE),
            ("ImageId", image),
            ("InstanceName", name),
            ("ZoneId", zone.as_str()),
        ]);
        let id = instance::create(&self.api, &parameters)?;
        self.api.wait_status(&INSTANCE, &id, "Running")?;
        Ok(id)
    }

    fn image_of(&self, snapshot: &str) -> Result<String> {
        let region = self.api.client().connection().region.clone();
        let answer = self.api.call(
            "CreateImage",
            &params([
                ("RegionId", region.as_str()),
                ("SnapshotId", snapshot),
                ("ImageName", "demo-rescued"),
            ]),
        )?;
        let image = text(&answer, "ImageId");
        loop {
            match text(&image::find(&self.api, &image)?, "Status").as_str() {
                "Creating" => std::thread::sleep(POLL),
                "Available" => return Ok(image),
                status => bail!("the image {image} is {status}"),
            }
        }
    }

    fn system_disk(&self, instance: &str) -> Result<String> {
        let found = self
            .api
            .list(&DISK, &params([("InstanceId", instance), ("DiskType", "system")]))?;
        let disk = found.first().map(|disk| text(disk, "DiskId"));
        disk.with_context(|| format!("{instance} has no system disk"))
    }

    fn console(&self, instance: &str) -> Result<String> {
        let answer = self
            .api
            .call("GetInstanceConsoleOutput", &params([("InstanceId", instance)]))?;
        let bytes = BASE64.decode(text(&answer, "ConsoleOutput").as_bytes())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What stands behind `words` in the last line of the console that has them, once there is one.
    fn said(&self, instance: &str, words: &str) -> Result<String> {
        self.wait_for(instance, words, |rest| Some(rest.to_owned()))
    }

    /// How many records are durable, once it is `least`.
    fn durable(&self, instance: &str, least: u64) -> Result<u64> {
        let enough = |rest: &str| rest.parse().ok().filter(|count| *count >= least);
        self.wait_for(instance, "DURABLE ", enough)
    }

    fn wait_for<T>(&self, instance: &str, words: &str, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let console = self.console(instance)?;
            if let Some(damage) = console.lines().find(|line| line.starts_with("DAMAGED")) {
                bail!("{instance} says: {damage}");
            }
            // A line that is still being written does not count.
            let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let last = whole
                .lines()
                .rev()
                .find_map(|line| line.trim_end().strip_prefix(words));
            if let Some(found) = last.and_then(&wanted) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let end: Vec<_> = console.lines().rev().take(5).collect();
                bail!("{instance} has not said {words:?} in {PATIENCE:?}; its console ends with {end:?}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Shuts the guest down and looks at its file system from outside.
    fn check_guest(&self, instance: &str, scratch: &Path) -> Result<()> {
        let Some(e2fsck) = find_tool("e2fsck") else {
            return Ok(());
        };
        self.api
            .call("StopInstance", &params([("InstanceId", instance)]))?;
        self.api.wait_status(&INSTANCE, instance, "Stopped")?;
        let disk = self.system_disk(instance)?;
        let taken = snapshot::create(&self.api, &params([("DiskId", disk.as_str())]))?;
        snapshot::wait_accomplished(&self.api, &taken)?;
        let copy = scratch.join("guest-data.img");
        self.copy_partition(&taken, &copy)?;
        let output = Command::new(e2fsck).arg("-fn").arg(&copy).output()?;
        if !output.status.success() {
            bail!(
                "e2fsck is not content with the guest's file system: {}",
                String::from_utf8_lossy(&output.stdout).trim()
            );
        }
        print("   shut down when it was asked to; e2fsck -fn: its file system is clean")
    }

    /// The second partition of a disk as a sparse file.
    fn copy_partition(&self, export: &str, file: &Path) -> Result<()> {
        let mut nbd = Nbd::open(&self.socket, export)?;
        let mut table = [0; SECTOR as usize];
        nbd.read(0, &mut table)?;
        let entry = &table[SECOND_PARTITION..];
        let number = |at: usize| {
            entry[at..at + 4]
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        let (start, len) = (number(0) * SECTOR, number(4) * SECTOR);
        let copy = File::create(file)?;
        copy.set_len(len)?;
        let mut piece = vec![0; REQUEST_BYTES_MAX];
        for at in (0..len).step_by(REQUEST_BYTES_MAX) {
            let part = &mut piece[..(len - at).min(REQUEST_BYTES_MAX as u64) as usize];
            nbd.read(start + at, part)?;
            if part.iter().any(|byte| *byte != 0) {
                copy.write_all_at(part, at)?;
            }
        }
        Ok(())
    }
}

/// Runs this program as a user would, and gives what it prints; a failure has its last words.
fn own<const N: usize>(words: [&OsStr; N]) -> Result<String> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let output = Command::new(program).args(words).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}",
            said.lines()
                .last()
                .unwrap_or("it said nothing")
                .trim_start_matches("ERROR: ")
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
