//! Reading a snapshot: any chunk, in any order, each byte verified.
//!
//! Chunks that lie together in a pack come together. Where reads look sequential ([`crate::read_ahead`]), what follows is
//! fetched before it is asked for, along the tree: the next leaves too, and what they name. It waits in the vault's chunk
//! cache. Two readers that want the same chunk share one fetch. What is on its way ahead of time is bounded
//! ([`Vault::ahead_room`]), and its trouble is told to whoever comes to want it.
//!
//! What cannot be verified is an error of kind Corrupt that names snapshot, chunk and pack; it never
//! becomes data.

use crate::error::{Result, VaultError};
use crate::id::ChunkId;
use crate::pack::Location;
use crate::read_ahead::ReadAhead;
use crate::tree::{LEAF_SLOTS, Root, TreeNode, leaf_slot, position};
use crate::vault::Vault;
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::cell::RefCell;
use std::ops::Range;
use tidemark_units::{CHUNK_BYTES, MIB, SnapshotId};

/// A chunk's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// 64 KiB of zeros.
    Zero,
    /// 64 KiB of data.
    Data(Bytes),
}

/// What lies further from the wanted chunk would need a read of its own.
const TOGETHER_BYTES_MAX: u64 = MIB;
/// Leaves that are fetched ahead of a run, after the one that it is about to reach: 16 MiB.
const LEAVES_AHEAD: u32 = 2;

/// One snapshot, open for reading.
pub struct Reader {
    vault: Vault,
    root: Root,
    snapshot: Option<SnapshotId>,
    ahead: RefCell<ReadAhead>,
}

impl Reader {
    /// A reader of this content; reads nothing yet.
    pub fn open(vault: &Vault, root: Root) -> Self {
        Self {
            vault: vault.clone(),
            root,
            snapshot: None,
            ahead: RefCell::default(),
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
        let ahead = self.ahead.borrow_mut().follow(index);
        let together = ahead.end;
        self.fetch_ahead(ahead);
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
        let mut group = vec![(wanted.id, wanted.at)];
        if !self.vault.chunks().is_near(&wanted.id, &wanted.at) {
            let close = |at: &Location| {
                let apart = u64::from(at.offset.abs_diff(wanted.at.offset));
                at.pack == wanted.at.pack && apart < TOGETHER_BYTES_MAX
            };
            let last = (slot + together.saturating_sub(index) as usize).min(LEAF_SLOTS as usize);
            let neighbours = entries.get(slot + 1..last).unwrap_or_default().iter().flatten();
            let neighbours = neighbours.map(|entry| (entry.id, entry.at));
            let missing =
                |id: &ChunkId, at: &Location| *id != wanted.id && !self.vault.chunks().is_near(id, at);
            group.extend(neighbours.filter(|(id, at)| close(at) && missing(id, at)));
        }
        let mut chunks = self.vault.chunks().get_many(&group).await;
        // Only the first was asked for: a neighbour's trouble is told to whoever wants it.
        chunks.swap_remove(0).map(Chunk::Data)
    }

    /// Starts fetching chunks that will be wanted soon, and the leaves after them.
    fn fetch_ahead(&self, range: Range<u32>) {
        let end = u64::from(range.end).min(self.root.chunk_count()) as u32;
        if range.start >= end {
            return;
        }
        let (vault, root) = (self.vault.clone(), self.root);
        self.vault.env().spawn(async move {
            let last = position(0, end - 1);
            let leaves = (last + 1..=last + LEAVES_AHEAD)
                .filter(|leaf| u64::from(*leaf) * u64::from(LEAF_SLOTS) < root.chunk_count());
            // An error comes again when the chunk is read.
            let chunks = (range.start..end).collect();
            let after = async { drop(vault.leaves_ahead(&root, leaves).await) };
            futures_util::join!(vault.fetch_chunks(&root, &chunks), after);
        });
    }

    /// Fetches chunks that will be wanted soon: few large reads, as many of them as there is room for in memory. Those that
    /// cannot be had are left out; whoever reads them is told why.
    pub async fn prefetch(&self, chunks: &RoaringBitmap) {
        self.vault.fetch_chunks(&self.root, chunks).await;
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

impl Vault {
    /// How many chunks may be started to be fetched before they are asked for: together they take half of the cache at
    /// most, or they would push each other out.
    fn ahead_room(&self) -> usize {
        let (_, limit) = self.chunks().cached_bytes();
        ((limit / 2 / CHUNK_BYTES) as usize).saturating_sub(self.chunks().running())
    }

    /// Brings those of `chunks` that the root has into memory, up to what there is room for.
    async fn fetch_chunks(&self, root: &Root, chunks: &RoaringBitmap) {
        let room = self.ahead_room();
        let below = |chunk: &u32| u64::from(*chunk) < root.chunk_count();
        let chunks: Vec<u32> = chunks.iter().filter(below).take(room).collect();
        let mut positions: Vec<u32> = chunks.iter().map(|chunk| position(0, *chunk)).collect();
        positions.dedup();
        let mut wanted = Vec::with_capacity(chunks.len());
        for (leaf, node) in self.leaves_ahead(root, positions).await {
            let TreeNode::Leaf(entries) = node.as_ref() else {
                continue;
            };
            let of_leaf = chunks.iter().filter(|chunk| position(0, **chunk) == leaf);
            let found = of_leaf.filter_map(|chunk| entries[leaf_slot(*chunk)]);
            wanted.extend(
                found
                    .filter(|entry| !self.chunks().is_near(&entry.id, &entry.at))
                    .map(|entry| (entry.id, entry.at)),
            );
        }
        // Others have started theirs while the leaves were awaited.
        wanted.truncate(self.ahead_room());
        drop(self.chunks().get_many(&wanted).await);
    }
}
