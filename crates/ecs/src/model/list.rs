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
    account => "Account",
    account_attribute_item => "AccountAttributeItem",
    access_key => "AccessKey",
    attachment => "Attachment",
    available_resource => "AvailableResource",
    available_zone => "AvailableZone",
    data_point => "DataPoint",
    meter_item => "MeterItem",
    operation_progress => "OperationProgress",
    related_item => "RelatedItem",
    snapshot_group => "SnapshotGroup",
    snapshot_link => "SnapshotLink",
    snapshot_package => "SnapshotPackage",
    auto_snapshot_policy => "AutoSnapshotPolicy",
    changed_range => "ChangedRange",
    changed_part => "ChangedBytes",
    absent_part => "AbsentBytes",
    disk_monitor_data => "DiskMonitorData",
    auto_snapshot_policy_association => "AutoSnapshotPolicyAssociation",
    mount_instance => "MountInstance",
    deleted_snapshot => "DeletedSnapshot",
    disk => "Disk",
    detail_info => "DetailInfo",
    disk_device_mapping => "DiskDeviceMapping",
    image => "Image",
    event => "Event",
    event_name => "EventName",
    instance => "Instance",
    instance_response => "InstanceResponse",
    instance_system_event_type => "InstanceSystemEventType",
    instance_type => "InstanceType",
    instance_type_family => "InstanceTypeFamily",
    instance_id_set => "InstanceIdSet",
    instance_status => "InstanceStatus",
    ip_address => "IpAddress",
    ipv6_set => "Ipv6Set",
    key_pair => "KeyPair",
    lock_reason => "LockReason",
    network_interface => "NetworkInterface",
    operation_lock => "OperationLock",
    policy => "Policy",
    private_ip_set => "PrivateIpSet",
    region => "Region",
    resource => "Resource",
    result => "Result",
    security_group => "SecurityGroup",
    role => "Role",
    rule => "Rule",
    security_group_id => "SecurityGroupId",
    snapshot => "Snapshot",
    supported_resource => "SupportedResource",
    tag => "Tag",
    target_tag => "TargetTag",
    tag_resource => "TagResource",
    task => "Task",
    value_item => "ValueItem",
    vpc => "Vpc",
    vswitch => "VSwitch",
    vswitch_id => "VSwitchId",
    user => "User",
    webhook => "Webhook",
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
