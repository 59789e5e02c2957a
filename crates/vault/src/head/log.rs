//! One disk's head log: read as far as wanted, appended to by create-if-absent.
//!
//! Entries never change, so what was read once stays true; the state that they add up to is kept beside them.

use super::{HeadEntry, HeadState, Stage, encode, open};
use crate::crypt::BoxKind;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::id::Nonce;
use crate::key;
use crate::tree::Root;
use crate::vault::{PutIfAbsent, Store};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use std::cell::{Cell, Ref, RefCell};
use tidemark_env::mutant;
use tidemark_units::{DiskId, SnapshotId};

/// Entries read at the same time.
const WIDTH: usize = 16;

/// Makes the entry at `key` durable, and with it all before it.
async fn settle(store: &Store, key: &str) -> Result<()> {
    let step = "settle head log";
    let object = store.get(step, key).await?;
    store.put_if_absent(step, key, object).await.map(drop)
}

/// Why an append was not made.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What was to be appended makes no sense any more; the reason, for people.
    Because(String),
    /// The bucket failed, or somebody else owns the disk.
    Failed(VaultError),
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        Self::Failed(error)
    }
}

/// One disk's head log, as far as it has been read.
pub struct HeadLog {
    store: Store,
    disk: DiskId,
    entries: RefCell<Vec<HeadEntry>>,
    state: RefCell<HeadState>,
    /// How many of them are durable.
    settled: Cell<u64>,
}

impl HeadLog {
    pub(crate) fn new(store: Store, disk: DiskId) -> Self {
        Self {
            store,
            disk,
            entries: RefCell::default(),
            state: RefCell::default(),
            settled: Cell::new(0),
        }
    }

    /// The disk.
    pub fn disk(&self) -> &DiskId {
        &self.disk
    }

    /// All entries read or appended so far; an entry's number is its place.
    pub fn entries(&self) -> Vec<HeadEntry> {
        self.entries.borrow().clone()
    }

