//! How a volume uses memory and space; everything has a default that suits a real disk.

use tidemark_units::{GIB, MIB};

/// Settings of a volume. Those of the log are fixed at its creation.
#[derive(Clone, Debug)]
pub struct VolumeConfig {
    /// Bytes of a log segment: a multiple of 4 KiB, at least 32 KiB.
    pub segment_bytes: u64,
    /// Most segments of the log; `None`: by the disk's size (design 3.2).
    pub segments_max: Option<u32>,
    /// The log's fill, in percent, at which the base starts to catch up.
    pub checkpoint_percent: u64,
    /// Extents in the index at which the base starts to catch up: bounds memory (about 50 bytes each).
    pub extents_max: usize,
    /// The step in which space for the base is reserved.
    pub reserve_step_bytes: u64,
}

impl Default for VolumeConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * MIB,
            segments_max: None,
            checkpoint_percent: 40,
            extents_max: 1 << 20,
            reserve_step_bytes: 16 * MIB,
        }
    }
}

/// Log fill at which writers are slowed, and at which they wait, in percent (design 3.3).
pub const SLOW_PERCENT: u64 = 80;
/// See [`SLOW_PERCENT`].
pub const STOP_PERCENT: u64 = 95;

impl VolumeConfig {
    /// Segments of the ring for a disk: 2 % of it, at least 512 MiB, at most 8 GiB, unless set.
    pub fn ring(&self, size_bytes: u64) -> u32 {
        let by_size = ((size_bytes / 50).clamp(512 * MIB, 8 * GIB) / self.segment_bytes).max(4) as u32;
        self.segments_max.unwrap_or(by_size).max(4)
    }
}
