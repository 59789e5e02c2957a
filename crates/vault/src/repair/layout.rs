//! What is known of a damaged pack, and its header, body and footer while it is repaired. No I/O.

use crate::id::{ChunkId, PackId, VaultId};
use crate::key;
use crate::pack::{
    ENTRIES_MAX, Entry, EntryKind, Footer, HEADER_BYTES, HeaderWire, Location, PACK_BYTES_MAX, PackKind,
};
use crate::verify::{Damage, Part, Rows, Target};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tidemark_units::DiskId;
use zerocopy::IntoBytes;

/// A chunk's row of a pack.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) id: ChunkId,
    pub(super) at: Location,
    pub(super) index: u32,
}

/// A pack to repair.
pub(super) struct DamagedPack {
    pub(super) pack: PackId,
    pub(super) key: String,
    /// Damaged chunks, by ordinal, with the indexes at which disks have them.
    pub(super) wanted: BTreeMap<u16, (Row, BTreeSet<u32>)>,
    /// Disks that had them.
    pub(super) disks: BTreeSet<DiskId>,
    pub(super) hits: BTreeSet<u32>,
}

/// What is left of a pack.
pub(super) struct Remains {
    /// The object as it is; `None`: there is none.
    pub(super) object: Option<Bytes>,
    pub(super) footer: Option<Footer>,
    pub(super) header_is_right: bool,
    /// Whether all of it could be read.
    pub(super) whole: bool,
}

/// The packs that this damage is in.
pub(super) fn damaged_packs(targets: &[Target], damage: &[Damage]) -> Vec<DamagedPack> {
    let mut packs: BTreeMap<PackId, DamagedPack> = BTreeMap::new();
    for find in damage {
        let is_ours = matches!(find.part, Part::Chunk(_) | Part::Frame);
        let Some(pack) = key::parse_pack(PackKind::Data, &find.object).filter(|_| is_ours) else {
            continue;
        };
        let damaged = packs.entry(pack).or_insert_with(|| DamagedPack {
            pack,
            key: find.object.clone(),
            wanted: BTreeMap::new(),
            disks: BTreeSet::new(),
            hits: BTreeSet::new(),
        });
        damaged.hits.extend(find.hits.iter());
        let hit = find.hits.iter().filter_map(|hit| targets.get(*hit as usize));
        damaged.disks.extend(hit.map(|target| target.disk.clone()));
        if let (Part::Chunk(id), Some(at)) = (&find.part, find.at) {
            let index = find.chunks.start as u32;
            let row = Row { id: *id, at, index };
            let (_, places) = damaged.wanted.entry(at.ordinal).or_insert((row, BTreeSet::new()));
            places.insert(index);
        }
    }
    packs.into_values().collect()
}

/// Every row of the pack that is known: from its footer, else from the trees; and what was found damaged.
pub(super) fn rows(
    damaged: &DamagedPack,
    remains: &Remains,
    from_trees: Option<&Rows>,
) -> BTreeMap<u16, Row> {
    let mut rows = BTreeMap::new();
    match (&remains.footer, from_trees) {
        (Some(footer), _) => {
            for entry in &footer.entries {
                if let (EntryKind::Stored { index }, Some(at)) = (entry.kind, entry.at) {
                    let id = ChunkId(entry.id);
                    rows.insert(at.ordinal, Row { id, at, index });
                }
            }
        }
        (None, Some(from_trees)) => {
            for (id, at, index) in from_trees.get(&damaged.pack).into_iter().flatten() {
                let (id, at, index) = (*id, *at, *index);
                rows.entry(at.ordinal).or_insert(Row { id, at, index });
            }
        }
        (None, None) => {}
    }
    for (ordinal, (row, _)) in &damaged.wanted {
        rows.entry(*ordinal).or_insert(*row);
    }
    rows.retain(|_, row| row.at.offset as usize >= HEADER_BYTES && usize::from(row.at.ordinal) < ENTRIES_MAX);
    rows
}

