//! Deliberate bugs, each of which the simulator must find within so many histories.
//!
//! A bug that is not found means that the simulator is blind there, so this list is a test of the simulator. Each entry
//! says which rule is broken and where to look for it; the switches are in the engine (`tidemark_env::mutant`).

use crate::plan::{Focus, Plan};
use crate::run::run;

/// Histories per focus after which a bug counts as not found.
pub const SEEDS_MAX: u64 = 600;

/// A deliberate bug.
pub struct Mutant {
    /// The switch.
    pub name: &'static str,
    /// What is broken.
    pub what: &'static str,
    /// Where it is looked for, in this order.
    pub focuses: &'static [Focus],
}

const fn mutant(name: &'static str, what: &'static str, focuses: &'static [Focus]) -> Mutant {
    Mutant { name, what, focuses }
}

use Focus::{Bucket, Collect, Crash, Files, Groups, Lazy, Mixed, Nodes, Rot, Snapshots, Space};

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant(
        "env-create-dir-without-sync",
        "a new directory's name is not made durable",
        &[Crash, Mixed],
    ),
    mutant(
        "env-atomic-without-sync",
        "a file is renamed into place before its bytes are durable",
        &[Crash, Groups],
    ),
    mutant(
        "env-atomic-without-dir-sync",
        "the name of a file that was put in place is not made durable",
        &[Groups, Crash],
    ),
    mutant(
        "bucket-put-without-sync",
        "an object in a directory is not synced",
        &[Crash, Snapshots],
    ),
    mutant(
        "volume-ack-before-write",
        "a write is acknowledged before its log write completed",
        &[Crash],
    ),
    mutant(
        "volume-flush-without-sync",
        "a flush is answered without a sync",
        &[Crash],
    ),
    mutant(
        "volume-flush-covers-later",
        "a sync counts for writes that completed after it was submitted",
        &[Crash, Mixed],
    ),
    mutant(
        "volume-index-out-of-order",
        "the index learns of a batch's records in the wrong order",
        &[Crash, Mixed],
    ),
    mutant(
        "volume-skip-watermark",
        "damage of synced data is taken for the end of the log (R5)",
        &[Rot],
    ),
    mutant(
        "volume-payload-unchecked",
        "a batch counts although its payload is torn",
        &[Crash],
    ),
    mutant(
        "volume-recycle-too-soon",
        "segments are reused before the superblock says so",
        &[Space, Crash],
    ),
    mutant(
        "volume-names-unsynced-segment",
        "the superblock names a segment whose header is not durable",
        &[Crash, Mixed],
    ),
    mutant(
        "volume-base-ahead-of-log",
        "the base gets data that the log could still lose",
        &[Crash, Mixed],
    ),
    mutant(
        "volume-superblock-before-base-sync",
        "the superblock claims what the base has not synced",
        &[Crash, Mixed],
    ),
    mutant(
        "volume-same-superblock-slot",
        "one superblock slot is overwritten each time",
        &[Rot, Crash],
    ),
    mutant(
        "volume-log-not-synced-on-open",
        "what is replayed was never synced (R3)",
        &[Crash, Mixed],
    ),
    mutant(
        "volume-superblock-not-synced-on-open",
        "a superblock slot that was never synced is built upon",
        &[Crash, Mixed],
    ),
    mutant(
        "volume-segment-names-not-synced-on-open",
        "a segment whose name was never synced is written to",
        &[Crash, Mixed, Space],
    ),
    mutant(
        "volume-retry-after-failed-sync",
        "a failed sync is simply tried again (R10)",
        &[Files],
    ),
    mutant(
        "volume-reserve-skipped",
        "a write is acknowledged without space for it",
        &[Space],
    ),
    mutant("volume-trim-keeps-data", "a discard leaves the data", &[Mixed]),
    mutant(
        "volume-widen-without-lock",
        "parts of blocks are merged without a lock",
        &[Mixed, Crash],
    ),
    mutant(
        "volume-mark-without-sync",
        "a mark is answered before it is durable",
        &[Crash, Snapshots],
    ),
    mutant(
        "volume-tracking-cleared-early",
        "changed chunks are forgotten before their snapshot exists",
        &[Crash, Snapshots],
    ),
    mutant(
        "volume-fail-loses-bits",
        "a failed snapshot's changes are not in the next one",
        &[Snapshots, Bucket],
    ),
    mutant(
        "volume-checkpoint-ignores-pending",
        "the base is overwritten before a capture has read it",
        &[Snapshots, Mixed],
    ),
    mutant(
        "volume-fetch-over-newer",
        "a fetched chunk lands over newer data",
        &[Lazy, Snapshots],
    ),
    mutant(
        "volume-fetch-outlives-rollback",
        "a fetch from before a rollback lands after it",
        &[Lazy, Snapshots],
    ),
    mutant(
        "volume-present-before-sync",
        "a chunk counts as present before its data is durable (R9)",
        &[Lazy, Crash],
    ),
    mutant(
        "volume-rollback-keeps-changed",
        "a rollback keeps what was changed since the parent",
        &[Lazy, Snapshots],
    ),
    mutant(
        "volume-reparent-ignores-parent",
        "what differs from one parent is taken for what differs from another (deletion, rollback)",
        &[Snapshots, Lazy],
    ),
    mutant(
        "volume-prepare-not-held",
        "a group's members acknowledge while they are marked",
        &[Groups],
    ),
    mutant(
        "volume-lease-ignored",
        "acknowledgements are held for longer than the lease",
        &[Groups],
    ),
    mutant(
        "volume-expiry-untold",
        "a hold whose lease ran out says that it held until its release",
        &[Groups],
    ),
    mutant(
        "node-group-ignores-lease",
        "a group counts although a member's lease ran out",
        &[Groups],
    ),
    mutant(
        "node-group-always-commits",
        "a mark in doubt counts without its group's decision (R7)",
        &[Groups],
    ),
    mutant(
        "node-note-removed-without-sync",
        "a deleted snapshot's note may come back",
        &[Bucket, Snapshots],
    ),
    mutant(
        "node-note-removed-last",
        "a snapshot that is given up loses its content before its note",
        &[Bucket],
    ),
    mutant(
        "vault-abandon-without-fence",
        "a capture is abandoned while its head entry may be on the way",
        &[Snapshots, Bucket],
    ),
    mutant(
        "vault-ignores-owner",
        "a node commits snapshots of a disk that another has taken over",
        &[Nodes],
    ),
    mutant(
        "vault-unregistered-captures",
        "a capture does not say that it is under way before its first pack",
        &[Collect],
    ),
    mutant(
        "gc-ignores-captures",
        "a collector frees packs of captures under way",
        &[Collect],
    ),
    mutant(
        "gc-reads-heads-before-listing",
        "a collector lists packs after it has read what is needed",
        &[Collect],
    ),
    mutant(
        "vault-adopt-without-hold",
        "a disk is made of a snapshot without saying in its log that it needs it",
        &[Collect, Lazy],
    ),
    mutant(
        "gc-forward-without-pack",
        "a pack is deleted before the one that replaces it is there",
        &[Collect],
    ),
];

/// How a hunt ended.
pub enum Hunt {
    /// Found by this history, after so many.
    Found {
        /// The focus that found it.
        focus: Focus,
        /// The seed that found it.
        seed: u64,
        /// Histories run.
        tried: u64,
        /// What was wrong.
        what: String,
    },
    /// Not found.
    Survived {
        /// Histories run.
        tried: u64,
    },
}

/// Looks for a deliberate bug.
pub fn hunt(mutant: &Mutant) -> Hunt {
    let mut tried = 0;
    for focus in mutant.focuses {
        for seed in 0..SEEDS_MAX {
            tried += 1;
            if let Err(failure) = run(&Plan::new(seed, *focus), Some(mutant.name), false) {
                return Hunt::Found {
                    focus: *focus,
                    seed,
                    tried,
                    what: failure.what,
                };
            }
        }
    }
    Hunt::Survived { tried }
}
