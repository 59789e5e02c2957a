//! A pack's footer: written last, read first.
//!
//! A footer file in a spool is the very same bytes, so one parser serves both.

use super::entry::{ENTRY_BYTES, Entry, EntryKind, EntryWire};
use super::{ENTRIES_MAX, FOOTER_BYTES_MAX, HEADER_BYTES, PACK_BYTES_MAX, PackKind};
use crate::error::{Result, VaultError};
use crate::id::{PackId, VaultId};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt::Display;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const VERSION: u16 = 1;
const HASH_BLAKE3: u8 = 1;
const CRYPTO_NONE: u8 = 0;
const MAGIC: [u8; 8] = *b"TMFOOT1\n";
const HASH_BYTES: usize = 32;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct FooterWire {
    version: U16,
    kind: u8,
    hash: u8,
    crypto: u8,
    reserved: [u8; 3],
    vault: VaultId,
    pack: PackId,
    /// Bytes of header and body: where the footer starts.
    body_end: U32,
    other_packs: U32,
    entries: U32,
}

/// The last bytes of a pack.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct TailWire {
    magic: [u8; 8],
    footer_len: U32,
}

const FIXED_BYTES: usize = size_of::<FooterWire>();
pub(crate) const TAIL_BYTES: usize = size_of::<TailWire>();

/// What a pack says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The vault that it was written for.
    pub vault: VaultId,
    /// The pack's id.
    pub pack: PackId,
    /// What it holds.
    pub kind: PackKind,
    /// Where the body ends and the footer starts, in bytes from the pack's start.
    pub body_end: u32,
    /// The table, in the order of the rows' ordinals.
    pub entries: Vec<Entry>,
}

impl Footer {
    /// The footer's bytes.
    pub(crate) fn encode(&self) -> Bytes {
        let mut slots: HashMap<PackId, u16> = HashMap::new();
        let mut others = Vec::new();
        let mut slot_of = |pack: PackId| {
            if pack == self.pack {
                return 0;
            }
            *slots.entry(pack).or_insert_with(|| {
                others.push(pack);
                others.len() as u16
            })
        };
        let rows: Vec<EntryWire> = self
            .entries
            .iter()
            .map(|entry| EntryWire::from_entry(entry, &mut slot_of))
            .collect();
        let fixed = FooterWire {
            version: VERSION.into(),
            kind: self.kind as u8,
            hash: HASH_BLAKE3,
            crypto: CRYPTO_NONE,
            reserved: [0; 3],
            vault: self.vault,
            pack: self.pack,
            body_end: self.body_end.into(),
            other_packs: (others.len() as u32).into(),
            entries: (rows.len() as u32).into(),
        };
        let mut out = Vec::with_capacity(
            FIXED_BYTES + others.as_bytes().len() + rows.as_bytes().len() + HASH_BYTES + TAIL_BYTES,
        );
        out.extend_from_slice(fixed.as_bytes());
        out.extend_from_slice(others.as_bytes());
        out.extend_from_slice(rows.as_bytes());
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        let footer_len = (out.len() + TAIL_BYTES) as u32;
        out.extend_from_slice(
            TailWire {
                magic: MAGIC,
                footer_len: footer_len.into(),
            }
            .as_bytes(),
        );
        out.into()
    }

    /// How many bytes the footer has, from the end of a pack of `object_len` bytes.
    pub(crate) fn len_from_tail(subject: &dyn Display, tail: &[u8], object_len: u64) -> Result<u64> {
        let corrupt = |cause: String| VaultError::corrupt("read pack footer", subject, cause);
        let tail: TailWire = tail
            .len()
            .checked_sub(TAIL_BYTES)
            .and_then(|at| TailWire::read_from_bytes(&tail[at..]).ok())
            .ok_or_else(|| corrupt(format!("{object_len} bytes are too few for a pack")))?;
        if tail.magic != MAGIC {
            return Err(corrupt("it does not end in a footer".into()));
        }
        let len = u64::from(tail.footer_len.get());
        if len > object_len.min(FOOTER_BYTES_MAX) || object_len > PACK_BYTES_MAX {
            let cause = format!("a footer of {len} bytes in an object of {object_len} bytes is impossible");
            return Err(corrupt(cause));
        }
        Ok(len)
    }

