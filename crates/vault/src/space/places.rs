//! Which packs there are, and where copies are that are not where a tree says.
//!
//! Packs have numbers, in the order of their ids, which are random: a window of numbers is a fair part of the vault.

use super::holders::Copied;
use crate::error::Result;
use crate::gc::FORWARDS_MAX;
use crate::id::PackId;
use crate::key;
use crate::pack::{EntryKind, Footer, Location, PackKind};
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt};
use std::collections::{HashMap, HashSet};

/// Footers read at the same time.
const WIDTH: usize = 8;

/// A chunk or a node.
type Name = (PackKind, [u8; 32]);

pub(super) struct Places {
    /// By number.
    packs: Vec<(PackKind, PackId, u64)>,
    numbers: HashMap<(PackKind, PackId), u32>,
    /// What was looked for in the footers, and where it is (`None`: nowhere).
    moved: HashMap<(Name, PackId), Option<Location>>,
    /// What has to be looked for, with the pack that a tree names for it: two packs that held the same have gone their own ways.
    unknown: HashSet<(Name, PackId)>,
}

impl Places {
    /// The packs that there are now.
    pub(super) async fn list(vault: &Vault) -> Result<Self> {
        let mut packs = Vec::new();
        for kind in [PackKind::Data, PackKind::Tree] {
            for object in vault.store().list("list packs", key::pack_prefix(kind)).await? {
                if let Some(pack) = key::parse_pack(kind, &object.key) {
                    packs.push((kind, pack, object.bytes));
                }
            }
        }
        packs.sort_unstable_by_key(|(kind, pack, _)| (*pack, *kind));
        let numbers = (0..).zip(&packs);
        let numbers = numbers
            .map(|(number, (kind, pack, _))| ((*kind, *pack), number))
            .collect();
        Ok(Self {
            packs,
            numbers,
            moved: HashMap::new(),
            unknown: HashSet::new(),
        })
    }

    pub(super) fn pack_count(&self) -> u32 {
        self.packs.len() as u32
    }

    /// Bytes of a pack's object.
    pub(super) fn object_bytes(&self, number: u32) -> u64 {
        self.packs[number as usize].2
    }

    /// The copy that a tree means. `None`: it is in no pack, or (until it has been looked for) not known where.
    pub(super) fn find(
        &mut self,
        kind: PackKind,
        id: [u8; 32],
        hint: Location,
    ) -> Option<(Copied, Location)> {
        let at = match self.numbers.contains_key(&(kind, hint.pack)) {
            true => hint,
            false => match self.moved.get(&((kind, id), hint.pack)) {
                Some(found) => (*found)?,
                None => {
                    self.unknown.insert(((kind, id), hint.pack));
                    return None;
                }
            },
        };
        let copy = Copied {
            pack: *self.numbers.get(&(kind, at.pack))?,
            ordinal: at.ordinal,
            stored_len: at.stored_len,
        };
        Some((copy, at))
    }

    /// Whether something was asked for that has to be looked for.
    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Chunks that were looked for and are in no pack.
    pub(super) fn missing_chunks(&self) -> u64 {
        let missing =
            |((name, _), at): &(&(Name, PackId), &Option<Location>)| name.0 == PackKind::Data && at.is_none();
        self.moved.iter().filter(missing).count() as u64
    }

    /// Looks for everything that was asked for: where forwards lead, and then in all footers. Of several copies that only
    /// footers tell of the first pack's counts.
    pub(super) async fn find_unknown(&mut self, vault: &Vault) -> Result<()> {
        self.follow_forwards(vault).await?;
        let unknown = std::mem::take(&mut self.unknown);
        if unknown.is_empty() {
            return Ok(());
        }
        let kinds: HashSet<PackKind> = unknown.iter().map(|((kind, _), _)| *kind).collect();
        let names: HashSet<Name> = unknown.iter().map(|(name, _)| *name).collect();
        let packs = self.packs.iter().filter(|(kind, _, _)| kinds.contains(kind));
        let mut footers = stream::iter(packs)
            .map(|(kind, pack, _)| async move { (*pack, vault.store().footer(*kind, *pack).await) })
            .buffered(WIDTH);
        let mut found = HashMap::new();
        while let Some((pack, footer)) = footers.next().await {
            match footer {
                Ok(footer) => look(&footer, &names, &mut found),
                // It only ever adds an answer; what is not found is told as missing.
                Err(error) => tracing::warn!(%pack, %error, "skipped while looking for what was moved"),
            }
        }
        drop(footers);
        let looked_for = unknown.into_iter();
        self.moved
            .extend(looked_for.map(|(name, pack)| ((name, pack), found.get(&name).copied())));
        Ok(())
    }

    /// Finds what forwards of the packs that trees name lead to.
    async fn follow_forwards(&mut self, vault: &Vault) -> Result<()> {
        let mut by_pack: HashMap<PackId, Vec<(Name, PackId)>> = HashMap::new();
        for (name, pack) in &self.unknown {
            by_pack.entry(*pack).or_default().push((*name, *pack));
        }
        for _ in 0..FORWARDS_MAX {
            let mut next: HashMap<PackId, Vec<(Name, PackId)>> = HashMap::new();
            let mut forwards = stream::iter(by_pack)
                .map(|(pack, names)| async move { (vault.store().forward(pack).await, names) })
                .buffer_unordered(WIDTH);
            while let Some((forward, names)) = forwards.next().await {
                let Some(forward) = forward? else { continue };
                for (name, hint) in names {
                    let Some(at) = forward.find(&name.1) else { continue };
                    if self.numbers.contains_key(&(name.0, at.pack)) {
                        self.moved.insert((name, hint), Some(at));
                        self.unknown.remove(&(name, hint));
                    } else {
                        next.entry(at.pack).or_default().push((name, hint));
                    }
                }
            }
            drop(forwards);
            if next.is_empty() {
                break;
            }
            by_pack = next;
        }
        Ok(())
    }
}

fn look(footer: &Footer, unknown: &HashSet<Name>, found: &mut HashMap<Name, Location>) {
    for entry in &footer.entries {
        let (EntryKind::Stored { .. } | EntryKind::Node { .. }, Some(at)) = (entry.kind, entry.at) else {
            continue;
        };
        let name = (footer.kind, entry.id);
        if unknown.contains(&name) {
            found.entry(name).or_insert(at);
        }
    }
}
