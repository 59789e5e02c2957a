//! The tree of a finished capture: leaf by leaf from the footers in the spool, then level by level.
//!
//! Only nodes above a pending chunk are made (and, when the disk changed its size, those at its edge);
//! all others are the parent's. Leaves are made in windows, so that at most a window's entries are in
//! memory; of a finished leaf only its reference stays. A tree pack that is full is uploaded and
//! remembered in the spool: after a crash, or when the commit is tried again, its leaves are not made again.

use super::spool::leaves_of;
use super::state::{State, TreePack};
use crate::codec::{self, Codec};
use crate::crypt::{BoxNonce, Encrypter, Naming, encrypt_stored};
use crate::error::{Result, VaultError};
use crate::id::{NodeId, PackId};
use crate::pack::{Entry, EntryKind, PackBuilder, PackKind};
use crate::tree::{
    FANOUT, LEAF_SLOTS, LeafEntry, NodeRef, Root, TreeNode, chunks_of, encode_node, first_chunk, inner_slot,
    leaf_slot, position,
};
use crate::walk::{Place, children, leaf_entries};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Leaves in memory at the same time: some 8 MiB.
const WINDOW_LEAVES: usize = 1024;
/// Look-ups in the parent, or footers read, at the same time.
const WIDTH: usize = 8;
/// Leaves encoded by one computation.
const ENCODE_LEAVES: usize = 128;

type Leaf = Box<[Option<LeafEntry>]>;
/// What became of the touched nodes of a level, by position: `None` is zeros.
type Level = BTreeMap<u32, Option<NodeRef>>;

impl State {
    /// Builds the tree, stores what is new of it, and says what is on top.
    pub(super) async fn build(&self) -> Result<Root> {
        let parent = self.spec.parent.unwrap_or(Root::zeros(self.spec.size_bytes));
        let root = Root::zeros(self.spec.size_bytes);
        let chunks = root.chunk_count();
        for pack in self.tree_packs.borrow_mut().values_mut() {
            if !pack.remembered {
                pack.object_len = 0;
            }
        }
        let mut builder = Builder {
            state: self,
            parent,
            chunks,
            open: None,
        };
        let mut level = builder.leaves().await?;
        for number in 1..root.depth() {
            level = builder.inner(number, level).await?;
        }
        builder.close(false).await?;
        let top = match level.get(&0) {
            Some(top) => *top,
            // Nothing was touched: the parent's tree, which is as deep.
            None => parent.top().copied(),
        };
        Ok(Root::new(top, self.spec.size_bytes))
    }
}

struct Builder<'a> {
    state: &'a State,
    parent: Root,
    /// The disk's number of chunks.
    chunks: u64,
    open: Option<PackBuilder>,
}

