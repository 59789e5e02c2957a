//! A guest that keeps writing: small numbered writes through a connection of its own, flushed now
//! and then, until it is told to stop.
//!
//! `issued` is raised before a write is sent and `acknowledged` after its answer, so a snapshot taken
//! between two looks at them must hold some prefix of the writes between those numbers.

use super::content::{IMAGE_BYTES, SLOT_BYTES, slot, stamp};
use crate::nbd::Connection;
use anyhow::{Context, Result, anyhow};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// A running writer; stops when dropped.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Duration>>>,
}

/// What a writer did.
pub struct Done {
    /// The number of its last write, which is durable.
    pub writes: u64,
    /// The longest that a write took.
    pub slowest: Duration,
}

impl Writer {
    /// Connects and starts writing.
    pub fn start(socket: &Path, disk: &str) -> Result<Self> {
        let connection = Connection::open(socket, disk)?;
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let write = move || keep_writing(connection, &theirs);
        let thread = std::thread::Builder::new()
            .name("demo-writer".into())
            .spawn(write)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Writes answered so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Writes sent so far.
    pub fn issued(&self) -> u64 {
        self.shared.issued.load(Ordering::SeqCst)
    }

    /// Ends it and tells what it did.
    pub fn stop(mut self) -> Result<Done> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("the writer was stopped before")?;
        let slowest = thread.join().map_err(|_| anyhow!("the writer ended early"))??;
        Ok(Done {
            writes: self.acknowledged(),
            slowest,
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

/// Writes until told to stop; the longest that a write took.
fn keep_writing(mut connection: Connection, shared: &Shared) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for count in 1.. {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        let block = stamp(count);
        shared.issued.store(count, Ordering::SeqCst);
        let sent = Instant::now();
        connection.write(IMAGE_BYTES + slot(count) * SLOT_BYTES, &block)?;
        slowest = slowest.max(sent.elapsed());
        shared.acknowledged.store(count, Ordering::SeqCst);
        if count.is_multiple_of(FLUSH_EVERY) {
            connection.flush()?;
        }
        std::thread::sleep(PAUSE);
    }
    connection.flush()?;
    Ok(slowest)
}
