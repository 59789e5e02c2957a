//! The collector: frees what nobody needs, beside any number of writers and other collectors.
//!
//! ```text
//! purge     deleted snapshots whose time has come get a purge entry
//! list      packs, then forwards
//! captures  which are registered                        (capture::register)
//! pass 1    every head log: what is needed; mark all that it reaches
//! pass 2    every head log again: mark what is needed besides
//! free      listed packs that are not marked, not a registered capture's, not a forward's target
//! repack    listed packs that are less than half live: the rest moves, a forward tells where
//! ```
//!
//! There are no epochs, leases or clocks: nobody acknowledges anything, and a writer or collector may stop at any point and
//! go on a year later. (Clocks decide only when a deleted snapshot may be purged.) *Why nothing needed is freed:*
//!
//! 1. What is garbage stays garbage. New references to a pack come about in three ways. A *capture* refers to its own
//!    packs and to what its parent reaches; its parent is needed in the disk's log right before its entry is made there
//!    (`why_not_commit`). A *volume* adopts a snapshot's content: it says so in its disk's log, and then finds the snapshot
//!    not purged in that one's ([`Vault::adopt`]); what else it says there is needed by that log already. An *undeletion* needs a snapshot that is not purged.
//! 2. A pack of a capture was listed, and its capture is not among the registered ones that were read later: then it was
//!    registered before and has ended since, and pass 1 sees the entry that committed or ended it.
//! 3. Any other pack X of the listing that is reachable from a root R in use after the pass: follow how R came to be used.
//!    If R was needed in its log when pass 2 read that, X was marked. If not, R was committed or adopted later. Committed:
//!    its parent was needed in the same log then, and reaches X (2 excludes R's own packs); go on with the parent.
//!    Adopted: its snapshot was found not purged after pass 1 was over, so R was marked in pass 1, or it was committed
//!    later than that; go on with that commit, which pass 2 sees or which is later still. Each step goes back in time, and ends at something marked.
//!
//! So a collector may act on what it found however late, two may act at once, and each step may be repeated. The same holds for
//! the rows of a pack: one that is not live stays so, which is what repacking relies on (see [`repack`]).
//!
//! Any doubt while marking (a head entry, a registration or a node that cannot be read, a log that is shorter than it was, a
//! bucket that has lost its format object) ends the run before the first deletion.
//!
//! Not here: when to run.

pub(crate) mod forward;
mod mark;
mod repack;
mod roots;

pub(crate) use mark::FORWARDS_MAX;
pub use mark::LiveRows;
use mark::Marked;

use crate::error::{Result, VaultErrorKind};
use crate::head::HeadLog;
use crate::id::{CaptureId, PackId};
use crate::key;
use crate::pack::PackKind;
use crate::tree::{Root, TreeNode, leaf_slot};
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use tidemark_env::mutant;
use tidemark_units::{MIB, SnapshotId};

/// Objects deleted at the same time.
const WIDTH: usize = 16;
/// Bytes that a run may repack although they are more than its share of the vault.
const REPACK_BYTES_MIN: u64 = 64 * MIB;

/// What a collector is to do.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// Change nothing: only say what would be freed.
    pub dry_run: bool,
    /// Purge deleted snapshots although they could still be brought back.
    pub purge_all: bool,
    /// Most bytes of packs that are repacked in a run, in percent of all packs' bytes; 0: nothing is.
    pub repack_percent: u64,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            purge_all: false,
            repack_percent: 10,
        }
    }
}

/// What a collector did and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Snapshots that can no longer be brought back.
    pub purged: Vec<SnapshotId>,
    /// Packs deleted (or, in a dry run, to be deleted).
    pub freed_packs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Packs that were rewritten without what nobody needs of them.
    pub repacked_packs: u64,
    /// Bytes freed by that.
    pub repacked_bytes: u64,
    /// Packs that could not be deleted or rewritten now; the next run tries again.
    pub failed_packs: u64,
    /// Packs that stay.
    pub kept_packs: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Bytes of chunks and nodes in packs that something refers to.
    pub live_bytes: u64,
    /// Captures under way, on any node.
    pub captures: u64,
    /// Objects under the packs' prefixes that are not packs; they are left alone.
    pub strangers: u64,
}

/// One listed pack.
#[derive(Clone, Copy, Debug)]
struct Listed {
    kind: PackKind,
    pack: PackId,
    bytes: u64,
}

/// What a run knows when its passes are over.
struct Found {
    packs: Vec<Listed>,
    /// Packs that have a forward.
    forwards: Vec<PackId>,
    captures: BTreeSet<CaptureId>,
    marked: Marked,
    strangers: u64,
}

impl Found {
    fn is_in_flight(&self, pack: &PackId) -> bool {
        self.captures.contains(&pack.capture()) && !mutant::on("gc-ignores-captures")
    }
}

