//! Reading: the disk as it is now, and as it was at a mark; and what of it are holes.
//!
//! Reads resolve blocks through the layers and read log, base or source; segments found in the index are pinned until
//! their bytes are read.
//! What must stay true of a range that is lent instead of read ([`Volume::read_for_peer`]): the peer takes its bytes later, so only
//! the base is lent, where a place only ever gets newer bytes of the same place. A segment of the log is recycled, and would give
//! the peer another block's bytes.
//! Not here: what changes the disk (`write`).

use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::index::Location;
use crate::layers::Piece;
use crate::volume::{Volume, blocks_touched};
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use std::rc::Rc;
use tidemark_env::Piece as ForPeer;
use tidemark_units::{BLOCK_BYTES, BlockRange, CHUNK_BYTES, ChunkIndex, SnapshotId};

/// Runs of at least this many bytes are lent: below it, handing them to a thread that sends them costs more than copying.
const LEND_BYTES_MIN: u64 = 128 << 10;

/// A run of bytes and whether anything is stored for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes in the run.
    pub len: u64,
    /// Nothing is stored: it reads as zeros.
    pub hole: bool,
}

/// A chunk as it was at a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrozenChunk {
    /// All zeros.
    Zero,
    /// Its 64 KiB; past the end of the disk zeros.
    Data(Bytes),
}

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Appends `len` zero bytes without making them.
fn push_zeros(out: &mut Vec<Bytes>, mut len: u64) {
    while len > 0 {
        let step = len.min(ZEROS.len() as u64);
        out.push(Bytes::from_static(&ZEROS[..step as usize]));
        len -= step;
    }
}

