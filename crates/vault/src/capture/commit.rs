//! The end of a capture: committed, or given up.
//!
//! The order of a commit: data packs, tree packs, record, head entry. The head entry is the commit;
//! everything before it is invisible, everything after it is tidying. Each step may be repeated.

use super::state::State;
use super::{Committed, CopyOf, RecordDraft};
use crate::crypt::BoxKind;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{HeadEntry, HeadLog, Refusal, Stage};
use crate::key;
use crate::pack::PackKind;
use crate::record::{SnapshotRecord, SnapshotStats};
use crate::tree::Root;
use futures_util::stream::{self, StreamExt};
use std::cell::Cell;
use std::rc::Rc;
use tidemark_env::mutant;
use tidemark_units::CHUNK_BYTES;

/// Packs removed at the same time.
const WIDTH: usize = 8;

/// Clears the flag however the work ends.
struct Clear<'a>(&'a Cell<bool>);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl State {
    fn subject(&self) -> String {
        format!("snapshot {}", self.spec.snapshot)
    }

    pub(super) async fn finish(
        self: &Rc<Self>,
        draft: RecordDraft,
        copy: Option<&CopyOf>,
    ) -> Result<Committed> {
        if self.finishing.replace(true) {
            return Err(VaultError::other(
                "finish capture",
                self.subject(),
                "it is being finished already",
            ));
        }
        let _clear = Clear(&self.finishing);
        self.commit(draft, copy).await.map_err(|error| {
            // Errors of the background work carry the name already.
            let named = error.subject.starts_with(&self.subject());
            if named {
                error
            } else {
                error.within(self.subject())
            }
        })
    }

