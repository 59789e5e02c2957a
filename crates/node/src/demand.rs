//! What clients read of a disk while its content comes from a snapshot: who waits, and what was read first.
//!
//! A *boot trace* is recorded at the first use of a disk that has a snapshot's content: from the moment that it was made, or
//! rolled back. The window ends with the first of: [`BootTrace::CHUNKS_MAX`] distinct chunks, [`WINDOW`] after the first read,
//! the disk's closing. Chunks that a client has written whole before it read them are its own and left out; whether the
//! hydrator was faster does not matter. A window that a crash interrupts is lost: a trace is only a hint.
//! Handing it to the vault is not waited for; a vault that cannot be reached does without.

use crate::gauge::Gauge;
use crate::pace::Pace;
use crate::remote::Remote;
use crate::vault::VaultHost;
use roaring::RoaringBitmap;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::time::Duration;
use tidemark_env::Env;
use tidemark_units::{CHUNK_BYTES, SnapshotId};
use tidemark_vault::{BootTrace, Root};
use tidemark_volume::Volume;

/// How long after its first read a disk is taken to be starting.
pub const WINDOW: Duration = Duration::from_secs(300);

/// What clients ask of one disk.
pub struct Demand {
    env: Env,
    volume: Volume,
    vault: Remote<VaultHost>,
    /// Reads of clients that may have to wait for the vault.
    waiting: Cell<usize>,
    recording: RefCell<Option<Recording>>,
    /// How long they wait, and how captures follow that.
    pub pace: Pace,
    /// What they asked for and how long they waited, for people.
    pub gauge: Gauge,
}

/// A trace under way.
struct Recording {
    snapshot: SnapshotId,
    /// The snapshot's chunks: what lies behind them is not from it.
    chunks: u32,
    ends_at: Option<Duration>,
    /// Recorded, or written before it was read.
    known: RoaringBitmap,
    order: Vec<u32>,
}

/// A read of a client that may have to wait for the vault.
pub struct Waiting<'a>(&'a Demand);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// The chunks that bytes `offset .. offset + len` touch. A range that no disk has touches none.
fn touched(offset: u64, len: u64) -> Range<u32> {
    let end = offset.saturating_add(len).div_ceil(CHUNK_BYTES);
    let number = |chunk: u64| u32::try_from(chunk).unwrap_or(u32::MAX);
    number(offset / CHUNK_BYTES)..number(end)
}

impl Demand {
    /// Nothing is recorded yet.
    pub fn new(env: &Env, volume: Volume, vault: Remote<VaultHost>) -> Self {
        Self {
            env: env.clone(),
            volume,
            vault,
            waiting: Cell::new(0),
            recording: RefCell::default(),
            pace: Pace::default(),
            gauge: Gauge::new(env.clock.now()),
        }
    }

    /// The thread's time.
    pub fn now(&self) -> Duration {
        self.env.clock.now()
    }

    /// Whether a client's read may be waiting for the vault.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Records what is read first from now on, for `snapshot`, which has the content of `root`.
    pub fn record(&self, snapshot: SnapshotId, root: &[u8]) {
        let chunks = Root::from_bytes(root).map_or(0, |root| root.chunk_count());
        *self.recording.borrow_mut() = Some(Recording {
            snapshot,
            chunks: u32::try_from(chunks).unwrap_or(u32::MAX),
            ends_at: None,
            known: RoaringBitmap::new(),
            order: Vec::new(),
        });
    }

    /// A client reads these bytes: keep the answer until it has them.
    pub fn reading(&self, offset: u64, len: u64) -> Option<Waiting<'_>> {
        let chunks = touched(offset, len);
        self.note_read(&chunks);
        let absent = self.volume.first_absent(chunks.start);
        absent.filter(|chunk| *chunk < chunks.end).map(|_| {
            self.waiting.set(self.waiting.get() + 1);
            Waiting(self)
        })
    }

    fn note_read(&self, chunks: &Range<u32>) {
        let mut recording = self.recording.borrow_mut();
        let Some(open) = recording.as_mut() else { return };
        let now = self.env.clock.now();
        let is_over = now > *open.ends_at.get_or_insert(now + WINDOW);
        if !is_over {
            let fresh = (chunks.start..chunks.end.min(open.chunks)).filter(|chunk| open.known.insert(*chunk));
            let room = BootTrace::CHUNKS_MAX - open.order.len();
            open.order.extend(fresh.take(room));
        }
        if is_over || open.order.len() == BootTrace::CHUNKS_MAX {
            drop(recording);
            self.finish();
        }
    }

    /// A client writes these bytes.
    pub fn writing(&self, offset: u64, len: u64) {
        if let Some(open) = self.recording.borrow_mut().as_mut() {
            let (first, end) = (
                offset.div_ceil(CHUNK_BYTES),
                offset.saturating_add(len) / CHUNK_BYTES,
            );
            if let (Ok(first), Ok(end)) = (u32::try_from(first), u32::try_from(end.min(open.chunks.into())))
                && first < end
            {
                open.known.insert_range(first..end);
            }
        }
    }

    /// Ends the window, if one is open, and hands its trace to the vault.
    pub fn finish(&self) {
        let Some(Recording { snapshot, order, .. }) = self.recording.take() else {
            return;
        };
        let trace = BootTrace::new(order);
        if !trace.is_scan() {
            self.vault
                .cast(move |host| async move { host.keep_trace(&snapshot, &trace).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_no_disk_has_do_no_harm() {
        assert_eq!(touched(0, 1), 0..1);
        assert_eq!(touched(65_535, 2), 0..2);
        assert_eq!(touched(65_536, 65_536), 1..2);
        assert_eq!(touched(u64::MAX, u64::MAX), u32::MAX..u32::MAX);
        assert_eq!(touched(70_000, 0), 1..2, "nothing is at most a chunk");
    }
}
