//! Copying snapshots of a disk from one vault to another, incrementally.
//!
//! ```text
//! names of both sides -> which the other has -> the nearest of those as the basis -> tree difference in the source
//!   -> chunks read (verified) there -> put into a capture here -> tree of both compared -> record -> head entry
//! ```
//! A copy *is* a capture ([`SnapshotWriter`]) whose chunks come from a snapshot instead of a volume: it stores only what
//! its basis does not have, its spool takes it over any crash, and its head entry decides between two that make the
//! same one. What is copied is content: it is encrypted anew, or not at all, as the target vault demands.
//!
//! Invariants: (1) a copy is committed only if its tree is the source's (where names are keyed: has its size and its
//! number of chunks); (2) it is relative only to what the target needs, looked at again at the commit;
//! (3) the source is only read; (4) a disk with a key of its own stays destroyable: it is copied into encrypted
//! vaults only, under a key of its own there; (5) the record's `parent` is there, or not named.
//!
//! Not here: which snapshots to copy, what a snapshot means at the API.

mod names;
mod run;

pub use run::{CopyProgress, CopyReport, SnapshotCopy};

use crate::capture::{CaptureOptions, SnapshotWriter, spool_packs};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{HeadLog, Stage};
use crate::id::{CaptureId, PackId};
use crate::record::{Origin, SnapshotRecord};
use crate::tree::Root;
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use names::{Name, Names, same_names};
use roaring::RoaringBitmap;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use tidemark_units::{DiskId, SnapshotId};

/// Records read at the same time.
const WIDTH: usize = 16;

/// What to copy, and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyRequest {
    /// The snapshot in the source vault.
    pub snapshot: SnapshotId,
    /// What it will be called in the target vault.
    pub as_snapshot: SnapshotId,
    /// Its record's `meta`; `None`: the source's.
    pub meta: Option<serde_json::Value>,
}

impl CopyRequest {
    /// A copy under the same name.
    pub fn new(snapshot: SnapshotId) -> Self {
        Self {
            as_snapshot: snapshot.clone(),
            snapshot,
            meta: None,
        }
    }
}

/// What the target has under a snapshot's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Missing,
    /// The same content.
    Same,
    /// Other content, or such that cannot be compared: never replaced.
    Other,
    /// It was deleted there, and can be brought back there.
    Deleted,
    /// It was deleted there for good; an id is used once.
    Purged,
}

/// A snapshot of one side.
#[derive(Clone, Debug)]
struct Known {
    id: SnapshotId,
    root: Root,
    names: Names,
}

/// Both vaults' snapshots of one disk, and the copying between them.
pub struct DiskCopier {
    shared: Rc<Shared>,
}

struct Shared {
    from: Vault,
    to: Vault,
    disk: DiskId,
    same_names: bool,
    own_key: bool,
    source_log: Rc<HeadLog>,
    /// In the order of their commits.
    source: Vec<Known>,
    /// Held, so that all that asks the target for it shares what was read of it.
    target_log: Rc<HeadLog>,
    target: RefCell<Vec<Known>>,
}

/// What a new copy is relative to.
struct Basis {
    snapshot: Option<SnapshotId>,
    parent: Option<Root>,
    pending: RoaringBitmap,
}

impl DiskCopier {
    /// Looks at a disk in both vaults. [`VaultErrorKind::Denied`] if its content must not go there.
    pub async fn open(from: &Vault, to: &Vault, disk: &DiskId) -> Result<Self> {
        let own_key = from.disk_key(disk).await?.is_some();
        if own_key && !to.is_encrypted() {
            let cause = "the disk's snapshots are encrypted under a key of its own, so that they can be destroyed with \
                         it; they are copied into encrypted vaults only, and the target is none";
            let subject = format!("disk {disk}");
            return Err(VaultError::new(VaultErrorKind::Denied, "copy", subject, cause));
        }
        let same_names = same_names(from, to);
        let (source_log, target_log) = (from.look_at_head_log(disk).await?, to.head_log(disk).await?);
        let source = known(from, &source_log, !same_names).await?;
        let target = known(to, &target_log, !same_names).await?;
        Ok(Self {
            shared: Rc::new(Shared {
                from: from.clone(),
                to: to.clone(),
                disk: disk.clone(),
                same_names,
                own_key,
                source_log,
                source,
                target_log,
                target: RefCell::new(target),
            }),
        })
    }

