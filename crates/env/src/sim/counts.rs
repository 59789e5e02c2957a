//! What the world did to the programs in it, counted, so that a test can say how hard it tried.

use std::collections::BTreeMap;

/// Something that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Injected {
    /// A process was killed.
    Kill,
    /// The power of a machine was cut.
    PowerCut,
    /// An unsynced sector got another one's bytes at a power cut.
    StraySector,
    /// A read failed with EIO.
    ReadError,
    /// A write failed with EIO.
    WriteError,
    /// A sync of a file failed.
    SyncError,
    /// A sync of a directory failed.
    SyncDirError,
    /// An operation on names failed with EIO.
    NameError,
    /// An operation failed with ENOSPC, by chance or because of the capacity.
    NoSpace,
    /// A bit of a file rotted.
    FileRot,
    /// A page of a file was overwritten by another one.
    StrayPage,
    /// The wall clock of a machine jumped.
    ClockJump,
    /// A request to a bucket took seconds.
    BucketSlow,
    /// A request met a bucket that was down.
    BucketDown,
    /// A request was told to slow down.
    BucketThrottled,
    /// A request was refused.
    BucketDenied,
    /// A put found no room.
    BucketFull,
    /// A request timed out and had no effect.
    BucketTimeoutBefore,
    /// A request timed out and had its effect.
    BucketTimeoutAfter,
    /// A request timed out and had its effect later.
    BucketTimeoutLate,
    /// A body ended early, which the client noticed.
    BucketTruncated,
    /// A body was short or garbled, which the client did not notice.
    BucketGarbled,
    /// A bit of an object rotted.
    BucketRot,
}

/// How often each thing was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<Injected, u64>);

impl FaultCounts {
    /// How often `what` was injected.
    pub fn get(&self, what: Injected) -> u64 {
        self.0.get(&what).copied().unwrap_or(0)
    }

    /// All that was injected at least once, in the order of [`Injected`].
    pub fn iter(&self) -> impl Iterator<Item = (Injected, u64)> + '_ {
        self.0.iter().map(|(what, count)| (*what, *count))
    }

    /// How much was injected in all.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Adds what another world counted.
    pub fn add(&mut self, other: &Self) {
        other.iter().for_each(|(what, count)| self.count(what, count));
    }

    pub(super) fn count(&mut self, what: Injected, times: u64) {
        if times > 0 {
            *self.0.entry(what).or_default() += times;
        }
    }
}
