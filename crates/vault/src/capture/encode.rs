//! The heavy part of a capture, pure: from plain chunks to what a pack stores. Runs off the thread.

use crate::codec::{self, Codec};
use crate::id::ChunkId;
use crate::reader::Chunk;
use bytes::Bytes;
use tidemark_units::CHUNK_BYTES;

/// A chunk, ready for a pack.
pub(super) enum Encoded {
    Zero,
    /// As the parent has it.
    Same(ChunkId),
    New {
        id: ChunkId,
        codec: Codec,
        stored: Bytes,
    },
}

static ZEROS: [u8; CHUNK_BYTES as usize] = [0; CHUNK_BYTES as usize];

/// Encodes a batch; each chunk comes with the parent's id at its index.
pub(super) fn encode_batch(batch: Vec<(u32, Chunk, Option<ChunkId>)>) -> Vec<(u32, Encoded)> {
    batch
        .into_iter()
        .map(|(index, chunk, parent)| (index, encode(chunk, parent)))
        .collect()
}

fn encode(chunk: Chunk, parent: Option<ChunkId>) -> Encoded {
    let plain = match chunk {
        Chunk::Data(plain) if plain != ZEROS.as_slice() => plain,
        Chunk::Data(_) | Chunk::Zero => return Encoded::Zero,
    };
    let id = ChunkId::of(&plain);
    if parent == Some(id) {
        return Encoded::Same(id);
    }
    let (codec, stored) = codec::encode(&plain);
    Encoded::New { id, codec, stored }
}
