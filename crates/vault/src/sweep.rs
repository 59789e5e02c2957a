//! Freeing packs that nothing refers to.
//!
//! List packs, then read every head log, then mark everything reachable from the snapshots that exist,
//! from the roots that the caller holds and from the captures in flight; delete listed packs that are
//! neither marked nor held. The order matters: a pack that appears after the listing is no candidate.
//! Any doubt while marking (an unreadable head entry, a damaged node) ends the sweep before the first
//! deletion. One process at a time may write to a vault or sweep it.
//!
//! Memory: some 30 bytes per tree node and a few dozen per pack.

use crate::error::{Result, VaultError};
use crate::head::{self, HeadEntry};
use crate::id::PackId;
use crate::key;
use crate::locate::Effort;
use crate::pack::{Location, PackKind};
use crate::tree::{NodeRef, Root};
use crate::vault::Vault;
use crate::walk::{Place, children, leaf_entries};
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use tidemark_env::LocalFuture;
use tidemark_units::DiskId;

/// Objects read or deleted at the same time.
const WIDTH: usize = 16;

/// What a sweep must keep besides the snapshots that exist and this process's captures in flight.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// Content that volumes still read from or will name as a parent.
    pub roots: Vec<Root>,
    /// Packs of captures that wait to be resumed ([`crate::spool_packs`]).
    pub packs: HashSet<PackId>,
}

/// What a sweep did and found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Packs deleted.
    pub freed_packs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Packs that could not be deleted now; the next sweep tries again.
    pub failed_packs: u64,
    /// Packs that stay, those in flight included.
    pub kept_packs: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Bytes of chunks and nodes in packs that something refers to.
    pub live_bytes: u64,
    /// Objects under the packs' prefixes that are not packs; they are left alone.
    pub strangers: u64,
}

/// What is reachable.
#[derive(Default)]
struct Marked {
    /// Packs that existed when the sweep began.
    listed: HashSet<PackId>,
    /// Stored copies of nodes that were visited, by pack and offset.
    nodes: HashSet<(PackId, u32)>,
    packs: HashMap<PackId, LivePack>,
}

#[derive(Default)]
struct LivePack {
    bytes: u64,
    /// One bit for each row of its table.
    rows: Vec<u64>,
}

impl Marked {
    fn visit(&mut self, at: &Location) -> bool {
        self.nodes.insert((at.pack, at.offset))
    }

    fn live(&mut self, at: &Location) {
        let pack = self.packs.entry(at.pack).or_default();
        let (word, bit) = (usize::from(at.ordinal) / 64, 1 << (at.ordinal % 64));
        if pack.rows.len() <= word {
            pack.rows.resize(word + 1, 0);
        }
        if pack.rows[word] & bit == 0 {
            pack.rows[word] |= bit;
            pack.bytes += u64::from(at.stored_len);
        }
    }
}

impl Vault {
    /// Deletes packs that nothing refers to. Fails, having deleted nothing, when anything that could
    /// refer to a pack cannot be read.
    pub async fn sweep(&self, keep: &Keep) -> Result<SweepReport> {
        let _hold = self.in_flight().hold();
        let mut report = SweepReport::default();
        let (listed, strangers) = self.list_packs().await?;
        report.strangers = strangers;
        let marked = self.mark_all(&listed, keep).await?;
        report.live_bytes = marked.packs.values().map(|pack| pack.bytes).sum();
        let held = |pack: &PackId| {
            marked.packs.contains_key(pack) || keep.packs.contains(pack) || self.in_flight().holds(pack)
        };
        let mut deletions = stream::iter(listed)
            .map(|(kind, pack, bytes)| {
                let held = held(&pack);
                async move {
                    if held {
                        return (bytes, None);
                    }
                    (
                        bytes,
                        Some(self.store().delete("free pack", &key::pack(kind, pack)).await),
                    )
                }
            })
            .buffer_unordered(WIDTH);
        while let Some((bytes, deleted)) = deletions.next().await {
            match deleted {
                Some(Ok(())) => {
                    report.freed_packs += 1;
                    report.freed_bytes += bytes;
                }
                None | Some(Err(_)) => {
                    report.kept_packs += 1;
                    report.stored_bytes += bytes;
                }
            }
            if let Some(Err(error)) = deleted {
                report.failed_packs += 1;
                tracing::warn!(%error, "a pack that nothing refers to stays for now");
            }
        }
        // What was found elsewhere may just have been freed.
        self.locator().forget();
        Ok(report)
    }

    /// All packs, their sizes, and how many objects among them are none.
    async fn list_packs(&self) -> Result<(Vec<(PackKind, PackId, u64)>, u64)> {
        let (mut listed, mut strangers) = (Vec::new(), 0);
        for kind in [PackKind::Data, PackKind::Tree] {
            for object in self.store().list("list packs", key::pack_prefix(kind)).await? {
                match key::parse_pack(kind, &object.key) {
                    Some(pack) => listed.push((kind, pack, object.bytes)),
                    None => strangers += 1,
                }
            }
        }
        Ok((listed, strangers))
    }

