//! The decoders of this crate as fuzz targets: bytes in, a panic when a property does not hold.
//!
//! Properties: nothing panics; what a decoder accepts is encoded again to bytes that it reads as the same
//! thing; what callers compute from it without asking cannot overflow. A checksum keeps a fuzzer out of
//! everything behind it, so each target also tries its input with the checksum put right.
//! Not here: the fuzzer, seeds, how much memory a decoder may take (all in `fuzz/`).

use crate::log::layout::{BLOCK, Batch, PAYLOAD_BYTES_MAX, RecordKind, Seed, SegmentHeader};
use crate::notes::{GROUP_BYTES_MAX, Note};
use crate::superblock::Superblock;

/// The volume id in a segment header, batch header or superblock.
const VOLUME: std::ops::Range<usize> = 16..32;
/// The checksum in all of them.
const CRC: std::ops::Range<usize> = 12..16;

/// A log segment's first block.
pub fn segment_header(bytes: &[u8]) {
    let mut block = bytes.to_vec();
    block.resize(BLOCK, 0);
    check_segment_header(&block);
    seal(&mut block, 80);
    check_segment_header(&block);
}

fn check_segment_header(block: &[u8]) {
    let Some(header) = SegmentHeader::decode(block, &volume(block)) else {
        return;
    };
    // Readers look at the checksummed bytes only.
    assert_eq!(header.encode()[..80], block[..80]);
}

/// A batch: its header blocks, then its payload. The input is padded with zeros to whole blocks.
pub fn log_batch(bytes: &[u8]) {
    let mut blocks = bytes.to_vec();
    blocks.resize(bytes.len().next_multiple_of(BLOCK).max(BLOCK), 0);
    check_batch(&blocks);
    if let Some(header_blocks) = Batch::claimed_header_blocks(&blocks[..BLOCK])
        && header_blocks * BLOCK <= blocks.len()
    {
        seal(&mut blocks, header_blocks * BLOCK);
        check_batch(&blocks);
    }
}

fn check_batch(blocks: &[u8]) {
    let Some(header_blocks) = Batch::claimed_header_blocks(&blocks[..BLOCK]) else {
        return;
    };
    let Some((header, payload)) = blocks.split_at_checked(header_blocks * BLOCK) else {
        return;
    };
    let Some((batch, crc)) = Batch::decode(header, &volume(header)) else {
        return;
    };
    let (again, crc_again) = batch.encode();
    assert_eq!(again.len(), header.len());
    if again == header {
        assert_eq!(crc_again, crc);
    }
    assert_eq!(
        Batch::decode(&again, &volume(header)),
        Some((batch.clone(), crc_again))
    );
    assert!(batch.last_lsn().next() > batch.first_lsn);
    assert!(batch.blocks() as usize >= header_blocks);
    assert!(u64::from(batch.payload_blocks) * BLOCK as u64 <= PAYLOAD_BYTES_MAX);
    if let Some(payload) = payload.get(..batch.payload_blocks as usize * BLOCK) {
        let _ = batch.check_payload(payload);
    }
}

/// A mark record's payload.
pub fn mark_note(bytes: &[u8]) {
    for kind in [RecordKind::Mark, RecordKind::MarkPrepare] {
        let Ok(note) = Note::decode(bytes, kind) else {
            continue;
        };
        // A group's name that came from elsewhere may be longer than a block, which a record never is.
        if note.group.len() <= GROUP_BYTES_MAX {
            assert_eq!(
                Note::decode(&note.encode(), kind).expect("our own encoding"),
                note
            );
        }
    }
}

/// A superblock slot.
pub fn superblock(bytes: &[u8]) {
    check_superblock(bytes);
    let mut sealed = bytes.to_vec();
    if let Some(body_bytes) = sealed.len().checked_sub(64) {
        sealed[40..48].copy_from_slice(&(body_bytes as u64).to_le_bytes());
        sealed[CRC].fill(0);
        let crc = crc32c::crc32c(&sealed);
        sealed[CRC].copy_from_slice(&crc.to_le_bytes());
        check_superblock(&sealed);
    }
}

fn check_superblock(bytes: &[u8]) {
    let Ok(superblock) = Superblock::decode(bytes) else {
        return;
    };
    let again = superblock.encode();
    let decoded = Superblock::decode(&again).expect("our own encoding");
    assert!(decoded == superblock);
    assert!(decoded.encode() == again);
    superblock.roots();
}

fn volume(bytes: &[u8]) -> [u8; 16] {
    bytes[VOLUME].try_into().expect("sixteen bytes")
}

/// Puts the checksum of a log structure's first `len` bytes right.
fn seal(block: &mut [u8], len: usize) {
    let word = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"));
    let seed = Seed {
        volume: volume(block),
        sequence: word(32),
        salt: word(40),
    };
    block[CRC].fill(0);
    let crc = crc32c::crc32c_append(seed.crc(), &block[..len]);
    block[CRC].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_break_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            segment_header(&bytes);
            log_batch(&bytes);
            mark_note(&bytes);
            superblock(&bytes);
            for version in [1, 2] {
                superblock(&[b"TMSUPER\x01".as_slice(), &[version, 0, 0, 0], &bytes].concat());
            }
        }
    }
}
