//! A tree node, in memory and in bytes.

use super::{DEPTH_MAX, FANOUT, LEAF_SLOTS, cover, slots};
use crate::codec::{Codec, DecodeError};
use crate::crypt::{BOX_BYTES, Naming};
use crate::id::{ChunkId, NodeId, PackId};
use crate::pack::Location;
use std::collections::HashMap;
use tidemark_units::CHUNK_BYTES;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A chunk as a leaf knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeafEntry {
    /// Its name.
    pub id: ChunkId,
    /// Where it was stored when the leaf was written.
    pub at: Location,
}

/// A node as its parent knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeRef {
    /// Its name.
    pub id: NodeId,
    /// How many chunks below it are not zeros; at least 1.
    pub chunks: u64,
    /// Where it was stored when the parent was written.
    pub at: Location,
}

/// A node: one entry per slot, `None` for zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeNode {
    /// 128 chunks.
    Leaf(Box<[Option<LeafEntry>]>),
    /// 256 nodes of the level below.
    Inner {
        /// 1 for the parents of leaves.
        level: u8,
        /// The nodes below.
        children: Box<[Option<NodeRef>]>,
    },
}

impl TreeNode {
    /// An empty leaf, to be filled.
    pub(crate) fn empty_leaf() -> Box<[Option<LeafEntry>]> {
        vec![None; LEAF_SLOTS as usize].into()
    }

    /// Empty children, to be filled.
    pub(crate) fn empty_children() -> Box<[Option<NodeRef>]> {
        vec![None; FANOUT as usize].into()
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            TreeNode::Leaf(_) => 0,
            TreeNode::Inner { level, .. } => *level,
        }
    }

    /// How many chunks below it are not zeros.
    pub fn chunks(&self) -> u64 {
        match self {
            TreeNode::Leaf(entries) => entries.iter().flatten().count() as u64,
            TreeNode::Inner { children, .. } => children.iter().flatten().map(|child| child.chunks).sum(),
        }
    }

    /// Slot, name, location and, for inner nodes, chunk count of every filled slot.
    fn rows(&self) -> Vec<Row> {
        match self {
            TreeNode::Leaf(entries) => (0..)
                .zip(entries.iter())
                .filter_map(|(slot, entry)| {
                    entry.map(|e| Row {
                        slot,
                        id: e.id.0,
                        at: e.at,
                        chunks: 1,
                    })
                })
                .collect(),
            TreeNode::Inner { children, .. } => (0..)
                .zip(children.iter())
                .filter_map(|(slot, child)| {
                    child.map(|c| Row {
                        slot,
                        id: c.id.0,
                        at: c.at,
                        chunks: c.chunks,
                    })
                })
                .collect(),
        }
    }

    /// The node's name in a vault that names things so.
    pub fn id(&self, naming: &Naming) -> NodeId {
        name(naming, self.level(), &self.rows())
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            TreeNode::Leaf(entries) => size_of_val::<[_]>(entries) as u64,
            TreeNode::Inner { children, .. } => size_of_val::<[_]>(children) as u64,
        }
    }
}

struct Row {
    slot: u32,
    id: [u8; 32],
    at: Location,
    chunks: u64,
}

fn bitmap(level: u8, rows: &[Row]) -> Vec<u8> {
    let mut bitmap = vec![0; slots(level) as usize / 8];
    for row in rows {
        bitmap[row.slot as usize / 8] |= 1 << (row.slot % 8);
    }
    bitmap
}

fn name(naming: &Naming, level: u8, rows: &[Row]) -> NodeId {
    let mut hasher = naming.node_hasher();
    hasher.update(&[level]);
    hasher.update(&bitmap(level, rows));
    for row in rows {
        hasher.update(&row.id);
        if level > 0 {
            hasher.update(&row.chunks.to_le_bytes());
        }
    }
    NodeId(*hasher.finalize().as_bytes())
}

