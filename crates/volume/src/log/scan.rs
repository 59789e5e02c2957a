//! Reading the log after a restart: which records count, and whether anything that was synced is gone.
//!
//! Rules (design R3-R6): batches count while LSNs are contiguous, checksums hold and each chains to the
//! one before. The first batch that does not is where the log ends, a torn tail, *unless* a later valid
//! batch carries a watermark at or above the missing record: then data that was synced has been damaged,
//! and the volume refuses to serve rather than silently truncate. New records go to a new segment whose header
//! names the last record before it; so a torn tail that was abandoned once is never read again.
//! Not here: what a record means (the caller's `apply`).

use super::layout::{BLOCK, Batch, Record, Seed, SegmentHeader};
use super::segment::{Segment, read_blocks};
use crate::error::{Result, VolumeError};
use crate::superblock::Superblock;
use bytes::Bytes;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use tidemark_env::{File, mutant};
use tidemark_units::Lsn;

/// A record that counts, and where its payload is.
pub struct Replayed<'a> {
    /// Its position.
    pub lsn: Lsn,
    /// What it says.
    pub record: &'a Record,
    /// The segment that holds it.
    pub segment: u64,
    /// First block of its payload in the segment.
    pub payload_block: u32,
    /// Its payload.
    pub payload: Bytes,
}

/// What a scan found.
pub struct ScanEnd {
    /// The last record that counts (or the checkpoint, if nothing after it does).
    pub last: Lsn,
    /// The highest position ever seen; new records start after it.
    pub highest: Lsn,
    /// Checksum of the last batch header that counts.
    pub chain: u32,
    /// The record that it belongs to; before the checkpoint, if the log ends before it.
    pub chain_lsn: Lsn,
    /// The highest sequence number ever seen.
    pub highest_sequence: u64,
    /// The last of the records behind the end that nobody ever promised: a torn tail.
    pub torn: Option<Lsn>,
    /// Highest epoch seen.
    pub highest_epoch: u64,
    /// Segments that hold records that count, oldest first.
    pub live: Vec<Rc<Segment>>,
    /// Files that may be reused.
    pub free: Vec<(u32, Rc<dyn File>)>,
}

struct Candidate {
    slot: u32,
    file: Rc<dyn File>,
    blocks: u32,
    header: Option<SegmentHeader>,
}

