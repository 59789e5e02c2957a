//! The outside world as traits: files, buckets, time, entropy, tasks and heavy computation.
//!
//! The engine (`volume`, `vault`, `node`) touches the world only through an [`Env`]. Two worlds stand
//! behind it: [`real`] (io_uring or a thread pool, on this machine) and [`sim`] (one seed is one
//! history: virtual time, crashes, faults). Nothing above swaps anything else, so what the simulator
//! runs is the code that ships.
//!
//! An `Env` belongs to one thread: handles are `Rc`, futures are local. Threads talk by channels.
//! Not here: sockets as a trait (NBD is tested against real clients; see [`real::net`]), and any
//! knowledge of logs, packs or snapshots.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod bucket;
mod dir_bucket;
pub mod fs;
pub mod mutant;
mod piece;
pub mod real;
pub mod sim;
mod tasks;
mod timers;
mod world;

pub use bucket::{Bucket, BucketError, BucketErrorKind, ObjectInfo, Precondition, check_key};
pub use dir_bucket::DirBucket;
pub use fs::{DirEntry, DirLock, File, Fs, OpenMode, Space};
pub use piece::Piece;
pub use world::{Clock, Compute, Entropy, Env, LocalFuture, Tasks, UnixMillis};
