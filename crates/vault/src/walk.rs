//! Walking trees: looking one chunk up, listing what is there, comparing two.
//!
//! Nodes of one level that are asked for together are fetched together, so a whole walk costs few
//! reads; what is known from an inner node alone (an empty or a full subtree) is not descended into.

use crate::error::{Result, VaultError};
use crate::fetch::Reach;
use crate::tree::{
    FANOUT, LeafEntry, NodeRef, Root, TreeNode, chunks_of, cover, first_chunk, inner_slot, position,
};
use crate::vault::Vault;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use tidemark_env::LocalFuture;

/// A node's place in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) level: u8,
    pub(crate) position: u32,
}

impl Place {
    pub(crate) fn child(self, slot: usize) -> Place {
        Place {
            level: self.level - 1,
            position: self.position * crate::tree::FANOUT + slot as u32,
        }
    }

    pub(crate) fn top_of(root: &Root) -> Place {
        Place {
            level: root.depth() - 1,
            position: 0,
        }
    }

    pub(crate) fn name(self) -> String {
        let first = first_chunk(self.level, self.position);
        format!("chunks {first}..{}", first + cover(self.level))
    }
}

fn wrong_level(place: Place, found: &TreeNode) -> VaultError {
    let cause = format!(
        "a node of level {} where level {} belongs",
        found.level(),
        place.level
    );
    VaultError::corrupt("read tree", place.name(), cause)
}

/// The children of an inner node, or the error that it is none of that level.
pub(crate) fn children(place: Place, node: &TreeNode) -> Result<&[Option<NodeRef>]> {
    match node {
        TreeNode::Inner { level, children } if *level == place.level => Ok(children),
        other => Err(wrong_level(place, other)),
    }
}

/// The entries of a leaf, or the error that it is none.
pub(crate) fn leaf_entries(place: Place, node: &TreeNode) -> Result<&[Option<LeafEntry>]> {
    match node {
        TreeNode::Leaf(entries) if place.level == 0 => Ok(entries),
        other => Err(wrong_level(place, other)),
    }
}

impl Vault {
    /// Nodes by their references, each with its place (for errors), in the same order.
    pub(crate) async fn load(&self, wanted: &[(Place, NodeRef)]) -> Vec<Result<Arc<TreeNode>>> {
        let names: Vec<_> = wanted.iter().map(|(_, node)| (node.id, node.at)).collect();
        let reach = match wanted {
            // A step down: the next one is likely to be stored just before.
            [(place, _)] if place.level > 0 => Reach::Behind,
            _ => Reach::Near,
        };
        let nodes = self.nodes().get_within(&names, reach).await;
        let named = |((place, _), node): (&(Place, NodeRef), Result<_>)| {
            node.map_err(|error: VaultError| error.within(place.name()))
        };
        wanted.iter().zip(nodes).map(named).collect()
    }

    /// The node of `level` above chunk `index`; `None` when all below it is zeros.
    pub(crate) async fn node_above(&self, root: &Root, level: u8, index: u32) -> Result<Option<NodeRef>> {
        let mut place = Place::top_of(root);
        if level > place.level || position(place.level, index) != 0 {
            return Ok(None);
        }
        let mut at = root.top().copied();
        while let (Some(node), true) = (at, place.level > level) {
            let loaded = self.load(&[(place, node)]).await.pop();
            let Some(loaded) = loaded.transpose()? else {
                return Ok(None);
            };
            let slot = inner_slot(position(place.level - 1, index));
            at = children(place, &loaded)?[slot];
            place = place.child(slot);
        }
        Ok(at)
    }

