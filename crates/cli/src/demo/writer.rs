//! A guest that keeps writing: small numbered writes through a connection of its own, flushed now
//! and then, until it is told to stop.
//!
//! `issued` is raised before a write is sent and `acknowledged` after its answer, so a snapshot taken
//! between two looks at them must hold some prefix of the writes between those numbers.

use super::content::{IMAGE_BYTES, SLOT_BYTES, slot, stamp};
use super::nbd::Connection;
use anyhow::{Result, anyhow};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes between two flushes.
const FLUSH_EVERY: u64 = 64;
/// Pause after each write: a guest at work, not a benchmark.
const PAUSE: Duration = Duration::from_micros(300);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    issued: AtomicU64,
    acknowledged: AtomicU64,
}

/// A running writer.
pub struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

impl Writer {
    /// Connects and starts writing with number `first` (from 1).
    pub fn start(socket: &Path, disk: &str, first: u64) -> Result<Self> {
        let mut connection = Connection::open(socket, disk)?;
        let shared = Arc::new(Shared::default());
        shared.issued.store(first - 1, Ordering::SeqCst);
        shared.acknowledged.store(first - 1, Ordering::SeqCst);
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("demo-writer".into())
            .spawn(move || {
                for count in first.. {
                    if theirs.stop.load(Ordering::SeqCst) {
                        break;
                    }
                    theirs.issued.store(count, Ordering::SeqCst);
                    connection.write(IMAGE_BYTES + slot(count) * SLOT_BYTES, &stamp(count))?;
                    theirs.acknowledged.store(count, Ordering::SeqCst);
                    if count.is_multiple_of(FLUSH_EVERY) {
                        connection.flush()?;
                    }
                    std::thread::sleep(PAUSE);
                }
                connection.flush()
            })?;
        Ok(Self { shared, thread })
    }

    /// Writes answered so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Writes sent so far.
    pub fn issued(&self) -> u64 {
        self.shared.issued.load(Ordering::SeqCst)
    }

    /// Ends it; the number of its last write, which is durable.
    pub fn stop(self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread
            .join()
            .map_err(|_| anyhow!("the writer ended early"))??;
        Ok(self.shared.acknowledged.load(Ordering::SeqCst))
    }
}
