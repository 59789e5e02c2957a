//! Marking: which stored chunks and nodes some roots reach, pack by pack.
//!
//! Each stored copy of a node is read where it is said to be, not from the cache: another copy of the same content may name
//! other packs. Anything that cannot be read ends the marking with an error: what it refers to would be unknown.
//!
//! Memory: some 30 bytes per tree node, and for each pack some dozens and a bit per row.

use super::forward::Forward;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::id::PackId;
use crate::key;
use crate::locate::Effort;
use crate::pack::{Location, PackKind};
use crate::tree::{NodeRef, Root, TreeNode};
use crate::vault::Vault;
use crate::walk::{Place, children, leaf_entries};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use tidemark_env::LocalFuture;

/// Forwards of forwards that are followed.
pub(crate) const FORWARDS_MAX: usize = 64;

/// What is reachable.
#[derive(Default)]
pub(crate) struct Marked {
    /// Packs that were listed before the marking.
    listed: HashSet<PackId>,
    /// Packs that have a forward; its content once it was needed.
    forwards: HashMap<PackId, Option<Rc<Forward>>>,
    /// Forwards that something needs.
    followed: HashSet<PackId>,
    /// Stored copies of nodes that were visited, by pack and offset.
    nodes: HashSet<(PackId, u32)>,
    packs: HashMap<PackId, LiveRows>,
}

/// What is reachable of one pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveRows {
    /// Stored bytes of the rows below.
    pub bytes: u64,
    /// One bit for each row of its table.
    bits: Vec<u64>,
}

impl LiveRows {
    fn insert(&mut self, ordinal: u16) -> bool {
        let (word, bit) = (usize::from(ordinal) / 64, 1 << (ordinal % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        new
    }

    /// Whether this row is reachable.
    pub fn has(&self, ordinal: u16) -> bool {
        let word = self.bits.get(usize::from(ordinal) / 64);
        word.is_some_and(|word| word & (1 << (ordinal % 64)) != 0)
    }

    /// How many rows are.
    pub fn rows(&self) -> u64 {
        self.bits.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

impl Marked {
    pub(crate) fn new(listed: HashSet<PackId>, forwarded: impl Iterator<Item = PackId>) -> Self {
        Self {
            listed,
            forwards: forwarded.map(|pack| (pack, None)).collect(),
            ..Self::default()
        }
    }

    /// What is reachable of a pack, if anything is.
    pub(crate) fn live(&self, pack: &PackId) -> Option<&LiveRows> {
        self.packs.get(pack)
    }

    /// Whether a reference led through the pack's forward.
    pub(crate) fn followed(&self, pack: &PackId) -> bool {
        self.followed.contains(pack)
    }

    /// Whether the pack had a forward when the marking began.
    pub(crate) fn has_forward(&self, pack: &PackId) -> bool {
        self.forwards.contains_key(pack)
    }

    /// Stored bytes of all that is reachable.
    pub(crate) fn bytes(&self) -> u64 {
        self.packs.values().map(|pack| pack.bytes).sum()
    }

    pub(crate) fn into_packs(self) -> HashMap<PackId, LiveRows> {
        self.packs
    }

    fn mark(&mut self, at: &Location) {
        let pack = self.packs.entry(at.pack).or_default();
        if pack.insert(at.ordinal) {
            pack.bytes += u64::from(at.stored_len);
        }
    }
}

impl Vault {
    /// Marks what a root reaches.
    pub(crate) async fn mark_root(&self, root: &Root, marked: &mut Marked) -> Result<()> {
        match root.top() {
            Some(top) => self.mark_nodes(vec![(Place::top_of(root), *top)], marked).await,
            None => Ok(()),
        }
    }

    /// Marks what some nodes of one level reach, and these themselves.
    fn mark_nodes<'a>(
        &'a self,
        group: Vec<(Place, NodeRef)>,
        marked: &'a mut Marked,
    ) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut new: Vec<(Place, NodeRef)> = Vec::new();
            for (place, mut node) in group {
                node.at = self.existing(marked, PackKind::Tree, node.id.0, node.at).await?;
                marked.mark(&node.at);
                if marked.nodes.insert((node.at.pack, node.at.offset)) {
                    new.push((place, node));
                }
            }
            let names: Vec<_> = new.iter().map(|(_, node)| (node.id, node.at)).collect();
            for ((place, reference), node) in new.iter().zip(self.nodes().get_exact(&names).await) {
                let node = match node {
                    Err(error) if error.kind == VaultErrorKind::Missing => {
                        self.moved_since(reference, marked, error).await
                    }
                    done => done,
                };
                let node = node.map_err(|error| error.within(place.name()))?;
                if place.level == 0 {
                    for entry in leaf_entries(*place, &node)?.iter().flatten() {
                        let at = self
                            .existing(marked, PackKind::Data, entry.id.0, entry.at)
                            .await?;
                        marked.mark(&at);
                    }
                    continue;
                }
                let below = children(*place, &node)?.iter().enumerate();
                let below = below.filter_map(|(slot, child)| Some((place.child(slot), (*child)?)));
                self.mark_nodes(below.collect(), marked).await?;
            }
            Ok(())
        })
    }

    /// A node whose pack was listed and is not there any more: another collector has rewritten it.
    async fn moved_since(
        &self,
        node: &NodeRef,
        marked: &mut Marked,
        error: VaultError,
    ) -> Result<Arc<TreeNode>> {
        marked.listed.remove(&node.at.pack);
        marked.forwards.insert(node.at.pack, None);
        let at = self.existing(marked, PackKind::Tree, node.id.0, node.at).await?;
        marked.mark(&at);
        let found = self.nodes().get_exact(&[(node.id, at)]).await.pop();
        found.unwrap_or(Err(error))
    }

    /// The location, if its pack exists; otherwise another place where the thing is.
    async fn existing(
        &self,
        marked: &mut Marked,
        kind: PackKind,
        id: [u8; 32],
        hint: Location,
    ) -> Result<Location> {
        let mut at = hint;
        for _ in 0..FORWARDS_MAX {
            if marked.listed.contains(&at.pack) {
                return Ok(at);
            }
            let Some(known) = marked.forwards.get(&at.pack).cloned() else {
                break;
            };
            let forward = match known {
                Some(forward) => Some(forward),
                None => match self.store().forward(at.pack).await {
                    Ok(forward) => forward.map(Rc::new),
                    // It only saves looking for it in all footers, below.
                    Err(error) if error.kind == VaultErrorKind::Corrupt => {
                        tracing::warn!(%error, "a forward is damaged");
                        None
                    }
                    Err(error) => return Err(error),
                },
            };
            marked.forwards.insert(at.pack, forward.clone());
            let Some(next) = forward.and_then(|forward| forward.find(&id)) else {
                break;
            };
            marked.followed.insert(at.pack);
            at = next;
        }
        // Listings take time: it may have come, or moved, after its page was read.
        if self
            .store()
            .size("find pack", &key::pack(kind, at.pack))
            .await
            .is_ok()
        {
            return Ok(at);
        }
        let places = self
            .locator()
            .find(self.store(), kind, id, &at, Effort::Scan)
            .await?;
        for place in places {
            let key = key::pack(kind, place.pack);
            if self.store().size("find pack", &key).await.is_ok() {
                return Ok(place);
            }
        }
        match self.store().size("find pack", &key::pack(kind, at.pack)).await {
            Ok(_) => Ok(at),
            Err(error) => Err(error.within("a snapshot refers to it")),
        }
    }
}
