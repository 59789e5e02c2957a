//! The disk's layout: boot code and a partition table, FAT with the boot loader, ext4 for data.
//!
//! Every program writes at an offset of the one file, so nothing is copied and nothing mounted.

use super::{TIME, run_tool};
use crate::image::target::Target;
use crate::tools::need;
use anyhow::{Result, bail};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidemark_units::{KIB, MIB};

/// The smallest disk: what boots, and some room.
pub const BYTES_MIN: u64 = 256 * MIB;

const SECTOR: u64 = 512;
/// Where the first partition begins.
const BOOT_AT: u64 = MIB;
/// The boot partition's room beside kernel and initramfs.
const BOOT_SLACK: u64 = 8 * MIB;
const BOOT_BYTES_MIN: u64 = 32 * MIB;
/// Boot code ends where the disk's id begins.
const BOOT_CODE_BYTES: usize = 440;
const DISK_ID: [u8; 4] = *b"tide";
const FAT_ID: &str = "71de3a4b";
const DATA_ID: &str = "7469646d-6172-4b00-8000-677565737401";
/// FAT with logical block addresses, and Linux.
const KINDS: [u8; 2] = [0x0e, 0x83];

const SYSLINUX: &str = "\
DEFAULT tidemark
PROMPT 0
LABEL tidemark
  KERNEL vmlinuz
  INITRD initrd
  APPEND console=ttyS0 quiet panic=-1
";

/// The programs that write it.
pub struct Tools {
    mkfs_fat: PathBuf,
    mcopy: PathBuf,
    syslinux: PathBuf,
    boot_code: PathBuf,
    mke2fs: PathBuf,
}

impl Tools {
    /// Fails with the names of what is missing.
    pub fn find() -> Result<Self> {
        let tools = [
            ("mkfs.fat", "dosfstools"),
            ("mcopy", "mtools"),
            ("syslinux", "syslinux"),
            ("/usr/lib/syslinux/mbr/mbr.bin", "syslinux-common"),
            ("mke2fs", "e2fsprogs"),
        ];
        let [mkfs_fat, mcopy, syslinux, boot_code, mke2fs] = need("image build", tools)?;
        Ok(Self {
            mkfs_fat,
            mcopy,
            syslinux,
            boot_code,
            mke2fs,
        })
    }
}

