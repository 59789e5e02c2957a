//! What is on offer: instance types, stock, and the one network that every instance is taken to be in (ecs-api.md 5).

use super::list;
use serde::Serialize;

/// One row of DescribeInstanceTypes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct InstanceType {
    pub instance_type_id: String,
    pub instance_type_family: String,
    pub instance_family_level: String,
    /// An integer, always.
    pub cpu_core_count: i64,
    /// GiB, with a fraction, always.
    pub memory_size: f64,
    /// Disks that one instance can have, its system disk among them.
    pub disk_quantity: u64,
    #[serde(rename = "GPUAmount")]
    pub gpu_amount: i64,
    #[serde(rename = "GPUSpec")]
    pub gpu_spec: String,
    pub local_storage_amount: i64,
    pub local_storage_capacity: i64,
    pub cpu_architecture: String,
}

/// One row of DescribeInstanceTypeFamilies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct InstanceTypeFamily {
    pub instance_type_family_id: String,
    pub generation: String,
}

/// One row of DescribeAvailableResource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AvailableZone {
    pub region_id: String,
    pub zone_id: String,
    /// `Available`.
    pub status: String,
    /// `WithStock`.
    pub status_category: String,
    #[serde(with = "list::available_resource")]
    pub available_resources: Vec<AvailableKind>,
}

/// One kind of resource in a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AvailableKind {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(with = "list::supported_resource")]
    pub supported_resources: Vec<SupportedResource>,
}

/// One value of a kind. Disks have limits of size, in GiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct SupportedResource {
    pub value: String,
    pub status: String,
    pub status_category: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// One row of DescribeVpcs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Vpc {
    pub vpc_id: String,
    pub vpc_name: String,
    pub description: String,
    pub region_id: String,
    pub status: String,
    pub cidr_block: String,
    pub is_default: bool,
    #[serde(rename = "VRouterId")]
    pub vrouter_id: String,
    pub creation_time: String,
    #[serde(rename = "VSwitchIds", with = "list::vswitch_id")]
    pub vswitch_ids: Vec<String>,
}

/// One row of DescribeVSwitches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct VSwitch {
    #[serde(rename = "VSwitchId")]
    pub vswitch_id: String,
    #[serde(rename = "VSwitchName")]
    pub vswitch_name: String,
    pub vpc_id: String,
    pub zone_id: String,
    pub description: String,
    pub status: String,
    pub cidr_block: String,
    pub available_ip_address_count: i64,
    pub is_default: bool,
    pub creation_time: String,
}

/// One row of DescribeSecurityGroups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct SecurityGroup {
    pub security_group_id: String,
    pub security_group_name: String,
    pub security_group_type: String,
    pub description: String,
    pub vpc_id: String,
    pub resource_group_id: String,
    pub creation_time: String,
    #[serde(with = "list::tag")]
    pub tags: Vec<super::Tag>,
}

/// One row of DescribeAccountAttributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AccountAttribute {
    pub attribute_name: String,
    #[serde(with = "list::value_item")]
    pub attribute_values: Vec<AttributeValue>,
}

/// A value of an account's attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AttributeValue {
    pub value: String,
    pub expired_time: String,
    pub zone_id: String,
    pub disk_category: String,
    pub instance_type: String,
    pub instance_charge_type: String,
    pub count: i64,
}
