//! One walk over the trees of all snapshots at once, from the tops down.
//!
//! Nodes of a level that are due are a *front*: each stored copy once, with the snapshots that reach it. Reading a front
//! gives the next, one level down, where copies that several nodes refer to meet again and their holders add
//! up. So a shared subtree is read once, and the holders of a chunk are known when its leaf is.
//!
//! A front is read in the order of its nodes' oldest holders: nodes that were written together lie together, and
//! few large reads bring them. A front that would grow too large is cut in two by place and its halves are walked one
//! after the other; a copy that both reach is then read twice, and its holders add up in the table.

use super::Live;
use super::holders::{Run, Runs, Table};
use super::places::Places;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::pack::PackKind;
use crate::tree::{NodeRef, TreeNode};
use crate::vault::Vault;
use crate::walk::{Place, children, leaf_entries};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How much is in memory on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Nodes of a front before it is cut: 130 bytes each.
    front: usize,
    /// Decoded nodes at once: at most 24 KiB each.
    read: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            front: 1 << 16,
            read: 512,
        }
    }
}

#[cfg(test)]
impl Bounds {
    pub(super) fn tiny() -> Self {
        Self { front: 2, read: 3 }
    }
}

/// A stored copy of a node, and who reaches it.
struct Due {
    place: Place,
    node: NodeRef,
    holders: Runs,
}

/// By pack number and offset.
type Front = HashMap<(u32, u32), Due>;

pub(super) struct Walk<'a> {
    vault: &'a Vault,
    places: &'a mut Places,
    pub(super) table: Table,
    bounds: Bounds,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        vault: &'a Vault,
        places: &'a mut Places,
        from: u32,
        table_bytes: u64,
        bounds: Bounds,
    ) -> Self {
        let table = Table::new(from, places.pack_count(), table_bytes);
        Self {
            vault,
            places,
            table,
            bounds,
        }
    }

    /// Fills the table, as far as everything is where it is known to be.
    pub(super) async fn run(&mut self, live: &[Live]) -> Result<()> {
        for (_, tops) in self.tops(live)? {
            let mut due = vec![self.sorted(tops)];
            while let Some(front) = due.pop() {
                self.step(front, &mut due).await?;
            }
        }
        Ok(())
    }

    /// The trees' tops, by level.
    fn tops(&mut self, live: &[Live]) -> Result<BTreeMap<u8, Front>> {
        let mut tops: BTreeMap<u8, Front> = BTreeMap::new();
        for (number, one) in (0..).zip(live) {
            if let Some(top) = one.root.top() {
                let place = Place::top_of(&one.root);
                let (front, run) = (
                    tops.entry(place.level).or_default(),
                    Run {
                        start: number,
                        end: number + 1,
                    },
                );
                self.reach(front, place, *top, [run].into_iter())?;
            }
        }
        Ok(tops)
    }

    /// Takes up that these snapshots reach a node.
    fn reach(
        &mut self,
        front: &mut Front,
        place: Place,
        mut node: NodeRef,
        by: impl Iterator<Item = Run>,
    ) -> Result<()> {
        let Some((copy, at)) = self.places.find(PackKind::Tree, node.id.0, node.at) else {
            if self.places.has_unknown() {
                return Ok(());
            }
            let subject = format!("{}: tree node {}", place.name(), node.id);
            let cause = "no pack holds it";
            return Err(VaultError::new(
                VaultErrorKind::Missing,
                "account for space",
                subject,
                cause,
            ));
        };
        node.at = at;
        let mut by = by;
        let Some(first) = by.next() else { return Ok(()) };
        let holders = match front.entry((copy.pack, at.offset)) {
            std::collections::hash_map::Entry::Occupied(due) => {
                let holders = &mut due.into_mut().holders;
                holders.add(first);
                holders
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                let holders = Runs::one(first);
                &mut free.insert(Due { place, node, holders }).holders
            }
        };
        by.for_each(|run| holders.add(run));
        Ok(())
    }

    /// A finished front, its copies noted, in the order in which it is read.
    fn sorted(&mut self, front: Front) -> Vec<Due> {
        let mut due: Vec<((u32, u32), Due)> = front.into_iter().collect();
        for (_, one) in &mut due {
            one.holders.tidy();
            if let Some((copy, _)) = self.places.find(PackKind::Tree, one.node.id.0, one.node.at) {
                self.table.hold(copy, one.holders.iter());
            }
        }
        due.sort_unstable_by_key(|(at, one)| (one.holders.first(), *at));
        due.into_iter().map(|(_, one)| one).collect()
    }

    /// Reads a front, all of one level, and adds what is below it to what is due.
    async fn step(&mut self, front: Vec<Due>, due: &mut Vec<Vec<Due>>) -> Result<()> {
        let Some(level) = front.first().map(|one| one.place.level) else {
            return Ok(());
        };
        let can_cut = front.iter().any(|one| one.place != front[0].place);
        let mut below = Front::new();
        for group in front.chunks(self.bounds.read) {
            for (one, node) in group.iter().zip(self.read(group).await?) {
                if level == 0 {
                    self.leaf(one, &node)?;
                    continue;
                }
                let filled = children(one.place, &node)?.iter().enumerate();
                for (slot, child) in filled.filter_map(|(slot, child)| Some((slot, (*child)?))) {
                    self.reach(&mut below, one.place.child(slot), child, one.holders.iter())?;
                }
            }
            if below.len() > self.bounds.front && can_cut {
                due.extend(cut(front));
                return Ok(());
            }
        }
        due.push(self.sorted(below));
        Ok(())
    }

    /// Nodes where they are said to be, past the cache: another copy of the same content may name other packs.
    async fn read(&self, group: &[Due]) -> Result<Vec<Arc<TreeNode>>> {
        let names: Vec<_> = group.iter().map(|one| (one.node.id, one.node.at)).collect();
        let nodes = self.vault.nodes().get_exact(&names).await;
        let named = |(one, node): (&Due, Result<_>)| node.map_err(|error| error.within(one.place.name()));
        group.iter().zip(nodes).map(named).collect()
    }

    fn leaf(&mut self, leaf: &Due, node: &TreeNode) -> Result<()> {
        for entry in leaf_entries(leaf.place, node)?.iter().flatten() {
            if let Some((copy, _)) = self.places.find(PackKind::Data, entry.id.0, entry.at) {
                self.table.hold(copy, leaf.holders.iter());
            }
        }
        Ok(())
    }
}

/// A front in two parts by place, the first one last: it is walked next.
fn cut(mut front: Vec<Due>) -> [Vec<Due>; 2] {
    let mut positions: Vec<u32> = front.iter().map(|one| one.place.position).collect();
    positions.sort_unstable();
    positions.dedup();
    let middle = positions[positions.len() / 2];
    let first = front.extract_if(.., |one| one.place.position < middle).collect();
    [front, first]
}
