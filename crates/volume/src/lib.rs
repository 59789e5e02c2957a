//! A disk: log, index, base, checkpoint, marks, change tracking, absent chunks.
//!
//! Every write goes through the log; a snapshot is a mark in it. Start at [`Volume`]; a write is
//! `Volume::write` -> `log::writer` -> `layers`, a read is `layers` -> `base` -> `source`; `checkpoint` moves
//! layers into the base; `tracking` knows what changed since which mark; `open` puts it together after a crash.
//!
//! Invariants (numbers in brackets: design 3.6):
//! - A write is acknowledged after its log write completed; a flush after a log sync submitted later succeeded.
//! - The view at a mark is the layers up to it over the base; the base never loses a chunk that a pending mark has
//!   not taken (`checkpoint` asks `tracking` first).
//! - Tracking is a superset of the truth never, a subset never: it is the log's own list of changed chunks.
//! - After a failed write or sync nothing is acknowledged (R10).
//!
//! Not here: buckets, snapshots as resources, sockets, threads. One thread owns a volume; all state is behind `Rc`.

mod base;
mod check;
mod checkpoint;
mod chunks;
mod codec;
mod config;
mod error;
mod fetch;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod grow;
mod index;
mod layers;
mod locks;
mod log;
mod marks;
mod notes;
mod open;
mod pieces;
mod read;
mod reserve;
mod source;
mod superblock;
mod tracking;
mod volume;
mod write;

pub use check::{CheckReport, LogReport, SlotReport, VolumeReport};
pub use config::VolumeConfig;
pub use error::{Result, VolumeError, VolumeErrorKind};
pub use group::{AckHold, Decided, Prepared};
pub use open::{CreateOptions, LogLine, read_log};
pub use read::{Extent, FrozenChunk};
pub use source::ChunkSource;
pub use tidemark_env::LocalFuture;
pub use tracking::{Mark, PendingMark};
pub use volume::{Volume, VolumeInfo};