impl Builder<'_> {
    fn how(&self) -> How {
        How {
            naming: self.state.vault.store().crypt.naming(),
            encrypter: self.state.encrypter.clone(),
        }
    }

    /// The leaves that may differ from the parent's.
    fn touched(&self) -> RoaringBitmap {
        let mut touched = leaves_of(&self.state.spec.pending);
        if self.parent.chunk_count() != self.chunks && self.chunks > 0 {
            // The edge moved: what lies past it goes, and levels come or go above the first leaf.
            touched.insert(0);
            touched.insert(position(0, (self.chunks - 1) as u32));
        }
        touched
    }

    async fn leaves(&mut self) -> Result<Level> {
        let mut done = Level::new();
        let built = self.state.built_leaves.borrow().clone();
        let touched: Vec<u32> = self.touched().into_iter().collect();
        let mut left = Vec::new();
        for leaf in touched {
            match built.get(&leaf) {
                Some(node) => drop(done.insert(leaf, Some(*node))),
                None => left.push(leaf),
            }
        }
        for window in left.chunks(WINDOW_LEAVES) {
            let (mut leaves, parents) = self.bases(window).await?;
            self.fill(&mut leaves).await?;
            let mut leaves: Vec<(u32, Leaf)> = leaves.into_iter().collect();
            while !leaves.is_empty() {
                let some: Vec<_> = leaves.drain(..leaves.len().min(ENCODE_LEAVES)).collect();
                let some: Vec<_> = some
                    .into_iter()
                    .map(|(at, leaf)| (at, leaf, self.state.nonce()))
                    .collect();
                let how = self.how();
                let encoded = self
                    .state
                    .vault
                    .env()
                    .compute(move || encode_leaves(&how, some))
                    .await;
                for (leaf, encoded) in encoded {
                    let node = match encoded {
                        None => None,
                        Some(node) => match parents.get(&leaf) {
                            Some(parent) if parent.id == node.id => Some(*parent),
                            _ => Some(self.store(0, leaf, node).await?),
                        },
                    };
                    done.insert(leaf, node);
                }
            }
        }
        Ok(done)
    }

    /// The parent's leaves at these positions, cut at the disk's end, and the references to those that
    /// were read. A leaf of which every chunk is pending is not read but starts empty.
    async fn bases(&self, window: &[u32]) -> Result<(BTreeMap<u32, Leaf>, BTreeMap<u32, NodeRef>)> {
        let mut leaves: BTreeMap<u32, Leaf> = window
            .iter()
            .map(|leaf| (*leaf, TreeNode::empty_leaf()))
            .collect();
        let parent = &self.parent;
        let partial = window.iter().copied().filter(|leaf| {
            let all = chunks_of(0, *leaf, self.chunks);
            cardinality(&self.state.spec.pending, &all) < all.end - all.start
        });
        let wanted: Vec<(Place, NodeRef)> = stream::iter(partial)
            .map(|leaf| async move {
                let node = self
                    .state
                    .vault
                    .node_above(parent, 0, first_chunk(0, leaf) as u32)
                    .await?;
                Ok::<_, VaultError>(node.map(|node| {
                    (
                        Place {
                            level: 0,
                            position: leaf,
                        },
                        node,
                    )
                }))
            })
            .buffered(WIDTH)
            .try_filter_map(|found| async move { Ok(found) })
            .try_collect()
            .await?;
        for group in wanted.chunks(ENCODE_LEAVES) {
            for ((place, _), node) in group.iter().zip(self.state.vault.load(group).await) {
                let node = node?;
                let (end, base) = (
                    chunks_of(0, place.position, self.chunks),
                    leaf_entries(*place, &node)?,
                );
                let kept = (end.end - end.start) as usize;
                if let Some(leaf) = leaves.get_mut(&place.position) {
                    leaf[..kept].copy_from_slice(&base[..kept]);
                }
            }
        }
        let parents = wanted
            .into_iter()
            .map(|(place, node)| (place.position, node))
            .collect();
        Ok((leaves, parents))
    }

    /// Enters what the capture took into the leaves of a window.
    async fn fill(&self, leaves: &mut BTreeMap<u32, Leaf>) -> Result<()> {
        let wanted: RoaringBitmap = leaves.keys().copied().collect();
        let packs: Vec<PackId> = {
            let core = self.state.core.borrow();
            let matters = core
                .packs
                .iter()
                .filter(|(_, pack)| !pack.leaves.is_disjoint(&wanted));
            matters.map(|(id, _)| *id).collect()
        };
        let mut footers = stream::iter(packs)
            .map(|pack| self.state.spool.read_footer(pack))
            .buffer_unordered(WIDTH);
        while let Some(footer) = footers.next().await {
            for entry in footer?.entries {
                enter(leaves, &entry);
            }
        }
        Ok(())
    }

    /// The nodes of level `level` above touched ones.
    async fn inner(&mut self, level: u8, below: Level) -> Result<Level> {
        let mut touched: BTreeMap<u32, Vec<(u32, Option<NodeRef>)>> = BTreeMap::new();
        for (at, node) in below {
            touched.entry(at / FANOUT).or_default().push((at, node));
        }
        let mut done = Level::new();
        for (at, changed) in touched {
            let place = Place { level, position: at };
            let (mut nodes, parent) = self.base_children(place).await?;
            for (slot, child) in nodes.iter_mut().enumerate() {
                let below = place.child(slot);
                if first_chunk(below.level, below.position) >= self.chunks {
                    *child = None;
                }
            }
            for (below, node) in changed {
                nodes[inner_slot(below)] = node;
            }
            let node = TreeNode::Inner {
                level,
                children: nodes,
            };
            let reference = match (node.chunks(), parent) {
                (0, _) => None,
                (_, Some(parent)) if parent.id == node.id(&self.how().naming) => Some(parent),
                _ => {
                    let encoded = encode_one(&self.how(), &node, self.state.nonce());
                    Some(self.store(level, at, encoded).await?)
                }
            };
            done.insert(at, reference);
        }
        Ok(done)
    }

    /// The parent's children at a place, and its node there if it has one.
    async fn base_children(&self, place: Place) -> Result<(Box<[Option<NodeRef>]>, Option<NodeRef>)> {
        let vault = &self.state.vault;
        let first = first_chunk(place.level, place.position) as u32;
        let Some(node) = vault.node_above(&self.parent, place.level, first).await? else {
            // Zeros, or above the top of a smaller parent, whose top comes in as a changed child.
            return Ok((TreeNode::empty_children(), None));
        };
        let loaded: Vec<Arc<TreeNode>> = vault
            .load(&[(place, node)])
            .await
            .into_iter()
            .collect::<Result<_>>()?;
        match loaded.first() {
            Some(loaded) => Ok((children(place, loaded)?.into(), Some(node))),
            None => Ok((TreeNode::empty_children(), None)),
        }
    }

    /// Adds a node to the open tree pack.
    async fn store(&mut self, level: u8, position: u32, node: EncodedNode) -> Result<NodeRef> {
        let open = self.open.get_or_insert_with(|| {
            let (vault, id) = (self.state.vault.id(), self.state.new_pack_id());
            PackBuilder::new(vault, PackKind::Tree, id, self.state.options.pack_bytes)
        });
        let leaf_chunks = if level == 0 { node.chunks as u8 } else { 0 };
        let kind = EntryKind::Node {
            level,
            position,
            chunks: leaf_chunks,
        };
        let at = open.store(node.id.0, kind, node.codec, node.stored);
        if open.is_full() {
            self.close(true).await?;
        }
        Ok(NodeRef {
            id: node.id,
            chunks: node.chunks,
            at,
        })
    }

    /// Uploads the open tree pack, if there is one, and has the spool remember it if that is worth it.
    async fn close(&mut self, remember: bool) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let id = open.id();
        let (footer, body) = self.state.closed(open).await;
        self.state.put_pack(PackKind::Tree, id, &body).await?;
        let object_len = body.iter().map(|piece| piece.len() as u64).sum();
        let pack = TreePack {
            object_len,
            remembered: false,
        };
        self.state.tree_packs.borrow_mut().insert(id, pack);
        if remember {
            let bytes = body.last().cloned().unwrap_or_default();
            self.state.spool.remember_tree(id, bytes).await?;
            self.state.note_tree(&footer, object_len);
        }
        Ok(())
    }
}

