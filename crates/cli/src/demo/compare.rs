//! Comparing an export with what must be on it: every byte, and the hashes of both sides.

use super::content::{AREA_BYTES, DISK_BYTES, IMAGE_BYTES, Image, area_after, last_write};
use crate::nbd::Connection;
use crate::people::progress::{Progress, Unit};
use anyhow::{Result, bail};
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

const STEP: usize = 4 << 20;

/// What an export must hold.
pub struct Expected<'a> {
    /// The image in front.
    pub image: &'a Path,
    /// How many of the writer's writes, all of them and none later, may be there.
    pub writes: RangeInclusive<u64>,
}

/// What was found on an export that holds what it must.
pub struct Same {
    /// BLAKE3 of the whole disk, the same on both sides.
    pub hash: blake3::Hash,
    /// The writer's writes on it.
    pub writes: u64,
}

/// Reads the whole export and compares it; `copy` gets the image part, holes left out.
pub fn compare(socket: &Path, export: &str, expected: &Expected<'_>, copy: Option<&File>) -> Result<Same> {
    let mut connection = Connection::open(socket, export)?;
    if connection.size_bytes() != DISK_BYTES {
        bail!(
            "{export} has {} bytes instead of {DISK_BYTES}",
            connection.size_bytes()
        );
    }
    let mut progress = Progress::new(format!("compare {export}"), Unit::Bytes, DISK_BYTES);
    let mut area = vec![0; AREA_BYTES as usize];
    connection.read(IMAGE_BYTES, &mut area)?;
    let writes = last_write(&area);
    let wanted_area = area_after(writes);
    if !expected.writes.contains(&writes) {
        bail!(
            "{export} holds {writes} of the writer's writes; at that instant it was {} to {}",
            expected.writes.start(),
            expected.writes.end()
        );
    }

    let image = Image::open(expected.image)?;
    let (mut wanted_hash, mut found_hash) = (blake3::Hasher::new(), blake3::Hasher::new());
    let (mut wanted, mut found) = (vec![0; STEP], vec![0; STEP]);
    for at in (0..IMAGE_BYTES).step_by(STEP) {
        let length = STEP.min((IMAGE_BYTES - at) as usize);
        let (wanted, found) = (&mut wanted[..length], &mut found[..length]);
        image.read(at, wanted)?;
        connection.read(at, found)?;
        check(export, at, wanted, found)?;
        wanted_hash.update(wanted);
        found_hash.update(found);
        if let Some(copy) = copy
            && found.iter().any(|b| *b != 0)
        {
            copy.write_all_at(found, at)?;
        }
        progress.show(at + length as u64, None);
    }
    check(export, IMAGE_BYTES, &wanted_area, &area)?;
    wanted_hash.update(&wanted_area);
    found_hash.update(&area);
    let (wanted, found) = (wanted_hash.finalize(), found_hash.finalize());
    if wanted != found {
        bail!("{export} has hash {found} instead of {wanted}");
    }
    progress.finish();
    Ok(Same { hash: found, writes })
}

fn check(export: &str, at: u64, wanted: &[u8], found: &[u8]) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    let first = wanted.iter().zip(found).position(|(a, b)| a != b).unwrap_or(0);
    let count = wanted.iter().zip(found).filter(|(a, b)| a != b).count();
    bail!(
        "{export} differs from what was written: byte {} is the first of {count} there",
        at + first as u64
    )
}
