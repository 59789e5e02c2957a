//! DescribeInstanceTypes, DescribeInstanceTypeFamilies, DescribeImageSupportInstanceTypes, DescribeAvailableResource,
//! DescribeAccountAttributes, DescribePrice, DescribeDiskEncryptionByDefaultStatus, DescribeInstanceHistoryEvents: what is on
//! offer, from the tables that decide about it, and what is not, where tools want a list or a number.

use super::image_rules;
use crate::instance_types::{EXTERNAL, GuestType};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::{
    describe_account_attributes, describe_available_resource, describe_disk_encryption_by_default_status,
    describe_image_support_instance_types, describe_instance_history_events, describe_instance_type_families,
    describe_instance_types, describe_price,
};
use tidemark_ecs::model::{
    AccountAttribute, AttributeValue, AvailableKind, AvailableZone, InstanceType, InstanceTypeFamily,
    SupportedResource,
};
use tidemark_ecs::page::Cursor;
use tidemark_ecs::rules::Category;
use tidemark_ecs::rules::disk::CATEGORIES;

const AVAILABLE: &str = "Available";
const WITH_STOCK: &str = "WithStock";
/// Of prices, which are all zero.
const CURRENCY: &str = "CNY";

impl Control {
    /// All types: the machine that we do not run, of whose processors and memory nothing is known, and what we run.
    fn types(&self) -> impl Iterator<Item = InstanceType> {
        let disks = self.limits().data_disks_per_instance + 1;
        let external = InstanceType {
            instance_type_id: EXTERNAL.into(),
            instance_type_family: EXTERNAL.into(),
            ..common(disks)
        };
        let guest = move |kind: &GuestType| InstanceType {
            instance_type_id: kind.name.into(),
            instance_type_family: kind.family.into(),
            cpu_core_count: i64::from(kind.cpus),
            memory_size: kind.memory_mib as f64 / 1024.0,
            ..common(disks)
        };
        [external].into_iter().chain(self.guest_types().iter().map(guest))
    }

    /// All that match.
    pub async fn describe_instance_types(
        &self,
        _caller: &Caller,
        request: describe_instance_types::Request,
    ) -> Result<describe_instance_types::Response, ApiError> {
        let (types, family) = (&request.instance_types, &request.instance_type_family);
        let fits = |kind: &InstanceType| {
            (types.is_empty() || types.contains(&kind.instance_type_id))
                && family
                    .as_ref()
                    .is_none_or(|family| *family == kind.instance_type_family)
        };
        Ok(describe_instance_types::Response {
            instance_types: self.types().filter(fits).collect(),
            next_token: String::new(),
        })
    }