const MAGIC: [u8; 4] = *b"TMTN";
const VERSION: u8 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct HeaderWire {
    magic: [u8; 4],
    version: u8,
    level: u8,
    packs: U16,
    entries: U16,
    reserved: [u8; 6],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RowWire {
    id: [u8; 32],
    offset: U32,
    stored_len: U32,
    ordinal: U16,
    pack_slot: u8,
    codec: u8,
}

/// No node is larger before it is compressed: every slot filled, each in a pack of its own.
pub(crate) const NODE_BYTES_MAX: usize = size_of::<HeaderWire>()
    + FANOUT as usize / 8
    + FANOUT as usize * (size_of::<PackId>() + size_of::<RowWire>() + 8)
    + CRC_BYTES;
const CRC_BYTES: usize = 4;

/// The node's name and plain bytes.
pub(crate) fn encode_node(naming: &Naming, node: &TreeNode) -> (NodeId, Vec<u8>) {
    let (level, rows) = (node.level(), node.rows());
    let mut slot_of: HashMap<PackId, u8> = HashMap::new();
    let mut packs = Vec::new();
    let mut table = Vec::with_capacity(rows.len());
    for row in &rows {
        let pack_slot = *slot_of.entry(row.at.pack).or_insert_with(|| {
            packs.push(row.at.pack);
            (packs.len() - 1) as u8
        });
        table.push(RowWire {
            id: row.id,
            offset: row.at.offset.into(),
            stored_len: row.at.stored_len.into(),
            ordinal: row.at.ordinal.into(),
            pack_slot,
            codec: row.at.codec as u8,
        });
    }
    let header = HeaderWire {
        magic: MAGIC,
        version: VERSION,
        level,
        packs: (packs.len() as u16).into(),
        entries: (table.len() as u16).into(),
        reserved: [0; 6],
    };
    let mut out = Vec::with_capacity(NODE_BYTES_MAX);
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&bitmap(level, &rows));
    out.extend_from_slice(packs.as_bytes());
    out.extend_from_slice(table.as_bytes());
    if level > 0 {
        for row in &rows {
            out.extend_from_slice(&row.chunks.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    (name(naming, level, &rows), out)
}

/// Parses plain bytes and checks them against the name they were asked by.
pub(crate) fn decode_node(naming: &Naming, expected: NodeId, bytes: &[u8]) -> Result<TreeNode, DecodeError> {
    let (found, node) = parse_node(naming, bytes)?;
    if found != expected {
        let text = format!("tree node: its content has the name {found}");
        return Err(DecodeError::Mismatch(text));
    }
    Ok(node)
}

/// Parses plain bytes: the node, and the name that its content has.
pub(crate) fn parse_node(naming: &Naming, bytes: &[u8]) -> Result<(NodeId, TreeNode), DecodeError> {
    let bad = |what: &str| DecodeError::Mismatch(format!("tree node: {what}"));
    let crc_at = bytes
        .len()
        .checked_sub(CRC_BYTES)
        .ok_or_else(|| bad("too short"))?;
    let (content, crc) = bytes.split_at(crc_at);
    if crc32c::crc32c(content).to_le_bytes() != crc {
        return Err(bad("its checksum does not match"));
    }
    let (header, rest) = HeaderWire::read_from_prefix(content).map_err(|_| bad("too short"))?;
    if header.magic != MAGIC || header.version != VERSION || header.level >= DEPTH_MAX {
        return Err(bad("no magic, or a version or level that is not known here"));
    }
    let (level, packs, entries) = (
        header.level,
        usize::from(header.packs.get()),
        usize::from(header.entries.get()),
    );
    let bitmap_len = slots(level) as usize / 8;
    let count_len = if level > 0 { size_of::<U64>() } else { 0 };
    let expected_len =
        bitmap_len + packs * size_of::<PackId>() + entries * (size_of::<RowWire>() + count_len);
    if rest.len() != expected_len || packs > entries {
        return Err(bad("its counts do not fit its length"));
    }
    let (bits, rest) = rest.split_at(bitmap_len);
    let (packs, rest) = rest.split_at(packs * size_of::<PackId>());
    let (table, counts) = rest.split_at(entries * size_of::<RowWire>());
    let packs = <[PackId]>::ref_from_bytes(packs).map_err(|_| bad("its pack list is cut"))?;
    let table = <[RowWire]>::ref_from_bytes(table).map_err(|_| bad("its table is cut"))?;
    let counts = <[U64]>::ref_from_bytes(counts).map_err(|_| bad("its counts are cut"))?;
    let filled: Vec<u32> = (0..slots(level))
        .filter(|slot| bits[*slot as usize / 8] & (1 << (slot % 8)) != 0)
        .collect();
    if filled.len() != entries || entries == 0 {
        return Err(bad("its slots do not fit its table"));
    }
    let plain_max = if level == 0 {
        CHUNK_BYTES as usize
    } else {
        NODE_BYTES_MAX
    };
    let stored_max = plain_max + BOX_BYTES;
    let mut rows = Vec::with_capacity(entries);
    for (at, (slot, wire)) in filled.into_iter().zip(table).enumerate() {
        let chunks = if level > 0 { counts[at].get() } else { 1 };
        let stored_len = wire.stored_len.get();
        if chunks == 0 || (level > 0 && chunks > cover(level - 1)) || stored_len as usize > stored_max {
            return Err(bad("an entry's size is impossible"));
        }
        let pack = *packs
            .get(usize::from(wire.pack_slot))
            .ok_or_else(|| bad("a pack is not listed"))?;
        let at = Location {
            pack,
            offset: wire.offset.get(),
            stored_len,
            ordinal: wire.ordinal.get(),
            codec: Codec::from_byte(wire.codec)?,
        };
        rows.push(Row {
            slot,
            id: wire.id,
            at,
            chunks,
        });
    }
    Ok((name(naming, level, &rows), from_rows(level, rows)))
}

fn from_rows(level: u8, rows: Vec<Row>) -> TreeNode {
    if level == 0 {
        let mut entries = TreeNode::empty_leaf();
        for row in rows {
            entries[row.slot as usize] = Some(LeafEntry {
                id: ChunkId(row.id),
                at: row.at,
            });
        }
        return TreeNode::Leaf(entries);
    }
    let mut children = TreeNode::empty_children();
    for row in rows {
        children[row.slot as usize] = Some(NodeRef {
            id: NodeId(row.id),
            chunks: row.chunks,
            at: row.at,
        });
    }
    TreeNode::Inner { level, children }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn location() -> impl Strategy<Value = Location> {
        (
            0..5u8,
            any::<u32>(),
            1..=CHUNK_BYTES as u32 / 8,
            any::<u16>(),
            any::<bool>(),
        )
            .prop_map(|(pack, offset, stored_len, ordinal, zstd)| Location {
                pack: PackId([pack; 16]),
                offset,
                stored_len,
                ordinal,
                codec: if zstd { Codec::Zstd } else { Codec::Raw },
            })
    }

    fn node() -> impl Strategy<Value = TreeNode> {
        let leaf =
            prop::collection::btree_map(0..LEAF_SLOTS as usize, (any::<[u8; 32]>(), location()), 1..128)
                .prop_map(|filled| {
                    let mut entries = TreeNode::empty_leaf();
                    for (slot, (id, at)) in filled {
                        entries[slot] = Some(LeafEntry { id: ChunkId(id), at });
                    }
                    TreeNode::Leaf(entries)
                });
        let child = (any::<[u8; 32]>(), location(), 1..=128u64);
        let inner = (
            1..DEPTH_MAX,
            prop::collection::btree_map(0..FANOUT as usize, child, 1..256),
        )
            .prop_map(|(level, filled)| {
                let mut children = TreeNode::empty_children();
                for (slot, (id, at, chunks)) in filled {
                    children[slot] = Some(NodeRef {
                        id: NodeId(id),
                        chunks,
                        at,
                    });
                }
                TreeNode::Inner { level, children }
            });
        prop_oneof![leaf, inner]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn bytes_go_both_ways(node in node()) {
            let (id, bytes) = encode_node(&Naming::default(), &node);
            prop_assert!(bytes.len() <= NODE_BYTES_MAX);
            prop_assert_eq!(node.id(&Naming::default()), id);
            prop_assert_eq!(decode_node(&Naming::default(), id, &bytes).unwrap(), node);
        }

        #[test]
        fn any_changed_byte_is_noticed(node in node(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let (id, mut bytes) = encode_node(&Naming::default(), &node);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(decode_node(&Naming::default(), id, &bytes).is_err());
            prop_assert!(decode_node(&Naming::default(), id, &bytes[..at]).is_err());
        }

        #[test]
        fn junk_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(decode_node(&Naming::default(), NodeId([0; 32]), &bytes).is_err());
        }
    }

    #[test]
    fn where_things_are_does_not_change_the_name() {
        let at = Location {
            pack: PackId([1; 16]),
            offset: 32,
            stored_len: 9,
            ordinal: 0,
            codec: Codec::Raw,
        };
        let mut entries = TreeNode::empty_leaf();
        entries[3] = Some(LeafEntry {
            id: ChunkId([7; 32]),
            at,
        });
        let here = TreeNode::Leaf(entries.clone());
        entries[3] = Some(LeafEntry {
            id: ChunkId([7; 32]),
            at: Location {
                pack: PackId([2; 16]),
                offset: 99,
                ..at
            },
        });
        let naming = Naming::default();
        assert_eq!(here.id(&naming), TreeNode::Leaf(entries.clone()).id(&naming));
        entries[4] = entries[3].take();
        assert_ne!(here.id(&naming), TreeNode::Leaf(entries).id(&naming));
    }
}
