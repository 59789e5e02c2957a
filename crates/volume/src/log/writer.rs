//! Appending: group commit of records, syncs, and the life of segments.
//!
//! What must stay true: (1) records get their LSN in the order they are queued, are written in that
//! order, and are applied to the index in that order, after their write has completed; (2) one batch is
//! in flight at a time: records that arrive meanwhile form the next; (3) a sync counts only for records
//! whose write had completed before it was submitted; (4) after a failed write or sync nothing is
//! acknowledged any more (poisoned), because what the medium holds is unknown.
//! Not here: what a record does to the disk (the `apply` callback), when the base catches up (`checkpoint`).

use super::layout::{BLOCK, Batch, PAYLOAD_BYTES_MAX, RECORDS_MAX, Record, RecordKind, Seed};
use super::segment::{Segment, SegmentStore};
use crate::error::{Result, VolumeError, VolumeErrorKind};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use tidemark_env::{Env, File, mutant};
use tidemark_units::{BLOCK_BYTES, BlockRange, Lsn};
use tokio::sync::{Notify, oneshot};

/// Written bytes after which a sync is started although nobody asked: a mark or a flush that comes then has
/// little left to wait for, however much the guest writes without ever flushing.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// A record to append. Payload length is a multiple of a block and fits the record's kind.
pub struct Append {
    /// What it does.
    pub kind: RecordKind,
    /// To which blocks.
    pub blocks: BlockRange,
    /// Its payload, in pieces of any length.
    pub payload: Vec<Bytes>,
}

/// A written record, as the index learns of it.
pub struct Written<'a> {
    /// Its position.
    pub lsn: Lsn,
    /// What it does.
    pub kind: RecordKind,
    /// To which blocks.
    pub blocks: BlockRange,
    /// The segment.
    pub segment: u64,
    /// Where its payload starts in the segment.
    pub payload_block: u32,
    /// Its payload.
    pub payload: &'a [Bytes],
}

pub(super) struct Queued {
    append: Append,
    bytes: u64,
    done: oneshot::Sender<Result<Lsn>>,
}

pub(super) struct State {
    pub(super) queue: VecDeque<Queued>,
    pub(super) queued_bytes: u64,
    /// Payload bytes taken from the queue whose records are not applied yet.
    pub(super) writing_bytes: u64,
    pub(super) next_lsn: Lsn,
    pub(super) written: Lsn,
    pub(super) durable: Lsn,
    pub(super) chain: u32,
    /// The record that `chain` ends with. Not `written`: after a recovery that may count the base's records too.
    pub(super) chain_lsn: Lsn,
    pub(super) sequence: u64,
    pub(super) current: Option<(Rc<Segment>, u32)>,
    pub(super) live: BTreeMap<u64, Rc<Segment>>,
    pub(super) retired: Vec<Rc<Segment>>,
    pub(super) free: Vec<(u32, Rc<dyn File>)>,
    pub(super) slots: u32,
    /// No further segment is to be begun now: one is being made, or making one failed a moment ago.
    pub(super) growing: bool,
    /// A segment's file is being made.
    pub(super) making: bool,
    pub(super) growth_failed: bool,
    pub(super) unsynced: Vec<Rc<Segment>>,
    pub(super) unsynced_bytes: u64,
    pub(super) sync_waiters: Vec<oneshot::Sender<Result<()>>>,
    pub(super) poisoned: Option<String>,
    pub(super) closed: bool,
    /// No record is taken any more; what is queued is still written if there is room.
    pub(super) stopping: bool,
    /// A record waits for a segment, and no new one is being made.
    pub(super) starved: bool,
    /// Records ever queued, and ever applied (or refused): what a barrier waits for.
    pub(super) queued_count: u64,
    pub(super) settled_count: u64,
    /// The highest segment whose header a sync has covered: the latest that a superblock may name.
    pub(super) synced_sequence: u64,
}

