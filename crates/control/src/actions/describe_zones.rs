//! DescribeZones: the zones of a region, and what can be made there.

use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_zones::{Request, Response};
use tidemark_ecs::model::{AvailableResource, Zone};
use tidemark_ecs::rules::disk::CATEGORIES;

impl Control {
    /// All zones.
    pub async fn describe_zones(&self, _caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let region = self.region(Some(&request.region_id))?;
        let categories: Vec<String> = CATEGORIES
            .iter()
            .map(|category| category.name.to_owned())
            .collect();
        let resources = AvailableResource {
            io_optimized: true,
            system_disk_categories: categories.clone(),
            data_disk_categories: categories.clone(),
            network_types: vec!["vpc".into()],
            instance_types: self.type_names(),
            instance_type_families: self.type_families(),
            ..AvailableResource::default()
        };
        let show = |id: &String| {
            let mut zone = Zone {
                zone_id: id.clone(),
                local_name: id.clone(),
                zone_type: "AvailabilityZone".into(),
                ..Zone::default()
            };
            if request.verbose {
                zone.available_resource_creation = ["VSwitch", "IoOptimized", "Instance", "Disk"]
                    .map(String::from)
                    .into();
                zone.available_disk_categories = categories.clone();
                zone.available_instance_types = self.type_names();
                zone.available_resources = vec![resources.clone()];
            }
            zone
        };
        Ok(Response {
            zones: region.zones.iter().map(show).collect(),
        })
    }
}