fn cardinality(bitmap: &RoaringBitmap, range: &Range<u64>) -> u64 {
    if range.is_empty() {
        0
    } else {
        bitmap.range_cardinality(range.start as u32..=(range.end - 1) as u32)
    }
}

/// Enters one row where it belongs, if that is in the window.
fn enter(leaves: &mut BTreeMap<u32, Leaf>, entry: &Entry) {
    match (entry.kind, entry.at) {
        (EntryKind::Stored { index } | EntryKind::Copy { index } | EntryKind::Same { index }, Some(at)) => {
            if let Some(leaf) = leaves.get_mut(&position(0, index)) {
                leaf[leaf_slot(index)] = Some(LeafEntry {
                    id: crate::id::ChunkId(entry.id),
                    at,
                });
            }
        }
        (EntryKind::Zero { index, count }, _) => {
            let last = index + (count - 1);
            for (at, leaf) in leaves.range_mut(position(0, index)..=position(0, last)) {
                let first = first_chunk(0, *at);
                for (chunk, slot) in (first..first + u64::from(LEAF_SLOTS)).zip(leaf.iter_mut()) {
                    if (u64::from(index)..=u64::from(last)).contains(&chunk) {
                        *slot = None;
                    }
                }
            }
        }
        _ => {}
    }
}

struct EncodedNode {
    id: NodeId,
    chunks: u64,
    codec: Codec,
    stored: Bytes,
}

/// How nodes are named and encrypted.
struct How {
    naming: Naming,
    encrypter: Encrypter,
}

fn encode_one(how: &How, node: &TreeNode, nonce: BoxNonce) -> EncodedNode {
    let (id, plain) = encode_node(&how.naming, node);
    let (codec, stored) = codec::encode(&plain.into());
    let stored = encrypt_stored(&how.encrypter, PackKind::Tree, &id.0, nonce, stored);
    EncodedNode {
        id,
        chunks: node.chunks(),
        codec,
        stored,
    }
}

/// Encodes leaves; an empty one is `None`.
fn encode_leaves(how: &How, leaves: Vec<(u32, Leaf, BoxNonce)>) -> Vec<(u32, Option<EncodedNode>)> {
    let one = |(at, leaf, nonce): (u32, Leaf, BoxNonce)| {
        let node = TreeNode::Leaf(leaf);
        (at, (node.chunks() > 0).then(|| encode_one(how, &node, nonce)))
    };
    leaves.into_iter().map(one).collect()
}