/// Where appending starts.
pub struct LogStart {
    /// The last record there is.
    pub last: Lsn,
    /// The first position to use; more than one past `last` when a recovery skipped a torn tail.
    pub next: Lsn,
    /// Checksum of the last batch header.
    pub chain: u32,
    /// The record that it ends with: what a reader of the log will have seen last.
    pub chain_lsn: Lsn,
    /// The highest sequence number used.
    pub sequence: u64,
    /// Segments with records that are still needed.
    pub live: Vec<Rc<Segment>>,
    /// Files to reuse.
    pub free: Vec<(u32, Rc<dyn File>)>,
}

/// The appending side of a volume's log. Clones share it.
#[derive(Clone)]
pub struct Log {
    pub(super) inner: Rc<Inner>,
}

pub(super) struct Inner {
    pub(super) env: Env,
    pub(super) store: SegmentStore,
    pub(super) volume: [u8; 16],
    pub(super) epoch: Cell<u64>,
    pub(super) slots_max: u32,
    pub(super) state: RefCell<State>,
    pub(super) work: Notify,
    pub(super) sync_work: Notify,
    pub(super) space: Notify,
    pub(super) settled: Notify,
    pub(super) starving: Notify,
    pub(super) apply: Box<dyn Fn(Written<'_>)>,
}

impl Log {
    /// Starts appending after `start`; `apply` is called for each record, in order, once it is written.
    pub fn start(
        env: Env,
        store: SegmentStore,
        volume: [u8; 16],
        epoch: u64,
        slots_max: u32,
        start: LogStart,
        apply: Box<dyn Fn(Written<'_>)>,
    ) -> Self {
        let synced_sequence = start.live.last().map_or(0, |s| s.sequence);
        let slots = start
            .live
            .iter()
            .map(|s| s.slot)
            .chain(start.free.iter().map(|f| f.0))
            .max()
            .map_or(0, |m| m + 1);
        let state = State {
            queue: VecDeque::new(),
            queued_bytes: 0,
            writing_bytes: 0,
            next_lsn: start.next,
            written: start.last,
            durable: start.last,
            chain: start.chain,
            chain_lsn: start.chain_lsn,
            sequence: start.sequence,
            current: None,
            live: start.live.into_iter().map(|s| (s.sequence, s)).collect(),
            retired: Vec::new(),
            free: start.free,
            slots,
            growing: false,
            making: false,
            growth_failed: false,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            sync_waiters: Vec::new(),
            poisoned: None,
            closed: false,
            stopping: false,
            starved: false,
            queued_count: 0,
            settled_count: 0,
            synced_sequence,
        };
        let log = Self {
            inner: Rc::new(Inner {
                env,
                store,
                volume,
                epoch: Cell::new(epoch),
                slots_max,
                state: RefCell::new(state),
                work: Notify::new(),
                sync_work: Notify::new(),
                space: Notify::new(),
                settled: Notify::new(),
                starving: Notify::new(),
                apply,
            }),
        };
        let writer = log.clone();
        log.inner.env.spawn(async move { writer.run_writer().await });
        let syncer = log.clone();
        log.inner.env.spawn(async move { syncer.run_syncer().await });
        // So that the first write does not have to wait for it.
        log.maybe_grow();
        log
    }

    /// Most payload bytes of one record: a record never spans segments, and a few fit into one.
    pub fn record_bytes_max(&self) -> u64 {
        let quarter = u64::from(self.inner.store.segment_blocks()) / 4 * BLOCK_BYTES;
        quarter.clamp(BLOCK_BYTES, 1 << 20)
    }

    /// Queues a record; the receiver hears once it is written and applied.
    pub fn append(&self, append: Append) -> oneshot::Receiver<Result<Lsn>> {
        let (done, receiver) = oneshot::channel();
        let mut state = self.inner.state.borrow_mut();
        if let Some(why) = &state.poisoned {
            let _ = done.send(Err(poisoned(why)));
            return receiver;
        }
        if state.stopping {
            let _ = done.send(Err(poisoned("it is being closed")));
            return receiver;
        }
        let bytes: u64 = append.payload.iter().map(|p| p.len() as u64).sum();
        debug_assert!(bytes.is_multiple_of(BLOCK_BYTES) && bytes <= self.record_bytes_max());
        state.queued_bytes += bytes;
        state.queued_count += 1;
        state.queue.push_back(Queued { append, bytes, done });
        drop(state);
        self.inner.work.notify_one();
        receiver
    }

    /// Waits for [`Log::append`]'s answer.
    pub async fn appended(receiver: oneshot::Receiver<Result<Lsn>>) -> Result<Lsn> {
        receiver
            .await
            .unwrap_or_else(|_| Err(poisoned("the volume was closed")))
    }

    /// Completes once every record queued before this call is applied or refused.
    pub async fn barrier(&self) {
        let target = self.inner.state.borrow().queued_count;
        loop {
            let settled = self.inner.settled.notified();
            if self.inner.state.borrow().settled_count >= target {
                return;
            }
            settled.await;
        }
    }

    /// Completes when log space may have become free, or the log was poisoned.
    pub async fn space_changed(&self) {
        self.inner.space.notified().await;
    }

    /// Completes once every record up to `upto` is durable.
    pub async fn sync(&self, upto: Lsn) -> Result<()> {
        let receiver = {
            let mut state = self.inner.state.borrow_mut();
            if let Some(why) = &state.poisoned {
                return Err(poisoned(why));
            }
            if state.durable >= upto {
                return Ok(());
            }
            debug_assert!(state.written >= upto, "only written records can be made durable");
            let (done, receiver) = oneshot::channel();
            state.sync_waiters.push(done);
            receiver
        };
        self.inner.sync_work.notify_one();
        receiver
            .await
            .unwrap_or_else(|_| Err(poisoned("the volume was closed")))
    }

    /// The last record that is written and applied.
    pub fn written(&self) -> Lsn {
        self.inner.state.borrow().written
    }

    /// Payload bytes that wait to be written.
    pub fn queued_bytes(&self) -> u64 {
        self.inner.state.borrow().queued_bytes
    }

    /// Payload bytes of records that are queued or being written: the index does not know them yet.
    pub fn unapplied_bytes(&self) -> u64 {
        let state = self.inner.state.borrow();
        state.queued_bytes + state.writing_bytes
    }

    /// Why nothing is acknowledged any more, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.inner.state.borrow().poisoned.clone()
    }

