//! What chunks and nodes are called: BLAKE3 of their content, keyed in an encrypted vault.
//!
//! Without the key, an owner of the bucket could hash a file that he knows and see whether the vault has its chunks.
//! There is one key for all generations: equal content must keep its name, or nothing would be shared any more.

use super::secret::Key;
use crate::id::ChunkId;
use std::sync::Arc;

/// Separates node ids from every other use of the hash.
const NODE_CONTEXT: &str = "tidemark vault 2026 tree node";
const CHUNK_KEY_CONTEXT: &str = "tidemark vault 2026 chunk id key";
const NODE_KEY_CONTEXT: &str = "tidemark vault 2026 node id key";

/// How a vault names things. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Naming(Option<Arc<NamingKeys>>);

#[derive(Debug)]
struct NamingKeys {
    chunk: Key,
    node: Key,
}

impl Naming {
    pub(super) fn keyed(master: &Key) -> Self {
        Self(Some(Arc::new(NamingKeys {
            chunk: master.derive(CHUNK_KEY_CONTEXT),
            node: master.derive(NODE_KEY_CONTEXT),
        })))
    }

    /// The id of these plain bytes.
    pub fn chunk(&self, plain: &[u8]) -> ChunkId {
        match &self.0 {
            None => ChunkId(*blake3::hash(plain).as_bytes()),
            Some(keys) => ChunkId(*keys.chunk.hasher().update(plain).finalize().as_bytes()),
        }
    }

    /// Hashes a node's logical content.
    pub(crate) fn node_hasher(&self) -> blake3::Hasher {
        match &self.0 {
            None => blake3::Hasher::new_derive_key(NODE_CONTEXT),
            Some(keys) => keys.node.hasher(),
        }
    }
}