impl Vault {
    /// Frees what nobody needs. Fails, having freed nothing, when anything that could refer to a pack cannot be read.
    pub async fn collect(&self, options: &CollectOptions) -> Result<CollectReport> {
        let mut report = CollectReport::default();
        if !options.dry_run {
            let logs = self.all_head_logs().await?;
            let now = (!options.purge_all).then(|| self.env().clock.unix_millis());
            report.purged = self.purge(&logs, now).await?;
            self.remove_purged_records(&logs).await?;
        }
        let found = self.find_all(!options.dry_run).await?;
        report.strangers = found.strangers;
        report.captures = found.captures.len() as u64;
        report.live_bytes = found.marked.bytes();
        let kept = self.free_packs(&found, options, &mut report).await?;
        if !options.dry_run {
            self.free_forwards(&found).await;
            self.repack(&found, &kept, options.repack_percent, &mut report)
                .await;
            // What was found elsewhere may just have been freed.
            self.locator().forget();
        }
        Ok(report)
    }

    /// What is live of each pack that something refers to: an audit of the collector's own counts.
    pub async fn live_packs(&self) -> Result<HashMap<PackId, LiveRows>> {
        Ok(self.find_all(false).await?.marked.into_packs())
    }

    /// Where each chunk of a content is stored now, by pack and row: the slow way, chunk by chunk, to compare with.
    pub async fn stored_rows(&self, root: &Root) -> Result<Vec<(PackId, u16)>> {
        let mut rows = Vec::new();
        for index in self.non_zero_chunks(root, 0..u32::MAX).await? {
            let leaf = self.leaf(root, index).await?;
            let entry = match leaf.as_deref() {
                Some(TreeNode::Leaf(entries)) => entries[leaf_slot(index)],
                _ => None,
            };
            let Some(entry) = entry else { continue };
            let mut at = entry.at;
            while self
                .store()
                .size("find pack", &key::pack(PackKind::Data, at.pack))
                .await
                .is_err()
            {
                match self.locator().forwarded(self.store(), &entry.id.0, &at).await {
                    Some(next) => at = next,
                    None => break,
                }
            }
            rows.push((at.pack, at.ordinal));
        }
        Ok(rows)
    }

    /// The packs in the bucket that something refers to or will: what a collector would keep.
    pub(crate) async fn needed_packs(&self) -> Result<Vec<(PackKind, PackId)>> {
        let found = self.find_all(false).await?;
        let needed = |pack: &PackId| found.marked.live(pack).is_some() || found.is_in_flight(pack);
        let packs = found.packs.iter().filter(|listed| needed(&listed.pack));
        Ok(packs.map(|listed| (listed.kind, listed.pack)).collect())
    }

    /// As [`Vault::find_once`]. While it marks, something may stop being needed and another collector may free it: then what
    /// is missing is no damage, and a second look does not come across it.
    async fn find_all(&self, tidy: bool) -> Result<Found> {
        let entries = |logs: &[Rc<HeadLog>]| logs.iter().map(|log| log.len()).sum::<u64>();
        let mut before = entries(&self.all_head_logs().await?);
        loop {
            let error = match self.find_once(tidy).await {
                Err(error) if error.kind == VaultErrorKind::Missing => error,
                done => return done,
            };
            let now = entries(&self.all_head_logs().await?);
            if now == before {
                return Err(error);
            }
            before = now;
        }
    }

    /// Lists and marks, in the order that the theory above relies on.
    async fn find_once(&self, tidy: bool) -> Result<Found> {
        let early = match mutant::on("gc-reads-heads-before-listing") {
            true => Some(Self::needed_roots(&self.all_head_logs().await?)),
            false => None,
        };
        let (packs, strangers) = self.list_packs().await?;
        let mut forwards = Vec::new();
        for object in self.store().list("list forwards", key::FORWARDS).await? {
            forwards.extend(key::parse_forward(&object.key));
        }
        let mut captures: BTreeSet<CaptureId> = self.registered_ids().await?.into_iter().collect();
        let listed = packs.iter().map(|listed| listed.pack).collect();
        let mut marked = Marked::new(listed, forwards.iter().copied());
        let mut known: HashSet<Vec<u8>> = HashSet::new();
        let mut logs = Vec::new();
        for _ in 0..2 {
            logs = self.all_head_logs().await?;
            let roots = match &early {
                Some(roots) => roots.clone(),
                None => Self::needed_roots(&logs),
            };
            for root in roots {
                if known.insert(root.to_bytes()) {
                    self.mark_root(&root, &mut marked).await?;
                }
            }
        }
        // Theory asks for the first look only; two do not both meet a bucket that was out of reach for a moment and looked empty.
        captures.extend(self.registered_ids().await?);
        self.check_format().await?;
        if tidy {
            self.forget_ended_captures(&captures, &logs).await;
        }
        Ok(Found {
            packs,
            forwards,
            captures,
            marked,
            strangers,
        })
    }

