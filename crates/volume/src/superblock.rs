//! The superblock: what a volume is, and how far its base has caught up with its log.
//!
//! Two slots (files `super.0` and `super.1`), each written whole, in turn, with a growing generation and
//! a CRC: a torn write leaves the other slot. The newest valid slot counts; none valid: refuse (R2).
//! A slot is written only after the base it describes was synced, so everything it claims is durable.
//! The making and each opening of a volume leave two valid slots of one epoch, and a rollback is in both before it is
//! answered: so the loss of one slot never leaves nothing, and never undoes a rollback (docs/decisions/0032).
//! Not here: when it is written (`checkpoint`), what tracking means (`tracking`).

use crate::chunks::ChunkStates;
use crate::codec::{Reader, Writer};
use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::log::layout::COUNT_MAX;
use crate::log::segment::SLOTS_MAX;
use crate::tracking::{Mark, PendingMark, SavedMark};
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::ops::RangeInclusive;
use std::path::Path;
use tidemark_env::{Env, OpenMode, mutant};
use tidemark_units::{BLOCK_BYTES, CHUNK_BYTES, GIB, Lsn, SnapshotId};

const MAGIC: [u8; 8] = *b"TMSUPER\x01";
/// The version that is written. Version 1, which is still read, has no groups: it names none for a mark.
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 64;
/// No body comes near this; a larger claim is damage.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// Largest disk: 32 bits hold its number of chunks, and so what comes after its last one.
pub const SIZE_BYTES_MAX: u64 = ((1 << 32) - 1) * CHUNK_BYTES;
/// Sizes that a log segment may have, in bytes.
const SEGMENT_BYTES: RangeInclusive<u64> = 8 * BLOCK_BYTES..=4 * GIB;

/// Everything that a volume must know after a restart and cannot learn from its log.
#[derive(Clone, Debug, PartialEq)]
pub struct Superblock {
    /// Random at creation; seeds the log's checksums.
    pub volume: [u8; 16],
    /// The name it was created with (a disk id, or the user's for a volume without a control plane).
    pub name: String,
    /// Size of the disk in bytes.
    pub size_bytes: u64,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// Most segments of the log's ring.
    pub segments_max: u32,
    /// Grows with every write of a slot.
    pub generation: u64,
    /// Grows with every open and rollback.
    pub epoch: u64,
    /// The base holds every record up to here.
    pub checkpoint: Lsn,
    /// The first segment to read at a restart.
    pub first_sequence: u64,
    /// Chunks changed since the last mark at or before `checkpoint`, by records up to `checkpoint`.
    pub dirty: RoaringBitmap,
    /// Marks at or before `checkpoint` whose capture is not finished, or whose group has not decided.
    pub marks: Vec<SavedMark>,
    /// The last committed snapshot's root (opaque here): what `dirty` is relative to.
    pub parent: Option<Vec<u8>>,
    /// The root (opaque here) that absent chunks come from.
    pub source: Option<Vec<u8>>,
    /// Which chunks are not all local.
    pub states: ChunkStates,
    /// Whether a client has ever been connected.
    pub ever_connected: bool,
}

