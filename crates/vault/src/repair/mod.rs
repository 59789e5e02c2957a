//! Repairing data packs in place, with content that a disk still has.
//!
//! A chunk's name is a hash of its plain bytes: whoever has these bytes has the chunk. Encoded again they take the very room
//! that they had in their pack (the same library, the same level; a box is as long as another), so the pack is written
//! again under its own key, with the same layout. Every tree and every index that points into it stays right, and a collector
//! sees the pack that it has always seen ([decision 50](../../../docs/decisions/0050-packs-are-repaired-in-place.md)).
//!
//! What must stay true: (1) nothing is written that does not hash to the name it is written under, whatever a disk offers;
//! (2) what could be read of a pack before can be read after: its good chunks stay byte for byte where they are, bad ones
//! that nobody has stay as they are, and a pack of which a part could not be *read* is written only when every one of its chunks
//! is at hand: what a medium refuses now it may give tomorrow, or to better tools; (3) a pack that is gone comes back without the chunks that nobody has; (4) what was
//! encrypted under a disk's key never comes back under another; (5) a pack of snapshots that were deleted meanwhile may
//! come back: it is garbage, as after any crash, and the next collection frees it.
//! Not here: tree nodes (no disk has them), heads and records.

mod layout;

use crate::codec::{self, Codec};
use crate::crypt::{BoxKind, Encrypter, encrypt_stored, key_id_of, nonce};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::fetch::Name;
use crate::id::{ChunkId, PackId};
use crate::key;
use crate::pack::{Footer, HeaderWire, Location, PACK_BYTES_MAX, PackKind};
use crate::tree::Root;
use crate::vault::{PutIfAbsent, Vault};
use crate::verify::{Damage, FullSpeed, Part, Rows, Target, rows_of, walk};
use bytes::Bytes;
use layout::{Body, DamagedPack, Remains, Row, damaged_packs, has_row, new_footer, rows};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::LocalFuture;
use tidemark_units::{CHUNK_BYTES, DiskId};
use zerocopy::IntoBytes;

/// How often a part that a medium does not give is asked for.
const READS_MAX: u32 = 3;
const READ_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A disk that may still have what the vault lost.
pub trait Donor {
    /// Which disk.
    fn disk(&self) -> &DiskId;
    /// What it holds now as chunk `index`, 64 KiB, if it has all of it without asking the vault. It need not be what is
    /// looked for.
    fn read(&self, index: u32) -> LocalFuture<'_, Option<Bytes>>;
}

/// What a repair did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// Packs written again.
    pub packs: u64,
    /// Chunks that can be read again, by name and place.
    pub chunks: HashSet<(ChunkId, Location)>,
    /// Packs whose header and footer are right again, by key.
    pub frames: BTreeSet<String>,
    /// Packs that were left as they are, by key, and why.
    pub left: BTreeMap<String, String>,
}

impl RepairReport {
    /// Whether this find is repaired.
    pub fn has_repaired(&self, damage: &Damage) -> bool {
        match (&damage.part, damage.at) {
            (Part::Chunk(id), Some(at)) => self.chunks.contains(&(*id, at)),
            (Part::Frame, _) => self.frames.contains(&damage.object),
            _ => false,
        }
    }
}

