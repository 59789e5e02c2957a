//! Virtual machines: each is one QEMU process that outlives us and is found again.
//!
//! [`Compute`] starts a guest from a [`GuestSpec`], follows it until its process has ended, and says what happened as
//! [`GuestEvent`]s. Disks are vhost-user-blk sockets that somebody else serves; the metadata service is a unix socket
//! that somebody else answers. What each file is about: `command_line` (the words for QEMU), `launch` (a process comes
//! up), `guest` (one guest and who follows it), `qmp` (talking to QEMU), `plugging` (disks come and go), `agent`,
//! `freezing` and `scripts` (what is asked of the program inside the guest), `probe` (which QEMU is here, and whether KVM is of use).
//!
//! What must stay true:
//! 1. At most one process runs for an id: whoever starts one has looked at the machine's processes first, and holds the id's lock.
//! 2. A guest has ended when its process has: then it has let go of its disks. It is said once for each life, after the guest's remains are gone.
//! 3. Nothing waits without a limit, and whoever stops waiting for an answer of ours leaves nothing half done: work goes on in a task of its own.
//! 4. Our death does not touch a guest. What is needed to find it again was written before it was started.
//! 5. A file system that we froze is thawed when its limit is over, whoever is gone by then, and after our death by the next [`Compute::adopt`].
//! 6. What a guest or QEMU says is bounded before it is kept: lines, logs, answers of the agent.
//!
//! Not here: what a guest is to an ECS user, which disks it has, what the metadata service says.
//! Sources: QEMU's invocation page and QMP reference; reasons in decision 88.

mod agent;
mod capacity;
mod command_line;
mod compute;
mod config;
mod error;
mod freezing;
mod guest;
mod guest_dir;
mod launch;
mod lines;
mod logs;
mod plugging;
mod probe;
mod process;
mod qmp;
mod relay;
mod scripts;

pub use agent::Executed;
pub use command_line::{METADATA_ADDRESS, USER_DNS, USER_GATEWAY, USER_NET_PREFIX, tap_name};
pub use compute::Compute;
pub use config::{Accelerator, ComputeConfig, DiskTransport, GuestDisk, GuestSpec, NetworkMode, StopMode};
pub use error::{ComputeError, ComputeErrorKind};
pub use freezing::Frozen;
pub use guest::{GuestEnd, GuestEvent};
pub use probe::Probe;
pub use qmp::Version;
pub use relay::relay;
pub use scripts::{Script, ScriptOutcome};