    /// The leaves at `positions` that are not all zeros, each with its position: those of one parent are fetched
    /// together, in few reads. What cannot be had is left out: this is for those who look ahead.
    pub(crate) async fn leaves_ahead(
        &self,
        root: &Root,
        positions: impl IntoIterator<Item = u32>,
    ) -> Vec<(u32, Arc<TreeNode>)> {
        let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for leaf in positions {
            parents.entry(leaf / FANOUT).or_default().push(leaf);
        }
        let mut wanted: Vec<(Place, NodeRef)> = Vec::new();
        for (parent, leaves) in parents {
            let at = |position| Place { level: 0, position };
            if root.depth() == 1 {
                wanted.extend(root.top().map(|top| (at(0), *top)));
                continue;
            }
            let above = self.node_above(root, 1, first_chunk(1, parent) as u32).await;
            let Ok(Some(above)) = above else { continue };
            let place = Place {
                level: 1,
                position: parent,
            };
            let Some(Ok(node)) = self.load(&[(place, above)]).await.pop() else {
                continue;
            };
            let Ok(children) = children(place, &node) else {
                continue;
            };
            let found = leaves
                .into_iter()
                .filter_map(|leaf| Some((at(leaf), children[inner_slot(leaf)]?)));
            wanted.extend(found);
        }
        let loaded = self.load(&wanted).await;
        let good = |((place, _), node): (&(Place, NodeRef), Result<Arc<TreeNode>>)| {
            node.ok()
                .filter(|node| leaf_entries(*place, node).is_ok())
                .map(|node| (place.position, node))
        };
        wanted.iter().zip(loaded).filter_map(good).collect()
    }

    /// The leaf that holds chunk `index`, `None` when it is all zeros.
    pub(crate) async fn leaf(&self, root: &Root, index: u32) -> Result<Option<Arc<TreeNode>>> {
        let Some(node) = self.node_above(root, 0, index).await? else {
            return Ok(None);
        };
        let place = Place {
            level: 0,
            position: position(0, index),
        };
        let loaded = self.load(&[(place, node)]).await.pop().transpose()?;
        if let Some(loaded) = &loaded {
            leaf_entries(place, loaded)?;
        }
        Ok(loaded)
    }

    /// The chunks in `range` that are not zeros. Fetches tree nodes only.
    pub async fn non_zero_chunks(&self, root: &Root, range: Range<u32>) -> Result<RoaringBitmap> {
        let mut found = RoaringBitmap::new();
        if let Some(top) = root.top() {
            self.gather(root.chunk_count(), Place::top_of(root), *top, &range, &mut found)
                .await?;
        }
        Ok(found)
    }