impl Vault {
    /// Repairs what it can of this damage, found by a verification of `targets`, which must be all snapshots that exist.
    /// Fails when the bucket cannot be reached; what cannot be repaired is no failure.
    pub async fn repair(
        &self,
        targets: &[Target],
        damage: &[Damage],
        donors: &[Rc<dyn Donor>],
    ) -> Result<RepairReport> {
        let mut report = RepairReport::default();
        let damaged_packs = damaged_packs(targets, damage);
        let packs: Vec<PackId> = damaged_packs.iter().map(|damaged| damaged.pack).collect();
        // Read only when a footer is gone: it takes a walk through all trees.
        let mut rows: Option<Rows> = None;
        for damaged in damaged_packs {
            // Deleted since the verification: its pack may be gone because of that.
            if !damaged.hits.is_empty() && self.still_live(targets, &damaged.hits).await?.is_empty() {
                continue;
            }
            let remains = self.remains(&damaged).await?;
            if remains.footer.is_none() && rows.is_none() {
                rows = Some(self.rows_in(targets, &packs).await?);
            }
            let done = self
                .repair_pack(&damaged, remains, rows.as_ref(), donors, &mut report)
                .await;
            match done {
                Ok(()) => {}
                Err(error) if matches!(error.kind, VaultErrorKind::Busy | VaultErrorKind::Denied) => {
                    return Err(error);
                }
                Err(error) => drop(report.left.insert(damaged.key.clone(), error.to_string())),
            }
        }
        Ok(report)
    }

    async fn rows_in(&self, targets: &[Target], packs: &[PackId]) -> Result<Rows> {
        let roots: Vec<Root> = targets.iter().map(|target| target.root).collect();
        let mut sink = rows_of(self, packs);
        walk(&roots, 0, &FullSpeed, &mut sink).await?;
        Ok(sink.into_rows())
    }

    async fn remains(&self, damaged: &DamagedPack) -> Result<Remains> {
        let step = "read a pack to repair it";
        let (store, pack) = (self.store(), damaged.pack);
        let (whole, object) = match store.get_opt(step, &damaged.key).await {
            // A medium that cannot read some of it.
            Err(error) if error.kind == VaultErrorKind::Other => (false, self.readable_part(damaged).await?),
            object => (true, object?),
        };
        let footer = match &object {
            Some(_) => match store.footer(PackKind::Data, pack).await {
                Ok(footer) => Some(footer),
                Err(error) => self.as_damage(&damaged.key, error).await.map(|_| None)?,
            },
            None => None,
        };
        let header = HeaderWire::new(PackKind::Data, pack);
        Ok(Remains {
            header_is_right: object.as_ref().is_some_and(|o| o.starts_with(header.as_bytes())),
            object,
            footer,
            whole,
        })
    }

    /// The object with zeros where it cannot be read, also not a while later.
    async fn readable_part(&self, damaged: &DamagedPack) -> Result<Option<Bytes>> {
        let (store, step) = (self.store(), "read a pack to repair it");
        let size = store.size(step, &damaged.key).await?.min(PACK_BYTES_MAX);
        let mut object = vec![0; size as usize];
        let piece = CHUNK_BYTES / 16;
        let mut left: Vec<u64> = (0..size).step_by(piece as usize).collect();
        for attempt in 0..READS_MAX {
            if attempt > 0 && !left.is_empty() {
                self.env().clock.sleep(READ_AGAIN_AFTER).await;
            }
            for from in std::mem::take(&mut left) {
                let to = (from + piece).min(size);
                match store.get_range(step, &damaged.key, from, to).await {
                    Ok(bytes) => object[from as usize..to as usize].copy_from_slice(&bytes),
                    Err(error) => {
                        self.as_damage(&damaged.key, error).await?;
                        left.push(from);
                    }
                }
            }
        }
        Ok(Some(object.into()))
    }

