//! A disk's head log: who owns the disk, and which of its snapshots exist.
//!
//! Entries are objects with consecutive numbers, made only where none was: whoever makes number n
//! has won n. A snapshot exists exactly if an entry says so and no later one drops it. Each entry
//! carries a random nonce, so that a writer whose answer got lost knows its own entry again.
//!
//! Not here: what losing means (the caller stops, or looks and tries the next number).

use crate::crypt::BoxKind;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::id::Nonce;
use crate::tree::Root;
use crate::vault::{PutIfAbsent, Store};
use crate::{key, text};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use tidemark_env::mutant;
use tidemark_units::{DiskId, SnapshotId};

const KIND: &str = "head";
const VERSION: u32 = 1;
/// Entries read at the same time.
const WIDTH: usize = 16;

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
pub enum HeadEntry {
    /// From here on `node` owns the disk, in this epoch.
    Own {
        /// Grows with each owner.
        epoch: u64,
        /// The owner's name.
        node: String,
    },
    /// The snapshot exists, with this content.
    Snapshot {
        /// Its id.
        id: SnapshotId,
        /// Its content.
        root: Root,
    },
    /// The snapshot no longer exists.
    Drop {
        /// Its id.
        id: SnapshotId,
    },
    /// Owners of this epoch and below must stop.
    Fence {
        /// The last epoch that is fenced.
        epoch: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    disk: DiskId,
    seq: u64,
    nonce: Nonce,
    #[serde(flatten)]
    entry: HeadEntry,
}

/// Parses what one head entry's object says, once it has been opened.
pub(crate) fn decode(disk: &DiskId, seq: u64, object: &[u8]) -> Result<HeadEntry> {
    let key = key::head(disk, seq);
    let stored: Stored = text::decode(KIND, VERSION, &key, object)?;
    if (&stored.disk, stored.seq) != (disk, seq) {
        let cause = format!("it is entry {} of disk {}", stored.seq, stored.disk);
        return Err(VaultError::corrupt("read head log", key, cause));
    }
    Ok(stored.entry)
}

/// What one head entry's object says, before it is encrypted.
pub(crate) fn encode(disk: &DiskId, seq: u64, nonce: Nonce, entry: &HeadEntry) -> Result<Bytes> {
    text::encode(
        KIND,
        VERSION,
        &Stored {
            disk: disk.clone(),
            seq,
            nonce,
            entry: entry.clone(),
        },
    )
}

/// Reads one head entry's object as the bucket has it.
pub(crate) fn open(store: &Store, disk: &DiskId, seq: u64, object: &Bytes) -> Result<HeadEntry> {
    let plain = store
        .crypt
        .decrypt_object(BoxKind::Head, &key::head(disk, seq), object)?;
    decode(disk, seq, &plain)
}

/// The root of every snapshot that exists after these entries, in the order of their making.
pub fn live_snapshots(entries: &[HeadEntry]) -> Vec<(SnapshotId, Root)> {
    let mut live: Vec<(SnapshotId, Root)> = Vec::new();
    for entry in entries {
        match entry {
            HeadEntry::Snapshot { id, root } => live.push((id.clone(), *root)),
            HeadEntry::Drop { id } => live.retain(|(live, _)| live != id),
            HeadEntry::Own { .. } | HeadEntry::Fence { .. } => {}
        }
    }
    live
}

/// Makes the entry at `key` durable, and with it all before it.
pub(crate) async fn settle(store: &Store, key: &str) -> Result<()> {
    let step = "settle head log";
    let object = store.get(step, key).await?;
    store.put_if_absent(step, key, object).await.map(drop)
}

/// One disk's head log, as far as it has been read.
pub struct HeadLog {
    store: Store,
    disk: DiskId,
    entries: RefCell<Vec<HeadEntry>>,
    /// How many of them are durable.
    settled: Cell<u64>,
}

impl HeadLog {
    pub(crate) fn new(store: Store, disk: DiskId) -> Self {
        Self {
            store,
            disk,
            entries: RefCell::default(),
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

    /// The number of the next entry, as far as known.
    pub fn len(&self) -> u64 {
        self.entries.borrow().len() as u64
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The snapshot's root: `Some(None)` when it was dropped, `None` when it was never there.
    pub(crate) fn snapshot(&self, snapshot: &SnapshotId) -> Option<Option<Root>> {
        let mut found = None;
        for entry in self.entries.borrow().iter() {
            match entry {
                HeadEntry::Snapshot { id, root } if id == snapshot => found = Some(Some(*root)),
                HeadEntry::Drop { id } if id == snapshot => found = Some(None),
                _ => {}
            }
        }
        found
    }

    /// Reads what others have appended since. What it finds is durable when this returns: a reader may
    /// see an entry a moment before its writer's put is done, and that writer may have been killed in
    /// that moment; but a create-only put that is refused is a promise that what is there stays there.
    pub async fn refresh(&self) -> Result<()> {
        self.look().await?;
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
        let mut objects = stream::iter(0..listed.len() as u64)
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

    /// Appends over other writers' snapshot and drop entries, as long as `still` holds and nobody
    /// has taken the disk over after entry `since` ([`VaultErrorKind::Lost`]). `None` when `still` does not hold.
    pub(crate) async fn append_while(
        &self,
        entry: HeadEntry,
        since: u64,
        still: impl Fn(&HeadLog) -> bool,
    ) -> Result<Option<u64>> {
        loop {
            if !still(self) {
                return Ok(None);
            }
            self.check_owner(since)?;
            match self.append(entry.clone()).await {
                Ok(seq) => return Ok(Some(seq)),
                Err(error) if error.kind == VaultErrorKind::Lost => {}
                Err(error) => return Err(error),
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
            HeadEntry::Own { epoch, node } => format!("node {node} has taken the disk over (epoch {epoch})"),
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
