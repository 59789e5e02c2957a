//! Snapshots in a bucket: chunks, packs, tree, heads, verification, collection, space.
//!
//! A snapshot maps every 64 KiB chunk of a disk to content that is named by its hash. Chunks are
//! stored in packs ([`pack`]), the map is a Merkle tree ([`tree`]) whose unchanged parts snapshots
//! share, and a snapshot exists exactly if the disk's head log ([`head`]) has an entry for it.
//!
//! The flow, as the node runs it:
//!
//! ```text
//! vault  = Vault::open_or_create(&env, bucket)
//!
//! capture:  w = SnapshotWriter::begin(&vault, dir, CaptureSpec { snapshot, disk, parent, size_bytes, pending }, options)
//!           w.put(index, Chunk) …               any order, each pending chunk once; waits while the spool is full
//!           w.drain_taken() / w.seal()          chunks that may be overwritten from now on: they are durable here
//!           w.finish(RecordDraft { … })         waits for uploads; tree -> record -> head entry; Committed { root, … }
//! crash:    SnapshotWriter::resume(&vault, dir, options)   None: nothing was begun. Else w.taken(): do not put these
//!           again; put the rest, finish. Also right after a commit that nobody saw: finish says Committed.
//! give up:  w.abandon()
//!
//! read:     r = Reader::open(&vault, root);  r.read_chunk(i);  r.extents(..);  vault.diff(a, b)
//! lazy:     r.prefetch(chunks)   vault.boot_trace(snapshot) / keep_trace(snapshot, trace): hints, nothing depends on them
//! manage:   vault.snapshots() / snapshot(id) / delete_snapshot(disk, id, until) / undelete_snapshot(disk, id)
//!           vault.collect(options) / space(options)
//! copy:     c = DiskCopier::open(&from, &to, disk);  c.begin(&CopyRequest::new(id), dir, options)?.run()
//! look:     vault.listing(disk) / update_record_meta(id, fields)
//! verify:   found = vault.inventory();  report = vault.verify_snapshots(&found.targets, sample, from, watch)
//!           vault.repair(&found.targets, &report.damage, donors)
//! volumes:  vault.adopt(disk, roots, snapshot) before one depends on a content; vault.hold / release when it needs less
//! ```
//!
//! Invariants: (1) nothing is served that does not match its name; (2) the order of a commit is packs,
//! tree, record, head entry, and of a deletion the reverse; every step may be repeated; (3) memory does
//! not grow with the disk, except a few bytes per 8 MiB of it while a tree is built; (4) bytes from the
//! bucket or the spool are hostile until checked.
//!
//! Not here: which chunks are pending, when to snapshot or delete, what a snapshot means at the API.

mod capture;
mod catalog;
mod codec;
mod copy;
mod crypt;
mod error;
mod fetch;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gc;
#[cfg(test)]
mod golden;
pub mod head;
mod holds;
mod id;
mod key;
mod listing;
mod locate;
mod lru;
pub mod pack;
mod packs;
mod read_ahead;
mod reader;
mod record;
mod record_meta;
mod repair;
mod signal;
mod space;
mod text;
mod trace;
pub mod tree;
mod vault;
mod verify;
mod walk;

pub use capture::{
    CaptureOptions, CaptureSpec, Committed, Progress, RecordDraft, RegisteredCapture, SnapshotWriter,
    spool_packs,
};
pub use codec::Codec;
pub use copy::{CopyProgress, CopyReport, CopyRequest, DiskCopier, SnapshotCopy, Standing};
pub use crypt::{DiskKey, KdfCost, KeyRotation, KeySlot, Naming, Secret, SecretKind};
pub use error::{Result, VaultError, VaultErrorKind};
pub use gc::{CollectOptions, CollectReport, LiveRows};
pub use head::{DeletedSnapshot, HeadEntry, HeadLog, HeadState};
pub use holds::Holder;
pub use id::{CaptureId, ChunkId, HexError, NodeId, Nonce, PackId, VaultId};
pub use listing::{Listing, Unreadable};
pub use reader::{Chunk, Reader};
pub use record::{Origin, SnapshotRecord, SnapshotStats};
pub use repair::{Donor, RepairReport};
pub use space::{DeletionSpace, DiskSpace, PackGroup, PackSpace, SnapshotSpace, SpaceOptions, SpaceReport};
pub use trace::BootTrace;
pub use tree::Root;
pub use vault::{Vault, VaultOptions};
pub use verify::{
    Damage, FullSpeed, Inventory, Loss, LossKind, Part, Sample, Target, VerifyReport, Watch, losses,
};
