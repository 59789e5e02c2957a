//! Space for the base, taken before a write is acknowledged.
//!
//! What must stay true: when a write is acknowledged, its data can reach the base later, whatever happens to
//! the file system's free space meanwhile. So a file `reserve` holds allocated space for all data in the log; when a
//! base write meets a full file system, the checkpointer gives the reserve back and tries again.
//! Counted is everything that was let in: what the index holds, what the log has queued or is writing, and what
//! was let in but is not queued yet (an [`Admitted`] each).
//! A write that only overwrites blocks which the base has already needs no reserve: that is looked up
//! only when the reserve cannot grow, so the usual write pays for none of this.

use crate::error::{Result, VolumeError, VolumeErrorKind};
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::{Env, File, OpenMode};
use tokio::sync::Mutex;

/// The reserve of one volume.
pub struct Reserve {
    file: Rc<dyn File>,
    bytes: Cell<u64>,
    /// Bytes of writes that were let in and are not queued in the log yet.
    admitted: Cell<u64>,
    step_bytes: u64,
    growing: Mutex<()>,
    closed: Cell<bool>,
}

/// Bytes of one write that was let in, until the log counts them: drop this right after queueing its records, or whenever
/// the write is given up.
pub struct Admitted<'a> {
    reserve: &'a Reserve,
    bytes: u64,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let left = self.reserve.admitted.get() - self.bytes;
        self.reserve.admitted.set(left);
    }
}

impl Reserve {
    /// Opens the reserve, empty: what an earlier owner had left in it is given back first.
    pub async fn open(env: &Env, dir: &Path, step_bytes: u64) -> Result<Self> {
        let failed = |e: io::Error| VolumeError::io("opening the space reserve", &e);
        let file = env
            .fs
            .open(&dir.join("reserve"), OpenMode::Create)
            .await
            .map_err(failed)?;
        file.set_size(0).await.map_err(failed)?;
        Ok(Self {
            file,
            bytes: Cell::new(0),
            admitted: Cell::new(0),
            closed: Cell::new(false),
            step_bytes,
            growing: Mutex::new(()),
        })
    }

    /// Counts a write of `bytes` from now on.
    pub fn admit(&self, bytes: u64) -> Admitted<'_> {
        self.admitted.set(self.admitted.get() + bytes);
        Admitted { reserve: self, bytes }
    }

    /// Bytes of writes that were let in and are not queued in the log yet.
    pub fn admitted(&self) -> u64 {
        self.admitted.get()
    }

    /// Whether `bytes` are reserved.
    pub fn covers(&self, bytes: u64) -> bool {
        self.bytes.get() >= bytes
    }

    /// Grows until `bytes` are reserved; a full file system is [`VolumeErrorKind::Full`].
    pub async fn grow(&self, bytes: u64) -> Result<()> {
        let _one = self.growing.lock().await;
        if self.covers(bytes) {
            return Ok(());
        }
        if self.closed.get() {
            return Err(VolumeError::new(
                VolumeErrorKind::Poisoned,
                "the volume is being closed",
            ));
        }
        let from = self.bytes.get();
        let target = bytes.div_ceil(self.step_bytes) * self.step_bytes;
        match self.claim(from, target).await {
            Ok(()) => Ok(()),
            // A whole step does not fit any more; what was asked for still may.
            Err(e) if is_full(&e) => match self.claim(from, bytes).await {
                Ok(()) => Ok(()),
                Err(e) => Err(VolumeError::new(
                    VolumeErrorKind::Full,
                    format!("no space left for the disk's data: {e}"),
                )),
            },
            Err(e) => Err(VolumeError::io("reserving space", &e)),
        }
    }

    async fn claim(&self, from: u64, to: u64) -> io::Result<()> {
        // The size follows, because space past the end of a file is not given back by every file system.
        self.file.set_size(to).await?;
        if let Err(e) = self.file.allocate(from, to - from).await {
            // A failed allocation may have taken a part; keep the count true by giving it back.
            self.file.set_size(from).await?;
            return Err(e);
        }
        self.bytes.set(to);
        Ok(())
    }

    /// Gives `bytes` back, or what there is, so that the base can have them. `false`: there was nothing.
    pub async fn give_back(&self, bytes: u64) -> Result<bool> {
        let _one = self.growing.lock().await;
        let (had, left) = (self.bytes.get(), self.bytes.get().saturating_sub(bytes));
        // Before the call: whoever asks meanwhile must not count on it.
        self.bytes.set(left);
        if had > 0 {
            let failed = |e: io::Error| VolumeError::io("releasing reserved space", &e);
            self.file.set_size(left).await.map_err(failed)?;
        }
        Ok(had > 0)
    }

    /// Gives everything back, for good.
    pub async fn close(&self) -> Result<()> {
        self.closed.set(true);
        self.release().await
    }

    /// Gives everything back, so that the base can have it.
    pub async fn release(&self) -> Result<()> {
        self.give_back(u64::MAX).await.map(drop)
    }
}

/// Whether an error says that there is no room.
pub fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
