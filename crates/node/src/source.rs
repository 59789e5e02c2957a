//! A snapshot as the source of a volume's absent chunks: asks the vault's thread.

use crate::remote::Remote;
use crate::vault::VaultHost;
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::ops::Range;
use std::sync::Arc;
use tidemark_env::LocalFuture;
use tidemark_units::ChunkIndex;
use tidemark_vault::Chunk;
use tidemark_volume::ChunkSource;

/// The content of one root.
pub struct VaultSource {
    vault: Remote<VaultHost>,
    root: Arc<[u8]>,
}

impl VaultSource {
    /// A source for the content of `root`, as the vault encodes it.
    pub fn new(vault: Remote<VaultHost>, root: &[u8]) -> Self {
        Self {
            vault,
            root: root.into(),
        }
    }
}

impl ChunkSource for VaultSource {
    fn read_chunk(&self, chunk: ChunkIndex) -> LocalFuture<'_, Result<Option<Bytes>, String>> {
        let root = Arc::clone(&self.root);
        Box::pin(async move {
            let read = self.vault.call(move |host| async move {
                let reader = host.reader(&root)?;
                match reader.root().chunk_count() > u64::from(chunk.0) {
                    true => reader.read_chunk(chunk.0).await.map_err(|e| e.to_string()),
                    // The disk is larger than the snapshot: zeros.
                    false => Ok(Chunk::Zero),
                }
            });
            match read.await.map_err(|e| e.to_string())?? {
                Chunk::Zero => Ok(None),
                Chunk::Data(bytes) => Ok(Some(bytes)),
            }
        })
    }

    fn nonzero(&self, range: Range<u32>) -> LocalFuture<'_, Result<RoaringBitmap, String>> {
        let root = Arc::clone(&self.root);
        Box::pin(async move {
            let found = self.vault.call(move |host| async move {
                let reader = host.reader(&root)?;
                let end = u32::try_from(reader.root().chunk_count()).unwrap_or(u32::MAX);
                let range = range.start.min(end)..range.end.min(end);
                reader.non_zero_chunks(range).await.map_err(|e| e.to_string())
            });
            found.await.map_err(|e| e.to_string())?
        })
    }
}
