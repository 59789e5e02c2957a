//! The top of a tree: all that a volume keeps to know a snapshot's content.

use super::{NodeRef, depth_for};
use crate::codec::Codec;
use crate::error::{Result, VaultError};
use crate::id::{NodeId, PackId};
use crate::pack::Location;
use serde::{Deserialize, Serialize};
use tidemark_units::CHUNK_BYTES;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A snapshot's content: its top node (`None`: all zeros) and the disk's size. Volumes keep
/// [`Root::to_bytes`] without looking inside. In JSON it is the hex of those bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Root {
    top: Option<NodeRef>,
    size_bytes: u64,
}

const VERSION: u8 = 1;
const HAS_TOP: u8 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RootWire {
    version: u8,
    depth: u8,
    flags: u8,
    codec: u8,
    ordinal: U16,
    reserved: [u8; 2],
    size_bytes: U64,
    chunks: U64,
    id: NodeId,
    pack: PackId,
    offset: U32,
    stored_len: U32,
}

const CRC_BYTES: usize = 4;

impl Root {
    /// Bytes of [`Root::to_bytes`].
    pub const BYTES: usize = size_of::<RootWire>() + CRC_BYTES;

    /// A disk of zeros.
    pub fn zeros(size_bytes: u64) -> Self {
        Self {
            top: None,
            size_bytes,
        }
    }

    pub(crate) fn new(top: Option<NodeRef>, size_bytes: u64) -> Self {
        Self { top, size_bytes }
    }

    /// The top node, `None` when every chunk is zeros.
    pub fn top(&self) -> Option<&NodeRef> {
        self.top.as_ref()
    }

    /// The disk's size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many chunks the disk has.
    pub fn chunk_count(&self) -> u64 {
        self.size_bytes.div_ceil(CHUNK_BYTES)
    }

    /// How many chunks are not zeros.
    pub fn data_chunks(&self) -> u64 {
        self.top.map_or(0, |top| top.chunks)
    }

    /// Levels of the tree.
    pub fn depth(&self) -> u8 {
        depth_for(self.chunk_count())
    }

    /// Whether both hold the same bytes.
    pub fn same_content(&self, other: &Root) -> bool {
        self.size_bytes == other.size_bytes && self.top.map(|t| t.id) == other.top.map(|t| t.id)
    }

    /// The root in [`Root::BYTES`] bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let top = self.top.as_ref();
        let at = top.map(|top| &top.at);
        let wire = RootWire {
            version: VERSION,
            depth: self.depth(),
            flags: if top.is_some() { HAS_TOP } else { 0 },
            codec: at.map_or(0, |at| at.codec as u8),
            ordinal: at.map_or(0, |at| at.ordinal).into(),
            reserved: [0; 2],
            size_bytes: self.size_bytes.into(),
            chunks: self.data_chunks().into(),
            id: top.map_or(NodeId([0; 32]), |top| top.id),
            pack: at.map_or(PackId([0; 16]), |at| at.pack),
            offset: at.map_or(0, |at| at.offset).into(),
            stored_len: at.map_or(0, |at| at.stored_len).into(),
        };
        let mut out = wire.as_bytes().to_vec();
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Parses what [`Root::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = |cause: String| VaultError::corrupt("decode", "root", cause);
        if bytes.len() != Self::BYTES {
            return Err(corrupt(format!("{} bytes, not {}", bytes.len(), Self::BYTES)));
        }
        let (content, crc) = bytes.split_at(size_of::<RootWire>());
        if crc32c::crc32c(content).to_le_bytes() != crc {
            return Err(corrupt("its checksum does not match".into()));
        }
        let wire = RootWire::read_from_bytes(content).map_err(|_| corrupt("it is cut".into()))?;
        if wire.version != VERSION || wire.flags & !HAS_TOP != 0 {
            let cause = format!(
                "version {} with flags {} is not known here",
                wire.version, wire.flags
            );
            return Err(VaultError::other("decode", "root", cause));
        }
        let mut root = Root::zeros(wire.size_bytes.get());
        if root.chunk_count() > 1 << 32 || wire.depth != root.depth() {
            return Err(corrupt(format!(
                "depth {} for {} bytes",
                wire.depth, root.size_bytes
            )));
        }
        if wire.flags & HAS_TOP != 0 {
            let chunks = wire.chunks.get();
            if chunks == 0 || chunks > root.chunk_count() {
                return Err(corrupt(format!("{chunks} chunks in {} bytes", root.size_bytes)));
            }
            let at = Location {
                pack: wire.pack,
                offset: wire.offset.get(),
                stored_len: wire.stored_len.get(),
                ordinal: wire.ordinal.get(),
                codec: Codec::from_byte(wire.codec).map_err(|e| corrupt(e.to_string()))?,
            };
            root.top = Some(NodeRef {
                id: wire.id,
                chunks,
                at,
            });
        }
        Ok(root)
    }
}

impl From<Root> for String {
    fn from(root: Root) -> String {
        data_encoding::HEXLOWER.encode(&root.to_bytes())
    }
}

impl TryFrom<String> for Root {
    type Error = VaultError;
    fn try_from(text: String) -> Result<Self> {
        let bytes = data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .map_err(|e| VaultError::corrupt("decode", "root", e))?;
        Root::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_both_ways_and_any_flip_is_noticed() {
        let at = Location {
            pack: PackId([5; 16]),
            offset: 77,
            stored_len: 99,
            ordinal: 3,
            codec: Codec::Zstd,
        };
        let full = Root::new(
            Some(NodeRef {
                id: NodeId([9; 32]),
                chunks: 12,
                at,
            }),
            1 << 40,
        );
        for root in [full, Root::zeros(0), Root::zeros(1 << 30)] {
            let bytes = root.to_bytes();
            assert_eq!(bytes.len(), Root::BYTES);
            assert_eq!(Root::from_bytes(&bytes).unwrap(), root);
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 0x10;
                assert!(Root::from_bytes(&bad).is_err(), "byte {at}");
            }
        }
    }
}