    /// Refuses everything from now on, because `why` left the medium in an unknown state.
    pub fn poison(&self, why: &str) {
        let (queue, waiters) = {
            let mut state = self.inner.state.borrow_mut();
            if state.poisoned.is_none() {
                tracing::error!(
                    why,
                    "volume poisoned: no further write or flush will be acknowledged"
                );
                state.poisoned = Some(why.to_owned());
            }
            state.queued_bytes = 0;
            state.settled_count = state.queued_count;
            (
                std::mem::take(&mut state.queue),
                std::mem::take(&mut state.sync_waiters),
            )
        };
        for queued in queue {
            let _ = queued.done.send(Err(poisoned(why)));
        }
        for waiter in waiters {
            let _ = waiter.send(Err(poisoned(why)));
        }
        self.inner.space.notify_waiters();
        self.inner.settled.notify_waiters();
    }

    /// The latest segment that a superblock may name as the one to read first: a later one's header might
    /// not survive a crash.
    pub fn synced_sequence(&self) -> u64 {
        let state = self.inner.state.borrow();
        match mutant::on("volume-names-unsynced-segment") {
            false => state.synced_sequence,
            true => state.sequence,
        }
    }

    /// Starts a new epoch for the segments to come (after a rollback).
    pub fn set_epoch(&self, epoch: u64) {
        self.inner.epoch.set(epoch);
    }

    /// Refuses new records from now on, and queued ones that find no room: nobody will make any.
    pub fn stop_taking(&self) {
        self.inner.state.borrow_mut().stopping = true;
        self.inner.space.notify_waiters();
    }

    /// Ends the tasks once the queue is empty. When this completes, none of them makes files any more.
    pub async fn close(&self) {
        self.inner.state.borrow_mut().closed = true;
        self.inner.work.notify_one();
        self.inner.sync_work.notify_one();
        loop {
            let made = self.inner.space.notified();
            if !self.inner.state.borrow().making {
                return;
            }
            made.await;
        }
    }