    /// Parses exactly one footer. The caller compares `pack`, `kind` and `vault` with what it expects
    /// ([`Footer::expect`]).
    pub(crate) fn decode(subject: &dyn Display, bytes: &[u8]) -> Result<Self> {
        let corrupt = |cause: String| VaultError::corrupt("read pack footer", subject, cause);
        let len = Self::len_from_tail(subject, bytes, bytes.len() as u64)?;
        if len != bytes.len() as u64 {
            return Err(corrupt(format!(
                "{} bytes where its length says {len}",
                bytes.len()
            )));
        }
        let hashed = bytes
            .len()
            .checked_sub(TAIL_BYTES + HASH_BYTES)
            .ok_or_else(|| corrupt("it is too short".into()))?;
        let (content, rest) = bytes.split_at(hashed);
        if blake3::hash(content).as_bytes() != &rest[..HASH_BYTES] {
            return Err(corrupt("the entry table does not match its hash".into()));
        }
        let (fixed, rest) =
            FooterWire::read_from_prefix(content).map_err(|_| corrupt("it is too short".into()))?;
        if fixed.version.get() != VERSION || fixed.hash != HASH_BLAKE3 || fixed.crypto != CRYPTO_NONE {
            let cause = format!(
                "version {}, hash {}, crypto {} are not known here",
                fixed.version, fixed.hash, fixed.crypto
            );
            return Err(VaultError::other("read pack footer", subject, cause));
        }
        let kind = PackKind::from_byte(fixed.kind)
            .ok_or_else(|| corrupt(format!("pack kind {} is unknown", fixed.kind)))?;
        let (others, rows) = (fixed.other_packs.get() as usize, fixed.entries.get() as usize);
        if rows > ENTRIES_MAX
            || others > rows
            || rest.len() != others * size_of::<PackId>() + rows * ENTRY_BYTES
        {
            return Err(corrupt(format!(
                "{rows} entries and {others} other packs do not fit its length"
            )));
        }
        let (others, rows) = rest.split_at(others * size_of::<PackId>());
        let others =
            <[PackId]>::ref_from_bytes(others).map_err(|_| corrupt("its pack list is cut".into()))?;
        let rows = <[EntryWire]>::ref_from_bytes(rows).map_err(|_| corrupt("its table is cut".into()))?;
        let pack_at = |slot: u16| match slot {
            0 => Some(fixed.pack),
            n => others.get(usize::from(n) - 1).copied(),
        };
        let entries = rows
            .iter()
            .map(|row| row.to_entry(pack_at))
            .collect::<Result<Vec<_>, _>>();
        let footer = Footer {
            vault: fixed.vault,
            pack: fixed.pack,
            kind,
            body_end: fixed.body_end.get(),
            entries: entries.map_err(&corrupt)?,
        };
        footer.check().map_err(corrupt)?;
        Ok(footer)
    }

    /// What is wrong inside a footer whose hash is right (a hostile or broken writer).
    fn check(&self) -> Result<(), String> {
        for (ordinal, entry) in self.entries.iter().enumerate() {
            let fits = match (entry.kind, self.kind) {
                (EntryKind::Node { .. }, kind) => kind == PackKind::Tree,
                (_, kind) => kind == PackKind::Data,
            };
            if !fits {
                return Err(format!(
                    "entry {ordinal} does not belong in a {:?} pack",
                    self.kind
                ));
            }
            let Some(at) = entry.at else { continue };
            let here = at.pack == self.pack;
            let own = matches!(entry.kind, EntryKind::Stored { .. } | EntryKind::Node { .. });
            if own && (!here || usize::from(at.ordinal) != ordinal) {
                return Err(format!(
                    "entry {ordinal} claims to be stored here but points elsewhere"
                ));
            }
            if here && (u64::from(at.offset) < HEADER_BYTES as u64 || at.end() > u64::from(self.body_end)) {
                return Err(format!("entry {ordinal} lies outside the body"));
            }
        }
        Ok(())
    }

    /// Checks that this is the footer that was asked for.
    pub(crate) fn expect(self, vault: VaultId, kind: PackKind, pack: PackId) -> Result<Self> {
        if (self.vault, self.kind, self.pack) == (vault, kind, pack) {
            return Ok(self);
        }
        let cause = format!(
            "this is {:?} pack {} of vault {}, not {kind:?} pack {pack} of vault {vault}",
            self.kind, self.pack, self.vault
        );
        Err(VaultError::corrupt(
            "read pack footer",
            format!("pack {pack}"),
            cause,
        ))
    }

    /// Bytes of stored chunks or nodes in the body.
    pub fn stored_bytes(&self) -> u64 {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::Stored { .. } | EntryKind::Node { .. }))
            .filter_map(|entry| entry.at)
            .map(|at| u64::from(at.stored_len))
            .sum()
    }

    /// Whether anything is stored in the body at all: a pack without need not be uploaded.
    pub(crate) fn has_body(&self) -> bool {
        self.body_end as usize > HEADER_BYTES
    }
}
