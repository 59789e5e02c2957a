//! What the volumes of a node need of the vault, said in the head logs of their disks.
//!
//! A volume needs the contents that its absent chunks come from and the one that its next snapshot is relative to. The rule
//! that keeps them from being freed under it: *before* a volume depends on a content, an entry of its disk's log says so,
//! and the content is known to have been needed after that entry was there. Then there was no moment at which a collector
//! could have found it needed by nobody ([`crate::gc`] has the argument).
//!
//! Not here: what a volume needs (the caller asks it), and when.

use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{HeadEntry, HeadLog, Refusal, Stage};
use crate::record::SnapshotRecord;
use crate::tree::Root;
use crate::vault::Vault;
use tidemark_env::mutant;
use tidemark_units::{DiskId, SnapshotId};

/// A node whose volume of a disk needs something of the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The node ([`crate::VaultOptions::node`]).
    pub node: String,
    /// The disk.
    pub disk: DiskId,
    /// How many contents.
    pub contents: usize,
}

/// Whether both name the same contents.
fn same(a: &[Root], b: &[Root]) -> bool {
    a.iter().all(|root| b.contains(root)) && b.iter().all(|root| a.contains(root))
}

impl Vault {
    /// Says that the disk's volume of this node needs `roots` and nothing else. Each of them must be needed by now in the
    /// disk's own log: [`VaultErrorKind::Stale`] otherwise, it may be gone. `since` is the length that the log had before the volume was asked
    /// what it needs: a snapshot that was committed meanwhile makes the answer worthless, and nothing is done (`false`).
    pub async fn hold(&self, disk: &DiskId, since: u64, roots: &[Root]) -> Result<bool> {
        let log = self.head_log(disk).await?;
        {
            let state = log.state();
            let held = state.held_by(self.node());
            // To hold less frees nothing as long as snapshots have it all the same: then the log stays as short as it is.
            let mut more = held.iter().filter(|root| !roots.contains(root));
            if roots.iter().all(|root| held.contains(root)) && more.all(|root| state.has_snapshot_of(root)) {
                return Ok(true);
            }
        }
        let entry = HeadEntry::Hold {
            node: self.node().to_owned(),
            roots: roots.to_vec(),
        };
        let lost = |log: &HeadLog| roots.iter().any(|root| !log.state().needs(root));
        let why_not = |log: &HeadLog| (log.commits_since(since) || lost(log)).then(String::new);
        match log.append_unless(entry, why_not).await {
            Ok(_) => Ok(true),
            Err(Refusal::Failed(error)) => Err(error),
            Err(Refusal::Because(_)) if lost(&log) => {
                let cause = "its volume needs content that nobody has kept: it may be gone";
                let subject = format!("disk {disk}");
                Err(VaultError::new(
                    VaultErrorKind::Stale,
                    "hold content",
                    subject,
                    cause,
                ))
            }
            Err(Refusal::Because(_)) => Ok(false),
        }
    }

    /// Makes sure that a snapshot's content stays for a volume of `disk`, this disk or another one's snapshot, and gives its record.
    /// Besides it the volume goes on to need `roots`, as far as its disk's log needs them still. [`VaultErrorKind::Missing`] if there is no such snapshot.
    pub async fn adopt(
        &self,
        disk: &DiskId,
        roots: &[Root],
        snapshot: &SnapshotId,
    ) -> Result<SnapshotRecord> {
        let record = self.snapshot(snapshot).await?;
        let log = self.head_log(disk).await?;
        loop {
            let (held, kept) = {
                let state = log.state();
                let held = state.held_by(self.node());
                // What nothing has kept until now may be gone: to ask for it again would make a promise that nobody can keep.
                let wanted = roots.iter().filter(|root| state.needs(root));
                let mut kept: Vec<Root> = Vec::new();
                for root in held.iter().chain(wanted).chain([&record.root]) {
                    if root.top().is_some() && !kept.contains(root) {
                        kept.push(*root);
                    }
                }
                (held, kept)
            };
            if same(&held, &kept) || mutant::on("vault-adopt-without-hold") {
                break;
            }
            let entry = HeadEntry::Hold {
                node: self.node().to_owned(),
                roots: kept.clone(),
            };
            // Entries of others in between may end what keeps one of them, and a commit of ours adds to what is held.
            let why_not = |log: &HeadLog| {
                let state = log.state();
                let is_kept = |root: &Root| *root == record.root || state.needs(root);
                let held = state.held_by(self.node());
                // Zeros need no keeping, and are not among what is kept.
                let has_all = held
                    .iter()
                    .all(|root| root.top().is_none() || kept.contains(root));
                (!has_all || !kept.iter().all(is_kept)).then(String::new)
            };
            match log.append_unless(entry, why_not).await {
                Ok(_) => break,
                Err(Refusal::Because(_)) => {}
                Err(Refusal::Failed(error)) => return Err(error),
            }
        }
        // After our entry: whoever finds the snapshot purged from now on finds the entry too.
        let source = self.head_log(&record.disk).await?;
        match source.snapshot(snapshot) {
            Some((_, Stage::Exists)) => Ok(record),
            _ => {
                let (subject, cause) = (format!("snapshot {snapshot}"), "it was deleted a moment ago");
                Err(VaultError::new(VaultErrorKind::Missing, "adopt", subject, cause))
            }
        }
    }

    /// Who holds what, by disk.
    pub async fn holders(&self) -> Result<Vec<Holder>> {
        let mut found = Vec::new();
        for disk in self.disks().await? {
            let log = self.look_at_head_log(&disk).await?;
            let holders = log.state().holders();
            found.extend(holders.into_iter().map(|(node, contents)| Holder {
                node,
                disk: disk.clone(),
                contents,
            }));
        }
        Ok(found)
    }

    /// Says that no volume of the disk is on this node any more.
    pub async fn release(&self, disk: &DiskId) -> Result<()> {
        self.release_of(disk, self.node()).await
    }

    /// Says so for another node, which is gone for good. If it is not, its volume may lose what it has not fetched yet, and
    /// its next snapshot is refused; no snapshot is harmed.
    pub async fn release_of(&self, disk: &DiskId, node: &str) -> Result<()> {
        let log = self.head_log(disk).await?;
        let entry = HeadEntry::Hold {
            node: node.to_owned(),
            roots: Vec::new(),
        };
        let nothing = |log: &HeadLog| log.state().held_by(node).is_empty().then(String::new);
        match log.append_unless(entry, nothing).await {
            Ok(_) | Err(Refusal::Because(_)) => Ok(()),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }
}
