//! Walking many trees as one, in the order of chunks.
//!
//! At each place of the tree there are as many nodes as snapshots differ there: one, for most places of most disks. Each
//! of them is read once, with the set of the trees that it belongs to; a child's set is the union of its parents'.
//! A shallow tree (of a smaller disk) joins in at its top's level. A node counts as another one when it is stored
//! elsewhere, also with the same content: what is stored there must be readable, too.

use super::{Damage, Watch};
use crate::error::Result;
use crate::tree::{LeafEntry, NodeRef, Root, TreeNode, chunks_of, cover, first_chunk};
use crate::walk::{Place, children, leaf_entries};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use tidemark_env::LocalFuture;

/// Leaves read together: some megabytes.
const LEAVES: usize = 512;

/// Which trees have a thing: sorted indexes.
pub(crate) type Owners = Arc<[u32]>;

/// Takes what a walk finds.
pub(crate) trait Sink {
    /// A distinct chunk at `index`.
    fn chunk(&mut self, index: u32, entry: &LeafEntry, owners: &Owners);
    /// Nodes by their references, read where these say, or `None` for those that are noted as damaged.
    fn nodes<'a>(
        &'a mut self,
        wanted: &'a [(Place, Member)],
    ) -> LocalFuture<'a, Result<Vec<Option<Arc<TreeNode>>>>>;
    /// A node that was read and is not what its parent says.
    fn damaged(&mut self, damage: Damage);
    /// All below chunk `next` was given, about this part of all. `false`: stop here.
    fn passed(&mut self, next: u64, part: f64) -> LocalFuture<'_, Result<bool>>;
}

/// A distinct node at a place, and the trees that it belongs to.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) node: NodeRef,
    pub(crate) owners: Owners,
}

/// Things at one place, each once, with whose they are.
struct Distinct<T> {
    groups: Vec<(T, Vec<u32>)>,
    index: HashMap<T, usize>,
    last: usize,
}

impl<T: Copy + Eq + Hash> Distinct<T> {
    fn new() -> Self {
        Self {
            groups: Vec::new(),
            index: HashMap::new(),
            last: 0,
        }
    }

    fn add(&mut self, thing: T, parent: u32) {
        // Neighbours in age mostly have the same.
        let at = match self.groups.get(self.last) {
            Some((last, _)) if *last == thing => self.last,
            _ => *self.index.entry(thing).or_insert(self.groups.len()),
        };
        match self.groups.get_mut(at) {
            Some((_, parents)) => parents.push(parent),
            None => self.groups.push((thing, vec![parent])),
        }
        self.last = at;
    }
}

/// The unions of some members' owners, made once each.
#[derive(Default)]
struct Unions(HashMap<Vec<u32>, Owners>);

impl Unions {
    fn of(&mut self, members: &[(Place, Member)], which: Vec<u32>) -> Owners {
        if let [one] = which[..] {
            return Arc::clone(&members[one as usize].1.owners);
        }
        let make = |which: &Vec<u32>| {
            let mut all: Vec<u32> = which
                .iter()
                .flat_map(|at| members[*at as usize].1.owners.iter().copied())
                .collect();
            all.sort_unstable();
            all.dedup();
            Owners::from(all)
        };
        if let Some(known) = self.0.get(&which) {
            return Arc::clone(known);
        }
        let made = make(&which);
        self.0.insert(which, Arc::clone(&made));
        made
    }
}

struct Walk<'a, S> {
    roots: &'a [Root],
    from: u64,
    watch: &'a dyn Watch,
    sink: &'a mut S,
}

/// Gives the sink all that the trees have from chunk `from` on. Where it stopped, if the sink stopped it.
pub(crate) async fn walk<S: Sink>(
    roots: &[Root],
    from: u64,
    watch: &dyn Watch,
    sink: &mut S,
) -> Result<Option<u64>> {
    let top = roots.iter().filter(|root| root.top().is_some());
    let Some(level) = top.map(|root| root.depth() - 1).max() else {
        return Ok(None);
    };
    let mut walk = Walk {
        roots,
        from,
        watch,
        sink,
    };
    let place = Place { level, position: 0 };
    let tops = walk.tops(level);
    let stopped = walk.enter(vec![(place, tops, 1.0)], 0.0).await?;
    match stopped {
        Some(next) => Ok(Some(next)),
        None => {
            walk.sink.passed(u64::MAX, 1.0).await?;
            Ok(None)
        }
    }
}

/// A place, the distinct nodes there, and which part of all is below it.
type Below = (Place, Vec<Member>, f64);