    /// The source's snapshots of the disk, parents before children.
    pub fn snapshots(&self) -> Vec<SnapshotId> {
        self.shared.source.iter().map(|known| known.id.clone()).collect()
    }

    /// What the target has under the name that the copy will have.
    pub async fn standing(&self, request: &CopyRequest) -> Result<Standing> {
        self.shared.standing(request).await
    }

    /// Begins a copy whose spool will be `spool_dir`, or goes on with what was begun there. `None`: the target has it
    /// already. [`VaultErrorKind::Missing`] if the source has no such snapshot, or the target's was deleted; [`VaultErrorKind::Other`] if the target has other content under that name.
    pub async fn begin(
        &self,
        request: &CopyRequest,
        spool_dir: &Path,
        options: CaptureOptions,
    ) -> Result<Option<SnapshotCopy>> {
        let shared = &self.shared;
        let record = shared.source_record(&request.snapshot).await?;
        let subject = || format!("snapshot {}", request.as_snapshot);
        match shared.standing(request).await? {
            Standing::Missing => {}
            Standing::Same => {
                shared.remove_spool(spool_dir).await?;
                return Ok(None);
            }
            Standing::Deleted => {
                let cause =
                    "it was deleted from the target; bring it back there with `tidemark snapshot undelete`";
                return Err(VaultError::new(VaultErrorKind::Missing, "copy", subject(), cause));
            }
            Standing::Purged => {
                let cause = "it was deleted from the target for good, and its id is not used again";
                return Err(VaultError::new(VaultErrorKind::Missing, "copy", subject(), cause));
            }
            Standing::Other => {
                let cause = "the target has a snapshot of this name with other content; it is left alone";
                return Err(VaultError::other("copy", subject(), cause));
            }
        }
        let begun = shared.begin(request, &record, spool_dir, options).await?;
        Ok(Some(SnapshotCopy::new(
            shared.clone(),
            request.clone(),
            record,
            begun,
        )))
    }
}

/// The snapshots of a head log. Where names alone do not tell, with their origins.
async fn known(vault: &Vault, log: &HeadLog, with_origins: bool) -> Result<Vec<Known>> {
    let live = log.state().live();
    stream::iter(live)
        .map(|(id, root)| async move {
            let origin = match with_origins {
                true => origin_of(vault, log.disk(), &id, &root).await?,
                false => None,
            };
            let names = Names::of(vault, &root, origin.as_ref());
            Ok(Known { id, root, names })
        })
        .buffered(WIDTH)
        .try_collect()
        .await
}

/// Where a snapshot was captured. A record that cannot be read, or is about something else than the head log says, makes a
/// snapshot unknown here, nothing worse: its own copy will say what is wrong.
async fn origin_of(vault: &Vault, disk: &DiskId, id: &SnapshotId, root: &Root) -> Result<Option<Origin>> {
    let is_its_own = |record: &SnapshotRecord| record.disk == *disk && record.root.same_content(root);
    match vault.record(id).await {
        Ok(record) => Ok(record.filter(is_its_own).and_then(|record| record.origin)),
        Err(error) if matches!(error.kind, VaultErrorKind::Busy | VaultErrorKind::Denied) => Err(error),
        Err(_) => Ok(None),
    }
}

impl Shared {
    fn source_known(&self, id: &SnapshotId) -> Result<&Known> {
        self.source.iter().find(|known| &known.id == id).ok_or_else(|| {
            let cause = format!(
                "there is no such snapshot of disk {} in {}",
                self.disk,
                self.from.describe()
            );
            VaultError::new(VaultErrorKind::Missing, "copy", format!("snapshot {id}"), cause)
        })
    }

    /// The source's record, by reading only.
    async fn source_record(&self, id: &SnapshotId) -> Result<SnapshotRecord> {
        let known = self.source_known(id)?;
        let record = self.from.record_of(&self.source_log, id, &known.root).await?;
        record.ok_or_else(|| {
            let cause = "it was deleted from the source meanwhile";
            VaultError::new(VaultErrorKind::Missing, "copy", format!("snapshot {id}"), cause)
        })
    }

