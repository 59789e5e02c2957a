//! From `put` to a sealed pack.

use super::encode::{Asked, Encoded, encode_batch};
use super::spool::chunks_of_rows;
use super::state::State;
use super::whole;
use crate::error::{Result, VaultError};
use crate::id::ChunkId;
use crate::pack::{EntryKind, PackBuilder, PackKind};
use crate::reader::Chunk;
use crate::tree::{LeafEntry, TreeNode, leaf_slot, position};
use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_units::CHUNK_BYTES;

/// Chunks hashed and compressed by one computation: 2 MiB.
const BATCH_CHUNKS: usize = 32;
/// Packs being written to the spool at the same time before `put` waits.
const SEALS_MAX: usize = 3;
/// Leaves of the parent read at the same time.
const PARENT_WIDTH: usize = 8;
/// How long comparing with the parent may hold up a batch. Storing a chunk twice is better than
/// making a guest wait for the bucket.
const PARENT_PATIENCE: Duration = Duration::from_secs(2);
/// How long the parent is not asked after it could not be read.
const PARENT_REST: Duration = Duration::from_secs(30);

impl State {
    pub(super) fn is_saturated(&self) -> bool {
        let core = self.core.borrow();
        let batches_max = self.vault.env().compute.parallelism() + 2;
        core.batches.count() >= batches_max
            || core.seals.count() >= SEALS_MAX
            || core.spool_bytes > self.options.spool_quota_bytes
    }

    pub(super) async fn put(self: &Rc<Self>, index: u32, chunk: Chunk) -> Result<()> {
        self.until(|_| !self.is_saturated()).await?;
        let refuse = |cause: String| {
            let subject = format!("snapshot {}: chunk {index}", self.spec.snapshot);
            Err(VaultError::other("put chunk", subject, cause))
        };
        if !self.spec.pending.contains(index) {
            return refuse("it is not pending".into());
        }
        let chunk = match chunk {
            Chunk::Zero => Chunk::Zero,
            Chunk::Data(data) => {
                let expected = (self.spec.size_bytes - u64::from(index) * CHUNK_BYTES).min(CHUNK_BYTES);
                if data.len() as u64 != CHUNK_BYTES && data.len() as u64 != expected {
                    return refuse(format!("{} bytes, where {expected} belong", data.len()));
                }
                Chunk::Data(whole(data))
            }
        };
        let mut core = self.core.borrow_mut();
        if core.claimed.insert(index) {
            core.batch.push((index, chunk));
        }
        let full = core.batch.len() >= BATCH_CHUNKS;
        drop(core);
        if full {
            self.dispatch();
        }
        Ok(())
    }

    pub(super) async fn seal(self: &Rc<Self>) -> Result<()> {
        self.check()?;
        self.dispatch();
        let batch = self.core.borrow().batches.last();
        self.until(|core| core.batches.done_up_to(batch)).await?;
        self.close_open_pack();
        let seal = self.core.borrow().seals.last();
        self.until(|core| core.seals.done_up_to(seal)).await
    }

    /// Starts the work on what has been put.
    fn dispatch(self: &Rc<Self>) {
        let mut core = self.core.borrow_mut();
        let batch = std::mem::take(&mut core.batch);
        if batch.is_empty() {
            return;
        }
        let number = core.batches.start();
        drop(core);
        let state = self.clone();
        self.spawn(async move {
            state.work_on(batch).await;
            state.core.borrow_mut().batches.end(number);
            state.signal.notify();
        });
    }

    async fn work_on(self: &Rc<Self>, batch: Vec<(u32, Chunk)>) {
        let parents = self.parent_entries(&batch).await;
        let asked = batch.into_iter().map(|(index, chunk)| {
            let parent: Option<ChunkId> = parents.get(&index).map(|entry| entry.id);
            Asked {
                index,
                chunk,
                parent,
                nonce: self.nonce(),
            }
        });
        let asked: Vec<_> = asked.collect();
        let (naming, encrypter) = (self.vault.store().crypt.naming(), self.encrypter.clone());
        let work = move || encode_batch(&naming, &encrypter, asked);
        let encoded = self.vault.env().compute(work).await;
        if self.check().is_err() {
            return;
        }
        for (index, encoded) in encoded {
            self.place(index, encoded, &parents);
        }
    }

