//! Reading a snapshot: any chunk, in any order, each byte verified.
//!
//! Chunks that lie together in a pack come together: when reads look sequential, the reader asks for
//! a growing number of following chunks with the one that is wanted. Neighbours wait in the vault's
//! chunk cache. Two readers that want the same chunk share one fetch.
//!
//! What cannot be verified is an error of kind Corrupt that names snapshot, chunk and pack; it never
//! becomes data.

use crate::error::{Result, VaultError};
use crate::pack::Location;
use crate::tree::{LEAF_SLOTS, Root, TreeNode, leaf_slot};
use crate::vault::Vault;
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::cell::Cell;
use std::ops::Range;
use tidemark_units::{MIB, SnapshotId};

/// A chunk's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// 64 KiB of zeros.
    Zero,
    /// 64 KiB of data.
    Data(Bytes),
}

/// Most chunks that are asked for together.
const AHEAD_MAX: u32 = 32;
/// What lies further from the wanted chunk would need a read of its own.
const AHEAD_BYTES_MAX: u64 = MIB;

/// One snapshot, open for reading.
pub struct Reader {
    vault: Vault,
    root: Root,
    snapshot: Option<SnapshotId>,
    /// The chunk after the furthest that was read lately, and how far to read ahead of it.
    next: Cell<u32>,
    ahead: Cell<u32>,
}

impl Reader {
    /// A reader of this content; reads nothing yet.
    pub fn open(vault: &Vault, root: Root) -> Self {
        Self {
            vault: vault.clone(),
            root,
            snapshot: None,
            next: Cell::new(0),
            ahead: Cell::new(1),
        }
    }

    /// A reader whose errors name the snapshot.
    pub fn open_named(vault: &Vault, root: Root, snapshot: SnapshotId) -> Self {
        Self {
            snapshot: Some(snapshot),
            ..Self::open(vault, root)
        }
    }

    /// What is being read.
    pub fn root(&self) -> &Root {
        &self.root
    }

    fn named(&self, index: u32, error: VaultError) -> VaultError {
        let error = error.within(format!("chunk {index}"));
        match &self.snapshot {
            Some(snapshot) => error.within(format!("snapshot {snapshot}")),
            None => error,
        }
    }

    /// The chunk at `index`. Past the disk's end is an error.
    pub async fn read_chunk(&self, index: u32) -> Result<Chunk> {
        self.read(index).await.map_err(|error| self.named(index, error))
    }

    async fn read(&self, index: u32) -> Result<Chunk> {
        if u64::from(index) >= self.root.chunk_count() {
            let cause = format!("the disk has {} chunks", self.root.chunk_count());
            return Err(VaultError::other("read chunk", "past the end", cause));
        }
        let ahead = self.follow(index);
        let Some(leaf) = self.vault.leaf(&self.root, index).await? else {
            return Ok(Chunk::Zero);
        };
        let TreeNode::Leaf(entries) = leaf.as_ref() else {
            return Ok(Chunk::Zero);
        };
        let slot = leaf_slot(index);
        let Some(wanted) = entries[slot] else {
            return Ok(Chunk::Zero);
        };
        let last = (slot + ahead as usize).min(LEAF_SLOTS as usize);
        if slot + ahead as usize > LEAF_SLOTS as usize {
            self.warm_leaf(index.saturating_add(LEAF_SLOTS));
        }
        let mut group = vec![(wanted.id, wanted.at)];
        if !self.vault.chunks().is_near(&wanted.id, &wanted.at) {
            let close = |at: &Location| {
                at.pack == wanted.at.pack && u64::from(at.offset.abs_diff(wanted.at.offset)) < AHEAD_BYTES_MAX
            };
            let neighbours = entries[slot + 1..last]
                .iter()
                .flatten()
                .map(|entry| (entry.id, entry.at));
            group
                .extend(neighbours.filter(|(id, at)| {
                    close(at) && *id != wanted.id && !self.vault.chunks().is_near(id, at)
                }));
        }
        let mut chunks = self.vault.chunks().get_many(&group).await;
        // Only the first was asked for: a neighbour's trouble is told to whoever wants it.
        chunks.swap_remove(0).map(Chunk::Data)
    }

    /// Notes a read and says how many chunks to ask for with it.
    fn follow(&self, index: u32) -> u32 {
        let (next, ahead) = (self.next.get(), self.ahead.get());
        // Several reads in flight arrive slightly out of order.
        let sequential = index.saturating_add(AHEAD_MAX) >= next && index <= next.saturating_add(ahead);
        let ahead = if sequential { (ahead * 2).min(AHEAD_MAX) } else { 1 };
        self.next.set(if sequential {
            next.max(index.saturating_add(1))
        } else {
            index.saturating_add(1)
        });
        self.ahead.set(ahead);
        ahead
    }

    /// Fetches the leaf of a chunk that will be wanted soon.
    fn warm_leaf(&self, index: u32) {
        if u64::from(index) < self.root.chunk_count() {
            let (vault, root) = (self.vault.clone(), self.root);
            self.vault.env().spawn(async move {
                // An error comes again when the chunk is read.
                drop(vault.leaf(&root, index).await);
            });
        }
    }

    /// The chunks in `range` that are not zeros; fetches no data.
    pub async fn non_zero_chunks(&self, range: Range<u32>) -> Result<RoaringBitmap> {
        self.vault.non_zero_chunks(&self.root, range).await
    }

    /// Runs of chunks in `range` that are not zeros, in order; fetches no data.
    pub async fn extents(&self, range: Range<u32>) -> Result<Vec<Range<u32>>> {
        let mut extents: Vec<Range<u32>> = Vec::new();
        for index in self.non_zero_chunks(range).await? {
            match extents.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => extents.push(index..index + 1),
            }
        }
        Ok(extents)
    }
}