/// Reads the log from segment `first_sequence` on and calls `apply` for every record that counts.
pub async fn scan(
    files: Vec<(u32, Rc<dyn File>)>,
    superblock: &Superblock,
    mut apply: impl FnMut(Replayed<'_>) -> Result<()>,
) -> Result<ScanEnd> {
    let (volume, first_sequence, checkpoint) = (
        &superblock.volume,
        superblock.first_sequence,
        superblock.checkpoint,
    );
    let segment_blocks = superblock.segment_bytes / BLOCK as u64;
    let mut candidates = Vec::with_capacity(files.len());
    for (slot, file) in files {
        let failed = |e: io::Error| VolumeError::io(format!("reading log segment {slot}"), &e);
        // R3: what the kernel still held unsynced could be read now and lost later.
        if !mutant::on("volume-log-not-synced-on-open") {
            file.sync().await.map_err(failed)?;
        }
        // What lies beyond a segment's size is none of ours, however much it is.
        let blocks = (file.size().await.map_err(failed)? / BLOCK as u64).min(segment_blocks) as u32;
        let header = match blocks {
            0 => None,
            _ => SegmentHeader::decode(&read_blocks(&*file, 0, 1).await.map_err(failed)?, volume),
        };
        candidates.push(Candidate {
            slot,
            file,
            blocks,
            header,
        });
    }
    let find = |sequence: u64, candidates: &[Candidate]| {
        candidates
            .iter()
            .position(|c| c.header.is_some_and(|h| h.seed.sequence == sequence))
    };
    let Some(mut current) = find(first_sequence, &candidates) else {
        return Err(VolumeError::corrupt(format!(
            "the log's segment {first_sequence}, which the superblock names as its start, is missing or its header is damaged"
        )));
    };
    let start = candidates[current].header.expect("found by its header");
    if start.previous_lsn > checkpoint {
        return Err(VolumeError::corrupt(format!(
            "the log starts after record {}, but the base holds only records up to {checkpoint}",
            start.previous_lsn
        )));
    }
    let mut expected = start.first_lsn;
    let mut chain = start.previous_crc;
    let mut last = start.previous_lsn;
    let mut live = vec![current];
    let mut end_block;
    loop {
        let header = candidates[current]
            .header
            .expect("a followed segment has a header");
        let at = &candidates[current];
        end_block = 1;
        while let Some(found) = read_batch(at, end_block, volume).await? {
            let (batch, crc, payload) = found;
            let fits =
                batch.seed == header.seed && batch.first_lsn == expected && batch.previous_crc == chain;
            let Some(payload) = payload.filter(|_| fits) else {
                break;
            };
            let payload_start = end_block + Batch::header_blocks(batch.records.len()) as u32;
            for (n, record) in batch.records.iter().enumerate() {
                let lsn = Lsn(batch.first_lsn.0 + n as u64);
                let from = record.payload_block as usize * BLOCK;
                apply(Replayed {
                    lsn,
                    record,
                    segment: header.seed.sequence,
                    payload_block: payload_start + record.payload_block,
                    payload: payload.slice(from..from + record.payload_blocks as usize * BLOCK),
                })?;
            }
            last = batch.last_lsn();
            expected = last.next();
            chain = crc;
            end_block += batch.blocks();
        }
        let next = candidates
            .iter()
            .enumerate()
            .filter_map(|(n, c)| c.header.map(|h| (n, h)))
            .filter(|(_, h)| h.seed.sequence > header.seed.sequence)
            .filter(|(_, h)| h.previous_lsn == last && h.previous_crc == chain && h.first_lsn > last)
            .max_by_key(|(_, h)| h.seed.sequence);
        match next {
            Some((n, h)) => {
                current = n;
                expected = h.first_lsn;
                live.push(n);
            }
            None => break,
        }
    }
    let here = candidates[current]
        .header
        .expect("a followed segment has a header");
    let stray = look_for_strays(&candidates, current, here.seed, end_block, volume).await?;
    let lost = expected.max(checkpoint.next());
    if stray.durable >= lost && !mutant::on("volume-skip-watermark") {
        return Err(VolumeError::corrupt(format!(
            "log records {lost} to {} were synced but can no longer be read (log/{:08}.seg, segment {}, from byte {}); refusing to serve a truncated disk",
            stray.durable,
            candidates[current].slot,
            here.seed.sequence,
            u64::from(end_block) * BLOCK as u64
        )));
    }
    let headers = || candidates.iter().filter_map(|c| c.header);
    let highest_sequence = headers()
        .map(|h| h.seed.sequence)
        .max()
        .unwrap_or(0)
        .max(stray.sequence);
    let highest_epoch = headers().map(|h| h.epoch).max().unwrap_or(0);
    let mut live_segments = Vec::new();
    let mut free = Vec::new();
    for (n, c) in candidates.into_iter().enumerate() {
        match (live.iter().position(|&l| l == n), c.header) {
            (Some(order), Some(header)) => live_segments.push((
                order,
                Rc::new(Segment {
                    slot: c.slot,
                    file: c.file,
                    sequence: header.seed.sequence,
                    header: Cell::new(Some(header)),
                }),
            )),
            _ => free.push((c.slot, c.file)),
        }
    }
    live_segments.sort_by_key(|(order, _)| *order);
    Ok(ScanEnd {
        last: last.max(checkpoint),
        highest: last.max(checkpoint).max(stray.last),
        torn: Some(stray.last).filter(|torn| *torn >= expected),
        chain,
        chain_lsn: last,
        highest_sequence,
        highest_epoch,
        live: live_segments.into_iter().map(|(_, s)| s).collect(),
        free,
    })
}

/// A batch at `block`: the header, its checksum, and the payload if that is undamaged too.
async fn read_batch(
    at: &Candidate,
    block: u32,
    volume: &[u8; 16],
) -> Result<Option<(Batch, u32, Option<Bytes>)>> {
    let failed = |e: io::Error| VolumeError::io(format!("reading log segment {}", at.slot), &e);
    if block >= at.blocks {
        return Ok(None);
    }
    let first = read_blocks(&*at.file, block, 1).await.map_err(failed)?;
    let Some(header_blocks) = Batch::claimed_header_blocks(&first) else {
        return Ok(None);
    };
    let header_blocks = header_blocks as u32;
    if block + header_blocks > at.blocks {
        return Ok(None);
    }
    let header = match header_blocks {
        1 => first,
        n => read_blocks(&*at.file, block, n).await.map_err(failed)?,
    };
    let Some((batch, crc)) = Batch::decode(&header, volume) else {
        return Ok(None);
    };
    let payload_start = block + header_blocks;
    if payload_start
        .checked_add(batch.payload_blocks)
        .is_none_or(|end| end > at.blocks)
    {
        return Ok(None);
    }
    let payload = match batch.payload_blocks {
        0 => Bytes::new(),
        n => read_blocks(&*at.file, payload_start, n).await.map_err(failed)?,
    };
    let whole = batch.check_payload(&payload).is_ok() || mutant::on("volume-payload-unchecked");
    let payload = whole.then_some(payload);
    Ok(Some((batch, crc, payload)))
}

/// What valid batches beyond the end of the log claim.
#[derive(Default)]
struct Strays {
    durable: Lsn,
    last: Lsn,
    sequence: u64,
}

/// Looks at every later batch that is valid by itself: behind the end in its segment, in later segments, and in
/// files whose segment header cannot be read.
async fn look_for_strays(
    candidates: &[Candidate],
    current: usize,
    seed: Seed,
    end_block: u32,
    volume: &[u8; 16],
) -> Result<Strays> {
    let mut strays = Strays::default();
    for (n, candidate) in candidates.iter().enumerate() {
        let from = match candidate.header {
            _ if n == current => end_block,
            Some(h) if h.seed.sequence <= seed.sequence => continue,
            _ => 0,
        };
        let mut block = from;
        while block < candidate.blocks {
            // One read covers many blocks: most of a segment holds nothing that even looks like a batch.
            let window = (candidate.blocks - block).min(256);
            let failed =
                |e: io::Error| VolumeError::io(format!("reading log segment {}", candidate.slot), &e);
            let bytes = read_blocks(&*candidate.file, block, window)
                .await
                .map_err(failed)?;
            for within in 0..window {
                let claim = &bytes[within as usize * BLOCK..(within as usize + 1) * BLOCK];
                if Batch::claimed_header_blocks(claim).is_none() {
                    continue;
                }
                if let Some((batch, _, _)) = read_batch(candidate, block + within, volume).await? {
                    let later = match n == current {
                        true => batch.seed == seed,
                        false => batch.seed.sequence > seed.sequence,
                    };
                    if later {
                        strays.durable = strays.durable.max(batch.durable_lsn);
                        strays.last = strays.last.max(batch.last_lsn());
                        strays.sequence = strays.sequence.max(batch.seed.sequence);
                    }
                }
            }
            block += window;
        }
    }
    Ok(strays)
}
