//! The state that a capture's tasks share, all on one thread.

use super::index::ChunkIndex;
use super::spool::{Spool, SpooledPack, chunks_of_rows, leaves_of};
use super::{CaptureOptions, CaptureSpec, Progress};
use crate::crypt::{BoxNonce, Encrypter, nonce};
use crate::error::{Result, VaultError};
use crate::id::{ChunkId, PackId};
use crate::pack::{EntryKind, Footer, Location, PackBuilder, PackKind};
use crate::reader::Chunk;
use crate::signal::Signal;
use crate::tree::NodeRef;
use crate::vault::Vault;
use bytes::Bytes;
use futures_util::future::{Either, select};
use roaring::RoaringBitmap;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_units::CHUNK_BYTES;

/// A data pack of this capture, sealed.
pub(super) struct SealedPack {
    /// Bytes of the whole object; 0 for one that has rows only and stays in the spool.
    pub(super) object_len: u64,
    pub(super) uploaded: bool,
    /// The leaves that its rows lie in: which packs matter to a part of the tree.
    pub(super) leaves: RoaringBitmap,
}

/// A tree pack of this capture that is in the bucket.
#[derive(Clone, Copy)]
pub(super) struct TreePack {
    /// 0 for one of an attempt that failed, which the snapshot does not use: a collector frees it.
    pub(super) object_len: u64,
    /// Whether the spool remembers it: then later attempts use its leaves.
    pub(super) remembered: bool,
}

/// A pack that an earlier process has put into the bucket, as the spool says.
#[derive(Clone, Copy)]
pub(super) struct SentBefore {
    pub(super) kind: PackKind,
    pub(super) pack: PackId,
    pub(super) object_len: u64,
}

/// What the sealed packs' rows add up to.
#[derive(Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) zero: u64,
    pub(super) same: u64,
    pub(super) copied: u64,
    pub(super) stored: u64,
}

