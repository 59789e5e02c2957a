//! Changing the disk: write, zero, trim, flush.
//!
//! Writes are admitted (space, log room), widened to blocks when they are smaller, logged, and acknowledged. Requests on
//! overlapping blocks keep the order in which they were logged.
//! Not here: reading (`read`), what the log does with a record (`log::writer`).

use crate::config::{SLOW_PERCENT, STOP_PERCENT};
use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::index::Location;
use crate::layers::Piece;
use crate::log::layout::RecordKind;
use crate::log::writer::{Append, Log};
use crate::pieces::take_front;
use crate::reserve::Admitted;
use crate::volume::{Volume, blocks_touched, blocks_within};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{BLOCK_BYTES, BlockRange, Lsn};

impl Volume {
    /// Writes `data` at `offset`. When this returns, reads see it; with `fua` it is durable too.
    pub async fn write(&self, offset: u64, data: Bytes, fua: bool) -> Result<()> {
        self.write_vectored(offset, vec![data], fua).await
    }

    /// As [`Volume::write`], of pieces of any lengths, one after the other.
    pub async fn write_vectored(&self, offset: u64, data: Vec<Bytes>, fua: bool) -> Result<()> {
        let len = data.iter().map(|piece| piece.len() as u64).sum();
        self.check_range(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let lsn = if offset.is_multiple_of(BLOCK_BYTES) && len.is_multiple_of(BLOCK_BYTES) {
            self.write_blocks(blocks_touched(offset, len), data).await?
        } else {
            self.write_bytes(offset, len, data).await?
        };
        self.acknowledge(lsn, fua).await
    }

    async fn write_blocks(&self, blocks: BlockRange, data: Vec<Bytes>) -> Result<Lsn> {
        let admitted = self.admit(blocks, blocks.count() * BLOCK_BYTES).await?;
        self.inner.locks.free(blocks).await;
        let logged = self.log_data(blocks, data);
        drop(admitted);
        logged.await
    }

    /// Logs whole blocks as records that each fit one batch. Queued at once, so nothing can come between them.
    fn log_data(&self, blocks: BlockRange, data: Vec<Bytes>) -> impl Future<Output = Result<Lsn>> + use<> {
        let log = self.inner.log.clone();
        let step = log.record_bytes_max() / BLOCK_BYTES;
        let mut waiting = Vec::with_capacity(1);
        let mut data = VecDeque::from(data);
        let mut at = blocks.start;
        while at < blocks.end {
            let part = BlockRange::new(at, step.min(blocks.end - at));
            let payload = take_front(&mut data, part.count() * BLOCK_BYTES);
            waiting.push(log.append(Append {
                kind: RecordKind::Data,
                blocks: part,
                payload,
            }));
            at = part.end;
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
    async fn write_bytes(&self, offset: u64, len: u64, data: Vec<Bytes>) -> Result<Lsn> {
        let blocks = blocks_touched(offset, len);
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
        let mut at = (offset - blocks.start * BLOCK_BYTES) as usize;
        for piece in data {
            whole[at..at + piece.len()].copy_from_slice(&piece);
            at += piece.len();
        }
        let logged = self.log_data(blocks, vec![whole.freeze()]);
        drop((guard, admitted));
        logged.await
    }

    /// Zeros that are less than a block on either side of whole ones.
    async fn write_zeros(&self, offset: u64, len: u64) -> Result<Lsn> {
        let zeros = vec![Bytes::from(vec![0; len as usize])];
        self.write_bytes(offset, len, zeros).await
    }

    /// Makes bytes read as zeros. `may_punch`: their space may be given back.
    pub async fn zero(&self, offset: u64, len: u64, may_punch: bool, fua: bool) -> Result<()> {
        self.check_range(offset, len)?;
        let middle = blocks_within(offset, len);
        let end = offset + len;
        let mut last = Lsn::ZERO;
        if middle.is_empty() {
            if len > 0 {
                last = self.write_zeros(offset, len).await?;
            }
        } else {
            let head = middle.start * BLOCK_BYTES - offset;
            let tail = end - middle.end * BLOCK_BYTES;
            if head > 0 {
                last = self.write_zeros(offset, head).await?;
            }
            if tail > 0 {
                last = last.max(self.write_zeros(end - tail, tail).await?);
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
}
