//! The resources as answers show them: every field of ecs-api.md 3, with its JSON type.
//!
//! One tree serves JSON and XML. Its irregularities are written here once: lists are wrapped in an
//! object with one key, some numbers travel as strings, absent strings are `""` (the `Default`),
//! and only fields that the contract calls optional are left out.

mod disk;
mod instance;
pub(crate) mod list;
mod policy;
mod region;
mod snapshot;
mod tag;
mod task;

pub use disk::{Attachment, DataSource, Disk, DiskLock};
pub use instance::{
    EipAddress, Instance, InstanceLock, InstanceStatus, MetadataOptions, NetworkInterface, PrivateIpSet,
    VpcAttributes,
};
pub use policy::{AutoSnapshotPolicy, AutoSnapshotPolicyAssociation, CopyEncryption};
pub use region::{AvailableResource, Region, Zone};
pub use snapshot::Snapshot;
pub use tag::{Tag, TagResource};
pub use task::{OperationProgress, RelatedItem, Task};
