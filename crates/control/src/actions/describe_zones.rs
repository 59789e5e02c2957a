//! DescribeZones: the one zone that is served, and what can be made there.

use crate::rules::EXTERNAL_TYPE;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_zones::{Request, Response};
use tidemark_ecs::model::{AvailableResource, Zone};
use tidemark_ecs::rules::disk::CATEGORIES;

impl Control {
    /// All zones.
    pub async fn describe_zones(&self, _caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let zone = &self.config().zone;
        let categories: Vec<String> = CATEGORIES
            .iter()
            .map(|category| category.name.to_owned())
            .collect();
        let resources = AvailableResource {
            io_optimized: true,
            system_disk_categories: categories.clone(),
            data_disk_categories: categories.clone(),
            network_types: vec!["vpc".into()],
            instance_types: vec![EXTERNAL_TYPE.into()],
            instance_type_families: vec![EXTERNAL_TYPE.into()],
            ..AvailableResource::default()
        };
        let mut zone = Zone {
            zone_id: zone.clone(),
            local_name: zone.clone(),
            zone_type: "AvailabilityZone".into(),
            ..Zone::default()
        };
        if request.verbose {
            zone.available_resource_creation = ["IoOptimized", "Instance", "Disk"].map(String::from).into();
            zone.available_disk_categories = categories;
            zone.available_instance_types = vec![EXTERNAL_TYPE.into()];
            zone.available_resources = vec![resources];
        }
        Ok(Response { zones: vec![zone] })
    }
}
