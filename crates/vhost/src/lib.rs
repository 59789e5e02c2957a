//! Disks for virtual machines: a vhost-user-blk back end over whatever is behind [`Disk`].
//!
//! A virtual machine monitor, such as QEMU, connects to a unix socket and hands over the guest's memory, rings in
//! it, and eventfds; from then on the guest's requests do not touch the monitor. [`serve`] is one such connection, on the
//! thread that owns the disk. Protocol and rings are those of the `vhost` and `virtio-queue` crates; ours is
//! the meaning of requests ([`request`](mod@request), [`perform`](mod@perform)), the life of a ring (`ring`), and the account of what is in flight (`inflight`).
//!
//! What must stay true:
//! 1. A request is marked in the region that the front end keeps before any of it is done, and unmarked only when its
//!    answer is in the used ring: whatever kills this process, the next one finds what it has to do again, and nothing else.
//! 2. A write is answered when the disk has answered it, a flush when the disk has flushed. Without a negotiated flush every write is
//!    durable before its answer.
//! 3. A guest's bytes are copied once, and only the copy is looked at: a guest may change its memory at any time.
//! 4. Nothing that a guest puts into its memory makes us panic, touch memory that is not the guest's, or hold more than
//!    [`ServeLimits`] and one request. A guest that breaks the rules gets an error, or loses the ring.
//! 5. [`serve`] returns only when none of its requests is under way any more.
//!
//! The front end itself (not the guest in it) is trusted with its own disk's thread, no more: guest memory has to be sealed against
//! shrinking, because touching what was cut off would kill this process.
//! Sources: the virtio 1.2 specification, 2.7 and 5.2; QEMU's document "Vhost-user Protocol".
//! Not here: listening, who may connect, what a disk is made of.

mod config;
mod device;
mod disk;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inflight;
mod memory;
mod perform;
mod request;
mod ring;
mod serve;

pub use config::{QUEUE_SIZE_MAX, QUEUES_MAX};
pub use disk::{Disk, DiskError};
pub use serve::{ServeLimits, ServeOutcome, Session, serve};
