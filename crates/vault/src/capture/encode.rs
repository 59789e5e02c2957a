//! The heavy part of a capture, pure: from plain chunks to what a pack stores, encrypted where packs are. Runs off the thread.

use crate::codec::{self, Codec};
use crate::crypt::{BoxNonce, Encrypter, Naming, encrypt_stored};
use crate::id::ChunkId;
use crate::pack::PackKind;
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

/// A chunk to encode.
pub(super) struct Asked {
    pub(super) index: u32,
    pub(super) chunk: Chunk,
    /// The parent's id at its index.
    pub(super) parent: Option<ChunkId>,
    /// For the box, if there is an encrypter.
    pub(super) nonce: BoxNonce,
}

/// Encodes a batch for packs that `encrypter` encrypts.
pub(super) fn encode_batch(naming: &Naming, encrypter: &Encrypter, batch: Vec<Asked>) -> Vec<(u32, Encoded)> {
    batch
        .into_iter()
        .map(|asked| (asked.index, encode(naming, encrypter, asked)))
        .collect()
}

fn encode(naming: &Naming, encrypter: &Encrypter, asked: Asked) -> Encoded {
    let Asked {
        chunk, parent, nonce, ..
    } = asked;
    let plain = match chunk {
        Chunk::Data(plain) if plain != ZEROS.as_slice() => plain,
        Chunk::Data(_) | Chunk::Zero => return Encoded::Zero,
    };
    let id = naming.chunk(&plain);
    if parent == Some(id) {
        return Encoded::Same(id);
    }
    let (codec, stored) = codec::encode(&plain);
    let stored = encrypt_stored(encrypter, PackKind::Data, &id.0, nonce, stored);
    Encoded::New { id, codec, stored }
}