    async fn run_writer(self) {
        loop {
            self.inner.work.notified().await;
            loop {
                if self.inner.state.borrow().queue.is_empty() {
                    break;
                }
                if let Err(e) = self.write_batch().await {
                    self.poison(&e.message);
                    break;
                }
            }
            if self.inner.state.borrow().closed {
                return;
            }
        }
    }

    /// Takes what is queued, as far as it fits, and writes it as one batch.
    async fn write_batch(&self) -> Result<()> {
        let needed = {
            let state = self.inner.state.borrow();
            let Some(first) = state.queue.front() else {
                return Ok(());
            };
            1 + (first.bytes / BLOCK_BYTES) as u32
        };
        let segment_blocks = self.inner.store.segment_blocks();
        let room = |state: &State| {
            state
                .current
                .as_ref()
                .map_or(0, |(_, next)| segment_blocks - next)
        };
        let mut header = None;
        if room(&self.inner.state.borrow()) < needed {
            header = self.next_segment().await?;
            if header.is_none() {
                self.refuse_queued();
                return Ok(());
            }
        }
        let (segment, at, batch, taken) = {
            let mut state = self.inner.state.borrow_mut();
            let room = room(&state);
            let (segment, at) = state.current.clone().expect("a segment was chosen above");
            let (records, taken, payload_blocks) = take_records(&mut state, room, segment_seed(&segment));
            let batch = Batch {
                seed: segment_seed(&segment),
                epoch: self.inner.epoch.get(),
                first_lsn: state.next_lsn,
                durable_lsn: state.durable,
                previous_crc: state.chain,
                records,
                payload_blocks,
            };
            (segment, at, batch, taken)
        };
        let (head, chain) = batch.encode();
        let mut pieces = Vec::with_capacity(2 + taken.len());
        let mut offset = u64::from(at) * BLOCK_BYTES;
        if let Some(header) = header {
            // A new segment's header and its first batch go out as one write.
            pieces.push(Bytes::from(header.encode()));
            offset = 0;
        }
        pieces.push(Bytes::from(head));
        pieces.extend(taken.iter().flat_map(|q| q.append.payload.iter().cloned()));
        let written = segment.file.write_at(offset, pieces).await;
        if let Err(e) = written {
            let why = format!("writing log segment {}: {e}", segment.sequence);
            for queued in taken {
                let _ = queued.done.send(Err(poisoned(&why)));
            }
            return Err(VolumeError::new(VolumeErrorKind::Poisoned, why));
        }
        if let Some(why) = self.poisoned() {
            // A sync failed meanwhile: what was written before this may be gone.
            for queued in taken {
                let _ = queued.done.send(Err(poisoned(&why)));
            }
            return Ok(());
        }
        let payload_start = at + Batch::header_blocks(batch.records.len()) as u32;
        {
            let mut state = self.inner.state.borrow_mut();
            state.chain = chain;
            state.chain_lsn = batch.last_lsn();
            state.next_lsn = batch.last_lsn().next();
            state.written = batch.last_lsn();
            state.current = Some((Rc::clone(&segment), at + batch.blocks()));
            state.unsynced_bytes += u64::from(batch.blocks()) * BLOCK_BYTES;
            if state.unsynced_bytes >= UNSYNCED_BYTES_MAX {
                self.inner.sync_work.notify_one();
            }
            if !state.unsynced.iter().any(|s| s.sequence == segment.sequence) {
                state.unsynced.push(Rc::clone(&segment));
            }
        }
        for n in 0..taken.len() {
            let at = match mutant::on("volume-index-out-of-order") {
                false => n,
                true => taken.len() - 1 - n,
            };
            let (record, queued) = (&batch.records[at], &taken[at]);
            (self.inner.apply)(Written {
                lsn: Lsn(batch.first_lsn.0 + n as u64),
                kind: record.kind,
                blocks: record.blocks,
                segment: segment.sequence,
                payload_block: payload_start + record.payload_block,
                payload: &queued.append.payload,
            });
        }
        {
            let mut state = self.inner.state.borrow_mut();
            state.settled_count += taken.len() as u64;
            state.writing_bytes = 0;
        }
        for (n, queued) in taken.into_iter().enumerate() {
            let _ = queued.done.send(Ok(Lsn(batch.first_lsn.0 + n as u64)));
        }
        self.inner.settled.notify_waiters();
        self.maybe_grow();
        Ok(())
    }

