//! Growing: a disk gets larger, never smaller.
//!
//! The order: the base's files are made longer and synced -> both superblock slots say the new size -> requests may reach there.
//! So whatever is in the log lies within the size that either slot says, and no loss of one slot makes a volume refuse its own log.
//! After a crash in between, the base is longer than its disk, which harms nobody: nothing was ever written past the disk's end, so it
//! reads as zeros when the disk does grow, and growing again finds its work half done.
//! What is new is *present* and zeros, whatever the disk is filled from: a source has nothing past its own end.
//! Refused while a mark waits: what is captured has the disk's size at the mark, and the capture asks the volume for it.

use crate::error::{Result, VolumeError};
use crate::superblock::SIZE_BYTES_MAX;
use crate::volume::Volume;
use tidemark_units::BLOCK_BYTES;

impl Volume {
    /// Makes the disk `size_bytes` large, a multiple of 4096 and not less than it has; what is new reads as zeros. Durable when this
    /// returns; the same size again is fine. While a capture is pending: [`Busy`](crate::VolumeErrorKind::Busy). The log's ring grows to
    /// what suits the new size when the volume is opened the next time.
    pub async fn grow(&self, size_bytes: u64) -> Result<()> {
        let inner = &self.inner;
        // No mark can come in between.
        let _one = inner.marking.lock().await;
        self.check_serving()?;
        let now = self.size_bytes();
        if size_bytes < now || !size_bytes.is_multiple_of(BLOCK_BYTES) || size_bytes > SIZE_BYTES_MAX {
            return Err(VolumeError::invalid(format!(
                "a disk of {now} bytes cannot be made one of {size_bytes}: it can only grow, in steps of {BLOCK_BYTES}, up to {SIZE_BYTES_MAX}"
            )));
        }
        if size_bytes == now {
            return Ok(());
        }
        inner.core.state.borrow().check_no_mark_waits()?;
        inner.base.grow(&inner.env, &inner.dir, size_bytes).await?;
        inner.claimed.bytes.set(size_bytes);
        let ring = inner
            .config
            .ring(size_bytes)
            .max(inner.claimed.segments_max.get());
        inner.claimed.segments_max.set(ring);
        self.persist_or_poison().await?;
        self.persist_or_poison().await?;
        inner.size_bytes.set(size_bytes);
        Ok(())
    }
}