impl Counts {
    fn add(&mut self, footer: &Footer) {
        for entry in &footer.entries {
            match entry.kind {
                EntryKind::Stored { .. } => self.stored += 1,
                EntryKind::Zero { count, .. } => self.zero += u64::from(count),
                EntryKind::Copy { .. } => self.copied += 1,
                EntryKind::Same { .. } => self.same += 1,
                EntryKind::Node { .. } => {}
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Core {
    /// Put, or taken before a crash.
    pub(super) claimed: RoaringBitmap,
    /// Durable in the spool.
    pub(super) taken: RoaringBitmap,
    /// Taken and not told yet.
    pub(super) fresh: RoaringBitmap,
    pub(super) batch: Vec<(u32, Chunk)>,
    /// Batches and seals under way, by number: waiting for "all up to here" is waiting for the least.
    pub(super) batches: Running,
    pub(super) seals: Running,
    pub(super) open: Option<PackBuilder>,
    /// Chunks of the open pack, and of sealed ones: all that a new row may point at.
    pub(super) open_chunks: HashMap<ChunkId, Location>,
    pub(super) sealed_chunks: ChunkIndex,
    pub(super) packs: HashMap<PackId, SealedPack>,
    pub(super) counts: Counts,
    pub(super) queue: VecDeque<PackId>,
    /// Bodies of queued packs that are still in memory.
    pub(super) bodies: HashMap<PackId, Vec<Bytes>>,
    pub(super) uploading: usize,
    pub(super) upload_trouble: Option<String>,
    pub(super) spool_bytes: u64,
    pub(super) uploaded_bytes: u64,
    /// When the parent may be asked again after it could not be read.
    pub(super) parent_again_at: Duration,
    pub(super) failed: Option<VaultError>,
    pub(super) stopped: bool,
    pub(super) tasks: usize,
}

/// Numbers of what is under way.
#[derive(Default)]
pub(super) struct Running {
    next: u64,
    running: BTreeSet<u64>,
}

impl Running {
    pub(super) fn start(&mut self) -> u64 {
        self.next += 1;
        self.running.insert(self.next);
        self.next
    }

    pub(super) fn end(&mut self, number: u64) {
        self.running.remove(&number);
    }

    pub(super) fn last(&self) -> u64 {
        self.next
    }

    pub(super) fn done_up_to(&self, number: u64) -> bool {
        self.running.first().is_none_or(|first| *first > number)
    }

    pub(super) fn count(&self) -> usize {
        self.running.len()
    }
}

pub(super) struct State {
    pub(super) vault: Vault,
    pub(super) spool: Spool,
    pub(super) spec: CaptureSpec,
    /// What seals its packs.
    pub(super) encrypter: Encrypter,
    pub(super) options: CaptureOptions,
    pub(super) core: RefCell<Core>,
    pub(super) signal: Signal,
    /// Leaves in tree packs that the spool remembers, and all tree packs.
    pub(super) built_leaves: RefCell<HashMap<u32, NodeRef>>,
    pub(super) tree_packs: RefCell<HashMap<PackId, TreePack>>,
    /// Set while `finish` runs: a second one at the same time is a mistake.
    pub(super) finishing: Cell<bool>,
    /// Whether this process has registered it.
    pub(super) registered: Cell<bool>,
    /// Found in the spool, and not looked for in the bucket yet.
    pub(super) sent_before: RefCell<Vec<SentBefore>>,
}

impl State {
    pub(super) fn new(
        vault: &Vault,
        spool: Spool,
        spec: CaptureSpec,
        encrypter: Encrypter,
        options: CaptureOptions,
        packs: Vec<SpooledPack>,
    ) -> Result<Rc<Self>> {
        let state = Rc::new(Self {
            vault: vault.clone(),
            spool,
            spec,
            encrypter,
            options,
            core: RefCell::default(),
            signal: Signal::default(),
            built_leaves: RefCell::default(),
            tree_packs: RefCell::default(),
            finishing: Cell::new(false),
            registered: Cell::new(false),
            sent_before: RefCell::default(),
        });
        for pack in packs {
            state.adopt(pack)?;
        }
        let mut core = state.core.borrow_mut();
        core.claimed = core.taken.clone();
        core.fresh = core.taken.clone();
        drop(core);
        Ok(state)
    }

    fn adopt(&self, pack: SpooledPack) -> Result<()> {
        let id = pack.footer.pack;
        if pack.uploaded && pack.footer.has_body() {
            self.sent_before.borrow_mut().push(SentBefore {
                kind: pack.footer.kind,
                pack: id,
                object_len: pack.object_len,
            });
        }
        if pack.footer.kind == PackKind::Tree {
            self.note_tree(&pack.footer, pack.object_len);
            return Ok(());
        }
        let chunks = chunks_of_rows(&pack.footer, &self.spec.pending);
        let mut core = self.core.borrow_mut();
        let Some(chunks) = chunks.filter(|chunks| chunks.is_disjoint(&core.taken)) else {
            let cause = "it records chunks that are not pending, or that were recorded before";
            return Err(VaultError::corrupt("resume capture", format!("pack {id}"), cause));
        };
        if !pack.uploaded {
            core.queue.push_back(id);
        }
        core.note_sealed(&pack.footer, chunks, pack.object_len, pack.uploaded);
        Ok(())
    }

    /// Takes in a tree pack that is in the bucket and that the spool remembers: its leaves are final.
    pub(super) fn note_tree(&self, footer: &Footer, object_len: u64) {
        let mut leaves = self.built_leaves.borrow_mut();
        for entry in &footer.entries {
            let EntryKind::Node {
                level: 0,
                position,
                chunks,
            } = entry.kind
            else {
                continue;
            };
            if let Some(at) = entry.at {
                let id = crate::id::NodeId(entry.id);
                let chunks = chunks.into();
                leaves.insert(position, NodeRef { id, chunks, at });
            }
        }
        let remembered = TreePack {
            object_len,
            remembered: true,
        };
        self.tree_packs.borrow_mut().insert(footer.pack, remembered);
    }

    /// The error that ended the work, or that it was stopped.
    pub(super) fn check(&self) -> Result<()> {
        let core = self.core.borrow();
        match &core.failed {
            Some(error) => Err(error.clone()),
            None if core.stopped => {
                let subject = format!("snapshot {}", self.spec.snapshot);
                Err(VaultError::other("capture", subject, "it was stopped"))
            }
            None => Ok(()),
        }
    }

    /// Ends the work with an error; the first one stays.
    pub(super) fn fail(&self, error: VaultError) {
        let error = error.within(format!("snapshot {}", self.spec.snapshot));
        self.core.borrow_mut().failed.get_or_insert(error);
        self.signal.notify();
    }

    /// A nonce for one seal, drawn if there is a encrypter.
    pub(super) fn nonce(&self) -> BoxNonce {
        match &self.encrypter {
            None => BoxNonce::default(),
            Some(_) => nonce(self.vault.env()),
        }
    }

    pub(super) fn new_pack_id(&self) -> PackId {
        PackId::new(self.vault.env().random(), self.spool.capture)
    }

    /// A full pack's footer, and its object in pieces.
    pub(super) async fn closed(&self, open: PackBuilder) -> (Footer, Vec<Bytes>) {
        let (encrypter, nonce) = (self.encrypter.clone(), self.nonce());
        if encrypter.is_none() {
            return open.finish(&encrypter, nonce);
        }
        let close = move || open.finish(&encrypter, nonce);
        self.vault.env().compute(close).await
    }

    /// Waits until `ready`, or for the error that prevents it for ever.
    pub(super) async fn until(&self, ready: impl Fn(&Core) -> bool) -> Result<()> {
        self.signal
            .until(|| match self.check() {
                Err(error) => Some(Err(error)),
                Ok(()) => ready(&self.core.borrow()).then_some(Ok(())),
            })
            .await
    }

    /// Runs a task of this capture in the background.
    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        self.core.borrow_mut().tasks += 1;
        let state = self.clone();
        self.vault.env().spawn(async move {
            task.await;
            state.core.borrow_mut().tasks -= 1;
            state.signal.notify();
        });
    }

    /// Sleeps, unless the capture is stopped first.
    pub(super) async fn pause(&self, duration: Duration) {
        let stopped = pin!(self.signal.until(|| self.core.borrow().stopped.then_some(())));
        match select(self.vault.env().clock.sleep(duration), stopped).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    pub(super) fn stop(&self) {
        self.core.borrow_mut().stopped = true;
        self.signal.notify();
    }

    pub(super) async fn close(&self) {
        self.stop();
        self.signal
            .until(|| (self.core.borrow().tasks == 0).then_some(()))
            .await;
    }

    pub(super) fn drain_taken(&self) -> RoaringBitmap {
        std::mem::take(&mut self.core.borrow_mut().fresh)
    }

    pub(super) fn progress(&self) -> Progress {
        let core = self.core.borrow();
        Progress {
            chunks_total: self.spec.pending.len(),
            chunks_taken: core.taken.len(),
            read_bytes: core.taken.len() * CHUNK_BYTES,
            new_bytes: core.counts.stored * CHUNK_BYTES,
            stored_bytes: core.spool_bytes + core.uploaded_bytes,
            uploaded_bytes: core.uploaded_bytes,
            spool_bytes: core.spool_bytes,
            zero_chunks: core.counts.zero,
            same_chunks: core.counts.same,
            copied_chunks: core.counts.copied,
            upload_trouble: core.upload_trouble.clone(),
        }
    }
}

impl Core {
    /// Takes in a sealed pack whose rows are about `chunks`.
    pub(super) fn note_sealed(
        &mut self,
        footer: &Footer,
        chunks: RoaringBitmap,
        object_len: u64,
        uploaded: bool,
    ) {
        let object_len = if footer.has_body() { object_len } else { 0 };
        if uploaded {
            self.uploaded_bytes += object_len;
        } else {
            self.spool_bytes += object_len;
        }
        self.counts.add(footer);
        let sealed = SealedPack {
            object_len,
            uploaded,
            leaves: leaves_of(&chunks),
        };
        self.packs.insert(footer.pack, sealed);
        self.taken |= &chunks;
        self.fresh |= chunks;
    }
}