    async fn commit(self: &Rc<Self>, draft: RecordDraft, copy: Option<&CopyOf>) -> Result<Committed> {
        let id = &self.spec.snapshot;
        self.check()?;
        let head = self.vault.head_log(&self.spec.disk).await?;
        match head.snapshot(id) {
            Some((root, Stage::Exists)) => return self.committed_before(root).await,
            Some((_, Stage::Deleted(_) | Stage::Purged)) => {
                self.tidy().await;
                let cause = "it was deleted after its commit";
                return Err(VaultError::new(
                    VaultErrorKind::Missing,
                    "finish capture",
                    "head log",
                    cause,
                ));
            }
            None => {}
        }
        self.seal().await?;
        let missing = self.spec.pending.len() - self.core.borrow().taken.len();
        if missing > 0 {
            let cause = format!("{missing} pending chunks have not been put");
            return Err(VaultError::other("finish capture", "chunks", cause));
        }
        self.until(|core| core.packs.values().all(|pack| pack.uploaded))
            .await?;
        self.find_sent_before().await?;
        let root = self.build().await?;
        if let Some(copy) = copy {
            copy.check(&root)?;
        }
        let stats = self.stats(&root);
        let record = SnapshotRecord {
            snapshot: id.clone(),
            disk: self.spec.disk.clone(),
            size_bytes: self.spec.size_bytes,
            created_ms: draft.created_ms,
            root,
            parent: draft.parent,
            lsn: draft.lsn,
            stats,
            meta: draft.meta,
            origin: copy.map(|copy| copy.origin),
        };
        let (store, name) = (self.vault.store(), key::snapshot(id));
        let object = store.encrypted(BoxKind::Record, &name, record.encode()?);
        store.put("write snapshot record", &name, vec![object]).await?;
        if self.spec.own_key {
            self.vault
                .check_disk_key(&self.spec.disk, &self.encrypter)
                .await?;
        }
        let entry = HeadEntry::Snapshot {
            id: id.clone(),
            root,
            copied: copy.is_some(),
        };
        let owned_from = draft.owner.map_or_else(|| head.len(), |own| own + 1);
        let refused = Cell::new(VaultErrorKind::Lost);
        let why_not = |head: &HeadLog| self.why_not_commit(head, &refused);
        match head.append_as_owner(entry, owned_from, why_not).await {
            Ok(_) => {}
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::Because(cause)) => {
                return Err(VaultError::new(
                    refused.get(),
                    "finish capture",
                    "head log",
                    cause,
                ));
            }
        }
        self.tidy().await;
        Ok(Committed { root, stats })
    }

    /// Why the snapshot must not be committed after what the log says, and of which kind that error is.
    fn why_not_commit(&self, head: &HeadLog, kind: &Cell<VaultErrorKind>) -> Option<String> {
        if head.snapshot(&self.spec.snapshot).is_some() {
            return Some("another capture committed it meanwhile".into());
        }
        let state = head.state();
        if state.has_ended(self.spool.capture) {
            return Some("the capture was given up, perhaps by another node".into());
        }
        let parent = self.spec.parent.as_ref();
        if parent.is_some_and(|parent| !state.needs(parent)) {
            kind.set(VaultErrorKind::Stale);
            return Some(
                "what it is relative to may have been freed: nothing in the log needs it any more".into(),
            );
        }
        None
    }

    /// The commit had happened, only its answer was lost.
    async fn committed_before(self: &Rc<Self>, root: Root) -> Result<Committed> {
        let record = self.vault.record(&self.spec.snapshot).await?.ok_or_else(|| {
            VaultError::corrupt(
                "finish capture",
                "snapshot record",
                "the head log has it, the record is gone",
            )
        })?;
        self.tidy().await;
        Ok(Committed {
            root,
            stats: record.stats,
        })
    }

    fn stats(&self, root: &Root) -> SnapshotStats {
        let core = self.core.borrow();
        let tree_bytes: u64 = self
            .tree_packs
            .borrow()
            .values()
            .map(|pack| pack.object_len)
            .sum();
        SnapshotStats {
            captured_chunks: self.spec.pending.len(),
            zero_chunks: core.counts.zero,
            same_chunks: core.counts.same,
            copied_chunks: core.counts.copied,
            logical_bytes: core.counts.stored * CHUNK_BYTES,
            stored_bytes: core.uploaded_bytes + tree_bytes,
            full_bytes: root.data_chunks() * CHUNK_BYTES,
        }
    }

    /// After the commit: a spool that cannot be removed now is removed when it is found again.
    async fn tidy(self: &Rc<Self>) {
        self.close().await;
        if let Err(error) = self.spool.destroy().await {
            tracing::warn!(%error, "the spool of a committed snapshot stays for now");
        }
        self.unregister().await;
    }

    /// Of a copy, the record stays: another copy of the same snapshot may be about to commit with it.
    pub(super) async fn abandon(self: &Rc<Self>, is_copy: bool) -> Result<()> {
        self.close().await;
        // Without the head log nobody knows whether a finish got through: the packs stay for the collector.
        let fenced = self.fence().await;
        if matches!(fenced, Ok(false)) {
            // All that the spool has is in the bucket, and what of it is needed the collector knows.
            self.tidy().await;
            return Err(VaultError::other(
                "abandon capture",
                self.subject(),
                "it is committed",
            ));
        }
        self.spool.destroy().await?;
        if fenced.is_ok() {
            self.remove_from_bucket(!is_copy).await;
            self.unregister().await;
        }
        Ok(())
    }

    /// Makes sure that the snapshot can never be committed; `false` when it was. One that was deleted since counts: it may
    /// be brought back, and later snapshots may be relative to it.
    ///
    /// A finish that was given up, in this life or in an earlier one, may still have its head entry on the way to the
    /// bucket, to land after we looked. An entry of our own takes its place.
    async fn fence(&self) -> Result<bool> {
        let (id, capture) = (&self.spec.snapshot, self.spool.capture);
        let (head, store) = (self.vault.head_log(&self.spec.disk).await?, self.vault.store());
        let was_committed = || head.snapshot(id).is_some();
        // It is registered before anything is put, but for a record that needs no pack.
        let begun = self.registered.get()
            || store.registered(capture).await?.is_some()
            || store
                .get_opt("abandon capture", &key::snapshot(id))
                .await?
                .is_some();
        if begun && !mutant::on("vault-abandon-without-fence") {
            let ended = |head: &HeadLog| head.snapshot(id).is_some() || head.state().has_ended(capture);
            let why_not = |head: &HeadLog| ended(head).then(String::new);
            match head.append_unless(HeadEntry::End { capture }, why_not).await {
                Ok(_) | Err(Refusal::Because(_)) => {}
                Err(Refusal::Failed(error)) => return Err(error),
            }
        }
        Ok(!was_committed())
    }

    /// Best effort: what stays is found by the collector.
    async fn remove_from_bucket(&self, with_record: bool) {
        let store = self.vault.store();
        let mut keys: Vec<String> = self
            .core
            .borrow()
            .packs
            .keys()
            .map(|pack| key::pack(PackKind::Data, *pack))
            .collect();
        keys.extend(
            self.tree_packs
                .borrow()
                .keys()
                .map(|pack| key::pack(PackKind::Tree, *pack)),
        );
        if with_record {
            keys.push(key::snapshot(&self.spec.snapshot));
        }
        let removals = stream::iter(keys)
            .map(|key| async move { (store.bucket.delete(&key).await, key) })
            .buffer_unordered(WIDTH);
        let failed = removals.filter_map(|(done, key)| async move { done.err().map(|error| (key, error)) });
        let failed: Vec<_> = failed.collect().await;
        if let Some((key, error)) = failed.first() {
            tracing::warn!(%key, %error, left = failed.len(), "an abandoned capture leaves packs for the collector");
        }
    }
}