    async fn standing(&self, request: &CopyRequest) -> Result<Standing> {
        let wanted = self.source_known(&request.snapshot)?;
        let root = match self.in_target(&request.as_snapshot).await? {
            None => return Ok(Standing::Missing),
            Some((_, Stage::Deleted(_))) => return Ok(Standing::Deleted),
            Some((_, Stage::Purged)) => return Ok(Standing::Purged),
            Some((root, Stage::Exists)) => root,
        };
        let origin = match self.same_names {
            true => None,
            false => origin_of(&self.to, &self.disk, &request.as_snapshot, &root).await?,
        };
        let names = Names::of(&self.to, &root, origin.as_ref());
        Ok(match names.meet(&wanted.names) {
            true => Standing::Same,
            false => Standing::Other,
        })
    }

    /// A capture that goes on or begins, and what it is relative to.
    async fn begin(
        &self,
        request: &CopyRequest,
        record: &SnapshotRecord,
        spool_dir: &Path,
        options: CaptureOptions,
    ) -> Result<run::Begun> {
        match SnapshotWriter::resume(&self.to, spool_dir, options).await {
            Ok(Some(writer)) => match self.check_spool(request, record, spool_dir, &writer).await? {
                true => {
                    let basis = self.target_of(writer.spec().parent.as_ref());
                    return Ok(run::Begun {
                        writer,
                        basis,
                        resumed: true,
                    });
                }
                // Its basis went, or it was given up: what it stored is relative to nothing, or being freed.
                false => writer.abandon_copy().await?,
            },
            Ok(None) => {}
            // Unlike a capture's, all that it holds can be had again.
            Err(error) if matches!(error.kind, VaultErrorKind::Corrupt | VaultErrorKind::Missing) => {
                tracing::warn!(%error, "the spool of a copy cannot be used; beginning again");
                self.end_captures_of(spool_dir).await?;
                self.remove_spool(spool_dir).await?;
            }
            Err(error) => return Err(error),
        }
        if self.own_key {
            self.to.create_disk_key(&self.disk).await?;
        }
        let basis = self.basis(record).await?;
        let spec = crate::CaptureSpec {
            snapshot: request.as_snapshot.clone(),
            disk: self.disk.clone(),
            parent: basis.parent,
            size_bytes: record.size_bytes,
            pending: basis.pending,
            own_key: self.own_key,
        };
        let writer = SnapshotWriter::begin(&self.to, spool_dir, spec, options).await?;
        Ok(run::Begun {
            writer,
            basis: basis.snapshot,
            resumed: false,
        })
    }

    /// Whether what a spool holds can be gone on with; an error when it is another snapshot's.
    async fn check_spool(
        &self,
        request: &CopyRequest,
        record: &SnapshotRecord,
        spool_dir: &Path,
        writer: &SnapshotWriter,
    ) -> Result<bool> {
        let spec = writer.spec();
        if (&spec.snapshot, &spec.disk) != (&request.as_snapshot, &self.disk) {
            let cause = format!(
                "it holds a capture of snapshot {} of disk {}",
                spec.snapshot, spec.disk
            );
            return Err(VaultError::other("copy", spool_dir.display(), cause));
        }
        let fits = spec.size_bytes == record.size_bytes && spec.own_key == self.own_key;
        Ok(fits && self.is_basis_there(spec.parent.as_ref()).await? && !self.has_ended(writer))
    }

    /// Whether somebody gave the capture up ([`Vault::end_capture`]), as far as the target's log has been read.
    fn has_ended(&self, writer: &SnapshotWriter) -> bool {
        self.target_log.state().has_ended(writer.id())
    }

    /// The content of a snapshot of the target, and what has become of it by now; `None`: it was never there.
    async fn in_target(&self, id: &SnapshotId) -> Result<Option<(Root, Stage)>> {
        self.target_log.refresh().await?;
        Ok(self.target_log.snapshot(id))
    }

    /// Whether the target still needs what a copy is relative to, as its commit will demand.
    async fn is_basis_there(&self, parent: Option<&Root>) -> Result<bool> {
        self.target_log.refresh().await?;
        let Some(parent) = parent else {
            return Ok(true);
        };
        let is_there = self.target_log.state().needs(parent);
        Ok(is_there)
    }