impl Superblock {
    /// The roots that the volume needs: its parent, and where absent chunks come from.
    pub fn roots(&self) -> Vec<Vec<u8>> {
        let source = self.source.clone().filter(|_| !self.states.all_present());
        self.parent.clone().into_iter().chain(source).collect()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.blob(self.name.as_bytes());
        w.u64(self.size_bytes);
        w.u64(self.segment_bytes);
        w.u32(self.segments_max);
        w.u64(self.epoch);
        w.u64(self.checkpoint.0);
        w.u64(self.first_sequence);
        w.bitmap(&self.dirty);
        w.u32(self.marks.len() as u32);
        for SavedMark { pending, group } in &self.marks {
            w.u64(pending.mark.lsn.0);
            w.u64(pending.mark.unix_millis as u64);
            w.blob(pending.mark.snapshot.as_str().as_bytes());
            w.bitmap(&pending.chunks);
            w.u32(u32::from(group.is_some()));
            w.blob(group.as_deref().unwrap_or_default().as_bytes());
        }
        for root in [&self.parent, &self.source] {
            w.u32(u32::from(root.is_some()));
            w.blob(root.as_deref().unwrap_or_default());
        }
        self.states.encode(&mut w);
        w.u32(u32::from(self.ever_connected));
        let body = w.bytes;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.volume);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(&body);
        let crc = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = |what: &str| VolumeError::corrupt(format!("superblock: {what}"));
        if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
            return Err(bad("not one"));
        }
        let mut head = Reader::new(&bytes[8..HEADER_BYTES], "superblock header");
        let version = head.u32()?;
        let crc = head.u32()?;
        let volume: [u8; 16] = bytes[16..32].try_into().expect("sixteen bytes");
        let mut head = Reader::new(&bytes[32..HEADER_BYTES], "superblock header");
        let generation = head.u64()?;
        let body_bytes = head.u64()?;
        // Both are below 2^31 once the first half has been looked at, so the sum is never too large.
        if body_bytes > BODY_BYTES_MAX || HEADER_BYTES as u64 + body_bytes > bytes.len() as u64 {
            return Err(bad("shorter than it says"));
        }
        let bytes = &bytes[..HEADER_BYTES + body_bytes as usize];
        let actual = crc32c::crc32c_append(
            crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &[0; 4]),
            &bytes[16..],
        );
        if actual != crc {
            return Err(bad("checksum does not match"));
        }
        if !(1..=VERSION).contains(&version) {
            // Not damage: to go on with the other slot would be to undo what this one says.
            return Err(VolumeError::invalid(format!(
                "the volume was written by a newer program (superblock version {version}; this one knows up to {VERSION})"
            )));
        }
        let mut r = Reader::new(&bytes[HEADER_BYTES..], "superblock");
        let name = r.text()?;
        let size_bytes = r.u64()?;
        let segment_bytes = r.u64()?;
        let segments_max = r.u32()?;
        let epoch = r.u64()?;
        let checkpoint = Lsn(r.u64()?);
        let first_sequence = r.u64()?;
        let dirty = r.bitmap()?;
        let mut marks = Vec::new();
        for _ in 0..r.u32()? {
            let lsn = Lsn(r.u64()?);
            let unix_millis = r.u64()? as i64;
            let snapshot = SnapshotId::new(r.text()?).map_err(|e| bad(&e.to_string()))?;
            let pending = PendingMark {
                mark: Mark {
                    snapshot,
                    lsn,
                    unix_millis,
                },
                chunks: r.bitmap()?,
            };
            let group = match version {
                1 => None,
                _ => {
                    let undecided = r.u32()? != 0;
                    Some(r.text()?).filter(|_| undecided)
                }
            };
            marks.push(SavedMark { pending, group });
        }
        let mut root = || -> Result<Option<Vec<u8>>> {
            let there = r.u32()? != 0;
            let bytes = r.blob()?.to_vec();
            Ok(there.then_some(bytes))
        };
        let parent = root()?;
        let source = root()?;
        let states = ChunkStates::decode(&mut r)?;
        let ever_connected = r.u32()? != 0;
        let superblock = Self {
            volume,
            name,
            size_bytes,
            segment_bytes,
            segments_max,
            generation,
            epoch,
            checkpoint,
            first_sequence,
            dirty,
            marks,
            parent,
            source,
            states,
            ever_connected,
        };
        superblock.check().map_err(|what| bad(&what))?;
        Ok(superblock)
    }

    /// What must hold for the rest of the program to be safe with it, whoever wrote it.
    fn check(&self) -> std::result::Result<(), String> {
        let whole = |bytes: u64| bytes.is_multiple_of(BLOCK_BYTES);
        if self.size_bytes == 0 || !whole(self.size_bytes) || self.size_bytes > SIZE_BYTES_MAX {
            return Err(format!("a disk cannot have {} bytes", self.size_bytes));
        }
        if !SEGMENT_BYTES.contains(&self.segment_bytes) || !whole(self.segment_bytes) {
            return Err(format!("a log segment cannot have {} bytes", self.segment_bytes));
        }
        if !(1..SLOTS_MAX).contains(&self.segments_max) {
            return Err(format!("a log cannot have {} segments", self.segments_max));
        }
        let counts = [
            self.generation,
            self.epoch,
            self.checkpoint.0,
            self.first_sequence,
        ];
        if let Some(count) = counts.iter().find(|count| **count >= COUNT_MAX) {
            return Err(format!("a count of {count}"));
        }
        let chunks = self.size_bytes.div_ceil(CHUNK_BYTES);
        let marked = self.marks.iter().map(|m| &m.pending.chunks);
        for set in marked.chain([&self.dirty, self.states.absent()]) {
            if let Some(last) = set.max().filter(|last| u64::from(*last) >= chunks) {
                return Err(format!("chunk {last} of a disk of {chunks}"));
            }
        }
        let mut before = Lsn::ZERO;
        for mark in self.marks.iter().map(|m| &m.pending.mark) {
            if mark.lsn <= before || mark.lsn > self.checkpoint {
                return Err(format!("mark {} of {} is out of order", mark.lsn, mark.snapshot));
            }
            before = mark.lsn;
        }
        Ok(())
    }

    /// Writes this into the slot of its generation and makes it durable.
    pub async fn store(&self, env: &Env, dir: &Path) -> Result<()> {
        let slot = match mutant::on("volume-same-superblock-slot") {
            false => self.generation % 2,
            true => 0,
        };
        let failed = |e: std::io::Error| VolumeError::io(format!("writing superblock slot {slot}"), &e);
        let file = env
            .fs
            .open(&dir.join(format!("super.{slot}")), OpenMode::Create)
            .await
            .map_err(failed)?;
        file.write_at(0, vec![Bytes::from(self.encode())])
            .await
            .map_err(failed)?;
        file.sync().await.map_err(failed)?;
        if self.generation <= 2 {
            env.fs.sync_dir(dir).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Makes durable what the last owner left, names included: it may have been killed between a write and its sync. To be
    /// called before what is found is acted upon: the next slot is written over the older of the two, and segments are
    /// recycled, by what the newer one says.
    pub async fn settle(env: &Env, dir: &Path) -> Result<()> {
        for slot in 0..2 {
            let failed = |e: std::io::Error| VolumeError::io(format!("syncing superblock slot {slot}"), &e);
            let path = dir.join(format!("super.{slot}"));
            match env.fs.open(&path, OpenMode::Read).await {
                Ok(file) => file.sync().await.map_err(failed)?,
                // A new volume has only one.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
        let failed = |e: std::io::Error| VolumeError::io("syncing the volume's directory", &e);
        env.fs.sync_dir(dir).await.map_err(failed)
    }

    /// The newest valid slot. A slot that is missing or damaged leaves the other one; one that cannot be read now
    /// might be the newer one, so that is an error.
    pub async fn load(env: &Env, dir: &Path) -> Result<Self> {
        Ok(Self::load_both(env, dir).await?.0)
    }

    /// The newest valid slot, and whether the other one could stand in for it: it is valid, and of the same epoch.
    pub async fn load_both(env: &Env, dir: &Path) -> Result<(Self, bool)> {
        let (mut valid, mut why) = (Vec::with_capacity(2), Vec::new());
        for slot in 0..2 {
            match Self::load_slot(env, dir, slot).await {
                Ok(found) => valid.push(found),
                Err(e) if e.kind == VolumeErrorKind::Corrupt => {
                    why.push(format!("slot {slot}: {}", e.message))
                }
                Err(e) => return Err(e),
            }
        }
        valid.sort_by_key(|s| s.generation);
        let Some(newest) = valid.pop() else {
            return Err(VolumeError::corrupt(format!(
                "the volume in {} has no valid superblock ({}); what its snapshots hold can be restored to a new disk",
                dir.display(),
                why.join("; ")
            )));
        };
        let spare = valid.pop().is_some_and(|other| other.epoch == newest.epoch);
        Ok((newest, spare))
    }

    /// Writes what this says into both slots, one after the other: no loss of one undoes it.
    pub async fn store_twice(mut self, env: &Env, dir: &Path) -> Result<()> {
        self.store(env, dir).await?;
        self.generation += 1;
        self.store(env, dir).await
    }

    /// One slot.
    pub(crate) async fn load_slot(env: &Env, dir: &Path, slot: u32) -> Result<Self> {
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => VolumeError::corrupt("it does not exist"),
            _ => VolumeError::io(format!("reading superblock slot {slot}"), &e),
        };
        let file = env
            .fs
            .open(&dir.join(format!("super.{slot}")), OpenMode::Read)
            .await
            .map_err(failed)?;
        let size = file.size().await.map_err(failed)?;
        if size > BODY_BYTES_MAX + HEADER_BYTES as u64 {
            return Err(VolumeError::corrupt("superblock: absurdly large"));
        }
        Self::decode(&file.read_at(0, size as usize).await.map_err(failed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(snapshot: &str, lsn: u64, group: Option<String>) -> SavedMark {
        let mark = Mark {
            snapshot: SnapshotId::new(snapshot).unwrap(),
            lsn: Lsn(lsn),
            unix_millis: -5,
        };
        let pending = PendingMark {
            mark,
            chunks: [9u32].into_iter().collect(),
        };
        SavedMark { pending, group }
    }

    fn example() -> Superblock {
        let mut states = ChunkStates::default();
        states.make_absent(&[3u32, 4, 5].into_iter().collect());
        states.validate(tidemark_units::BlockRange::new(4 * 16 + 2, 3));
        Superblock {
            volume: [9; 16],
            name: "d-1".into(),
            size_bytes: 1 << 30,
            segment_bytes: 1 << 20,
            segments_max: 8,
            generation: 5,
            epoch: 2,
            checkpoint: Lsn(77),
            first_sequence: 3,
            dirty: [1u32, 2].into_iter().collect(),
            marks: vec![saved("s-1", 70, None), saved("s-2", 71, Some("ssg-1".into()))],
            parent: Some(vec![1, 2, 3]),
            source: None,
            states,
            ever_connected: true,
        }
    }

    #[test]
    fn the_largest_disk_has_no_more_chunks_than_32_bits_can_count() {
        assert_eq!(u32::try_from(SIZE_BYTES_MAX.div_ceil(CHUNK_BYTES)), Ok(u32::MAX));
        let of = |size_bytes| Superblock {
            size_bytes,
            ..example()
        };
        assert_eq!(of(SIZE_BYTES_MAX).check(), Ok(()));
        assert!(of(SIZE_BYTES_MAX + BLOCK_BYTES).check().is_err());
    }

    #[test]
    fn a_superblock_is_read_as_written_even_with_older_bytes_behind_it() {
        let mut bytes = example().encode();
        bytes.extend_from_slice(&[0xaa; 100]);
        assert_eq!(Superblock::decode(&bytes).unwrap(), example());
    }

    #[test]
    fn a_slot_that_cannot_be_read_is_not_taken_for_a_missing_one() {
        use tidemark_env::sim::{FaultOp, Sim};
        let sim = Sim::new(1);
        sim.run(|env| async move {
            let dir = Path::new("v");
            env.fs.create_dir_all(dir).await.unwrap();
            for generation in [4, 5] {
                Superblock {
                    generation,
                    ..example()
                }
                .store(&env, dir)
                .await
                .unwrap();
            }
            assert_eq!(Superblock::load(&env, dir).await.unwrap().generation, 5);
            env.fs.remove_file(&dir.join("super.0")).await.unwrap();
            assert_eq!(Superblock::load(&env, dir).await.unwrap().generation, 5);
        });
        sim.fail_always(FaultOp::Read, |path| path.ends_with("super.1"));
        sim.run(|env| async move {
            // Falling back to generation 4 would undo what generation 5 promised.
            Superblock {
                generation: 4,
                ..example()
            }
            .store(&env, Path::new("v"))
            .await
            .unwrap();
            let refused = Superblock::load(&env, Path::new("v")).await.unwrap_err();
            assert_eq!(refused.kind, VolumeErrorKind::Io);
        });
    }

    #[test]
    fn a_length_near_the_end_of_64_bits_is_refused() {
        let mut bytes = example().encode();
        for length in [u64::MAX, u64::MAX - 63, BODY_BYTES_MAX + 1] {
            bytes[40..48].copy_from_slice(&length.to_le_bytes());
            assert!(Superblock::decode(&bytes).is_err());
        }
    }

    #[test]
    fn what_cannot_be_is_refused_even_with_the_right_checksum() {
        let changes: [fn(&mut Superblock); 16] = [
            |s| s.size_bytes = 0,
            |s| s.size_bytes = u64::MAX,
            |s| s.size_bytes += 1,
            |s| s.segment_bytes = 0,
            |s| s.segment_bytes = 1 << 50,
            |s| s.segments_max = u32::MAX,
            |s| s.segments_max = 0,
            |s| s.epoch = u64::MAX,
            |s| s.checkpoint = Lsn(u64::MAX),
            |s| s.first_sequence = u64::MAX,
            |s| s.generation = u64::MAX,
            |s| _ = s.dirty.insert(u32::MAX),
            |s| s.states.make_absent(&[1u32 << 14].into_iter().collect()),
            |s| _ = s.marks[0].pending.chunks.insert(1 << 20),
            |s| s.marks[1].pending.mark.lsn = Lsn(70),
            |s| s.marks[1].pending.mark.lsn = Lsn(78),
        ];
        for change in changes {
            let mut bad = example();
            change(&mut bad);
            let refused = Superblock::decode(&bad.encode()).unwrap_err();
            assert_eq!(refused.kind, VolumeErrorKind::Corrupt, "{bad:?}");
        }
    }

    #[test]
    fn a_slot_of_a_newer_program_is_not_taken_for_a_damaged_one() {
        let mut bytes = example().encode();
        bytes[8] = 99;
        bytes[12..16].fill(0);
        let crc = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let refused = Superblock::decode(&bytes).unwrap_err();
        assert_eq!(refused.kind, VolumeErrorKind::Invalid, "{refused}");
    }

    #[test]
    fn any_flipped_byte_is_seen() {
        let good = example().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(Superblock::decode(&bad).is_err(), "byte {at}");
        }
    }
}