impl<S: Sink> Walk<'_, S> {
    /// The distinct tops of this level.
    fn tops(&self, level: u8) -> Vec<Member> {
        let mut distinct = Distinct::new();
        for (index, root) in (0..).zip(self.roots) {
            if let Some(top) = root.top()
                && root.depth() - 1 == level
            {
                distinct.add(*top, index);
            }
        }
        let groups = distinct.groups.into_iter();
        groups
            .map(|(node, owners)| Member {
                node,
                owners: owners.into(),
            })
            .collect()
    }

    fn has_shallower(&self, level: u8) -> bool {
        self.roots
            .iter()
            .any(|root| root.top().is_some() && root.depth() - 1 < level)
    }

    /// Visits places of one level, in order; `part` of all lies before them.
    fn enter(&mut self, places: Vec<Below>, part: f64) -> LocalFuture<'_, Result<Option<u64>>> {
        Box::pin(async move {
            if places.first().is_some_and(|(place, ..)| place.level == 0) {
                return self.leaves(places, part).await;
            }
            let mut part = part;
            for (place, members, share) in places {
                let below = self.children(place, members, share).await?;
                if let Some(next) = self.enter(below, part).await? {
                    return Ok(Some(next));
                }
                part += share;
            }
            Ok(None)
        })
    }

    /// The places below one, with the distinct nodes there.
    async fn children(&mut self, place: Place, members: Vec<Member>, share: f64) -> Result<Vec<Below>> {
        let members: Vec<(Place, Member)> = members.into_iter().map(|member| (place, member)).collect();
        let nodes = self.read(&members).await?;
        let mut loaded: Vec<(u32, &[Option<NodeRef>])> = Vec::new();
        for (at, node) in (0..).zip(&nodes) {
            if let Some(node) = node {
                loaded.push((at, children(place, node)?));
            }
        }
        let mut unions = Unions::default();
        let mut below: Vec<Below> = Vec::new();
        for slot in 0..crate::tree::FANOUT as usize {
            let child = place.child(slot);
            let mut distinct = Distinct::new();
            for (at, slots) in &loaded {
                if let Some(node) = slots[slot] {
                    distinct.add(node, *at);
                }
            }
            let mut there: Vec<Member> = distinct
                .groups
                .into_iter()
                .map(|(node, parents)| Member {
                    node,
                    owners: unions.of(&members, parents),
                })
                .collect();
            if child.position == 0 {
                there.extend(self.tops(child.level));
            }
            let end = first_chunk(child.level, child.position) + cover(child.level);
            // Also when nothing is there: a shallower tree has its top somewhere below.
            let leads = child.position == 0 && self.has_shallower(child.level);
            if (leads || !there.is_empty()) && end > self.from {
                let weight: u64 = there.iter().map(|member| member.node.chunks).sum();
                below.push((child, there, weight as f64));
            }
        }
        let total: f64 = below.iter().map(|(_, _, weight)| weight).sum();
        for (_, _, weight) in &mut below {
            *weight *= share / total.max(1.0);
        }
        Ok(below)
    }

    async fn leaves(&mut self, places: Vec<Below>, part: f64) -> Result<Option<u64>> {
        let (mut batch, mut part, mut done) = (Vec::new(), part, part);
        let mut places = places.into_iter().peekable();
        while let Some((place, members, share)) = places.next() {
            batch.extend(members.into_iter().map(|member| (place, member)));
            done += share;
            if batch.len() < LEAVES && places.peek().is_some() {
                continue;
            }
            let gathered = std::mem::take(&mut batch);
            if let Some(next) = self.leaf_batch(gathered, part, done).await? {
                return Ok(Some(next));
            }
            part = done;
        }
        Ok(None)
    }

    /// Gives the sink the chunks of leaves; those of one place stand together.
    async fn leaf_batch(&mut self, members: Vec<(Place, Member)>, from: f64, to: f64) -> Result<Option<u64>> {
        let nodes = self.read(&members).await?;
        let mut at = 0;
        while let Some((place, _)) = members.get(at) {
            let place = *place;
            let end = at + members[at..].partition_point(|(other, _)| *other == place);
            let (group, nodes) = (&members[at..end], &nodes[at..end]);
            let mut loaded: Vec<(u32, &[Option<LeafEntry>])> = Vec::new();
            for (at, node) in (0..).zip(nodes) {
                if let Some(node) = node {
                    loaded.push((at, leaf_entries(place, node)?));
                }
            }
            let mut unions = Unions::default();
            for (slot, index) in (0..).zip(chunks_of(0, place.position, u64::from(u32::MAX) + 1)) {
                if index < self.from {
                    continue;
                }
                let mut distinct = Distinct::new();
                for (at, slots) in &loaded {
                    let slots: &[Option<LeafEntry>] = slots;
                    if let Some(entry) = slots.get(slot as usize).copied().flatten() {
                        distinct.add(entry, *at);
                    }
                }
                for (entry, parents) in distinct.groups {
                    let owners = unions.of(group, parents);
                    self.sink.chunk(index as u32, &entry, &owners);
                }
            }
            at = end;
            let next = first_chunk(0, place.position) + cover(0);
            let part = from + (to - from) * at as f64 / members.len() as f64;
            if !self.sink.passed(next, part).await? {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Reads nodes of one level, and checks that they are what their parents say.
    async fn read(&mut self, members: &[(Place, Member)]) -> Result<Vec<Option<Arc<TreeNode>>>> {
        let bytes = members
            .iter()
            .map(|(_, member)| u64::from(member.node.at.stored_len));
        self.watch.may_read(bytes.sum()).await;
        let mut nodes = self.sink.nodes(members).await?;
        for ((place, member), slot) in members.iter().zip(&mut nodes) {
            let Some(node) = slot else { continue };
            let wrong = if node.level() != place.level {
                format!(
                    "it is of level {}, where level {} belongs",
                    node.level(),
                    place.level
                )
            } else if node.chunks() != member.node.chunks {
                let (found, told) = (node.chunks(), member.node.chunks);
                format!("it has {found} chunks, where its parent says {told}")
            } else {
                continue;
            };
            *slot = None;
            self.sink.damaged(Damage::of_node(*place, member, wrong));
        }
        Ok(nodes)
    }
}