/// Writes a disk of `bytes`; `work` is a directory for what is in between.
pub fn write(
    tools: &Tools,
    target: &Target,
    bytes: u64,
    kernel: &Path,
    initramfs: &[u8],
    work: &Path,
) -> Result<()> {
    let boot_bytes = boot_bytes(fs::metadata(kernel)?.len() + initramfs.len() as u64);
    let data_at = BOOT_AT + boot_bytes;
    if data_at + 64 * MIB > bytes {
        bail!("a disk of {bytes} bytes has no room for data: {data_at} are for booting");
    }
    let disk = target.temporary();
    target.file().set_len(bytes)?;

    let boot_kib = (boot_bytes / KIB).to_string();
    let (offset, boot_sector) = (BOOT_AT.to_string(), (BOOT_AT / SECTOR).to_string());
    run_tool(
        tool(&tools.mkfs_fat)
            .args([
                "-F",
                "16",
                "-n",
                "TIDEMARK",
                "-i",
                FAT_ID,
                "--invariant",
                "-h",
                &boot_sector,
            ])
            .args(["--offset", &boot_sector])
            .arg(disk)
            .arg(&boot_kib),
    )?;
    let stage = work.join("boot");
    fs::create_dir_all(&stage)?;
    fs::copy(kernel, stage.join("vmlinuz"))?;
    fs::write(stage.join("initrd"), initramfs)?;
    fs::write(stage.join("syslinux.cfg"), SYSLINUX)?;
    let image = format!("{}@@{BOOT_AT}", disk.display());
    run_tool(
        tool(&tools.mcopy)
            .args(["-i", &image])
            .args(["syslinux.cfg", "vmlinuz", "initrd"].map(|name| stage.join(name)))
            .arg("::/"),
    )?;
    run_tool(
        tool(&tools.syslinux)
            .args(["--offset", &offset, "--install"])
            .arg(disk),
    )?;

    let options = format!(
        "offset={data_at},hash_seed={DATA_ID},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    );
    run_tool(
        tool(&tools.mke2fs)
            .args([
                "-q",
                "-F",
                "-t",
                "ext4",
                "-b",
                "4096",
                "-m",
                "0",
                "-L",
                "tidemark-data",
                "-U",
                DATA_ID,
            ])
            .args(["-E", &options])
            .arg(disk)
            .arg(format!("{}k", (bytes - data_at) / KIB)),
    )?;
    let code = fs::read(&tools.boot_code)?;
    target.file().write_all_at(
        &boot_record(&code, [(BOOT_AT, boot_bytes), (data_at, bytes - data_at)])?,
        0,
    )?;
    Ok(())
}

/// A program whose output depends on nothing of the machine or the day.
fn tool(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("SOURCE_DATE_EPOCH", TIME.to_string())
        .env("E2FSPROGS_FAKE_TIME", TIME.to_string())
        .env("MTOOLSRC", "/dev/null")
        .env("MTOOLS_SKIP_CHECK", "1");
    command
}

/// The boot partition's bytes, for files of so many.
fn boot_bytes(files: u64) -> u64 {
    (files + BOOT_SLACK).next_multiple_of(4 * MIB).max(BOOT_BYTES_MIN)
}

/// The first sector: boot code, the disk's id, two partitions, each an offset and a length in bytes; the first is booted.
fn boot_record(code: &[u8], partitions: [(u64, u64); 2]) -> Result<[u8; SECTOR as usize]> {
    if code.len() > BOOT_CODE_BYTES {
        bail!(
            "the boot code has {} bytes and not {BOOT_CODE_BYTES} at most",
            code.len()
        );
    }
    let mut sector = [0; SECTOR as usize];
    sector[..code.len()].copy_from_slice(code);
    sector[BOOT_CODE_BYTES..][..4].copy_from_slice(&DISK_ID);
    let entries = sector[446..510].chunks_exact_mut(16);
    for ((number, entry), (at, bytes)) in entries.enumerate().zip(partitions) {
        entry[0] = if number == 0 { 0x80 } else { 0 };
        // Cylinders, heads and sectors are beyond what these fields hold: logical addresses count.
        entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
        entry[4] = KINDS[number];
        entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&u32::try_from(at / SECTOR)?.to_le_bytes());
        entry[12..].copy_from_slice(&u32::try_from(bytes / SECTOR)?.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sector_boots_the_first_partition() {
        let sector = boot_record(&[0x90; 440], [(MIB, 48 * MIB), (49 * MIB, 975 * MIB)]).unwrap();
        assert_eq!(sector[439..444], [0x90, b't', b'i', b'd', b'e']);
        let entry = |at: usize| {
            (
                sector[at],
                sector[at + 4],
                u32::from_le_bytes(*sector[at + 8..].first_chunk().unwrap()),
            )
        };
        assert_eq!(entry(446), (0x80, 0x0e, 2048));
        assert_eq!(entry(462), (0, 0x83, 49 * 2048));
        assert_eq!(sector[478..510], [0; 32]);
        assert_eq!(sector[510..], [0x55, 0xaa]);
        assert!(boot_record(&[0; 441], [(MIB, MIB), (2 * MIB, MIB)]).is_err());
    }

    #[test]
    fn the_boot_partition_holds_its_files() {
        assert_eq!(boot_bytes(MIB), 32 * MIB);
        assert_eq!(boot_bytes(25 * MIB), 36 * MIB);
        assert!(boot_bytes(100 * MIB + 1) > 108 * MIB);
    }
}