    /// What they add up to.
    pub fn state(&self) -> Ref<'_, HeadState> {
        self.state.borrow()
    }

    /// The number of the next entry, as far as known.
    pub fn len(&self) -> u64 {
        self.entries.borrow().len() as u64
    }

    /// How many of the entries read so far are known to be durable.
    pub(crate) fn settled_len(&self) -> u64 {
        self.settled.get()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one of the entries from number `from` on commits a snapshot.
    pub(crate) fn commits_since(&self, from: u64) -> bool {
        let entries = self.entries.borrow();
        let mut later = entries.iter().skip(from as usize);
        later.any(|entry| matches!(entry, HeadEntry::Snapshot { .. }))
    }

    /// The snapshot's content and stage; `None` if it was never committed.
    pub(crate) fn snapshot(&self, snapshot: &SnapshotId) -> Option<(Root, Stage)> {
        self.state.borrow().snapshot(snapshot)
    }

    /// Reads what others have appended since. What it finds is durable when this returns: a reader may
    /// see an entry a moment before its writer's put is done, and that writer may have been killed in
    /// that moment; but a create-only put that is refused is a promise that what is there stays there.
    pub async fn refresh(&self) -> Result<()> {
        self.look().await?;
        self.settle().await
    }

    /// Makes what has been read durable.
    pub(crate) async fn settle(&self) -> Result<()> {
        let known = self.len();
        if known > self.settled.get() {
            settle(&self.store, &key::head(&self.disk, known - 1)).await?;
            self.settled.set(known.max(self.settled.get()));
        }
        Ok(())
    }

    /// As [`HeadLog::refresh`], but what it finds may be a moment away from being durable: good for
    /// listing, not for acting upon.
    pub(crate) async fn look(&self) -> Result<()> {
        if self.is_empty() {
            return self.read_all().await;
        }
        // The usual case is that there is nothing new: one look instead of listing the whole log.
        loop {
            // Another task may take entries in while this one waits for its own.
            let seq = self.len();
            let key = key::head(&self.disk, seq);
            let Some(object) = self.store.get_opt("read head log", &key).await? else {
                return Ok(());
            };
            self.learn(seq, &object)?;
        }
    }

    async fn read_all(&self) -> Result<()> {
        let step = "read head log";
        let prefix = key::head_prefix(&self.disk);
        let listed = self.store.list(step, &prefix).await?;
        for (at, object) in (0..).zip(&listed) {
            if key::parse_head(&object.key) != Some((self.disk.clone(), at)) {
                let cause = format!("entry {at} is missing: {:?} stands in its place", object.key);
                return Err(VaultError::corrupt(step, prefix, cause));
            }
        }
        self.read_up_to(listed.len() as u64).await
    }

    /// Reads the entries below number `count`, which are there.
    pub(crate) async fn read_up_to(&self, count: u64) -> Result<()> {
        let step = "read head log";
        let mut objects = stream::iter(self.len()..count)
            .map(|seq| async move { (seq, self.store.get(step, &key::head(&self.disk, seq)).await) })
            .buffered(WIDTH);
        while let Some((seq, object)) = objects.next().await {
            self.learn(seq, &object?)?;
        }
        Ok(())
    }

    /// Takes in entry `seq`; one that is known already (by another task) changes nothing.
    fn learn(&self, seq: u64, object: &Bytes) -> Result<()> {
        let entry = open(&self.store, &self.disk, seq, object)?;
        let mut entries = self.entries.borrow_mut();
        if entries.len() as u64 == seq {
            self.state.borrow_mut().learn(&entry);
            entries.push(entry);
        }
        Ok(())
    }

    /// Appends at the next free number and says which it was. [`VaultErrorKind::Lost`] when another
    /// writer's entry is there; that entry has been taken in, so that the caller may look and decide.
    pub async fn append(&self, entry: HeadEntry) -> Result<u64> {
        let seq = self.len();
        let plain = encode(&self.disk, seq, Nonce(self.store.env.random()), &entry)?;
        let key = key::head(&self.disk, seq);
        let object = self.store.encrypted(BoxKind::Head, &key, plain);
        match self
            .store
            .put_if_absent("append to head log", &key, object.clone())
            .await?
        {
            PutIfAbsent::Done => {
                self.learn(seq, &object)?;
                self.settled.set(self.settled.get().max(seq + 1));
                Ok(seq)
            }
            PutIfAbsent::Exists(other) => {
                self.learn(seq, &other)?;
                self.refresh().await?;
                let cause = "another writer's entry is there";
                Err(VaultError::new(
                    VaultErrorKind::Lost,
                    "append to head log",
                    key,
                    cause,
                ))
            }
        }
    }

    /// Appends over other writers' entries, as long as `why_not` has no objection to what the log says by then.
    pub(crate) async fn append_unless(
        &self,
        entry: HeadEntry,
        why_not: impl Fn(&HeadLog) -> Option<String>,
    ) -> Result<u64, Refusal> {
        loop {
            if let Some(reason) = why_not(self) {
                return Err(Refusal::Because(reason));
            }
            match self.append(entry.clone()).await {
                Ok(seq) => return Ok(seq),
                Err(error) if error.kind == VaultErrorKind::Lost => {}
                Err(error) => return Err(Refusal::Failed(error)),
            }
        }
    }

    /// As [`HeadLog::append_unless`], as long as nobody has taken the disk over after entry `since`
    /// ([`VaultErrorKind::Lost`]).
    pub(crate) async fn append_as_owner(
        &self,
        entry: HeadEntry,
        since: u64,
        why_not: impl Fn(&HeadLog) -> Option<String>,
    ) -> Result<u64, Refusal> {
        loop {
            self.check_owner(since)?;
            if let Some(reason) = why_not(self) {
                return Err(Refusal::Because(reason));
            }
            match self.append(entry.clone()).await {
                Ok(seq) => return Ok(seq),
                Err(error) if error.kind == VaultErrorKind::Lost => {}
                Err(error) => return Err(Refusal::Failed(error)),
            }
        }
    }

    /// [`VaultErrorKind::Lost`] when an entry from number `since` on names another owner, or fences.
    fn check_owner(&self, since: u64) -> Result<()> {
        if mutant::on("vault-ignores-owner") {
            return Ok(());
        }
        let entries = self.entries.borrow();
        let later = entries.iter().skip(since as usize);
        let mut owners =
            later.filter(|entry| matches!(entry, HeadEntry::Own { .. } | HeadEntry::Fence { .. }));
        let Some(owner) = owners.next_back() else {
            return Ok(());
        };
        let cause = match owner {
            HeadEntry::Own { epoch, node } => format!(
                "node {node} has taken the disk over (epoch {epoch}): two services have this disk and write to this vault; \
                 stop one of them"
            ),
            _ => "the disk's owners so far are fenced off".to_string(),
        };
        let subject = format!("disk {}", self.disk);
        Err(VaultError::new(
            VaultErrorKind::Lost,
            "append to head log",
            subject,
            cause,
        ))
    }

    /// Takes the disk over for `node` (R1): whoever owned it before cannot commit snapshots any more. Gives the number
    /// of the entry that says so, for [`crate::RecordDraft::owner`].
    pub async fn claim(&self, node: &str, epoch: u64) -> Result<u64> {
        let node = node.to_string();
        loop {
            let entry = HeadEntry::Own {
                epoch,
                node: node.clone(),
            };
            match self.append(entry).await {
                Err(error) if error.kind == VaultErrorKind::Lost => {}
                done => return done,
            }
        }
    }
}