    /// Marks everything that is reachable.
    async fn mark_all(&self, listed: &[(PackKind, PackId, u64)], keep: &Keep) -> Result<Marked> {
        let mut marked = Marked {
            listed: listed.iter().map(|(_, pack, _)| *pack).collect(),
            ..Marked::default()
        };
        let live = self.all_live_roots().await?;
        for root in live.iter().chain(&keep.roots).chain(&self.in_flight().roots()) {
            if let Some(top) = root.top() {
                self.mark(vec![(Place::top_of(root), *top)], &mut marked).await?;
            }
        }
        Ok(marked)
    }

    /// The packs in the bucket that something refers to or will: what a sweep would keep.
    pub(crate) async fn needed_packs(&self, keep: &Keep) -> Result<Vec<(PackKind, PackId)>> {
        let (listed, _) = self.list_packs().await?;
        let marked = self.mark_all(&listed, keep).await?;
        let needed = |pack: &PackId| {
            marked.packs.contains_key(pack) || keep.packs.contains(pack) || self.in_flight().holds(pack)
        };
        let packs = listed.into_iter().map(|(kind, pack, _)| (kind, pack));
        Ok(packs.filter(|(_, pack)| needed(pack)).collect())
    }

    /// The roots of all snapshots that exist, from the head logs alone.
    async fn all_live_roots(&self) -> Result<Vec<Root>> {
        let step = "read head logs";
        let mut logs: BTreeMap<DiskId, Vec<u64>> = BTreeMap::new();
        for object in self.store().list(step, key::DISKS).await? {
            let Some((disk, seq)) = key::parse_head(&object.key) else {
                let cause = "it is no head entry: what it may refer to is unknown";
                return Err(VaultError::corrupt(step, object.key, cause));
            };
            logs.entry(disk).or_default().push(seq);
        }
        let mut roots = Vec::new();
        for (disk, seqs) in logs {
            if let Some((missing, _)) = (0..).zip(&seqs).find(|(at, seq)| at != *seq) {
                let cause = "an entry is missing";
                return Err(VaultError::corrupt(step, key::head(&disk, missing), cause));
            }
            let disk = &disk;
            let mut objects = stream::iter(seqs)
                .map(|seq| async move { (seq, self.store().get(step, &key::head(disk, seq)).await) })
                .buffered(WIDTH);
            let mut entries: Vec<HeadEntry> = Vec::new();
            while let Some((seq, object)) = objects.next().await {
                entries.push(head::open(self.store(), disk, seq, &object?)?);
            }
            // A drop that a power cut could still take back must not cost a pack.
            if let Some(last) = (entries.len() as u64).checked_sub(1) {
                head::settle(self.store(), &key::head(disk, last)).await?;
            }
            roots.extend(head::live_snapshots(&entries).into_iter().map(|(_, root)| root));
        }
        Ok(roots)
    }

    /// Marks what is reachable from some nodes of one level. Each stored copy of a node is read where
    /// it is said to be, not from the cache: another copy of the same content may name other packs.
    fn mark<'a>(
        &'a self,
        group: Vec<(Place, NodeRef)>,
        marked: &'a mut Marked,
    ) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut new: Vec<(Place, NodeRef)> = Vec::new();
            for (place, mut node) in group {
                node.at = self.existing(marked, PackKind::Tree, node.id.0, node.at).await?;
                marked.live(&node.at);
                if marked.visit(&node.at) {
                    new.push((place, node));
                }
            }
            let names: Vec<_> = new.iter().map(|(_, node)| (node.id, node.at)).collect();
            for ((place, _), node) in new.iter().zip(self.nodes().get_exact(&names).await) {
                let node = node.map_err(|error| error.within(place.name()))?;
                if place.level == 0 {
                    for entry in leaf_entries(*place, &node)?.iter().flatten() {
                        let at = self
                            .existing(marked, PackKind::Data, entry.id.0, entry.at)
                            .await?;
                        marked.live(&at);
                    }
                    continue;
                }
                let below = children(*place, &node)?.iter().enumerate();
                let below = below.filter_map(|(slot, child)| Some((place.child(slot), (*child)?)));
                self.mark(below.collect(), marked).await?;
            }
            Ok(())
        })
    }

    /// The location, if its pack exists; otherwise another place where the thing is.
    async fn existing(
        &self,
        marked: &Marked,
        kind: PackKind,
        id: [u8; 32],
        at: Location,
    ) -> Result<Location> {
        if marked.listed.contains(&at.pack) {
            return Ok(at);
        }
        for place in self
            .locator()
            .find(self.store(), kind, id, &at, Effort::Scan)
            .await?
        {
            if self
                .store()
                .size("find pack", &key::pack(kind, place.pack))
                .await
                .is_ok()
            {
                return Ok(place);
            }
        }
        // It may have come after the listing, too damaged to be found by its footer.
        match self.store().size("find pack", &key::pack(kind, at.pack)).await {
            Ok(_) => Ok(at),
            Err(error) => Err(error.within("a snapshot refers to it")),
        }
    }
}
