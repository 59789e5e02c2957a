//! One row of a pack's table, and where stored bytes are.

use crate::codec::Codec;
use crate::id::PackId;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where an id's stored bytes are. A hint: the id is the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// First byte within the pack.
    pub offset: u32,
    /// How many bytes.
    pub stored_len: u32,
    /// Which row of the pack's table describes them.
    pub ordinal: u16,
    /// How they are encoded.
    pub codec: Codec,
}

impl Location {
    /// One past the last byte within the pack.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.stored_len)
    }
}

/// What a row of the table says. `index` and `count` are chunk indexes of the captured disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The chunk at `index` is stored here.
    Stored {
        /// Its chunk index.
        index: u32,
    },
    /// Chunks `index .. index + count` are zeros.
    Zero {
        /// The first one's chunk index.
        index: u32,
        /// How many, at least 1.
        count: u32,
    },
    /// The chunk at `index` equals one stored before by the same capture, here or in another pack.
    Copy {
        /// Its chunk index.
        index: u32,
    },
    /// The chunk at `index` equals the parent's at the same index, stored where the parent has it.
    Same {
        /// Its chunk index.
        index: u32,
    },
    /// A tree node is stored here.
    Node {
        /// 0 for a leaf.
        level: u8,
        /// Which of its level's nodes, counted from the disk's start.
        position: u32,
        /// A leaf's number of chunks; 0 for other nodes.
        chunks: u8,
    },
}

/// One row: a name, what it is, and where its stored bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A chunk's or node's id; zeros for [`EntryKind::Zero`].
    pub id: [u8; 32],
    /// What it is.
    pub kind: EntryKind,
    /// Where its bytes are; `None` for [`EntryKind::Zero`].
    pub at: Option<Location>,
}

const STORED: u8 = 1;
const ZERO: u8 = 2;
const COPY: u8 = 3;
const SAME: u8 = 4;
const NODE: u8 = 5;

/// A row as it is stored.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct EntryWire {
    id: [u8; 32],
    index: U32,
    /// For ZERO: how many chunks.
    offset_or_count: U32,
    stored_len: U32,
    /// 0 is this pack, n is the n-th of the other packs.
    pack_slot: U16,
    ordinal: U16,
    kind: u8,
    codec: u8,
    level: u8,
    chunks: u8,
}

pub(crate) const ENTRY_BYTES: usize = size_of::<EntryWire>();

impl EntryWire {
    /// `slot_of` numbers the packs that the entries name.
    pub(crate) fn from_entry(entry: &Entry, slot_of: impl FnOnce(PackId) -> u16) -> Self {
        let (kind, index, level, chunks) = match entry.kind {
            EntryKind::Stored { index } => (STORED, index, 0, 0),
            EntryKind::Zero { index, .. } => (ZERO, index, 0, 0),
            EntryKind::Copy { index } => (COPY, index, 0, 0),
            EntryKind::Same { index } => (SAME, index, 0, 0),
            EntryKind::Node {
                level,
                position,
                chunks,
            } => (NODE, position, level, chunks),
        };
        let mut wire = EntryWire {
            id: entry.id,
            index: index.into(),
            offset_or_count: 0.into(),
            stored_len: 0.into(),
            pack_slot: 0.into(),
            ordinal: 0.into(),
            kind,
            codec: 0,
            level,
            chunks,
        };
        if let EntryKind::Zero { count, .. } = entry.kind {
            wire.offset_or_count = count.into();
        }
        if let Some(at) = entry.at {
            wire.offset_or_count = at.offset.into();
            wire.stored_len = at.stored_len.into();
            wire.pack_slot = slot_of(at.pack).into();
            wire.ordinal = at.ordinal.into();
            wire.codec = at.codec as u8;
        }
        wire
    }

    /// The row, or what is wrong with it. `pack_at` knows the packs by their slot.
    pub(crate) fn to_entry(self, pack_at: impl FnOnce(u16) -> Option<PackId>) -> Result<Entry, String> {
        let index = self.index.get();
        let kind = match self.kind {
            STORED => EntryKind::Stored { index },
            ZERO => EntryKind::Zero {
                index,
                count: self.offset_or_count.get(),
            },
            COPY => EntryKind::Copy { index },
            SAME => EntryKind::Same { index },
            NODE => EntryKind::Node {
                level: self.level,
                position: index,
                chunks: self.chunks,
            },
            other => return Err(format!("entry kind {other} is unknown")),
        };
        if let EntryKind::Zero { count, .. } = kind {
            if count == 0 || index.checked_add(count - 1).is_none() {
                return Err(format!(
                    "a run of {count} zero chunks from chunk {index} on is impossible"
                ));
            }
            return Ok(Entry {
                id: self.id,
                kind,
                at: None,
            });
        }
        let slot = self.pack_slot.get();
        let at = Location {
            pack: pack_at(slot).ok_or_else(|| format!("pack slot {slot} is not in the footer"))?,
            offset: self.offset_or_count.get(),
            stored_len: self.stored_len.get(),
            ordinal: self.ordinal.get(),
            codec: Codec::from_byte(self.codec).map_err(|e| e.to_string())?,
        };
        Ok(Entry {
            id: self.id,
            kind,
            at: Some(at),
        })
    }
}
