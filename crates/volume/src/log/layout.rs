//! The log's bytes: segment headers and batches (docs/format.md describes them for outsiders).
//!
//! A segment is a file: one 4 KiB segment header, then batches. A batch is one or more 4 KiB header
//! blocks followed by its payload, 4 KiB aligned. All integers are little-endian.
//! Every checksum is CRC-32C seeded with volume, segment sequence and the segment's salt, so what an
//! earlier use of a recycled file left behind never validates; a batch carries sequence and salt, so
//! that it can be judged alone when its segment header is lost.
//! Not here: files and order of writes (`segment`, `writer`), deciding where the log ends (`scan`).

use crate::error::{Result, VolumeError};
use tidemark_units::{BLOCK_BYTES, BlockRange, Lsn};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a block in the log, as an index type.
pub const BLOCK: usize = BLOCK_BYTES as usize;
/// The only version of log structures so far.
pub const LOG_VERSION: u32 = 1;
/// Most header blocks of a batch.
pub const HEADER_BLOCKS_MAX: usize = 4;
/// Most records of a batch.
pub const RECORDS_MAX: usize =
    (HEADER_BLOCKS_MAX * BLOCK - size_of::<BatchHeader>()) / size_of::<RecordEntry>();
/// Most payload of a batch; a reader refuses more, so that no length is trusted blindly.
pub const PAYLOAD_BYTES_MAX: u64 = 8 << 20;

/// Above every position, sequence number and epoch there will ever be: a reader refuses more, so that none overflows when
/// it is counted on from.
pub const COUNT_MAX: u64 = 1 << 62;

const SEGMENT_MAGIC: [u8; 8] = *b"TMSEGMNT";
const BATCH_MAGIC: [u8; 8] = *b"TMBATCH\x01";

/// What seeds the checksums of one use of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The volume.
    pub volume: [u8; 16],
    /// The segment's sequence number; grows with every use of any file.
    pub sequence: u64,
    /// Random per use.
    pub salt: u64,
}

impl Seed {
    /// The CRC state that every checksum of this segment starts from.
    pub fn crc(&self) -> u32 {
        let crc = crc32c::crc32c(&self.volume);
        let crc = crc32c::crc32c_append(crc, &self.sequence.to_le_bytes());
        crc32c::crc32c_append(crc, &self.salt.to_le_bytes())
    }
}

/// The first block of a segment.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SegmentHeaderBytes {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    volume: [u8; 16],
    sequence: U64,
    salt: U64,
    epoch: U64,
    first_lsn: U64,
    previous_lsn: U64,
    previous_crc: U32,
    segment_blocks: U32,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Seeds every checksum in it.
    pub seed: Seed,
    /// The owner's epoch.
    pub epoch: u64,
    /// LSN of its first record.
    pub first_lsn: Lsn,
    /// LSN of the record before; `first_lsn - 1` unless a recovery skipped a lost tail.
    pub previous_lsn: Lsn,
    /// Checksum of the batch header before: the chain.
    pub previous_crc: u32,
    /// Size of the file in blocks.
    pub segment_blocks: u32,
}

impl SegmentHeader {
    /// The header's block.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = SegmentHeaderBytes {
            magic: SEGMENT_MAGIC,
            version: LOG_VERSION.into(),
            crc: 0.into(),
            volume: self.seed.volume,
            sequence: self.seed.sequence.into(),
            salt: self.seed.salt.into(),
            epoch: self.epoch.into(),
            first_lsn: self.first_lsn.0.into(),
            previous_lsn: self.previous_lsn.0.into(),
            previous_crc: self.previous_crc.into(),
            segment_blocks: self.segment_blocks.into(),
        };
        raw.crc = crc32c::crc32c_append(self.seed.crc(), raw.as_bytes()).into();
        let mut block = raw.as_bytes().to_vec();
        block.resize(BLOCK, 0);
        block
    }

    /// Reads a header of `volume`; `None` when these bytes are none (never written, torn, damaged, foreign).
    pub fn decode(block: &[u8], volume: &[u8; 16]) -> Option<Self> {
        let (raw, _) = SegmentHeaderBytes::read_from_prefix(block).ok()?;
        if raw.magic != SEGMENT_MAGIC || raw.version != LOG_VERSION || &raw.volume != volume {
            return None;
        }
        let seed = Seed {
            volume: raw.volume,
            sequence: raw.sequence.get(),
            salt: raw.salt.get(),
        };
        let counts = [
            seed.sequence,
            raw.epoch.get(),
            raw.first_lsn.get(),
            raw.previous_lsn.get(),
        ];
        if counts.iter().any(|count| *count >= COUNT_MAX) {
            return None;
        }
        let mut zeroed = raw;
        zeroed.crc = 0.into();
        (crc32c::crc32c_append(seed.crc(), zeroed.as_bytes()) == raw.crc.get()).then(|| Self {
            seed,
            epoch: raw.epoch.get(),
            first_lsn: Lsn(raw.first_lsn.get()),
            previous_lsn: Lsn(raw.previous_lsn.get()),
            previous_crc: raw.previous_crc.get(),
            segment_blocks: raw.segment_blocks.get(),
        })
    }
}

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Blocks get the payload's content.
    Data,
    /// Blocks read as zeros; their space stays taken.
    Zero,
    /// Blocks read as zeros; their space is given back.
    Trim,
    /// A point in time; the payload names the snapshot (`notes`).
    Mark,
    /// A point in time that counts only once a `MarkCommit` says so; the payload names snapshot and group.
    MarkPrepare,
    /// The prepared mark of the snapshot that the payload names is a mark.
    MarkCommit,
    /// The prepared mark of the snapshot that the payload names never was.
    MarkAbort,
}