    /// What the parent has at the batch's indexes; nothing when it cannot be read now.
    async fn parent_entries(&self, batch: &[(u32, Chunk)]) -> BTreeMap<u32, LeafEntry> {
        let Some(parent) = self.spec.parent else {
            return BTreeMap::new();
        };
        let clock = &self.vault.env().clock;
        if clock.now() < self.core.borrow().parent_again_at {
            return BTreeMap::new();
        }
        let data = |(index, chunk): &(u32, Chunk)| matches!(chunk, Chunk::Data(_)).then_some(*index);
        let indexes: Vec<u32> = batch.iter().filter_map(data).collect();
        let leaves: BTreeSet<u32> = indexes.iter().map(|index| position(0, *index)).collect();
        let firsts = leaves.into_iter().filter_map(|leaf| {
            let first = crate::tree::first_chunk(0, leaf);
            (first < parent.chunk_count()).then_some((leaf, first as u32))
        });
        let load = |(leaf, first)| {
            let parent = &parent;
            async move { Ok((leaf, self.vault.leaf(parent, first).await?)) }
        };
        let loading = pin!(
            stream::iter(firsts)
                .map(load)
                .buffer_unordered(PARENT_WIDTH)
                .try_collect()
        );
        let loaded: Result<BTreeMap<u32, _>> = match select(loading, clock.sleep(PARENT_PATIENCE)).await {
            Either::Left((loaded, _)) => loaded,
            Either::Right(_) => Err(VaultError::other(
                "compare with parent",
                "tree",
                "it takes too long",
            )),
        };
        match loaded {
            Ok(leaves) => {
                let entry = |index: u32| match leaves.get(&position(0, index))?.as_deref()? {
                    TreeNode::Leaf(entries) => entries[leaf_slot(index)].map(|entry| (index, entry)),
                    TreeNode::Inner { .. } => None,
                };
                indexes.into_iter().filter_map(entry).collect()
            }
            Err(error) => {
                tracing::warn!(snapshot = %self.spec.snapshot, %error, "storing without comparing with the parent");
                self.core.borrow_mut().parent_again_at = clock.now() + PARENT_REST;
                BTreeMap::new()
            }
        }
    }

    /// Adds an encoded chunk to the open pack.
    fn place(self: &Rc<Self>, index: u32, encoded: Encoded, parents: &BTreeMap<u32, LeafEntry>) {
        let core = &mut *self.core.borrow_mut();
        let open = core.open.get_or_insert_with(|| {
            let id = self.new_pack_id();
            PackBuilder::new(self.vault.id(), PackKind::Data, id, self.options.pack_bytes)
        });
        match encoded {
            Encoded::Zero => open.zero(index),
            Encoded::Same(id) => {
                let at = parents.get(&index).map(|entry| entry.at);
                let at = at.expect("only a chunk whose parent is known is found to be the same");
                open.refer(id.0, EntryKind::Same { index }, at);
            }
            Encoded::New { id, codec, stored } => {
                let known = core
                    .open_chunks
                    .get(&id)
                    .copied()
                    .or_else(|| core.sealed_chunks.get(&id));
                match known {
                    Some(at) => open.refer(id.0, EntryKind::Copy { index }, at),
                    None => {
                        let at = open.store(id.0, EntryKind::Stored { index }, codec, stored);
                        core.open_chunks.insert(id, at);
                    }
                }
            }
        }
        if open.is_full() {
            self.seal_pack(core);
        }
    }

    fn close_open_pack(self: &Rc<Self>) {
        let core = &mut *self.core.borrow_mut();
        if core.open.as_ref().is_some_and(|open| !open.is_empty()) {
            self.seal_pack(core);
        }
    }

    /// Takes the open pack out and writes it to the spool in the background.
    fn seal_pack(self: &Rc<Self>, core: &mut super::state::Core) {
        let Some(open) = core.open.take() else { return };
        let chunks_here = std::mem::take(&mut core.open_chunks);
        let number = core.seals.start();
        let state = self.clone();
        // The caller holds the state: the task is counted here, and only spawned, not run.
        core.tasks += 1;
        self.vault.env().spawn(async move {
            match state.write_pack(open).await {
                Ok(()) => {
                    let mut core = state.core.borrow_mut();
                    for (id, at) in chunks_here {
                        core.sealed_chunks.insert(id, at);
                    }
                }
                Err(error) => state.fail(error),
            }
            let mut core = state.core.borrow_mut();
            core.seals.end(number);
            core.tasks -= 1;
            drop(core);
            state.signal.notify();
        });
    }

    async fn write_pack(self: &Rc<Self>, open: PackBuilder) -> Result<()> {
        self.check()?;
        let id = open.id();
        let (footer, body) = self.closed(open).await;
        let object_len = body.iter().map(|piece| piece.len() as u64).sum();
        let stored = footer.has_body();
        let chunks = chunks_of_rows(&footer, &self.spec.pending).ok_or_else(|| {
            let cause = "it names a chunk that is not pending, or one twice";
            VaultError::other("seal pack", format!("pack {id}"), cause)
        })?;
        if stored {
            self.spool.seal(id, body.clone()).await?;
        } else {
            let bytes = body.last().cloned().unwrap_or_default();
            self.spool.seal_footer(id, bytes).await?;
        }
        let mut core = self.core.borrow_mut();
        core.note_sealed(&footer, chunks, object_len, !stored);
        if stored {
            core.queue.push_back(id);
            // Beyond what is uploaded at once, the spool holds the bytes, not the memory.
            if core.bodies.len() < self.options.upload_width {
                core.bodies.insert(id, body);
            }
        }
        drop(core);
        self.signal.notify();
        self.start_uploads();
        Ok(())
    }
}
