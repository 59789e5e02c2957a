//! What the tour puts on its disk: two versions of an image, and what a writer adds to it meanwhile.
//!
//! The front of the disk holds an image: an ext4 file system made of a generated directory tree, or
//! patterns where `mke2fs` is missing. Behind it lies the writer's area. Everything is generated, so
//! what must be on the disk can be told at any time without trusting the disk.

use crate::tools::find_tool;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidemark_units::{GIB, KIB, MIB};

/// The disk: one GiB, the smallest there is, so that all of it can be compared.
pub const DISK_BYTES: u64 = GIB;
/// The writer's area at the end of the disk.
pub const AREA_BYTES: u64 = 2 * MIB;
/// The image in front of it.
pub const IMAGE_BYTES: u64 = DISK_BYTES - AREA_BYTES;
/// What the writer writes at once.
pub const SLOT_BYTES: u64 = 4 * KIB;
/// Slots in the writer's area.
pub const SLOTS: u64 = AREA_BYTES / SLOT_BYTES;

/// `length` bytes that depend on nothing but `seed`.
pub fn bytes(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// What the writer's write number `count` (from 1) puts in its slot: the number, then noise.
pub fn stamp(count: u64) -> Vec<u8> {
    let mut block = bytes(&format!("write {count}"), SLOT_BYTES as usize);
    block[..8].copy_from_slice(&count.to_le_bytes());
    block
}

/// The slot of write number `count`: they go round.
pub fn slot(count: u64) -> u64 {
    (count - 1) % SLOTS
}

/// The writer's area after `count` writes and none later.
pub fn area_after(count: u64) -> Vec<u8> {
    let mut area = vec![0; AREA_BYTES as usize];
    for last in count.saturating_sub(SLOTS) + 1..=count {
        let at = (slot(last) * SLOT_BYTES) as usize;
        area[at..at + SLOT_BYTES as usize].copy_from_slice(&stamp(last));
    }
    area
}

/// The highest write number in an area; 0 when there is none.
pub fn last_write(area: &[u8]) -> u64 {
    let number = |block: &[u8]| block.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
    area.chunks(SLOT_BYTES as usize).map(number).max().unwrap_or(0)
}

/// A version of the image, for reading. Its holes are not read: the system would fill its cache with zeros.
pub struct Image(File);

impl Image {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self(
            File::open(path).with_context(|| format!("cannot open {}", path.display()))?,
        ))
    }

    /// Fills `buffer` from `offset`.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset + buffer.len() as u64;
        match rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Data(offset)) {
            // The next data lies behind, or there is none up to the end of the file.
            Ok(data) if data >= end => buffer.fill(0),
            Err(rustix::io::Errno::NXIO) => buffer.fill(0),
            _ => self.0.read_exact_at(buffer, offset)?,
        }
        Ok(())
    }
}

/// Two versions of the image, as sparse files.
pub struct Images {
    /// What it is, for people.
    pub description: String,
    /// Whether it is a file system.
    pub file_system: bool,
    /// The first version, and the one after some work in it.
    pub versions: [PathBuf; 2],
}

impl Images {
    /// Makes both in `dir`.
    pub fn make(dir: &Path) -> Result<Self> {
        let versions = [dir.join("version-1.img"), dir.join("version-2.img")];
        match find_tool("mke2fs") {
            Some(mke2fs) => {
                let tree = dir.join("tree");
                let (files, size) = plant(&tree).context("generating a directory tree")?;
                format(&mke2fs, &tree, &versions[0])?;
                work(&tree).context("changing the directory tree")?;
                format(&mke2fs, &tree, &versions[1])?;
                fs::remove_dir_all(&tree)?;
                let description = format!(
                    "an ext4 file system of {files} files, {}",
                    crate::size::human(size)
                );
                Ok(Self {
                    description,
                    file_system: true,
                    versions,
                })
            }
            None => {
                patterns(&versions).context("generating patterns")?;
                let description =
                    "64 MiB of patterns (mke2fs is not installed, so no file system)".to_string();
                Ok(Self {
                    description,
                    file_system: false,
                    versions,
                })
            }
        }
    }
}

/// A tree of the kind that servers have: many small texts, some logs, some incompressible media.
fn plant(tree: &Path) -> Result<(usize, u64)> {
    let (mut files, mut size) = (0, 0);
    let mut put = |path: PathBuf, content: &[u8]| -> Result<()> {
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, content)?;
        files += 1;
        size += content.len() as u64;
        Ok(())
    };
    for index in 0..400 {
        let line = format!("key_{index} = \"value {index}\"\n");
        put(
            tree.join(format!("etc/app-{}/part-{index}.conf", index % 20)),
            line.repeat(20 + index).as_bytes(),
        )?;
    }
    for index in 0..8 {
        let log: String = (0..40_000)
            .map(|line| format!("{line:08} host-{index} request {} served\n", line * 7 % 1013))
            .collect();
        put(tree.join(format!("var/log/service-{index}.log")), log.as_bytes())?;
    }
    for index in 0..12 {
        put(
            tree.join(format!("srv/media/{index}.bin")),
            &bytes(&format!("media {index}"), 3 * MIB as usize),
        )?;
    }
    Ok((files, size))
}

