//! Regions and zones (ecs-api.md 4.7). In a zone the inner list names differ from the wrappers'.

use super::list;
use serde::Serialize;

/// One row of DescribeRegions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Region {
    pub region_id: String,
    pub local_name: String,
    /// The host and port the client used, so that tools that follow it stay with us.
    pub region_endpoint: String,
    /// `available` or `soldOut`.
    pub status: String,
}

/// One row of DescribeZones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Zone {
    pub zone_id: String,
    pub local_name: String,
    /// `AvailabilityZone`.
    pub zone_type: String,
    /// `VSwitch`, `IoOptimized`, `Instance`, `Disk`.
    #[serde(with = "list::resource_types")]
    pub available_resource_creation: Vec<String>,
    #[serde(with = "list::disk_categories")]
    pub available_disk_categories: Vec<String>,
    #[serde(with = "list::instance_types")]
    pub available_instance_types: Vec<String>,
    #[serde(with = "list::volume_categories")]
    pub available_volume_categories: Vec<String>,
    #[serde(with = "list::dedicated_host_type")]
    pub available_dedicated_host_types: Vec<String>,
    #[serde(with = "list::dedicated_host_generation")]
    pub dedicated_host_generations: Vec<String>,
    #[serde(with = "list::resources_info")]
    pub available_resources: Vec<AvailableResource>,
}

/// What can be made in a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct AvailableResource {
    pub io_optimized: bool,
    #[serde(with = "list::supported_system_disk_category")]
    pub system_disk_categories: Vec<String>,
    #[serde(with = "list::supported_data_disk_category")]
    pub data_disk_categories: Vec<String>,
    #[serde(with = "list::supported_network_category")]
    pub network_types: Vec<String>,
    #[serde(with = "list::supported_instance_type")]
    pub instance_types: Vec<String>,
    #[serde(with = "list::supported_instance_type_family")]
    pub instance_type_families: Vec<String>,
    #[serde(with = "list::supported_instance_generation")]
    pub instance_generations: Vec<String>,
}
