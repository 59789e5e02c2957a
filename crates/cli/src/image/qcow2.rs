//! What a qcow2 file says of itself, checked before any other program opens it.
//!
//! After docs/interop/qcow2.txt of QEMU. What must stay true: what passes names no other file (no backing file, no external data
//! file), is not encrypted, uses no feature that is not listed here, and points only into itself: a file that was cut short
//! would otherwise read as zeros where it is missing. Internal snapshots are not looked at, and not imported.
//!
//! Pure: bytes in, a refusal out that names the field. Also compiled into the fuzzer, so it uses nothing but `std`.

use std::fmt;
use std::io;

/// How a qcow2 file begins.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bytes at the front that [`Qcow2::parse`] looks at, at most: the header and its extensions end within the first cluster.
pub const HEADER_BYTES_MAX: u64 = 2 << 20;

/// Bytes of a header of version 2, and the least of version 3.
const HEADER_V2_BYTES: u64 = 72;
const HEADER_V3_BYTES: u64 = 104;
/// What `cluster_bits` may be.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// QEMU's own limit of the L1 table.
const L1_BYTES_MAX: u64 = 32 << 20;
/// Largest disk that is taken: a system disk has 2048 GiB at most.
const DISK_BYTES_MAX: u64 = 2 << 40;

/// Incompatible features that change nothing for a reader, or that [`Qcow2`] knows.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// Header extensions that name another file or a key.
const EXTENSION_END: u32 = 0;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

/// Where an entry of a table points to.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;

