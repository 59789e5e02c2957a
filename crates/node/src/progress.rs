//! How far captures are: written by the vault's thread, read by anybody.

use crate::types::{SnapshotProgress, SnapshotStatus};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidemark_units::{CHUNK_BYTES, SnapshotId};
use tidemark_vault::Progress;

struct Entry {
    status: SnapshotStatus,
    /// When work began in this process (the thread's time), and how much was done before.
    since: Option<(Duration, u64)>,
}

/// Captures under way, and failed ones.
#[derive(Clone, Default)]
pub struct ProgressBoard {
    entries: Arc<Mutex<HashMap<SnapshotId, Entry>>>,
}

impl ProgressBoard {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<SnapshotId, Entry>) -> T) -> T {
        act(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A capture of `total_bytes` has begun or goes on.
    pub fn begin(&self, snapshot: &SnapshotId, total_bytes: u64) {
        let progress = SnapshotProgress {
            total_bytes,
            ..SnapshotProgress::default()
        };
        let entry = Entry {
            status: SnapshotStatus::Progressing(progress),
            since: None,
        };
        self.with(|entries| entries.insert(snapshot.clone(), entry));
    }

    /// Notes how far the capture is at the thread's time `now`.
    pub fn update(&self, snapshot: &SnapshotId, progress: &Progress, now: Duration) {
        let (done, total) = (
            progress.chunks_taken * CHUNK_BYTES,
            progress.chunks_total * CHUNK_BYTES,
        );
        self.show(snapshot, done, total, now);
    }

    /// Notes how far a capture or a copy is, in bytes, at the thread's time `now`.
    pub fn show(&self, snapshot: &SnapshotId, done_bytes: u64, total_bytes: u64, now: Duration) {
        self.with(|entries| {
            let Some(entry) = entries.get_mut(snapshot) else {
                return;
            };
            let SnapshotStatus::Progressing(known) = &mut entry.status else {
                return;
            };
            known.done_bytes = known.done_bytes.max(done_bytes);
            known.total_bytes = total_bytes;
            let (start, before) = *entry.since.get_or_insert((now, known.done_bytes));
            let (seconds, done) = (now.saturating_sub(start).as_secs_f64(), known.done_bytes - before);
            if done > 0 && seconds > 0.2 {
                let left = known.total_bytes.saturating_sub(known.done_bytes) as f64;
                known.remaining_seconds = Some((left * seconds / done as f64).ceil() as u64);
            }
        });
    }

    /// The capture failed for good.
    pub fn failed(&self, snapshot: &SnapshotId, why: String) {
        let entry = Entry {
            status: SnapshotStatus::Failed(why),
            since: None,
        };
        self.with(|entries| entries.insert(snapshot.clone(), entry));
    }

    /// Nothing more is to be said of it here.
    pub fn forget(&self, snapshot: &SnapshotId) {
        self.with(|entries| entries.remove(snapshot));
    }

    /// What is known of it here.
    pub fn get(&self, snapshot: &SnapshotId) -> Option<SnapshotStatus> {
        self.with(|entries| entries.get(snapshot).map(|e| e.status.clone()))
    }
}