    /// The target's snapshot with this content.
    fn target_of(&self, root: Option<&Root>) -> Option<SnapshotId> {
        let (root, target) = (root?, self.target.borrow());
        let found = target.iter().find(|known| known.root.same_content(root));
        found.map(|known| known.id.clone())
    }

    /// What both vaults have of the disk: the place among the source's snapshots, and the target's own.
    fn in_common(&self) -> Vec<(usize, Known)> {
        let target = self.target.borrow();
        let named = |known: &Known| known.names.iter().copied().collect::<Vec<_>>();
        let by_name: HashMap<Name, &Known> = target
            .iter()
            .flat_map(|known| named(known).into_iter().map(move |name| (name, known)))
            .collect();
        let found = |known: &Known| known.names.iter().find_map(|name| by_name.get(name));
        let pairs = self.source.iter().enumerate();
        pairs
            .filter_map(|(at, known)| Some((at, (*found(known)?).clone())))
            .collect()
    }

    /// The snapshot that both have and that differs least: the parent, or else the nearest before or behind.
    async fn basis(&self, record: &SnapshotRecord) -> Result<Basis> {
        let wanted = self.source.iter().position(|known| known.id == record.snapshot);
        let wanted = wanted.unwrap_or(self.source.len());
        // What was deleted since is no basis.
        self.target_log.refresh().await?;
        let mut common = self.in_common();
        common.retain(|(_, known)| matches!(self.target_log.snapshot(&known.id), Some((_, Stage::Exists))));
        let parent = common
            .iter()
            .find(|(at, _)| Some(&self.source[*at].id) == record.parent.as_ref());
        let candidates: Vec<&(usize, Known)> = match parent {
            Some(parent) => vec![parent],
            None => {
                let before = common.iter().rev().find(|(at, _)| *at <= wanted);
                let behind = common.iter().find(|(at, _)| *at > wanted);
                before.into_iter().chain(behind).collect()
            }
        };
        let mut best: Option<Basis> = None;
        for (at, known) in candidates {
            let pending = self.pending(Some(&self.source[*at].root), &record.root).await?;
            if best
                .as_ref()
                .is_none_or(|best| pending.len() < best.pending.len())
            {
                best = Some(Basis {
                    snapshot: Some(known.id.clone()),
                    parent: Some(known.root),
                    pending,
                });
            }
        }
        match best {
            Some(best) => Ok(best),
            None => Ok(Basis {
                snapshot: None,
                parent: None,
                pending: self.pending(None, &record.root).await?,
            }),
        }
    }

    /// The chunks of `wanted` that `basis` (`None`: zeros) does not have.
    async fn pending(&self, basis: Option<&Root>, wanted: &Root) -> Result<RoaringBitmap> {
        let end = u32::try_from(wanted.chunk_count()).ok();
        if let (None, Some(end)) = (basis, end) {
            // Leaves without a hole need not be read for this.
            return self.from.non_zero_chunks(wanted, 0..end).await;
        }
        let mut pending = self.from.diff(basis, Some(wanted)).await?;
        // A basis that is larger differs behind the end, too; that is cut off, not copied.
        if let Some(end) = end {
            pending.remove_range(end..);
        }
        Ok(pending)
    }

    /// Ends the capture that a spool cannot go on with: its packs say which it was. Otherwise what it has put into the
    /// target would stay until an operator says that whoever made it is gone.
    async fn end_captures_of(&self, dir: &Path) -> Result<()> {
        let packs = spool_packs(self.to.env(), dir).await?;
        let captures: BTreeSet<CaptureId> = packs.iter().map(PackId::capture).collect();
        for capture in captures {
            match self.to.end_capture(capture).await {
                Err(error) if error.kind == VaultErrorKind::Busy => return Err(error),
                Err(error) => tracing::warn!(%capture, %error, "what a copy has stored stays for now"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn remove_spool(&self, dir: &Path) -> Result<()> {
        match self.to.env().fs.remove_dir_all(dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(VaultError::io("remove spool", dir.display(), error))
            }
            _ => Ok(()),
        }
    }
}