    /// All packs, and how many objects among them are none.
    async fn list_packs(&self) -> Result<(Vec<Listed>, u64)> {
        let (mut listed, mut strangers) = (Vec::new(), 0);
        for kind in [PackKind::Data, PackKind::Tree] {
            for object in self.store().list("list packs", key::pack_prefix(kind)).await? {
                match key::parse_pack(kind, &object.key) {
                    Some(pack) => listed.push(Listed {
                        kind,
                        pack,
                        bytes: object.bytes,
                    }),
                    None => strangers += 1,
                }
            }
        }
        Ok((listed, strangers))
    }

    /// Deletes what is garbage; gives the packs that stay.
    async fn free_packs(
        &self,
        found: &Found,
        options: &CollectOptions,
        report: &mut CollectReport,
    ) -> Result<Vec<Listed>> {
        // What a rewriting that was cut off has made already: its forward counts once the old pack is gone.
        let half_made: HashSet<PackId> = self.targets_of_listed(found).await?;
        let stays = |pack: &PackId| {
            found.marked.live(pack).is_some() || found.is_in_flight(pack) || half_made.contains(pack)
        };
        let deletions = found.packs.iter().map(|listed| {
            let stays = stays(&listed.pack);
            async move {
                if stays {
                    return (listed, None);
                }
                let key = key::pack(listed.kind, listed.pack);
                let deleted = match options.dry_run {
                    true => Ok(()),
                    false => self.store().delete("free pack", &key).await,
                };
                (listed, Some(deleted))
            }
        });
        let mut deletions = stream::iter(deletions).buffer_unordered(WIDTH);
        let mut kept = Vec::new();
        while let Some((listed, deleted)) = deletions.next().await {
            match deleted {
                Some(Ok(())) => {
                    report.freed_packs += 1;
                    report.freed_bytes += listed.bytes;
                }
                None | Some(Err(_)) => {
                    report.kept_packs += 1;
                    report.stored_bytes += listed.bytes;
                    kept.push(*listed);
                }
            }
            if let Some(Err(error)) = deleted {
                report.failed_packs += 1;
                tracing::warn!(%error, "a pack that nothing refers to stays for now");
            }
        }
        Ok(kept)
    }

    async fn targets_of_listed(&self, found: &Found) -> Result<HashSet<PackId>> {
        let mut targets = HashSet::new();
        for listed in found
            .packs
            .iter()
            .filter(|listed| found.marked.has_forward(&listed.pack))
        {
            match self.store().forward(listed.pack).await {
                Ok(forward) => targets.extend(forward.map(|forward| forward.to)),
                // Nobody is led to its target, and what it was made from is there.
                Err(error) if error.kind == VaultErrorKind::Corrupt => {
                    tracing::warn!(%error, "a forward is damaged");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(targets)
    }

    /// Deletes forwards that no reference led through and whose packs are gone.
    async fn free_forwards(&self, found: &Found) {
        let listed: HashSet<PackId> = found.packs.iter().map(|listed| listed.pack).collect();
        let idle = |pack: &&PackId| !listed.contains(*pack) && !found.marked.followed(pack);
        for pack in found.forwards.iter().filter(idle) {
            if let Err(error) = self.store().delete("free forward", &key::forward(*pack)).await {
                tracing::warn!(%error, "a forward that nothing needs stays for now");
            }
        }
    }

    /// Removes what is left of captures that have ended. The head log says so: their packs are marked or garbage.
    async fn forget_ended_captures(&self, captures: &BTreeSet<CaptureId>, logs: &[Rc<HeadLog>]) {
        for capture in captures {
            let Ok(Some(registered)) = self.store().registered(*capture).await else {
                continue;
            };
            let log = logs.iter().find(|log| log.disk() == &registered.disk);
            let ended = log.is_some_and(|log| {
                log.state().has_ended(*capture) || log.snapshot(&registered.snapshot).is_some()
            });
            if ended && let Err(error) = self.store().delete("end capture", &key::capture(*capture)).await {
                tracing::warn!(%error, "a capture that has ended stays registered for now");
            }
        }
    }

    /// Removes the records of purged snapshots, and then their boot traces, also those that an earlier run did not come to.
    async fn remove_purged_records(&self, logs: &[Rc<HeadLog>]) -> Result<()> {
        // In this order: a trace that is stored meanwhile finds its record gone, or is found here.
        self.remove_purged(
            "delete snapshot record",
            key::SNAPSHOTS,
            key::parse_snapshot,
            logs,
        )
        .await?;
        self.remove_purged("delete boot trace", key::TRACES, key::parse_trace, logs)
            .await
    }

    async fn remove_purged(
        &self,
        step: &'static str,
        prefix: &str,
        parse: fn(&str) -> Option<SnapshotId>,
        logs: &[Rc<HeadLog>],
    ) -> Result<()> {
        for object in self.store().list(step, prefix).await? {
            let Some(id) = parse(&object.key) else {
                continue;
            };
            let is_purged =
                |log: &Rc<HeadLog>| matches!(log.snapshot(&id), Some((_, crate::head::Stage::Purged)));
            if logs.iter().any(is_purged) {
                self.store().delete(step, &object.key).await?;
            }
        }
        Ok(())
    }
}
