//! The instance (ecs-api.md 3.7).

use super::{Tag, list};
use serde::Serialize;

/// One row of DescribeInstances.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Instance {
    pub instance_id: String,
    pub instance_name: String,
    pub host_name: String,
    pub description: String,
    pub region_id: String,
    pub zone_id: String,
    /// Lower-case UUID.
    pub serial_number: String,
    pub resource_group_id: String,
    pub image_id: String,
    pub instance_type: String,
    pub instance_type_family: String,
    pub key_pair_name: String,
    /// `Pending`, `Starting`, `Running`, `Stopping`, `Stopped`.
    pub status: String,
    /// `KeepCharging`, `StopCharging`, `Not-applicable`.
    pub stopped_mode: String,
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    #[serde(rename = "OSName")]
    pub os_name: String,
    #[serde(rename = "OSNameEn")]
    pub os_name_en: String,
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// Minutes format, as all times here.
    pub creation_time: String,
    pub start_time: String,
    pub expired_time: String,
    pub auto_release_time: String,
    /// `PostPaid`.
    pub instance_charge_type: String,
    /// `PayByTraffic`.
    pub internet_charge_type: String,
    /// `NoSpot`.
    pub spot_strategy: String,
    pub sale_cycle: String,
    pub internet_max_bandwidth_in: i64,
    pub internet_max_bandwidth_out: i64,
    #[serde(rename = "GPUAmount")]
    pub gpu_amount: i64,
    #[serde(rename = "GPUSpec")]
    pub gpu_spec: String,
    pub local_storage_amount: i64,
    pub local_storage_capacity: i64,
    pub deployment_set_id: String,
    pub deployment_set_group_no: i64,
    pub spot_duration: i64,
    pub spot_price_limit: f64,
    /// `vpc`.
    pub instance_network_type: String,
    pub vpc_attributes: VpcAttributes,
    #[serde(with = "list::ip_address")]
    pub public_ip_address: Vec<String>,
    #[serde(with = "list::ip_address")]
    pub inner_ip_address: Vec<String>,
    #[serde(with = "list::ip_address")]
    pub rdma_ip_address: Vec<String>,
    pub eip_address: EipAddress,
    #[serde(with = "list::security_group_id")]
    pub security_group_ids: Vec<String>,
    #[serde(with = "list::network_interface")]
    pub network_interfaces: Vec<NetworkInterface>,
    #[serde(with = "list::lock_reason")]
    pub operation_locks: Vec<InstanceLock>,
    pub io_optimized: bool,
    /// Data disks can be attached.
    pub device_available: bool,
    pub deletion_protection: bool,
    pub recyclable: bool,
    pub vlan_id: String,
    pub cluster_id: String,
    pub hpc_cluster_id: String,
    pub credit_specification: String,
    pub metadata_options: MetadataOptions,
    #[serde(with = "list::tag")]
    pub tags: Vec<Tag>,
}

/// The private network of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct VpcAttributes {
    pub vpc_id: String,
    #[serde(rename = "VSwitchId")]
    pub vswitch_id: String,
    pub nat_ip_address: String,
    #[serde(with = "list::ip_address")]
    pub private_ip_address: Vec<String>,
}

/// A public address of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct EipAddress {
    pub allocation_id: String,
    pub ip_address: String,
    pub bandwidth: i64,
    pub internet_charge_type: String,
    pub is_support_unassociate: bool,
}

/// A network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct NetworkInterface {
    pub network_interface_id: String,
    pub mac_address: String,
    pub primary_ip_address: String,
    /// `Primary` or `Secondary`.
    #[serde(rename = "Type")]
    pub interface_type: String,
    #[serde(with = "list::private_ip_set")]
    pub private_ip_sets: Vec<PrivateIpSet>,
    #[serde(with = "list::ipv6_set")]
    pub ipv6_sets: Vec<String>,
}

/// One address of a network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct PrivateIpSet {
    pub private_ip_address: String,
    pub primary: bool,
}

/// Why an instance is locked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct InstanceLock {
    /// `security`, …
    pub lock_reason: String,
    pub lock_msg: String,
}

/// Switches of the metadata service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetadataOptions {
    /// `enabled` or `disabled`.
    pub http_endpoint: String,
    /// `optional` or `required`.
    pub http_tokens: String,
    /// 1 to 64.
    pub http_put_response_hop_limit: i64,
    /// `enabled` or `disabled`.
    pub instance_metadata_tags: String,
}

/// One row of DescribeInstanceStatus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct InstanceStatus {
    pub instance_id: String,
    pub status: String,
}

/// One row of StartInstances, StopInstances, RebootInstances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct InstanceResponse {
    pub instance_id: String,
    /// `200`, or the code of the refusal.
    pub code: String,
    pub message: String,
    pub previous_status: String,
    pub current_status: String,
}