    async fn repair_pack(
        &self,
        damaged: &DamagedPack,
        remains: Remains,
        from_trees: Option<&Rows>,
        donors: &[Rc<dyn Donor>],
        report: &mut RepairReport,
    ) -> Result<()> {
        let refuse =
            |cause: String| VaultError::other("repair pack", format!("pack {}", damaged.pack), cause);
        let rows = rows(damaged, &remains, from_trees);
        let body = Body::new(damaged.pack, &remains, &rows);
        let mut body = body.map_err(refuse)?;
        let good = self.check(&body, &rows).await;
        let encrypter = self.encrypter_of(&remains, &rows, &good).await?;
        let bad: Vec<_> = rows
            .iter()
            .filter(|(ordinal, _)| !good.contains(ordinal))
            .map(|(_, row)| (row.id, row.at))
            .collect();
        let elsewhere = self.whole_elsewhere(&bad).await?;
        let (mut repaired, mut misfits) = (BTreeSet::new(), 0);
        for (ordinal, row) in &rows {
            if good.contains(ordinal) {
                continue;
            }
            let places = damaged.wanted.get(ordinal).map(|(_, places)| places.clone());
            let plain = match elsewhere.get(&(row.id, row.at)) {
                Some(place) => self
                    .chunks()
                    .get_exact(&[(row.id, *place)])
                    .await
                    .pop()
                    .transpose()?,
                None => {
                    self.ask(row, places.unwrap_or_default(), &damaged.disks, donors)
                        .await
                }
            };
            let Some(plain) = plain else { continue };
            match self.encode_as(&encrypter, row, plain).await {
                Some(stored) => {
                    body.put(&row.at, &stored);
                    repaired.insert(*ordinal);
                }
                None => misfits += 1,
            }
        }
        let frame_was_bad = remains.footer.is_none() || !remains.header_is_right;
        let gone = remains.object.is_none();
        if repaired.is_empty() && (gone || !frame_was_bad) {
            return Err(refuse(match misfits {
                0 => "no disk here has any of the chunks that it lost".into(),
                n => format!(
                    "{n} chunks are here, and do not fit where they were: another version compressed them"
                ),
            }));
        }
        // Hostile locations may overlap: then repairing one breaks another.
        let after = self.check(&body, &rows).await;
        if !good.is_subset(&after) || !repaired.is_subset(&after) {
            return Err(refuse("its chunks lie across each other".into()));
        }
        let footer = match &remains.footer {
            Some(footer) if repaired.iter().all(|ordinal| has_row(footer, &rows[ordinal])) => None,
            footer => Some(new_footer(
                self.id(),
                damaged,
                footer.as_ref(),
                &rows,
                &after,
                gone,
            )),
        };
        if !remains.whole {
            let unread = rows.keys().filter(|ordinal| !after.contains(ordinal)).count();
            if remains.footer.is_none() || unread > 0 {
                return Err(refuse(format!(
                    "a part of it cannot be read now, with {unread} chunks that are nowhere else: it stays as it is"
                )));
            }
        }
        let object = body.finish(footer, |plain| match &encrypter {
            None => plain,
            Some(keys) => {
                let name = damaged.key.as_bytes();
                Footer::around(&keys.encrypt(BoxKind::Footer, name, nonce(self.env()), &plain))
            }
        });
        let object = object.map_err(refuse)?;
        let step = "put a repaired pack";
        if gone {
            if let PutIfAbsent::Exists(_) = self.store().put_if_absent(step, &damaged.key, object).await? {
                return Err(refuse("it is there again".into()));
            }
        } else {
            // Somebody else may have repaired it, or brought it back, while disks were asked.
            if remains.whole && self.store().get_opt(step, &damaged.key).await? != remains.object {
                return Err(refuse("it was changed meanwhile".into()));
            }
            self.store().put(step, &damaged.key, vec![object]).await?;
        }
        let names: Vec<(ChunkId, Location)> = repaired.iter().map(|o| (rows[o].id, rows[o].at)).collect();
        for (name, read) in names.iter().zip(self.chunks().get_exact(&names).await) {
            match read {
                Ok(_) => drop(report.chunks.insert(*name)),
                Err(error) => return Err(error.within("after it was repaired")),
            }
        }
        report.packs += 1;
        if frame_was_bad {
            report.frames.insert(damaged.key.clone());
        }
        tracing::warn!(pack = %damaged.pack, chunks = repaired.len(), "a damaged pack was repaired");
        Ok(())
    }

