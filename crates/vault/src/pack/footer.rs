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
/// Ends an encrypted footer.
const ENCRYPTED_MAGIC: [u8; 8] = *b"TMFOOTE\n";
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

    /// A box, made a footer: what follows it says where it starts.
    pub(crate) fn around(boxed: &[u8]) -> Bytes {
        let tail = TailWire {
            magic: ENCRYPTED_MAGIC,
            footer_len: ((boxed.len() + TAIL_BYTES) as u32).into(),
        };
        [boxed, tail.as_bytes()].concat().into()
    }

    /// The box of exactly one encrypted footer.
    pub(crate) fn box_of<'a>(subject: &dyn Display, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let corrupt = |cause: String| VaultError::corrupt("read pack footer", subject, cause);
        let len = Self::len_from_tail(subject, bytes, bytes.len() as u64)?;
        let (boxed, tail) = bytes.split_at(bytes.len() - TAIL_BYTES);
        if !tail.starts_with(&ENCRYPTED_MAGIC) {
            return Err(corrupt(
                "it is not encrypted, as all is in an encrypted vault".into(),
            ));
        }
        if len != bytes.len() as u64 {
            return Err(corrupt(format!(
                "{} bytes where its length says {len}",
                bytes.len()
            )));
        }
        Ok(boxed)
    }

    /// Makes the parts before the hash a whole footer.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn seal(content: &[u8]) -> Vec<u8> {
        let tail = TailWire {
            magic: MAGIC,
            footer_len: ((content.len() + HASH_BYTES + TAIL_BYTES) as u32).into(),
        };
        [content, blake3::hash(content).as_bytes(), tail.as_bytes()].concat()
    }

    /// How many bytes the footer has, from the end of a pack of `object_len` bytes.
    pub(crate) fn len_from_tail(subject: &dyn Display, tail: &[u8], object_len: u64) -> Result<u64> {
        let corrupt = |cause: String| VaultError::corrupt("read pack footer", subject, cause);
        let tail: TailWire = tail
            .len()
            .checked_sub(TAIL_BYTES)
            .and_then(|at| TailWire::read_from_bytes(&tail[at..]).ok())
            .ok_or_else(|| corrupt(format!("{object_len} bytes are too few for a pack")))?;
        if tail.magic != MAGIC && tail.magic != ENCRYPTED_MAGIC {
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
        if rest[HASH_BYTES..].starts_with(&ENCRYPTED_MAGIC) {
            return Err(corrupt("it is encrypted, and the vault is not".into()));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VaultErrorKind;
    use crate::codec::Codec;
    use crate::pack::{ENTRIES_MAX, Location, PACK_BYTES_TARGET, PackBuilder};
    use proptest::prelude::*;

    const VAULT: VaultId = VaultId([1; 16]);
    const PACK: PackId = PackId([2; 16]);

    fn sample() -> (Footer, Vec<u8>) {
        let mut pack = PackBuilder::new(VAULT, PackKind::Data, PACK, PACK_BYTES_TARGET);
        let first = pack.store(
            [7; 32],
            EntryKind::Stored { index: 4 },
            Codec::Raw,
            Bytes::from_static(b"abcd"),
        );
        pack.zero(5);
        pack.zero(6);
        pack.refer([7; 32], EntryKind::Copy { index: 7 }, first);
        let elsewhere = Location {
            pack: PackId([3; 16]),
            offset: 99,
            ..first
        };
        pack.refer([8; 32], EntryKind::Same { index: 8 }, elsewhere);
        let (footer, pieces) = pack.finish(&None, [0; 12]);
        (footer, pieces.concat())
    }

    /// A footer with these changes made after its hash was right: what a hostile writer could do.
    fn forged(change: impl FnOnce(&mut Footer)) -> Result<Footer> {
        let (mut footer, _) = sample();
        change(&mut footer);
        Footer::decode(&"pack x", &footer.encode())
    }

    #[test]
    fn bytes_go_both_ways_and_zeros_share_a_row() {
        let (footer, object) = sample();
        assert_eq!(footer.entries.len(), 4);
        let len = Footer::len_from_tail(&"pack x", &object, object.len() as u64).unwrap() as usize;
        let found = Footer::decode(&"pack x", &object[object.len() - len..]).unwrap();
        assert_eq!(found, footer);
        assert_eq!(found.body_end as usize, object.len() - len);
        assert_eq!(found.stored_bytes(), 4);
        assert!(found.clone().expect(VAULT, PackKind::Tree, PACK).is_err());
        assert!(
            found
                .clone()
                .expect(VaultId([9; 16]), PackKind::Data, PACK)
                .is_err()
        );
        assert!(found.expect(VAULT, PackKind::Data, PACK).is_ok());
    }

    #[test]
    fn a_forged_table_is_refused() {
        let far = |at: u32| {
            move |footer: &mut Footer| {
                if let Some(Location { offset, .. }) = &mut footer.entries[0].at {
                    *offset = at;
                }
            }
        };
        for error in [
            forged(far(0)).unwrap_err(),
            forged(far(u32::MAX)).unwrap_err(),
            forged(|footer| footer.entries[0].at.as_mut().unwrap().ordinal = 3).unwrap_err(),
            forged(|footer| footer.entries[0].at.as_mut().unwrap().pack = PackId([5; 16])).unwrap_err(),
            forged(|footer| footer.entries[2].at.as_mut().unwrap().stored_len = 5).unwrap_err(),
            forged(|footer| footer.kind = PackKind::Tree).unwrap_err(),
            forged(|footer| footer.entries[1].kind = EntryKind::Zero { index: 5, count: 0 }).unwrap_err(),
            forged(|footer| {
                footer.entries[1].kind = EntryKind::Zero {
                    index: 5,
                    count: u32::MAX,
                }
            })
            .unwrap_err(),
            forged(|footer| footer.entries = vec![footer.entries[1]; ENTRIES_MAX + 1]).unwrap_err(),
        ] {
            assert_eq!(error.kind, VaultErrorKind::Corrupt);
            assert!(error.to_string().contains("pack x"), "{error}");
        }
    }

    #[test]
    fn a_tail_cannot_ask_for_more_than_there_is() {
        for (footer_len, object_len) in [
            (u32::MAX, 1 << 20),
            (100, 99),
            (9 << 20, 16 << 20),
            (100, 33 << 20),
        ] {
            let tail = TailWire {
                magic: MAGIC,
                footer_len: footer_len.into(),
            };
            Footer::len_from_tail(&"pack x", tail.as_bytes(), object_len).unwrap_err();
        }
        Footer::len_from_tail(&"pack x", b"short", 5).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_changed_or_missing_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let mut bytes = sample().0.encode().to_vec();
            let at = at.index(bytes.len());
            prop_assert!(Footer::decode(&"pack x", &bytes[..at]).is_err());
            prop_assert!(Footer::decode(&"pack x", &bytes[at + 1..]).is_err());
            bytes[at] ^= flip;
            prop_assert!(Footer::decode(&"pack x", &bytes).is_err());
        }

        #[test]
        fn a_hash_that_is_right_proves_nothing(head in prop::collection::vec(any::<u8>(), 0..300)) {
            // A correct hash, magic and length around anything at all.
            let mut bytes = head;
            bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
            let footer_len = (bytes.len() + TAIL_BYTES) as u32;
            bytes.extend_from_slice(TailWire { magic: MAGIC, footer_len: footer_len.into() }.as_bytes());
            let _ = Footer::decode(&"pack x", &bytes);
        }
    }
}