/// Why a file is not taken.
#[derive(Debug)]
pub enum Refused {
    /// A field has a value that we do not take; why.
    Field(&'static str, String),
    /// The file ends before something that it names.
    Truncated(&'static str, u64),
    /// It could not be read.
    Unreadable(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Field(field, why) => write!(f, "{field}: {why}"),
            Refused::Truncated(what, at) => write!(
                f,
                "the file ends before {what} at {at}: it is cut short or damaged"
            ),
            Refused::Unreadable(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Refused {}

fn refused<T>(field: &'static str, why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Field(field, why.into()))
}

/// A header that passed.
#[derive(Debug, PartialEq, Eq)]
pub struct Qcow2 {
    disk_bytes: u64,
    file_bytes: u64,
    cluster_bytes: u64,
    l1_at: u64,
    l1_entries: u64,
    /// Entries of the L1 table that stand for parts of the disk; the others mean nothing.
    l1_used: u64,
    /// Bytes of an entry in an L2 table.
    l2_entry_bytes: u64,
}

impl Qcow2 {
    /// Reads the header from the `front` of a file that has `file_bytes`; `front` is all of it, or [`HEADER_BYTES_MAX`].
    pub fn parse(front: &[u8], file_bytes: u64) -> Result<Self, Refused> {
        if front.get(..4) != Some(&MAGIC) {
            return refused("magic", "it is none of a qcow2 file");
        }
        let header = Header(front);
        let version = header.u32(4)?;
        if !matches!(version, 2 | 3) {
            return refused("version", format!("{version} is neither 2 nor 3"));
        }
        let cluster_bits = header.u32(20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return refused(
                "cluster_bits",
                format!("{cluster_bits} is not in {CLUSTER_BITS:?}"),
            );
        }
        let cluster_bytes = 1 << cluster_bits;
        if header.u64(8)? != 0 || header.u32(16)? != 0 {
            return refused(
                "backing_file_offset",
                "it has a backing file, and other files are not followed",
            );
        }
        match header.u32(32)? {
            0 => {}
            method => return refused("crypt_method", format!("it is encrypted (method {method})")),
        }
        let (features, header_bytes) = match version {
            2 => (0, HEADER_V2_BYTES),
            _ => (header.u64(72)?, u64::from(header.u32(100)?)),
        };
        check_features(features)?;
        if version == 3 {
            check_version_3(&header, features, header_bytes, cluster_bytes)?;
        }
        check_extensions(&header, header_bytes, cluster_bytes)?;

        let disk_bytes = header.u64(24)?;
        if disk_bytes == 0 || disk_bytes > DISK_BYTES_MAX {
            return refused(
                "size",
                format!("{disk_bytes} bytes are not between 1 and {DISK_BYTES_MAX}"),
            );
        }
        let l2_entry_bytes = if features & EXTENDED_L2 == 0 { 8 } else { 16 };
        let image = Self {
            disk_bytes,
            file_bytes,
            cluster_bytes,
            l1_at: header.u64(40)?,
            l1_entries: u64::from(header.u32(36)?),
            l1_used: disk_bytes
                .div_ceil(cluster_bytes)
                .div_ceil(cluster_bytes / l2_entry_bytes),
            l2_entry_bytes,
        };
        image.check_l1_table()?;
        let refcounts = header.u64(48)?;
        let refcount_bytes = u64::from(header.u32(56)?) * cluster_bytes;
        if refcounts == 0
            || !refcounts.is_multiple_of(cluster_bytes)
            || refcount_bytes == 0
            || refcount_bytes > 8 << 20
        {
            return refused(
                "refcount_table_offset",
                "the table is nowhere, not at a cluster, or too large",
            );
        }
        image.in_file("refcount_table", refcounts, refcount_bytes)?;
        Ok(image)
    }

    /// Bytes of the disk that it is an image of.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn check_l1_table(&self) -> Result<(), Refused> {
        let (entries, needed, most) = (self.l1_entries, self.l1_used, L1_BYTES_MAX / 8);
        if entries < needed || entries > most {
            return refused(
                "l1_size",
                format!("{entries} entries, where the disk's size needs {needed} and {most} are allowed"),
            );
        }
        if self.l1_at == 0 || !self.l1_at.is_multiple_of(self.cluster_bytes) {
            return refused("l1_table_offset", format!("{} is not a cluster's", self.l1_at));
        }
        self.in_file("l1_table", self.l1_at, self.l1_entries * 8)
    }

    /// Follows every table: each cluster of data must begin in the file. `read` fills a buffer from an offset in the file.
    pub fn check_tables(
        &self,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), Refused> {
        let mut l1 = vec![0; (self.l1_used * 8) as usize];
        read(self.l1_at, &mut l1).map_err(Refused::Unreadable)?;
        let mut l2 = Vec::new();
        for entry in l1.chunks_exact(8).map(word) {
            let at = entry & OFFSET_MASK;
            if at == 0 {
                continue;
            }
            if !at.is_multiple_of(self.cluster_bytes) {
                return refused("l1_table", format!("{at} is not a cluster's offset"));
            }
            self.in_file("an L2 table", at, self.cluster_bytes)?;
            l2.resize(self.cluster_bytes as usize, 0);
            read(at, &mut l2).map_err(Refused::Unreadable)?;
            for entry in l2.chunks_exact(self.l2_entry_bytes as usize) {
                self.check_data(word(&entry[..8]))?;
            }
        }
        Ok(())
    }

    fn check_data(&self, entry: u64) -> Result<(), Refused> {
        if entry & COMPRESSED != 0 {
            // The offset has fewer bits here, the more the larger clusters are; the length stands above it.
            let bits = 62 - (self.cluster_bytes.trailing_zeros() - 8);
            return self.in_file("compressed data", entry & ((1 << bits) - 1), 1);
        }
        let at = entry & OFFSET_MASK;
        if !at.is_multiple_of(self.cluster_bytes) {
            return refused("an L2 table", format!("{at} is not a cluster's offset"));
        }
        // A last cluster may be there in part: what is missing of it was never written.
        match at {
            0 => Ok(()),
            at => self.in_file("data", at, 1),
        }
    }

    fn in_file(&self, what: &'static str, at: u64, bytes: u64) -> Result<(), Refused> {
        match at.checked_add(bytes) {
            Some(end) if end <= self.file_bytes => Ok(()),
            _ => Err(Refused::Truncated(what, at)),
        }
    }
}

fn check_features(features: u64) -> Result<(), Refused> {
    let field = "incompatible_features";
    if features & EXTERNAL_DATA != 0 {
        return refused(
            field,
            "its data is in an external data file, and other files are not followed",
        );
    }
    if features & CORRUPT != 0 {
        return refused(field, "it is marked corrupt; qemu-img check says more");
    }
    match features & !(DIRTY | COMPRESSION_TYPE | EXTENDED_L2) {
        0 => Ok(()),
        unknown => refused(
            field,
            format!("{unknown:#x} are features that are not known here"),
        ),
    }
}

fn check_version_3(
    header: &Header<'_>,
    features: u64,
    header_bytes: u64,
    cluster_bytes: u64,
) -> Result<(), Refused> {
    if header_bytes < HEADER_V3_BYTES || !header_bytes.is_multiple_of(8) || header_bytes > cluster_bytes {
        return refused(
            "header_length",
            format!("{header_bytes} is not a multiple of 8 from {HEADER_V3_BYTES} to a cluster"),
        );
    }
    let order = header.u32(96)?;
    if order > 6 {
        return refused("refcount_order", format!("{order} is more than 6"));
    }
    let compression = match header_bytes > HEADER_V3_BYTES {
        true => header.0.get(104).copied().unwrap_or(0),
        false => 0,
    };
    // 0 is zlib, 1 is zstd; the feature's bit says that it is not 0.
    if compression > 1 || (features & COMPRESSION_TYPE != 0) != (compression != 0) {
        return refused(
            "compression_type",
            format!("{compression} is not known, or its feature bit does not fit"),
        );
    }
    Ok(())
}

/// Walks the extensions behind the header: type, length, data padded to 8 bytes.
fn check_extensions(header: &Header<'_>, header_bytes: u64, cluster_bytes: u64) -> Result<(), Refused> {
    let mut at = header_bytes;
    while at + 8 <= cluster_bytes {
        let (kind, length) = (header.u32(at as usize)?, u64::from(header.u32(at as usize + 4)?));
        match kind {
            EXTENSION_END => return Ok(()),
            EXTENSION_DATA_FILE => return refused("header extension", "it names an external data file"),
            EXTENSION_ENCRYPTION => return refused("header extension", "it is encrypted"),
            _ => {}
        }
        if length > cluster_bytes - at - 8 {
            return refused(
                "header extension",
                format!("{kind:#x} is longer than the first cluster"),
            );
        }
        at += 8 + length.next_multiple_of(8);
    }
    Ok(())
}

/// Big-endian words of the front of a file.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], Refused> {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes
            .copied()
            .ok_or(Refused::Truncated("a field of the header", at as u64))
    }

    fn u32(&self, at: usize) -> Result<u32, Refused> {
        Ok(u32::from_be_bytes(self.bytes(at)?))
    }

    fn u64(&self, at: usize) -> Result<u64, Refused> {
        Ok(u64::from_be_bytes(self.bytes(at)?))
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_be_bytes(*word))
}

#[cfg(test)]
#[path = "qcow2_tests.rs"]
mod tests;
