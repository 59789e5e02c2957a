//! Packs: many stored chunks, or many tree nodes, in one object.
//!
//! ```text
//! header   32 B   magic "TMPACK1\n", kind, pack id              (guards against misplaced objects)
//! body            stored bytes, back to back
//! footer          header, other packs' ids, entry table, BLAKE3 of all that, magic, footer length
//! ```
//! A pack says by itself what is in it: the footer length stands in its last four bytes, and the
//! table names every entry. So nothing but the packs is needed to find a chunk again. The footer of
//! a capture's pack also records what the capture found without storing it (zeros, the same as the
//! parent): after a crash those chunks can no longer be read again.
//!
//! Invariants: (1) a pack never changes once its name exists; (2) an entry's stored bytes lie inside
//! the body; (3) a pack holds at most [`ENTRIES_MAX`] entries and [`PACK_BYTES_MAX`] bytes, which
//! bounds what a reader ever allocates; (4) bytes that break this are an error naming the pack.
//! Not here: when a pack is full enough, files and buckets.

mod builder;
mod entry;
mod footer;

pub(crate) use builder::PackBuilder;
pub use entry::{Entry, EntryKind, Location};
pub use footer::Footer;
pub(crate) use footer::TAIL_BYTES;

use crate::id::PackId;
use tidemark_units::MIB;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A pack is closed once its body has this many bytes.
pub const PACK_BYTES_TARGET: u64 = 16 * MIB;
/// No pack is larger.
pub const PACK_BYTES_MAX: u64 = 32 * MIB;
/// No footer is larger.
pub const FOOTER_BYTES_MAX: u64 = 8 * MIB;
/// No pack has more entries: ordinals and pack slots have 16 bits.
pub const ENTRIES_MAX: usize = 0xffff;

/// What a pack holds; the two live under different prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackKind {
    /// Chunks.
    Data = 1,
    /// Tree nodes.
    Tree = 2,
}

impl PackKind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(PackKind::Data),
            2 => Some(PackKind::Tree),
            _ => None,
        }
    }
}

pub(crate) const HEADER_MAGIC: [u8; 8] = *b"TMPACK1\n";

/// The first bytes of a pack.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct HeaderWire {
    magic: [u8; 8],
    kind: u8,
    reserved: [u8; 7],
    pack: PackId,
}

pub(crate) const HEADER_BYTES: usize = size_of::<HeaderWire>();

impl HeaderWire {
    pub(crate) fn new(kind: PackKind, pack: PackId) -> Self {
        Self {
            magic: HEADER_MAGIC,
            kind: kind as u8,
            reserved: [0; 7],
            pack,
        }
    }
}
