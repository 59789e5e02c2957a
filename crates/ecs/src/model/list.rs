//! Lists as the contract wants them: an object whose single key is the item's name
//! (`"Snapshots": {"Snapshot": [...]}`), also when empty.
//!
//! Each module here is for `#[serde(with = "list::...")]` on a `Vec`.

macro_rules! lists {
    ($($module:ident => $item:literal,)*) => {$(
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};
            use std::collections::BTreeMap;

            pub(crate) fn serialize<T: Serialize, S: Serializer>(items: &[T], to: S) -> Result<S::Ok, S::Error> {
                to.collect_map([($item, items)])
            }

            #[allow(dead_code, reason = "only answers that are kept for ClientToken are read back")]
            pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
            where
                T: Deserialize<'de>,
                D: Deserializer<'de>,
            {
                let mut wrapper: BTreeMap<String, Vec<T>> = BTreeMap::deserialize(from)?;
                wrapper.remove($item).ok_or_else(|| serde::de::Error::missing_field($item))
            }
        }
    )*};
}

lists! {
    attachment => "Attachment",
    auto_snapshot_policy => "AutoSnapshotPolicy",
    auto_snapshot_policy_association => "AutoSnapshotPolicyAssociation",
    mount_instance => "MountInstance",
    deleted_snapshot => "DeletedSnapshot",
    disk => "Disk",
    instance => "Instance",
    instance_id_set => "InstanceIdSet",
    instance_status => "InstanceStatus",
    ip_address => "IpAddress",
    ipv6_set => "Ipv6Set",
    lock_reason => "LockReason",
    network_interface => "NetworkInterface",
    operation_lock => "OperationLock",
    operation_progress => "OperationProgress",
    private_ip_set => "PrivateIpSet",
    region => "Region",
    security_group_id => "SecurityGroupId",
    snapshot => "Snapshot",
    tag => "Tag",
    target_tag => "TargetTag",
    tag_resource => "TagResource",
    related_item => "RelatedItem",
    task => "Task",
    zone => "Zone",
    resource_types => "ResourceTypes",
    disk_categories => "DiskCategories",
    instance_types => "InstanceTypes",
    volume_categories => "VolumeCategories",
    dedicated_host_type => "DedicatedHostType",
    dedicated_host_generation => "DedicatedHostGeneration",
    resources_info => "ResourcesInfo",
    supported_system_disk_category => "supportedSystemDiskCategory",
    supported_data_disk_category => "supportedDataDiskCategory",
    supported_network_category => "supportedNetworkCategory",
    supported_instance_type => "supportedInstanceType",
    supported_instance_type_family => "supportedInstanceTypeFamily",
    supported_instance_generation => "supportedInstanceGeneration",
}