impl RecordKind {
    fn code(self) -> u8 {
        match self {
            RecordKind::Data => 1,
            RecordKind::Zero => 2,
            RecordKind::Trim => 3,
            RecordKind::Mark => 4,
            RecordKind::MarkPrepare => 5,
            RecordKind::MarkCommit => 6,
            RecordKind::MarkAbort => 7,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => RecordKind::Data,
            2 => RecordKind::Zero,
            3 => RecordKind::Trim,
            4 => RecordKind::Mark,
            5 => RecordKind::MarkPrepare,
            6 => RecordKind::MarkCommit,
            7 => RecordKind::MarkAbort,
            _ => return None,
        })
    }

    /// Whether a record of `blocks` blocks of the disk can have so many blocks of payload.
    fn fits(self, blocks: u64, payload_blocks: u32) -> bool {
        match self {
            RecordKind::Data => u64::from(payload_blocks) == blocks,
            RecordKind::Zero | RecordKind::Trim => payload_blocks == 0,
            RecordKind::Mark | RecordKind::MarkPrepare | RecordKind::MarkCommit | RecordKind::MarkAbort => {
                payload_blocks == 1
            }
        }
    }
}

/// One record in a batch's table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RecordEntry {
    kind: u8,
    reserved: [u8; 3],
    payload_crc: U32,
    start_block: U64,
    block_count: U64,
    payload_block: U32,
    payload_blocks: U32,
}

/// The start of a batch; the record table follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BatchHeader {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    volume: [u8; 16],
    sequence: U64,
    salt: U64,
    epoch: U64,
    first_lsn: U64,
    durable_lsn: U64,
    previous_crc: U32,
    header_blocks: U32,
    record_count: U32,
    payload_blocks: U32,
    reserved: [u8; 40],
}

const _: () = assert!(size_of::<BatchHeader>() == 128 && size_of::<RecordEntry>() == 32);
const _: () = assert!(size_of::<SegmentHeaderBytes>() <= BLOCK);

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it does.
    pub kind: RecordKind,
    /// To which blocks of the disk (empty for a mark).
    pub blocks: BlockRange,
    /// Checksum of its payload.
    pub payload_crc: u32,
    /// Where its payload starts, in blocks after the batch's header blocks.
    pub payload_block: u32,
    /// How long its payload is, in blocks.
    pub payload_blocks: u32,
}

/// A batch without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The seed it was written with.
    pub seed: Seed,
    /// The owner's epoch.
    pub epoch: u64,
    /// LSN of the first record; the others follow.
    pub first_lsn: Lsn,
    /// The watermark: everything up to here was synced when this batch was built.
    pub durable_lsn: Lsn,
    /// Checksum of the batch header before.
    pub previous_crc: u32,
    /// The records in order.
    pub records: Vec<Record>,
    /// Payload blocks in all.
    pub payload_blocks: u32,
}

impl Batch {
    /// Header blocks that `records` records need.
    pub fn header_blocks(records: usize) -> usize {
        (size_of::<BatchHeader>() + records * size_of::<RecordEntry>()).div_ceil(BLOCK)
    }

    /// Blocks of the whole batch.
    pub fn blocks(&self) -> u32 {
        Self::header_blocks(self.records.len()) as u32 + self.payload_blocks
    }