pub(super) fn entry_of(row: &Row) -> Entry {
    Entry {
        id: row.id.0,
        kind: EntryKind::Stored { index: row.index },
        at: Some(row.at),
    }
}

/// Whether the footer has the chunk where the row says.
pub(super) fn has_row(footer: &Footer, row: &Row) -> bool {
    footer
        .entries
        .get(usize::from(row.at.ordinal))
        .is_some_and(|entry| {
            entry.id == row.id.0 && entry.at == Some(row.at) && matches!(entry.kind, EntryKind::Stored { .. })
        })
}

/// A footer with the old one's rows, as far as they are known, and the repaired ones. Rows keep their ordinals; those
/// of which nothing is known, and in a pack that was gone those that nobody has, say something that means nothing there.
pub(super) fn new_footer(
    vault: VaultId,
    damaged: &DamagedPack,
    old: Option<&Footer>,
    rows: &BTreeMap<u16, Row>,
    readable: &BTreeSet<u16>,
    gone: bool,
) -> Footer {
    let nothing = Entry {
        id: [0; 32],
        kind: EntryKind::Zero { index: 0, count: 1 },
        at: None,
    };
    let mut entries = old.map(|footer| footer.entries.clone()).unwrap_or_default();
    for (ordinal, row) in rows {
        if gone && !readable.contains(ordinal) {
            continue;
        }
        let at = usize::from(*ordinal);
        if entries.len() <= at {
            entries.resize(at + 1, nothing);
        }
        entries[at] = entry_of(row);
    }
    Footer {
        vault,
        pack: damaged.pack,
        kind: PackKind::Data,
        body_end: 0,
        entries,
    }
}

/// A pack's header and body, being repaired.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// The footer as it was, if it was right.
    pub(super) footer: Option<Bytes>,
}

impl Body {
    pub(super) fn new(pack: PackId, remains: &Remains, rows: &BTreeMap<u16, Row>) -> Result<Self, String> {
        let rows_end = rows.values().map(|row| row.at.end()).max().unwrap_or_default();
        let (mut bytes, footer) = match (&remains.object, &remains.footer) {
            (Some(object), Some(footer)) => {
                let end = (footer.body_end as usize).min(object.len());
                (object[..end].to_vec(), Some(object.slice(end..)))
            }
            // Where a damaged footer starts is not known: it stays, as bytes that nobody asks for.
            (Some(object), None) => (object.to_vec(), None),
            (None, _) => (Vec::new(), None),
        };
        if rows_end > PACK_BYTES_MAX {
            return Err(format!("a chunk at byte {rows_end} of it is impossible"));
        }
        let end = bytes.len().max(rows_end as usize).max(HEADER_BYTES);
        // A footer that is right says where the body ends.
        if footer.is_some() && end > bytes.len() {
            return Err("a snapshot has a chunk past the end of its body".into());
        }
        bytes.resize(end, 0);
        bytes[..HEADER_BYTES].copy_from_slice(HeaderWire::new(PackKind::Data, pack).as_bytes());
        Ok(Self { bytes, footer })
    }

    pub(super) fn get(&self, at: &Location) -> Option<Bytes> {
        self.bytes
            .get(at.offset as usize..at.end() as usize)
            .map(Bytes::copy_from_slice)
    }

    pub(super) fn put(&mut self, at: &Location, stored: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at.offset as usize..at.end() as usize) {
            place.copy_from_slice(stored);
        }
    }

    /// The object, with this footer or the one that it had.
    pub(super) fn finish(
        self,
        footer: Option<Footer>,
        seal: impl FnOnce(Bytes) -> Bytes,
    ) -> Result<Bytes, String> {
        let mut bytes = self.bytes;
        match footer {
            None => bytes.extend_from_slice(&self.footer.unwrap_or_default()),
            Some(mut footer) => {
                footer.body_end = bytes.len() as u32;
                bytes.extend_from_slice(&seal(footer.encode()));
            }
        }
        if bytes.len() as u64 > PACK_BYTES_MAX {
            return Err("it would be larger than a pack may be".into());
        }
        Ok(bytes.into())
    }
}
