//! Runs volumes on threads, and the jobs between volumes and the vault: capture, hydration, rollback.
//!
//! [`Node`] is what the control plane holds: `Send`, cheap to clone, every method a message to a thread
//! that owns the state ([`remote`]). One thread per volume owns the volume and serves its NBD
//! connections and its virtual machine (`disk`) and fills it from its snapshot (`hydration`, in the order that `demand` recorded); one thread owns the vault (`vault`) and runs the captures (`capture`). A guest's I/O
//! never waits for the vault's thread, except to read a chunk that is not local yet (`source`).
//!
//! What must stay true: (1) [`Node::mark`] returns only when the mark is durable; (2) a snapshot is
//! accomplished if and only if its head entry exists in the vault; (3) after a crash and
//! [`Node::start`] + [`Node::open_disk`], every capture goes on where it was; (4) all methods may be
//! repeated: doing what is done already succeeds; (5) a volume depends on no content of the vault before the vault knows it.
//! Not here: names, states and rules of the ECS API (`control`), HTTP (`api`).

mod capture;
mod copying;
mod demand;
mod disk;
mod disk_keys;
mod export;
mod gauge;
mod groups;
mod hydration;
mod leftovers;
mod nbd;
mod node;
mod notes;
mod pace;
pub mod place;
mod progress;
pub mod remote;
mod scrub;
mod snapshots;
mod source;
mod spread;
mod types;
mod vault;
mod vhost;

pub use copying::{SnapshotCopyRequest, VaultAccess};
pub use export::VolumeExport;
pub use gauge::{Activity, History, SLOT, Served};
pub use node::Node;
pub use scrub::{
    OpenLoss, RepairedLoss, SCRUB_FILE, ScrubConfig, ScrubRound, ScrubState, Verified, WholeRound,
};
pub use tidemark_vault::{Loss, Secret, SnapshotSpace, SpaceOptions, SpaceReport};
pub use types::{
    ChangesQuestion, CollectOptions, CollectReport, DeletedSnapshot, DiskStatus, Event, GuestSockets,
    HydrationChange, HydrationStatus, MarkRequest, Marked, NodeConfig, NodeError, NodeErrorKind,
    RecordedSnapshot, SnapshotChanges, SnapshotProgress, SnapshotStatus, SnapshotSummary, UNDELETE_WINDOW,
};