    /// LSN of the last record.
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + self.records.len() as u64 - 1)
    }

    /// The header blocks, and their checksum, which the next batch chains to.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        assert!(
            (1..=RECORDS_MAX).contains(&self.records.len()),
            "a batch holds 1 to {RECORDS_MAX} records"
        );
        let header_blocks = Self::header_blocks(self.records.len());
        let header = BatchHeader {
            magic: BATCH_MAGIC,
            version: LOG_VERSION.into(),
            crc: 0.into(),
            volume: self.seed.volume,
            sequence: self.seed.sequence.into(),
            salt: self.seed.salt.into(),
            epoch: self.epoch.into(),
            first_lsn: self.first_lsn.0.into(),
            durable_lsn: self.durable_lsn.0.into(),
            previous_crc: self.previous_crc.into(),
            header_blocks: (header_blocks as u32).into(),
            record_count: (self.records.len() as u32).into(),
            payload_blocks: self.payload_blocks.into(),
            reserved: [0; 40],
        };
        let mut bytes = Vec::with_capacity(header_blocks * BLOCK);
        bytes.extend_from_slice(header.as_bytes());
        for record in &self.records {
            let entry = RecordEntry {
                kind: record.kind.code(),
                reserved: [0; 3],
                payload_crc: record.payload_crc.into(),
                start_block: record.blocks.start.into(),
                block_count: record.blocks.count().into(),
                payload_block: record.payload_block.into(),
                payload_blocks: record.payload_blocks.into(),
            };
            bytes.extend_from_slice(entry.as_bytes());
        }
        bytes.resize(header_blocks * BLOCK, 0);
        let crc = crc32c::crc32c_append(self.seed.crc(), &bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// How many header blocks the batch that starts with `block` claims to have; `None` when none starts here.
    pub fn claimed_header_blocks(block: &[u8]) -> Option<usize> {
        let (raw, _) = BatchHeader::read_from_prefix(block).ok()?;
        let blocks = raw.header_blocks.get() as usize;
        (raw.magic == BATCH_MAGIC && raw.version == LOG_VERSION && (1..=HEADER_BLOCKS_MAX).contains(&blocks))
            .then_some(blocks)
    }

    /// Reads a batch's header blocks (as many as [`Batch::claimed_header_blocks`] says) and gives it and its
    /// checksum; `None` when they are not a whole, undamaged header of `volume`.
    pub fn decode(bytes: &[u8], volume: &[u8; 16]) -> Option<(Self, u32)> {
        let (raw, table) = BatchHeader::read_from_prefix(bytes).ok()?;
        let count = raw.record_count.get() as usize;
        if &raw.volume != volume
            || !(1..=RECORDS_MAX).contains(&count)
            || Self::header_blocks(count) * BLOCK != bytes.len()
            || u64::from(raw.payload_blocks.get()) * BLOCK_BYTES > PAYLOAD_BYTES_MAX
        {
            return None;
        }
        let seed = Seed {
            volume: raw.volume,
            sequence: raw.sequence.get(),
            salt: raw.salt.get(),
        };
        let crc = crc32c::crc32c_append(seed.crc(), &bytes[..12]);
        let crc = crc32c::crc32c_append(crc, &[0; 4]);
        let crc = crc32c::crc32c_append(crc, &bytes[16..]);
        if crc != raw.crc.get() {
            return None;
        }
        let counts = [
            seed.sequence,
            raw.epoch.get(),
            raw.first_lsn.get(),
            raw.durable_lsn.get(),
        ];
        if counts.iter().any(|count| *count >= COUNT_MAX) {
            return None;
        }
        let mut records = Vec::with_capacity(count);
        for at in 0..count {
            let (entry, _) = RecordEntry::read_from_prefix(&table[at * size_of::<RecordEntry>()..]).ok()?;
            let kind = RecordKind::from_code(entry.kind)?;
            let start = entry.start_block.get();
            let end = start.checked_add(entry.block_count.get())?;
            let payload_end = entry
                .payload_block
                .get()
                .checked_add(entry.payload_blocks.get())?;
            if payload_end > raw.payload_blocks.get()
                || !kind.fits(entry.block_count.get(), entry.payload_blocks.get())
            {
                return None;
            }
            records.push(Record {
                kind,
                blocks: BlockRange { start, end },
                payload_crc: entry.payload_crc.get(),
                payload_block: entry.payload_block.get(),
                payload_blocks: entry.payload_blocks.get(),
            });
        }
        let batch = Self {
            seed,
            epoch: raw.epoch.get(),
            first_lsn: Lsn(raw.first_lsn.get()),
            durable_lsn: Lsn(raw.durable_lsn.get()),
            previous_crc: raw.previous_crc.get(),
            records,
            payload_blocks: raw.payload_blocks.get(),
        };
        Some((batch, crc))
    }

    /// Checks every record's payload. `payload` is the batch's whole payload.
    pub fn check_payload(&self, payload: &[u8]) -> Result<()> {
        for (at, record) in self.records.iter().enumerate() {
            let from = record.payload_block as usize * BLOCK;
            let bytes = &payload[from..from + record.payload_blocks as usize * BLOCK];
            if crc32c::crc32c_append(self.seed.crc(), bytes) != record.payload_crc {
                return Err(VolumeError::corrupt(format!(
                    "log record {}: payload does not match its checksum",
                    self.first_lsn.0 + at as u64
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seed() -> Seed {
        Seed {
            volume: [7; 16],
            sequence: 3,
            salt: 99,
        }
    }

    fn batch(records: usize) -> Batch {
        Batch {
            seed: seed(),
            epoch: 2,
            first_lsn: Lsn(10),
            durable_lsn: Lsn(8),
            previous_crc: 5,
            records: (0..records as u32)
                .map(|n| Record {
                    kind: RecordKind::Data,
                    blocks: BlockRange::new(u64::from(n), 1),
                    payload_crc: n,
                    payload_block: n,
                    payload_blocks: 1,
                })
                .collect(),
            payload_blocks: records as u32,
        }
    }

    #[test]
    fn a_batch_is_read_as_written() {
        for records in [1, 124, 125, RECORDS_MAX] {
            let (bytes, crc) = batch(records).encode();
            assert_eq!(Batch::claimed_header_blocks(&bytes), Some(bytes.len() / BLOCK));
            assert_eq!(Batch::decode(&bytes, &[7; 16]), Some((batch(records), crc)));
        }
    }

    #[test]
    fn a_batch_whose_records_cannot_be_is_none_even_with_the_right_checksum() {
        let refused = |change: fn(&mut Batch)| {
            let mut batch = batch(3);
            change(&mut batch);
            assert_eq!(Batch::decode(&batch.encode().0, &[7; 16]), None, "{batch:?}");
        };
        refused(|b| b.first_lsn = Lsn(u64::MAX - 2));
        refused(|b| b.seed.sequence = u64::MAX);
        refused(|b| b.durable_lsn = Lsn(u64::MAX));
        refused(|b| b.records[1].blocks = BlockRange::new(7, 2));
        refused(|b| b.records[1].kind = RecordKind::Trim);
        refused(|b| b.records[2].payload_block = 3);
        refused(|b| b.payload_blocks = 2);
    }

    #[test]
    fn a_header_with_counts_that_cannot_be_is_none_even_with_the_right_checksum() {
        let header = SegmentHeader {
            seed: seed(),
            epoch: 1,
            first_lsn: Lsn(4),
            previous_lsn: Lsn(3),
            previous_crc: 77,
            segment_blocks: 16,
        };
        let changes: [fn(&mut SegmentHeader); 4] = [
            |h| h.seed.sequence = u64::MAX,
            |h| h.epoch = u64::MAX,
            |h| h.first_lsn = Lsn(u64::MAX),
            |h| h.previous_lsn = Lsn(COUNT_MAX),
        ];
        for change in changes {
            let mut header = header;
            change(&mut header);
            assert_eq!(
                SegmentHeader::decode(&header.encode(), &[7; 16]),
                None,
                "{header:?}"
            );
        }
    }

    #[test]
    fn a_segment_header_is_read_as_written_and_not_by_another_volume() {
        let header = SegmentHeader {
            seed: seed(),
            epoch: 1,
            first_lsn: Lsn(4),
            previous_lsn: Lsn(3),
            previous_crc: 77,
            segment_blocks: 16,
        };
        assert_eq!(SegmentHeader::decode(&header.encode(), &[7; 16]), Some(header));
        assert_eq!(SegmentHeader::decode(&header.encode(), &[8; 16]), None);
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_always_seen(bit in 0usize..BLOCK * 8) {
            let (mut bytes, _) = batch(3).encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Batch::decode(&bytes, &[7; 16]), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..BLOCK)) {
            let _ = Batch::decode(&bytes, &[7; 16]);
            let _ = SegmentHeader::decode(&bytes, &[7; 16]);
            let _ = Batch::claimed_header_blocks(&bytes);
        }
    }
}