/// A day's work in the tree: a log, a part of a large file and some settings change. Lengths stay, so
/// that the file system lays out both versions alike, as it would have done in place.
fn work(tree: &Path) -> Result<()> {
    let log = tree.join("var/log/service-3.log");
    let text = fs::read_to_string(&log)?.replace("served", "failed");
    fs::write(&log, text)?;
    let media = File::options().write(true).open(tree.join("srv/media/5.bin"))?;
    media.write_all_at(&bytes("another scene", MIB as usize), MIB)?;
    for part in fs::read_dir(tree.join("etc/app-7"))? {
        let path = part?.path();
        let text = fs::read_to_string(&path)?.replace("value", "VALUE");
        fs::write(&path, text)?;
    }
    Ok(())
}

fn format(mke2fs: &Path, tree: &Path, image: &Path) -> Result<()> {
    // One identity and one time for both versions: they are one file system, a day apart.
    let id = "7469646d-6172-4b00-8000-64656d6f0001";
    let output = Command::new(mke2fs)
        .args(["-q", "-F", "-t", "ext4", "-L", "tidemark-demo", "-U", id, "-E"])
        .arg(format!("hash_seed={id},root_owner=0:0"))
        .arg("-d")
        .args([tree, image])
        .arg(format!("{}k", IMAGE_BYTES / KIB))
        .env("E2FSPROGS_FAKE_TIME", "1700000000")
        .output()
        .with_context(|| format!("cannot run {}", mke2fs.display()))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            mke2fs.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Pieces of data spread over the image; the second version changes some.
fn patterns(versions: &[PathBuf; 2]) -> Result<()> {
    const PIECE: usize = MIB as usize;
    for (version, path) in versions.iter().enumerate() {
        let image = File::create(path)?;
        image.set_len(IMAGE_BYTES)?;
        for piece in 0..64u64 {
            let seed = if version == 1 && piece % 16 == 3 {
                format!("changed {piece}")
            } else {
                format!("piece {piece}")
            };
            // Half noise, half text, so that there is something to compress.
            let mut data = bytes(&seed, PIECE / 2);
            data.extend(seed.bytes().cycle().take(PIECE / 2));
            image.write_all_at(&data, piece * 15 * MIB)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_units::CHUNK_BYTES;

    #[test]
    fn the_area_is_what_the_writes_left() {
        let mut area = vec![0; AREA_BYTES as usize];
        assert!(area_after(0) == area);
        for count in 1..=SLOTS + 5 {
            let at = (slot(count) * SLOT_BYTES) as usize;
            area[at..at + SLOT_BYTES as usize].copy_from_slice(&stamp(count));
        }
        assert!(area_after(SLOTS + 5) == area);
        assert_eq!(last_write(&area), SLOTS + 5);
        assert!(area_after(SLOTS + 4) != area);
    }

    /// Bytes of 64 KiB chunks that are not the same in both files.
    fn changed_bytes(versions: &[PathBuf; 2]) -> u64 {
        let [one, two] = [&versions[0], &versions[1]].map(|v| Image::open(v).unwrap());
        assert_eq!(
            (one.0.metadata().unwrap().len(), two.0.metadata().unwrap().len()),
            (IMAGE_BYTES, IMAGE_BYTES)
        );
        let (mut a, mut b) = (vec![0; CHUNK_BYTES as usize], vec![0; CHUNK_BYTES as usize]);
        let mut changed = 0;
        for at in (0..IMAGE_BYTES).step_by(CHUNK_BYTES as usize) {
            one.read(at, &mut a).unwrap();
            two.read(at, &mut b).unwrap();
            changed += if a == b { 0 } else { CHUNK_BYTES };
        }
        changed
    }

    #[test]
    fn the_second_version_is_the_first_after_some_work() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::make(dir.path()).unwrap();
        assert_eq!(images.file_system, find_tool("mke2fs").is_some());
        let changed = changed_bytes(&images.versions);
        assert!((MIB..8 * MIB).contains(&changed), "{changed} bytes changed");
    }

    #[test]
    fn patterns_fit_the_image_and_change_a_little() {
        let dir = tempfile::tempdir().unwrap();
        let versions = [dir.path().join("1"), dir.path().join("2")];
        patterns(&versions).unwrap();
        assert_eq!(changed_bytes(&versions), 4 * MIB);
    }
}
