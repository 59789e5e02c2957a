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
        let mut due = vec![vec![Pair {
            place: top,
            a: Side::of(a, top),
            b: Side::of(b, top),
        }]];
        while let Some(group) = due.pop() {
            let below = self.compare(&group, &mut differing).await?;
            // The first one last, so that it is next: at most one group of each level has its children here.
            due.extend(below.chunks(COMPARED).rev().map(<[Pair]>::to_vec));
        }
        let chunks = a.chunk_count().max(b.chunk_count());
        if chunks <= u64::from(u32::MAX) {
            differing.remove_range(chunks as u32..);
        }
        Ok(differing)
    }

    /// Compares places of one level, whose nodes are fetched together. Answers the pairs below that differ.
    async fn compare(&self, group: &[Pair], differing: &mut RoaringBitmap) -> Result<Vec<Pair>> {
        let differ: Vec<&Pair> = group.iter().filter(|pair| pair.a != pair.b).collect();
        let wanted: Vec<(Place, NodeRef)> = differ
            .iter()
            .flat_map(|pair| [pair.a, pair.b].map(|side| (pair.place, side)))
            .filter_map(|(place, side)| Some((place, side.node()?)))
            .collect();
        let mut loaded = self.load(&wanted).await.into_iter();
        let mut below = Vec::new();
        for pair in differ {
            let mut side = |side: Side| match side.node() {
                Some(_) => loaded.next().transpose(),
                None => Ok(None),
            };
            let (a, b) = (side(pair.a)?, side(pair.b)?);
            if pair.place.level == 0 {
                let (a, b) = (
                    entries_of(pair.place, a.as_deref())?,
                    entries_of(pair.place, b.as_deref())?,
                );
                let id = |entry: &Option<LeafEntry>| entry.map(|entry| entry.id);
                for (index, (a, b)) in (first_chunk(0, pair.place.position)..).zip(a.iter().zip(&b)) {
                    if id(a) != id(b) {
                        insert(differing, index..index + 1);
                    }
                }
                continue;
            }
            let a = pair.a.below(pair.place, a.as_deref())?;
            let b = pair.b.below(pair.place, b.as_deref())?;
            let children = a.into_iter().zip(b).enumerate().filter(|(_, (a, b))| a != b);
            below.extend(children.map(|(slot, (a, b))| Pair {
                place: pair.place.child(slot),
                a,
                b,
            }));
        }
        Ok(below)
    }
}

/// Pairs of nodes that are compared at once: their nodes are at most 24 KiB each.
const COMPARED: usize = 256;

/// The entries of a leaf; without one, zeros.
fn entries_of(place: Place, leaf: Option<&TreeNode>) -> Result<Vec<Option<LeafEntry>>> {
    match leaf {
        Some(leaf) => leaf_entries(place, leaf).map(<[_]>::to_vec),
        None => Ok(TreeNode::empty_leaf().to_vec()),
    }
}

/// A place in two trees.
#[derive(Clone, Copy, Debug)]
struct Pair {
    place: Place,
    a: Side,
    b: Side,
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
    /// The node there, if there is one.
    fn node(self) -> Option<NodeRef> {
        match self {
            Side::Node(node) => Some(node),
            Side::Zeros | Side::Above { .. } => None,
        }
    }

    /// What is below `place`, slot by slot. `loaded` is the node there, if there is one.
    fn below(self, place: Place, loaded: Option<&TreeNode>) -> Result<Vec<Side>> {
        let mut sides = vec![Side::Zeros; FANOUT as usize];
        if let Side::Above { level, top } = self {
            sides[0] = if level == place.level - 1 {
                Side::Node(top)
            } else {
                self
            };
        }
        if let Some(loaded) = loaded {
            for (side, child) in sides.iter_mut().zip(children(place, loaded)?) {
                *side = child.map_or(Side::Zeros, Side::Node);
            }
        }
        Ok(sides)
    }

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
