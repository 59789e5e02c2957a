//! The resources as answers show them: every field of ecs-api.md 3, with its JSON type.
//!
//! One tree serves JSON and XML. Its irregularities are written here once: lists are wrapped in an
//! object with one key, some numbers travel as strings, absent strings are `""` (the `Default`),
//! and only fields that the contract calls optional are left out.

mod disk;
mod image;
mod instance;
mod key_pair;
pub(crate) mod list;
mod offer;
mod policy;
mod region;
mod snapshot;
mod snapshot_group;
mod snapshot_link;
mod snapshot_lock;
mod tag;
mod task;

pub use disk::{Attachment, DataSource, Disk, DiskLock};
pub use image::{DiskDeviceMapping, Image, ImageFeatures, ImageShare};
pub use instance::{
    EipAddress, Instance, InstanceLock, InstanceResponse, InstanceStatus, MetadataOptions, NetworkInterface,
    PrivateIpSet, VpcAttributes,
};
pub use key_pair::{KeyPair, KeyPairResult};
pub use offer::{
    AccountAttribute, AttributeValue, AvailableKind, AvailableZone, InstanceType, InstanceTypeFamily,
    SecurityGroup, SupportedResource, VSwitch, Vpc,
};
pub use policy::{AutoSnapshotPolicy, AutoSnapshotPolicyAssociation, CopyEncryption};
pub use region::{AvailableResource, Region, Zone};
pub use snapshot::Snapshot;
pub use snapshot_group::{GroupMember, GroupTag, OperationProgress, RelatedItem, SnapshotGroup};
pub use snapshot_link::{DataPoint, SnapshotLink};
pub use snapshot_lock::LockedSnapshot;
pub use tag::{CountedTag, Tag, TagCounts, TagResource, TaggedResource};
pub use task::Task;