    /// The rows whose bytes in this body are what their names say.
    async fn check(&self, body: &Body, rows: &BTreeMap<u16, Row>) -> BTreeSet<u16> {
        let stored: Vec<(u16, Row, Bytes)> = rows
            .iter()
            .filter_map(|(ordinal, row)| Some((*ordinal, *row, body.get(&row.at)?)))
            .collect();
        let crypt = self.store().crypt.clone();
        let check = move || {
            let naming = crypt.naming();
            let is_good = |row: &Row, stored: Bytes| {
                let opened = crypt.decrypt_stored(PackKind::Data, &row.id.0, stored).ok();
                opened.is_some_and(|stored| row.id.decode(&naming, &row.at, stored).is_ok())
            };
            let good = stored
                .into_iter()
                .filter_map(|(ordinal, row, stored)| is_good(&row, stored).then_some(ordinal));
            good.collect()
        };
        self.env().compute(check).await
    }

    /// The chunk's plain bytes, from a disk that still has them.
    async fn ask(
        &self,
        row: &Row,
        mut places: BTreeSet<u32>,
        disks: &BTreeSet<DiskId>,
        donors: &[Rc<dyn Donor>],
    ) -> Option<Bytes> {
        places.insert(row.index);
        // The disk itself first; others may be made from its snapshots.
        let (own, others): (Vec<_>, Vec<_>) = donors.iter().partition(|donor| disks.contains(donor.disk()));
        for donor in own.into_iter().chain(others) {
            for index in &places {
                let Some(plain) = donor.read(*index).await else {
                    continue;
                };
                let (naming, id) = (self.store().crypt.naming(), row.id);
                let asked = plain.clone();
                let is_it = move || asked.len() as u64 == CHUNK_BYTES && naming.chunk(&asked) == id;
                if self.env().compute(is_it).await {
                    return Some(plain);
                }
            }
        }
        None
    }

    /// The chunk's stored bytes as its row has them; `None` if they would not fit there.
    async fn encode_as(&self, encrypter: &Encrypter, row: &Row, plain: Bytes) -> Option<Bytes> {
        let wanted = row.at.codec;
        let (codec, stored) = self
            .env()
            .compute(move || match wanted {
                Codec::Raw => (Codec::Raw, plain),
                Codec::Zstd => codec::encode(&plain),
            })
            .await;
        let stored = encrypt_stored(encrypter, PackKind::Data, &row.id.0, nonce(self.env()), stored);
        (codec == wanted && stored.len() == row.at.stored_len as usize).then_some(stored)
    }

    /// The keys that the pack is encrypted under.
    async fn encrypter_of(
        &self,
        remains: &Remains,
        rows: &BTreeMap<u16, Row>,
        good: &BTreeSet<u16>,
    ) -> Result<Encrypter> {
        let Some(keyring) = self.store().crypt.keyring() else {
            return Ok(None);
        };
        let refuse = |cause: &str| VaultError::other("repair pack", "its keys", cause.to_owned());
        let object = remains.object.as_ref();
        let of_footer = remains
            .footer
            .as_ref()
            .zip(object)
            .map(|(footer, object)| object.get(footer.body_end as usize..).unwrap_or_default());
        let of_row = good.iter().find_map(|ordinal| {
            let at = &rows.get(ordinal)?.at;
            object?.get(at.offset as usize..at.end() as usize)
        });
        match of_footer.or(of_row) {
            Some(boxed) => {
                let id = key_id_of(boxed).map_err(|e| refuse(&e.to_string()))?;
                let keys = self.store().learn_key(id).await?;
                keys.map(Some)
                    .ok_or_else(|| refuse("they are not there any more"))
            }
            // Nothing is left that would say whose it was: it may have been a disk's.
            None => match self
                .store()
                .list("list disk keys", key::DISK_KEYS)
                .await?
                .is_empty()
            {
                true => Ok(Some(keyring.newest())),
                false => Err(refuse(
                    "nothing of it is left that says whether it was under a disk's own key",
                )),
            },
        }
    }
}