    /// All families.
    pub async fn describe_instance_type_families(
        &self,
        _caller: &Caller,
        request: describe_instance_type_families::Request,
    ) -> Result<describe_instance_type_families::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let families = match request.generation {
            Some(_) => Vec::new(),
            None => self.type_families(),
        };
        let show = |id| InstanceTypeFamily {
            instance_type_family_id: id,
            generation: String::new(),
        };
        Ok(describe_instance_type_families::Response {
            instance_type_families: families.into_iter().map(show).collect(),
        })
    }

    /// Every image runs on every type; the one of external machines on nothing that we run.
    pub async fn describe_image_support_instance_types(
        &self,
        caller: &Caller,
        request: describe_image_support_instance_types::Request,
    ) -> Result<describe_image_support_instance_types::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (caller, region, id) = (
            caller.clone(),
            request.region_id.clone(),
            request.image_id.clone(),
        );
        let read = move |t: &mut dyn Transaction| {
            let image = image_rules::for_instance(t, &caller, &region, Some(&id), None)?;
            Ok::<_, ApiError>(image.system.is_some())
        };
        let has_system = self.store().read(read).await?;
        Ok(describe_image_support_instance_types::Response {
            region_id: request.region_id,
            image_id: request.image_id,
            instance_types: self
                .types()
                .filter(|kind| has_system || kind.instance_type_id == EXTERNAL)
                .collect(),
        })
    }

    /// Of each zone, what was asked about.
    pub async fn describe_available_resource(
        &self,
        _caller: &Caller,
        request: describe_available_resource::Request,
    ) -> Result<describe_available_resource::Response, ApiError> {
        let region = self.region(Some(&request.region_id))?;
        self.check_zone(region, request.zone_id.as_deref(), 404)?;
        let is_type_offered = request
            .instance_type
            .as_deref()
            .is_none_or(|kind| self.is_type_offered(kind));
        let types = self.type_names();
        let asked = |zone: &&String| request.zone_id.as_ref().is_none_or(|asked| asked == *zone);
        let zones = region.zones.iter().filter(asked).map(|zone| AvailableZone {
            region_id: region.id.clone(),
            zone_id: zone.clone(),
            status: AVAILABLE.into(),
            status_category: WITH_STOCK.into(),
            available_resources: vec![AvailableKind {
                kind: request.destination_resource.clone(),
                supported_resources: of_kind(zone, &request, &types),
            }],
        });
        let is_offered = |zone: &AvailableZone| {
            let resources = &zone.available_resources;
            resources.iter().any(|kind| !kind.supported_resources.is_empty())
        };
        let available_zones = match request.prepaid || !is_type_offered {
            true => Vec::new(),
            false => zones.filter(is_offered).collect(),
        };
        Ok(describe_available_resource::Response { available_zones })
    }

    /// Quotas, as they are configured.
    pub async fn describe_account_attributes(
        &self,
        _caller: &Caller,
        request: describe_account_attributes::Request,
    ) -> Result<describe_account_attributes::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let limits = self.limits();
        let attributes = [
            ("instance-network-type", "vpc".to_owned()),
            ("max-images", limits.images.to_string()),
            (
                "max-data-disks-per-instance",
                limits.data_disks_per_instance.to_string(),
            ),
            (
                "max-manual-snapshots-per-disk",
                limits.manual_snapshots_per_disk.to_string(),
            ),
            ("max-tags-per-resource", limits.tags_per_resource.to_string()),
        ];
        let names = &request.attribute_names;
        let asked = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        let items = attributes.into_iter().filter(|(name, _)| asked(name));
        Ok(describe_account_attributes::Response {
            account_attribute_items: items.map(|(name, value)| attribute(name, value)).collect(),
        })
    }

    /// Zero, whatever it is.
    pub async fn describe_price(
        &self,
        _caller: &Caller,
        request: describe_price::Request,
    ) -> Result<describe_price::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let price = describe_price::Price {
            currency: CURRENCY.into(),
            detail_infos: vec![describe_price::DetailInfo {
                resource: request.resource_type,
                ..Default::default()
            }],
            ..Default::default()
        };
        Ok(describe_price::Response {
            price_info: describe_price::PriceInfo {
                price,
                rules: Vec::new(),
            },
        })
    }

    /// No: a request says so, or what the disk is made from.
    pub async fn describe_disk_encryption_by_default_status(
        &self,
        _caller: &Caller,
        request: describe_disk_encryption_by_default_status::Request,
    ) -> Result<describe_disk_encryption_by_default_status::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        Ok(describe_disk_encryption_by_default_status::Response { encrypted: false })
    }

    /// None: nobody but their owner does anything to the machines.
    pub async fn describe_instance_history_events(
        &self,
        _caller: &Caller,
        request: describe_instance_history_events::Request,
    ) -> Result<describe_instance_history_events::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (instance_system_event_set, page) = request.page.cut(Vec::new(), |_| Cursor {
            created: 0,
            id: String::new(),
        });
        Ok(describe_instance_history_events::Response {
            instance_system_event_set,
            page,
        })
    }
}

/// What all types have in common.
fn common(disks: u64) -> InstanceType {
    InstanceType {
        instance_family_level: "EntryLevel".into(),
        disk_quantity: disks,
        cpu_architecture: "X86".into(),
        ..InstanceType::default()
    }
}

fn attribute(name: &str, value: String) -> AccountAttribute {
    AccountAttribute {
        attribute_name: name.into(),
        attribute_values: vec![AttributeValue {
            value,
            ..AttributeValue::default()
        }],
    }
}

fn of_kind(
    zone: &str,
    request: &describe_available_resource::Request,
    types: &[String],
) -> Vec<SupportedResource> {
    let wanted = |category: &Category| {
        let asked = [&request.system_disk_category, &request.data_disk_category];
        let asked = match request.destination_resource.as_str() {
            "SystemDisk" => asked[0],
            _ => asked[1],
        };
        asked.as_deref().is_none_or(|name| name == category.name)
    };
    let disks = |sizes: fn(&Category) -> std::ops::RangeInclusive<u64>| {
        let offered = CATEGORIES.iter().filter(|category| wanted(category));
        offered
            .map(|category| SupportedResource {
                min: Some(*sizes(category).start()),
                max: Some(*sizes(category).end()),
                unit: Some("GiB".into()),
                ..value(category.name)
            })
            .collect()
    };
    match request.destination_resource.as_str() {
        "Zone" => vec![value(zone)],
        "IoOptimized" => vec![value("optimized")],
        "InstanceType" => {
            let asked = |kind: &&String| request.instance_type.as_ref().is_none_or(|asked| asked == *kind);
            types.iter().filter(asked).map(|kind| value(kind)).collect()
        }
        "Network" => vec![value("vpc")],
        "SystemDisk" => disks(|category| category.system_sizes(None)),
        "DataDisk" => disks(|category| category.data_sizes(None)),
        // Dedicated hosts.
        _ => Vec::new(),
    }
}

fn value(name: &str) -> SupportedResource {
    SupportedResource {
        value: name.into(),
        status: AVAILABLE.into(),
        status_category: WITH_STOCK.into(),
        ..SupportedResource::default()
    }
}