fn concat(pieces: Vec<Bytes>) -> Bytes {
    if let [one] = &pieces[..] {
        return one.clone();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

impl Volume {
    /// `len` bytes from `offset`, in pieces one after the other.
    pub async fn read(&self, offset: u64, len: u64) -> Result<Vec<Bytes>> {
        self.check_range(offset, len)?;
        self.check_serving()?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let blocks = blocks_touched(offset, len);
        let pieces = self.inner.core.state.borrow().layers.resolve(blocks);
        let mut out = self.read_pieces(pieces, Caching::Usual).await?;
        trim_pieces(&mut out, offset - blocks.start * BLOCK_BYTES, len);
        Ok(out)
    }

    /// As [`Volume::read`], for somebody who sends what is read to a peer and may be lent long runs of it.
    pub async fn read_for_peer(&self, offset: u64, len: u64) -> Result<Vec<ForPeer>> {
        let whole_blocks = offset.is_multiple_of(BLOCK_BYTES) && len.is_multiple_of(BLOCK_BYTES);
        if len < LEND_BYTES_MIN || !whole_blocks {
            let read = self.read(offset, len).await?;
            return Ok(read.into_iter().map(ForPeer::from).collect());
        }
        self.check_range(offset, len)?;
        self.check_serving()?;
        let pieces = self
            .inner
            .core
            .state
            .borrow()
            .layers
            .resolve(blocks_touched(offset, len));
        let reads = self.pin(pieces).into_iter().map(|(blocks, source)| async move {
            match self.lend(blocks, &source) {
                Some(lent) => Ok(lent),
                None => {
                    let read = self.read_piece(blocks, &source, Caching::Usual).await?;
                    Ok(read.into_iter().map(ForPeer::from).collect())
                }
            }
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    fn lend(&self, blocks: BlockRange, source: &Source) -> Option<Vec<ForPeer>> {
        let (offset, len) = (blocks.start * BLOCK_BYTES, blocks.count() * BLOCK_BYTES);
        let is_base = matches!(source, Source::Below)
            && len >= LEND_BYTES_MIN
            && self.inner.core.state.borrow().states.all_valid(blocks);
        is_base.then(|| self.inner.base.lend(offset, len)).flatten()
    }

    async fn read_pieces(&self, pieces: Vec<Piece>, caching: Caching) -> Result<Vec<Bytes>> {
        let pinned = self.pin(pieces);
        if let [(blocks, source)] = &pinned[..] {
            return self.read_piece(*blocks, source, caching).await;
        }
        let reads = pinned
            .iter()
            .map(|(blocks, source)| self.read_piece(*blocks, source, caching));
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// Where resolved pieces are read from. Must be called before anything is waited for after they were resolved: from then
    /// on the log's segments stay what they are.
    fn pin(&self, pieces: Vec<Piece>) -> Vec<(BlockRange, Source)> {
        let pin = |piece| match piece {
            Piece::Found(extent) => match extent.location {
                Location::Log { segment, block } => {
                    (extent.blocks, Source::Log(self.inner.log.segment(segment), block))
                }
                Location::Zero { .. } => (extent.blocks, Source::Zero),
            },
            Piece::Below(blocks) => (blocks, Source::Below),
        };
        pieces.into_iter().map(pin).collect()
    }

    async fn read_piece(&self, blocks: BlockRange, source: &Source, caching: Caching) -> Result<Vec<Bytes>> {
        match source {
            Source::Log(segment, block) => {
                let (offset, len) = (u64::from(*block) * BLOCK_BYTES, blocks.count() * BLOCK_BYTES);
                let read = match caching {
                    Caching::Usual => segment.file.read_at(offset, len as usize).await,
                    Caching::Once => segment.file.read_once(offset, len as usize).await,
                };
                let bytes = read
                    .map_err(|e| VolumeError::io(format!("reading log segment {}", segment.sequence), &e))?;
                Ok(vec![bytes])
            }
            Source::Zero => {
                let mut out = Vec::new();
                push_zeros(&mut out, blocks.count() * BLOCK_BYTES);
                Ok(out)
            }
            Source::Below => self.read_below(blocks, caching).await,
        }
    }

    /// Reads blocks that no layer has: from the base, or from the source where the base has nothing valid.
    async fn read_below(&self, blocks: BlockRange, caching: Caching) -> Result<Vec<Bytes>> {
        if self.inner.core.state.borrow().states.all_valid(blocks) {
            return self.read_base(blocks, caching).await;
        }
        let parts = blocks
            .chunks()
            .map(|c| (ChunkIndex(c), ChunkIndex(c).blocks().intersect(blocks)));
        let reads = parts.map(|(chunk, part)| self.read_below_chunk(chunk, part, caching));
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn read_below_chunk(
        &self,
        chunk: ChunkIndex,
        part: BlockRange,
        caching: Caching,
    ) -> Result<Vec<Bytes>> {
        if self.inner.core.state.borrow().states.all_valid(part) {
            return self.read_base(part, caching).await;
        }
        let fetched = self.fetch(chunk).await?;
        // Blocks may have become valid meanwhile, never the other way round: what is valid now is at
        // least as new as what was when this read began.
        let valid = self.inner.core.state.borrow().states.valid(chunk);
        let first = chunk.first_block().0;
        let is_valid = |block: u64| valid & (1 << (block - first)) != 0;
        let mut out = Vec::new();
        let mut at = part.start;
        while at < part.end {
            let local = is_valid(at);
            let mut end = at + 1;
            while end < part.end && is_valid(end) == local {
                end += 1;
            }
            let run = BlockRange { start: at, end };
            match (&fetched, local) {
                (_, true) => out.extend(self.read_base(run, caching).await?),
                (Some(bytes), false) => {
                    let from = (at - first) * BLOCK_BYTES;
                    out.push(bytes.slice(from as usize..(from + run.count() * BLOCK_BYTES) as usize));
                }
                (None, false) => push_zeros(&mut out, run.count() * BLOCK_BYTES),
            }
            at = end;
        }
        Ok(out)
    }

    async fn read_base(&self, blocks: BlockRange, caching: Caching) -> Result<Vec<Bytes>> {
        let (offset, len) = (blocks.start * BLOCK_BYTES, blocks.count() * BLOCK_BYTES);
        let read = match caching {
            Caching::Usual => self.inner.base.read(offset, len).await,
            Caching::Once => self.inner.base.read_once(offset, len).await,
        };
        read.map_err(|e| VolumeError::io("reading the base", &e))
    }

    /// A chunk as it is now, 64 KiB (a disk's last one is filled up with zeros), or `None` if not all of it is local:
    /// nothing is fetched.
    pub async fn read_local(&self, chunk: ChunkIndex) -> Result<Option<Bytes>> {
        self.check_serving()?;
        let end = self.size_bytes() / BLOCK_BYTES;
        let blocks = chunk.blocks().intersect(BlockRange { start: 0, end });
        if blocks.is_empty() {
            return Ok(None);
        }
        let pieces = {
            let state = self.inner.core.state.borrow();
            let pieces = state.layers.resolve(blocks);
            let is_local = |piece: &Piece| match piece {
                Piece::Found(_) => true,
                Piece::Below(blocks) => state.states.all_valid(*blocks),
            };
            if !pieces.iter().all(is_local) {
                return Ok(None);
            }
            pieces
        };
        let mut bytes = self.read_pieces(pieces, Caching::Usual).await?;
        push_zeros(&mut bytes, CHUNK_BYTES - blocks.count() * BLOCK_BYTES);
        Ok(Some(concat(bytes)))
    }

    /// A chunk as it was at the pending mark of `snapshot`, which must not have taken it yet.
    pub async fn read_frozen(&self, snapshot: &SnapshotId, chunk: ChunkIndex) -> Result<FrozenChunk> {
        self.check_serving()?;
        let end = self.size_bytes() / BLOCK_BYTES;
        let blocks = chunk.blocks().intersect(BlockRange { start: 0, end });
        let pieces = {
            let state = self.inner.core.state.borrow();
            let Some(mark) = state.tracker.mark_of(snapshot) else {
                return Err(VolumeError::invalid(format!(
                    "no pending mark of snapshot {snapshot}"
                )));
            };
            if !state.tracker.is_untaken(snapshot, chunk.0) {
                return Err(VolumeError::invalid(format!(
                    "chunk {} of {snapshot} is taken already",
                    chunk.0
                )));
            }
            state.layers.resolve_at(blocks, mark.lsn)
        };
        let zero = |p: &Piece| matches!(p, Piece::Found(e) if matches!(e.location, Location::Zero { .. }));
        if pieces.iter().all(zero) {
            return Ok(FrozenChunk::Zero);
        }
        let mut bytes = self.read_pieces(pieces, Caching::Once).await?;
        push_zeros(&mut bytes, CHUNK_BYTES - blocks.count() * BLOCK_BYTES);
        Ok(FrozenChunk::Data(concat(bytes)))
    }

    /// What is stored for bytes `offset .. offset + len`: neighbouring runs differ.
    pub async fn extents(&self, offset: u64, len: u64) -> Result<Vec<Extent>> {
        self.check_range(offset, len)?;
        self.check_serving()?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let blocks = blocks_touched(offset, len);
        let pieces = self.inner.core.state.borrow().layers.resolve(blocks);
        let mut runs: Vec<Extent> = Vec::new();
        let mut push = |bytes: u64, hole: bool| match runs.last_mut() {
            Some(last) if last.hole == hole => last.len += bytes,
            _ if bytes == 0 => {}
            _ => runs.push(Extent { len: bytes, hole }),
        };
        for piece in pieces {
            let bytes = piece.blocks().count() * BLOCK_BYTES;
            match piece {
                Piece::Found(e) => push(bytes, matches!(e.location, Location::Zero { .. })),
                Piece::Below(range) => {
                    for (bytes, hole) in self.extents_below(range).await? {
                        push(bytes, hole);
                    }
                }
            }
        }
        // The runs cover whole blocks; cut what the caller did not ask for.
        let head = offset - blocks.start * BLOCK_BYTES;
        if let Some(first) = runs.first_mut() {
            first.len -= head;
        }
        let surplus = blocks.end * BLOCK_BYTES - (offset + len);
        if let Some(last) = runs.last_mut() {
            last.len -= surplus;
        }
        Ok(runs)
    }

    async fn extents_below(&self, blocks: BlockRange) -> Result<Vec<(u64, bool)>> {
        let absent = {
            let state = self.inner.core.state.borrow();
            let absent: Vec<u32> = state.states.absent().range(blocks.chunks()).collect();
            absent
        };
        let mut stored = match (absent.is_empty(), self.source()) {
            (false, Some(source)) => {
                let found = source.nonzero(blocks.chunks()).await;
                found.map_err(|e| VolumeError::new(VolumeErrorKind::Unavailable, e))?
            }
            _ => roaring::RoaringBitmap::new(),
        };
        let absent: roaring::RoaringBitmap = absent.into_iter().collect();
        stored &= &absent;
        let mut out = Vec::new();
        for (first, last, is_absent) in runs_of(&absent, blocks.chunks()) {
            let range = BlockRange {
                start: ChunkIndex(first).first_block().0,
                end: ChunkIndex(last).blocks().end,
            }
            .intersect(blocks);
            if is_absent {
                for chunk in first..=last {
                    let part = ChunkIndex(chunk).blocks().intersect(blocks);
                    // A partly valid chunk counts as data: what is local in it is not looked up.
                    let valid = self.inner.core.state.borrow().states.valid(ChunkIndex(chunk));
                    out.push((part.count() * BLOCK_BYTES, !stored.contains(chunk) && valid == 0));
                }
                continue;
            }
            let end = range.end * BLOCK_BYTES;
            let mut at = range.start * BLOCK_BYTES;
            while at < end {
                let found = self.inner.base.next_data(at, end).await;
                match found.map_err(|e| VolumeError::io("looking for holes in the base", &e))? {
                    Some((start, stop)) => {
                        // Whole blocks: a block that is stored in part is stored.
                        let start = (start / BLOCK_BYTES * BLOCK_BYTES).max(at);
                        let stop = (stop.div_ceil(BLOCK_BYTES) * BLOCK_BYTES).min(end);
                        out.push((start - at, true));
                        out.push((stop - start, false));
                        at = stop;
                    }
                    None => {
                        out.push((end - at, true));
                        at = end;
                    }
                }
            }
        }
        Ok(out)
    }
}

/// What reading leaves in the system's cache.
#[derive(Clone, Copy)]
enum Caching {
    /// What was read.
    Usual,
    /// Only what was there before: a capture reads all of a disk, and must not push out what the guest works on.
    Once,
}

enum Source {
    Log(Rc<crate::log::segment::Segment>, u32),
    Zero,
    Below,
}

/// Runs of `range` that are in `set` or not: first, last (inclusive), whether in it.
fn runs_of(set: &roaring::RoaringBitmap, range: std::ops::Range<u32>) -> Vec<(u32, u32, bool)> {
    let mut runs: Vec<(u32, u32, bool)> = Vec::new();
    let mut at = range.start;
    for member in set.range(range.clone()) {
        if member > at {
            runs.push((at, member - 1, false));
        }
        match runs.last_mut() {
            Some(last) if last.2 && last.1 + 1 == member => last.1 = member,
            _ => runs.push((member, member, true)),
        }
        at = member + 1;
    }
    if at < range.end {
        runs.push((at, range.end - 1, false));
    }
    runs
}

/// Cuts `skip` bytes from the front and everything after `len` bytes.
fn trim_pieces(pieces: &mut Vec<Bytes>, mut skip: u64, len: u64) {
    let mut left = len;
    pieces.retain_mut(|piece| {
        let cut = skip.min(piece.len() as u64);
        skip -= cut;
        let keep = left.min(piece.len() as u64 - cut);
        left -= keep;
        *piece = piece.slice(cut as usize..(cut + keep) as usize);
        !piece.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_the_range() {
        let set = [2u32, 3, 7].into_iter().collect();
        assert_eq!(
            runs_of(&set, 1..9),
            vec![
                (1, 1, false),
                (2, 3, true),
                (4, 6, false),
                (7, 7, true),
                (8, 8, false)
            ]
        );
    }

    #[test]
    fn pieces_are_cut_at_both_ends() {
        let mut pieces = vec![Bytes::from_static(b"abcd"), Bytes::from_static(b"efgh")];
        trim_pieces(&mut pieces, 3, 3);
        assert_eq!(pieces.concat(), b"def");
    }
}