    fn gather<'a>(
        &'a self,
        disk_chunks: u64,
        place: Place,
        node: NodeRef,
        range: &'a Range<u32>,
        found: &'a mut RoaringBitmap,
    ) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            let within = |place: Place| {
                let all = chunks_of(place.level, place.position, disk_chunks);
                all.start.max(range.start.into())..all.end.min(range.end.into())
            };
            let all = chunks_of(place.level, place.position, disk_chunks);
            if node.chunks == all.end - all.start {
                insert(found, within(place));
                return Ok(());
            }
            let mut nodes = self.load(&[(place, node)]).await;
            let Some(loaded) = nodes.pop().transpose()? else {
                return Ok(());
            };
            if place.level == 0 {
                let first = first_chunk(0, place.position);
                for (index, entry) in (first..).zip(leaf_entries(place, &loaded)?) {
                    if entry.is_some() && within(place).contains(&index) {
                        insert(found, index..index + 1);
                    }
                }
                return Ok(());
            }
            let wanted: Vec<(Place, NodeRef)> = children(place, &loaded)?
                .iter()
                .enumerate()
                .filter_map(|(slot, child)| Some((place.child(slot), (*child)?)))
                .filter(|(place, _)| !within(*place).is_empty())
                .collect();
            self.warm(disk_chunks, &wanted).await;
            for (place, child) in wanted {
                self.gather(disk_chunks, place, child, range, found).await?;
            }
            Ok(())
        })
    }

    /// Fetches leaves that are about to be visited one by one in few large reads.
    async fn warm(&self, disk_chunks: u64, wanted: &[(Place, NodeRef)]) {
        let worth: Vec<_> = wanted
            .iter()
            .filter(|(place, node)| {
                let all = chunks_of(place.level, place.position, disk_chunks);
                place.level == 0 && node.chunks < all.end - all.start
            })
            .copied()
            .collect();
        // Errors come again, with their names, when the leaf is visited.
        drop(self.load(&worth).await);
    }

    /// The chunks whose content differs between two roots; `None` is a disk of zeros. Only subtrees
    /// that are not shared are read. A chunk past the smaller disk's end differs if it is not zeros.
    pub async fn diff(&self, a: Option<&Root>, b: Option<&Root>) -> Result<RoaringBitmap> {
        let zeros = Root::zeros(0);
        let (a, b) = (a.unwrap_or(&zeros), b.unwrap_or(&zeros));
        let top = if a.depth() > b.depth() {
            Place::top_of(a)
        } else {
            Place::top_of(b)
        };
        let mut differing = RoaringBitmap::new();
        self.compare(top, Side::of(a, top), Side::of(b, top), &mut differing)
            .await?;
        let chunks = a.chunk_count().max(b.chunk_count());
        if chunks <= u64::from(u32::MAX) {
            differing.remove_range(chunks as u32..);
        }
        Ok(differing)
    }

    fn compare<'a>(
        &'a self,
        place: Place,
        a: Side,
        b: Side,
        differing: &'a mut RoaringBitmap,
    ) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            if a == b {
                return Ok(());
            }
            if place.level == 0 {
                let (a, b) = (
                    self.side_entries(place, a).await?,
                    self.side_entries(place, b).await?,
                );
                let id = |entry: Option<LeafEntry>| entry.map(|entry| entry.id);
                for (index, (a, b)) in (first_chunk(0, place.position)..).zip(a.into_iter().zip(b)) {
                    if id(a) != id(b) {
                        insert(differing, index..index + 1);
                    }
                }
                return Ok(());
            }
            let (a, b) = (
                self.side_children(place, a).await?,
                self.side_children(place, b).await?,
            );
            let pairs = || a.iter().zip(&b).enumerate().filter(|(_, (a, b))| a != b);
            let wanted: Vec<(Place, NodeRef)> = pairs()
                .flat_map(|(slot, (a, b))| [(slot, a), (slot, b)])
                .filter_map(|(slot, side)| match side {
                    Side::Node(node) if place.level == 1 => Some((place.child(slot), *node)),
                    _ => None,
                })
                .collect();
            drop(self.load(&wanted).await);
            for (slot, (a, b)) in pairs() {
                self.compare(place.child(slot), *a, *b, differing).await?;
            }
            Ok(())
        })
    }

    async fn side_entries(&self, place: Place, side: Side) -> Result<Vec<Option<LeafEntry>>> {
        match side {
            Side::Node(node) => match self.load(&[(place, node)]).await.pop().transpose()? {
                Some(loaded) => Ok(leaf_entries(place, &loaded)?.to_vec()),
                None => Ok(TreeNode::empty_leaf().to_vec()),
            },
            Side::Zeros | Side::Above { .. } => Ok(TreeNode::empty_leaf().to_vec()),
        }
    }

    async fn side_children(&self, place: Place, side: Side) -> Result<Vec<Side>> {
        let mut sides = vec![Side::Zeros; crate::tree::FANOUT as usize];
        match side {
            Side::Zeros => {}
            Side::Above { level, top } => {
                sides[0] = if level == place.level - 1 {
                    Side::Node(top)
                } else {
                    Side::Above { level, top }
                };
            }
            Side::Node(node) => {
                if let Some(loaded) = self.load(&[(place, node)]).await.pop().transpose()? {
                    for (side, child) in sides.iter_mut().zip(children(place, &loaded)?) {
                        *side = child.map_or(Side::Zeros, Side::Node);
                    }
                }
            }
        }
        Ok(sides)
    }
}

/// One of two trees under comparison, at some place.
#[derive(Clone, Copy, Debug)]
enum Side {
    Zeros,
    Node(NodeRef),
    /// Above the top of the shallower tree: only its leftmost descendant of `level` exists.
    Above {
        level: u8,
        top: NodeRef,
    },
}

impl PartialEq for Side {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Side::Zeros, Side::Zeros) => true,
            (Side::Node(a), Side::Node(b)) => a.id == b.id,
            _ => false,
        }
    }
}

impl Side {
    fn of(root: &Root, top: Place) -> Side {
        let level = Place::top_of(root).level;
        match root.top() {
            None => Side::Zeros,
            Some(node) if level == top.level => Side::Node(*node),
            Some(node) => Side::Above { level, top: *node },
        }
    }
}

/// Chunk numbers past 2^32 exist in no disk, only in the arithmetic at the end of the largest one.
fn insert(bitmap: &mut RoaringBitmap, range: Range<u64>) {
    if range.start < range.end {
        bitmap.insert_range(range.start as u32..=(range.end - 1).min(u64::from(u32::MAX)) as u32);
    }
}
