//! What a guest does: read, write, zero, trim, flush, ask for holes. And reading the view at a mark.
//!
//! Reads resolve blocks through the layers and read log, base or source; segments found in the index are
//! pinned until their bytes are read. Writes are admitted (space, log room), widened to blocks when they are
//! smaller, logged, and acknowledged. Requests on overlapping blocks keep the order in which they were logged.

use crate::config::{SLOW_PERCENT, STOP_PERCENT};
use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::index::Location;
use crate::layers::Piece;
use crate::log::layout::RecordKind;
use crate::log::segment::read_blocks;
use crate::log::writer::{Append, Log};
use crate::reserve::Admitted;
use crate::volume::{Volume, blocks_touched, blocks_within};
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{BLOCK_BYTES, BlockRange, CHUNK_BYTES, ChunkIndex, Lsn, SnapshotId};

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
        let mut out = self.read_pieces(pieces).await?;
        trim_pieces(&mut out, offset - blocks.start * BLOCK_BYTES, len);
        Ok(out)
    }

    /// Reads resolved pieces. Everything that this reads stays readable: log segments are pinned before the
    /// first wait.
    async fn read_pieces(&self, pieces: Vec<Piece>) -> Result<Vec<Bytes>> {
        let pinned: Vec<_> = pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Found(extent) => match extent.location {
                    Location::Log { segment, block } => {
                        (extent.blocks, Source::Log(self.inner.log.segment(segment), block))
                    }
                    Location::Zero { .. } => (extent.blocks, Source::Zero),
                },
                Piece::Below(blocks) => (blocks, Source::Below),
            })
            .collect();
        if let [(blocks, source)] = &pinned[..] {
            return self.read_piece(*blocks, source).await;
        }
        let reads = pinned
            .iter()
            .map(|(blocks, source)| self.read_piece(*blocks, source));
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn read_piece(&self, blocks: BlockRange, source: &Source) -> Result<Vec<Bytes>> {
        match source {
            Source::Log(segment, block) => {
                let read = read_blocks(&*segment.file, *block, blocks.count() as u32).await;
                let bytes = read
                    .map_err(|e| VolumeError::io(format!("reading log segment {}", segment.sequence), &e))?;
                Ok(vec![bytes])
            }
            Source::Zero => {
                let mut out = Vec::new();
                push_zeros(&mut out, blocks.count() * BLOCK_BYTES);
                Ok(out)
            }
            Source::Below => self.read_below(blocks).await,
        }
    }

    /// Reads blocks that no layer has: from the base, or from the source where the base has nothing valid.
    async fn read_below(&self, blocks: BlockRange) -> Result<Vec<Bytes>> {
        if self.inner.core.state.borrow().states.all_valid(blocks) {
            return self.read_base(blocks).await;
        }
        let parts = blocks
            .chunks()
            .map(|c| (ChunkIndex(c), ChunkIndex(c).blocks().intersect(blocks)));
        let reads = parts.map(|(chunk, part)| self.read_below_chunk(chunk, part));
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    async fn read_below_chunk(&self, chunk: ChunkIndex, part: BlockRange) -> Result<Vec<Bytes>> {
        if self.inner.core.state.borrow().states.all_valid(part) {
            return self.read_base(part).await;
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
                (_, true) => out.extend(self.read_base(run).await?),
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

    async fn read_base(&self, blocks: BlockRange) -> Result<Vec<Bytes>> {
        let read = self
            .inner
            .base
            .read(blocks.start * BLOCK_BYTES, blocks.count() * BLOCK_BYTES)
            .await;
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
        let mut bytes = self.read_pieces(pieces).await?;
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
        let mut bytes = self.read_pieces(pieces).await?;
        push_zeros(&mut bytes, CHUNK_BYTES - blocks.count() * BLOCK_BYTES);
        Ok(FrozenChunk::Data(concat(bytes)))
    }

    /// Writes `data` at `offset`. When this returns, reads see it; with `fua` it is durable too.
    pub async fn write(&self, offset: u64, data: Bytes, fua: bool) -> Result<()> {
        let len = data.len() as u64;
        self.check_range(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let lsn = if offset.is_multiple_of(BLOCK_BYTES) && len.is_multiple_of(BLOCK_BYTES) {
            self.write_blocks(blocks_touched(offset, len), data).await?
        } else {
            self.write_bytes(offset, data).await?
        };
        self.acknowledge(lsn, fua).await
    }

    async fn write_blocks(&self, blocks: BlockRange, data: Bytes) -> Result<Lsn> {
        let admitted = self.admit(blocks, data.len() as u64).await?;
        self.inner.locks.free(blocks).await;
        let logged = self.log_data(blocks, data);
        drop(admitted);
        logged.await
    }

    /// Logs whole blocks as records that each fit one batch. Queued at once, so nothing can come between them.
    fn log_data(&self, blocks: BlockRange, data: Bytes) -> impl Future<Output = Result<Lsn>> + use<> {
        let log = self.inner.log.clone();
        let step = log.record_bytes_max();
        let mut waiting = Vec::with_capacity(1);
        let mut at = 0;
        while at < data.len() as u64 {
            let len = step.min(data.len() as u64 - at);
            let part = BlockRange::new(blocks.start + at / BLOCK_BYTES, len / BLOCK_BYTES);
            let payload = vec![data.slice(at as usize..(at + len) as usize)];
            waiting.push(log.append(Append {
                kind: RecordKind::Data,
                blocks: part,
                payload,
            }));
            at += len;
        }
        async move {
            if mutant::on("volume-ack-before-write") {
                return Ok(Lsn::ZERO);
            }
            let mut last = Lsn::ZERO;
            for receiver in waiting {
                last = Log::appended(receiver).await?;
            }
            Ok(last)
        }
    }

    /// A write that does not cover whole blocks: reads them, changes them, logs them.
    async fn write_bytes(&self, offset: u64, data: Bytes) -> Result<Lsn> {
        let blocks = blocks_touched(offset, data.len() as u64);
        let admitted = self.admit(blocks, blocks.count() * BLOCK_BYTES).await?;
        let held = match mutant::on("volume-widen-without-lock") {
            false => blocks,
            true => BlockRange::new(blocks.start, 0),
        };
        let guard = self.inner.locks.hold(held).await;
        // Everything logged before is in the index after this, and nothing of these blocks can follow.
        self.inner.log.barrier().await;
        let old = self
            .read(blocks.start * BLOCK_BYTES, blocks.count() * BLOCK_BYTES)
            .await?;
        let mut whole = BytesMut::with_capacity((blocks.count() * BLOCK_BYTES) as usize);
        old.iter().for_each(|piece| whole.extend_from_slice(piece));
        let from = (offset - blocks.start * BLOCK_BYTES) as usize;
        whole[from..from + data.len()].copy_from_slice(&data);
        let logged = self.log_data(blocks, whole.freeze());
        drop((guard, admitted));
        logged.await
    }

    /// Makes bytes read as zeros. `may_punch`: their space may be given back.
    pub async fn zero(&self, offset: u64, len: u64, may_punch: bool, fua: bool) -> Result<()> {
        self.check_range(offset, len)?;
        let middle = blocks_within(offset, len);
        let end = offset + len;
        let mut last = Lsn::ZERO;
        if middle.is_empty() {
            if len > 0 {
                last = self
                    .write_bytes(offset, Bytes::from(vec![0; len as usize]))
                    .await?;
            }
        } else {
            let head = middle.start * BLOCK_BYTES - offset;
            let tail = end - middle.end * BLOCK_BYTES;
            if head > 0 {
                last = self
                    .write_bytes(offset, Bytes::from(vec![0; head as usize]))
                    .await?;
            }
            if tail > 0 {
                last = last.max(
                    self.write_bytes(end - tail, Bytes::from(vec![0; tail as usize]))
                        .await?,
                );
            }
            let kind = if may_punch {
                RecordKind::Trim
            } else {
                RecordKind::Zero
            };
            last = last.max(self.log_zero(kind, middle).await?);
        }
        self.acknowledge(last, fua).await
    }

    /// Forgets bytes: whole blocks within the range read as zeros afterwards, the rest stays as it is.
    pub async fn trim(&self, offset: u64, len: u64, fua: bool) -> Result<()> {
        self.check_range(offset, len)?;
        let blocks = blocks_within(offset, len);
        if blocks.is_empty() {
            self.check_serving()?;
            return self.acknowledge(Lsn::ZERO, false).await;
        }
        let lsn = self.log_zero(RecordKind::Trim, blocks).await?;
        self.acknowledge(lsn, fua).await
    }

    async fn log_zero(&self, kind: RecordKind, blocks: BlockRange) -> Result<Lsn> {
        let _nothing = self.admit(BlockRange::new(blocks.start, 0), 0).await?;
        self.inner.locks.free(blocks).await;
        Log::appended(self.inner.log.append(Append {
            kind,
            blocks,
            payload: Vec::new(),
        }))
        .await
    }

    /// Completes once everything acknowledged before is durable.
    pub async fn flush(&self) -> Result<()> {
        self.check_serving()?;
        self.acknowledge(self.inner.log.written(), true).await
    }

    /// The last step of every request that changes the disk or promises durability: makes its records up to `lsn` durable if
    /// it asks for that, and waits while acknowledgements are held. Nothing may be awaited after this.
    async fn acknowledge(&self, lsn: Lsn, durable: bool) -> Result<()> {
        if durable && !mutant::on("volume-flush-without-sync") {
            self.inner.log.sync(lsn).await?;
        }
        self.inner.acks.pass().await;
        Ok(())
    }

    /// Lets a write in: base space is reserved for it (a full file system is an error here, before any
    /// acknowledgement), and the log has room for it (a full log makes it wait).
    async fn admit(&self, blocks: BlockRange, bytes: u64) -> Result<Admitted<'_>> {
        self.check_serving()?;
        let inner = &self.inner;
        let admitted = inner.reserve.admit(bytes);
        if bytes > 0 && !mutant::on("volume-reserve-skipped") {
            self.reserve_for(blocks).await?;
        }
        loop {
            let space = inner.log.space_changed();
            let (used, capacity) = inner.log.usage();
            let percent = (used + inner.log.queued_bytes()) * 100 / capacity;
            if percent >= inner.config.checkpoint_percent {
                inner.core.checkpoint_wanted.notify_one();
            }
            if percent >= STOP_PERCENT && inner.log.is_stuck() {
                return Err(VolumeError::new(
                    VolumeErrorKind::Full,
                    "no space left for the disk's log",
                ));
            }
            if percent >= STOP_PERCENT {
                space.await;
                self.check_serving()?;
            } else {
                if percent >= SLOW_PERCENT {
                    // From 0 to 10 ms as the log fills from "slow" to "stop": smooth for the guest.
                    let delay = (percent - SLOW_PERCENT) * 10_000 / (STOP_PERCENT - SLOW_PERCENT);
                    inner.env.clock.sleep(Duration::from_micros(delay)).await;
                }
                return Ok(admitted);
            }
        }
    }

    /// Makes sure that everything let in has its space in the base or the reserve, `blocks` included.
    async fn reserve_for(&self, blocks: BlockRange) -> Result<()> {
        let inner = &self.inner;
        let let_in = || {
            let indexed = inner.core.state.borrow().layers.data_bytes();
            indexed + inner.log.unapplied_bytes() + inner.reserve.admitted()
        };
        if inner.reserve.covers(let_in()) {
            return Ok(());
        }
        match inner.reserve.grow(let_in()).await {
            Err(full) if full.kind == VolumeErrorKind::Full => match self.base_has(blocks).await? {
                true => Ok(()),
                false => Err(full),
            },
            other => other,
        }
    }

    /// Whether the base has space for all of `blocks` already, and nothing in the log is about to give it back.
    async fn base_has(&self, blocks: BlockRange) -> Result<bool> {
        self.inner.log.barrier().await;
        let pieces = self.inner.core.state.borrow().layers.resolve(blocks);
        if pieces
            .iter()
            .any(|p| matches!(p, Piece::Found(e) if matches!(e.location, Location::Zero { .. })))
        {
            return Ok(false);
        }
        let end = blocks.end * BLOCK_BYTES;
        let mut at = blocks.start * BLOCK_BYTES;
        while at < end {
            let found = self.inner.base.next_data(at, end).await;
            match found.map_err(|e| VolumeError::io("looking for holes in the base", &e))? {
                Some((start, stop)) if start <= at && stop > at => at = stop,
                _ => return Ok(false),
            }
        }
        Ok(true)
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