    /// The log is full and will stay so.
    fn refuse_queued(&self) {
        let queue = {
            let mut state = self.inner.state.borrow_mut();
            let queue = std::mem::take(&mut state.queue);
            state.queued_bytes = 0;
            state.settled_count += queue.len() as u64;
            queue
        };
        for queued in queue {
            let _ = queued
                .done
                .send(Err(poisoned("it is being closed and its log is full")));
        }
        self.inner.settled.notify_waiters();
    }

    async fn run_syncer(self) {
        loop {
            self.inner.sync_work.notified().await;
            loop {
                let (waiters, segments, upto) = {
                    let mut state = self.inner.state.borrow_mut();
                    let due = !state.sync_waiters.is_empty() || state.unsynced_bytes >= UNSYNCED_BYTES_MAX;
                    if !due || state.poisoned.is_some() {
                        break;
                    }
                    state.unsynced_bytes = 0;
                    (
                        std::mem::take(&mut state.sync_waiters),
                        std::mem::take(&mut state.unsynced),
                        state.written,
                    )
                };
                let syncs = segments.iter().map(|s| s.file.sync());
                let mut outcome = futures_util::future::try_join_all(syncs).await;
                if outcome.is_err() && mutant::on("volume-retry-after-failed-sync") {
                    let again = segments.iter().map(|s| s.file.sync());
                    outcome = futures_util::future::try_join_all(again).await;
                }
                match outcome {
                    Ok(_) => {
                        let mut state = self.inner.state.borrow_mut();
                        let upto = match mutant::on("volume-flush-covers-later") {
                            false => upto,
                            true => state.written,
                        };
                        state.durable = state.durable.max(upto);
                        let covered = segments.iter().map(|s| s.sequence).max().unwrap_or(0);
                        state.synced_sequence = state.synced_sequence.max(covered);
                        drop(state);
                        for waiter in waiters {
                            let _ = waiter.send(Ok(()));
                        }
                    }
                    Err(e) => {
                        let why = format!("syncing the log: {e}");
                        for waiter in waiters {
                            let _ = waiter.send(Err(poisoned(&why)));
                        }
                        self.poison(&why);
                    }
                }
            }
            if self.inner.state.borrow().closed {
                return;
            }
        }
    }
}

fn segment_seed(segment: &Segment) -> Seed {
    segment
        .header
        .get()
        .expect("the current segment has a header")
        .seed
}

/// Takes queued records while they fit into `room` blocks.
fn take_records(state: &mut State, room: u32, seed: Seed) -> (Vec<Record>, Vec<Queued>, u32) {
    let mut records = Vec::new();
    let mut taken = Vec::new();
    let mut payload_blocks = 0u32;
    while let Some(next) = state.queue.front() {
        let blocks = (next.bytes / BLOCK_BYTES) as u32;
        let all = Batch::header_blocks(records.len() + 1) as u32 + payload_blocks + blocks;
        let too_much = u64::from(payload_blocks + blocks) * BLOCK_BYTES > PAYLOAD_BYTES_MAX;
        if records.len() == RECORDS_MAX || all > room || too_much {
            break;
        }
        let queued = state.queue.pop_front().expect("just seen");
        state.queued_bytes -= queued.bytes;
        state.writing_bytes += queued.bytes;
        let payload_crc = queued
            .append
            .payload
            .iter()
            .fold(seed.crc(), |crc, p| crc32c::crc32c_append(crc, p));
        records.push(Record {
            kind: queued.append.kind,
            blocks: queued.append.blocks,
            payload_crc,
            payload_block: payload_blocks,
            payload_blocks: blocks,
        });
        payload_blocks += blocks;
        taken.push(queued);
    }
    debug_assert!(payload_blocks as usize * BLOCK <= PAYLOAD_BYTES_MAX as usize);
    (records, taken, payload_blocks)
}

pub(super) fn poisoned(why: &str) -> VolumeError {
    VolumeError::new(VolumeErrorKind::Poisoned, format!("the volume stopped: {why}"))
}
