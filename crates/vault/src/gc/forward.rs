//! Forwards: where the live part of a pack has gone.
//!
//! A tree says where a chunk or node is; rewriting a pack must not rewrite trees. So the rewritten pack leaves a forward at
//! `moved/<pack>`: for each row that moved, its name and its new place. Readers ask for it when a pack is not there.
//! A forward is made by create-if-absent and never changed, and it alone determines the new pack's body: whoever finds
//! a forward whose pack is still there can finish the work, any number of times.

use crate::codec::Codec;
use crate::crypt::BoxKind;
use crate::error::{Result, VaultError};
use crate::id::PackId;
use crate::key;
use crate::pack::{ENTRIES_MAX, Location, PACK_BYTES_MAX, PackKind};
use crate::vault::Store;
use bytes::Bytes;
use std::collections::HashMap;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"TMMOVE1\n";
const HASH_BYTES: usize = 32;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct HeadWire {
    magic: [u8; 8],
    kind: u8,
    reserved: [u8; 3],
    rows: U32,
    from: PackId,
    to: PackId,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RowWire {
    id: [u8; 32],
    offset: U32,
    stored_len: U32,
    old_ordinal: U16,
    ordinal: U16,
    codec: u8,
    reserved: [u8; 3],
}

/// One chunk or node that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Its name.
    pub(crate) id: [u8; 32],
    /// Its row in the old pack.
    pub(crate) old_ordinal: u16,
    /// Its place in the new one.
    pub(crate) at: Location,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) kind: PackKind,
    pub(crate) from: PackId,
    pub(crate) to: PackId,
    /// In the order in which they are stored.
    pub(crate) rows: Vec<Moved>,
    by_id: HashMap<[u8; 32], usize>,
}

impl Forward {
    pub(crate) fn new(kind: PackKind, from: PackId, to: PackId, rows: Vec<Moved>) -> Self {
        let by_id = rows.iter().enumerate().map(|(n, row)| (row.id, n)).collect();
        Self {
            kind,
            from,
            to,
            rows,
            by_id,
        }
    }

    /// Where it is now, if it moved.
    pub(crate) fn find(&self, id: &[u8; 32]) -> Option<Location> {
        self.by_id.get(id).map(|n| self.rows[*n].at)
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (self.rows.len() * (size_of::<Moved>() + 48)) as u64 + 128
    }

    /// The object's bytes, before they are encrypted.
    pub(crate) fn encode(&self) -> Bytes {
        let head = HeadWire {
            magic: MAGIC,
            kind: self.kind as u8,
            reserved: [0; 3],
            rows: (self.rows.len() as u32).into(),
            from: self.from,
            to: self.to,
        };
        let mut out = head.as_bytes().to_vec();
        for row in &self.rows {
            let wire = RowWire {
                id: row.id,
                offset: row.at.offset.into(),
                stored_len: row.at.stored_len.into(),
                old_ordinal: row.old_ordinal.into(),
                ordinal: row.at.ordinal.into(),
                codec: row.at.codec as u8,
                reserved: [0; 3],
            };
            out.extend_from_slice(wire.as_bytes());
        }
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out.into()
    }

    /// Parses the object of `from`'s forward, once it has been opened.
    pub(crate) fn decode(from: PackId, object: &[u8]) -> Result<Self> {
        let key = key::forward(from);
        let corrupt = |cause: &str| VaultError::corrupt("read forward", &key, cause.to_owned());
        let end = object
            .len()
            .checked_sub(HASH_BYTES)
            .ok_or_else(|| corrupt("it is too short"))?;
        let (content, hash) = object.split_at(end);
        if blake3::hash(content).as_bytes() != hash {
            return Err(corrupt("it does not match the hash at its end"));
        }
        let (head, rows) = HeadWire::read_from_prefix(content).map_err(|_| corrupt("it is too short"))?;
        if head.magic != MAGIC {
            return Err(corrupt("it is no forward"));
        }
        let kind = PackKind::from_byte(head.kind).ok_or_else(|| corrupt("its kind of pack is unknown"))?;
        if head.from != from || head.to == from {
            return Err(corrupt("it is another pack's"));
        }
        let count = head.rows.get() as usize;
        let wires = <[RowWire]>::ref_from_bytes(rows).map_err(|_| corrupt("it has half a row"))?;
        if wires.len() != count || count > ENTRIES_MAX {
            return Err(corrupt("it does not have the rows that it says"));
        }
        let mut moved = Vec::with_capacity(count);
        for wire in wires {
            let at = Location {
                pack: head.to,
                offset: wire.offset.get(),
                stored_len: wire.stored_len.get(),
                ordinal: wire.ordinal.get(),
                codec: Codec::from_byte(wire.codec).map_err(|e| corrupt(&e.to_string()))?,
            };
            if at.end() > PACK_BYTES_MAX {
                return Err(corrupt("a row lies past what a pack may hold"));
            }
            moved.push(Moved {
                id: wire.id,
                old_ordinal: wire.old_ordinal.get(),
                at,
            });
        }
        Ok(Self::new(kind, from, head.to, moved))
    }
}

impl Store {
    /// The forward of a pack; `None` when there is none.
    pub(crate) async fn forward(&self, from: PackId) -> Result<Option<Forward>> {
        let key = key::forward(from);
        let Some(object) = self.get_opt("read forward", &key).await? else {
            return Ok(None);
        };
        let plain = self.crypt.decrypt_object(BoxKind::Forward, &key, &object)?;
        Forward::decode(from, &plain).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_reads_back_and_any_changed_byte_is_noticed() {
        let (from, to) = (PackId([1; 16]), PackId([2; 16]));
        let row = |n: u8| Moved {
            id: [n; 32],
            old_ordinal: u16::from(n) * 3,
            at: Location {
                pack: to,
                offset: 32 + u32::from(n) * 100,
                stored_len: 100,
                ordinal: n.into(),
                codec: Codec::Zstd,
            },
        };
        let forward = Forward::new(PackKind::Data, from, to, vec![row(0), row(1)]);
        let object = forward.encode();
        assert_eq!(Forward::decode(from, &object).unwrap(), forward);
        assert_eq!(forward.find(&[1; 32]), Some(row(1).at));
        assert!(Forward::decode(to, &object).is_err(), "another pack's");
        for at in 0..object.len() {
            let mut bad = object.to_vec();
            bad[at] ^= 1;
            assert!(Forward::decode(from, &bad).is_err(), "byte {at}");
            assert!(Forward::decode(from, &object[..at]).is_err(), "cut at {at}");
        }
    }
}
