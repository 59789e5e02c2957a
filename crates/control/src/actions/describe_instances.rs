//! DescribeInstances: the caller's instances in a region, newest first.
//!
//! Instances are few beside disks and snapshots, and some filters look into what is only stored;
//! so the page is cut after reading what the columns let through.

use super::network;
use crate::catalogue::Conditions;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::tags::ResourceType;
use crate::store::{StoreError, Transaction};
use crate::views::{InstanceView, at};
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_instances::{Request, Response, name_matches};
use tidemark_ecs::page::Cursor;
use tidemark_ecs::time;

impl Control {
    /// One page.
    pub async fn describe_instances(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        if let Some(cluster) = &request.hpc_cluster_id {
            let message = format!("The specified HpcClusterId {cluster:?} does not exist.");
            return Err(ApiError::new(400, "InvalidHpcClusterId.NotFound", message));
        }
        if request.dry_run {
            return Err(ApiError::dry_run());
        }
        let (control, conditions) = (self.clone(), conditions(caller, &request));
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            let mut views = Vec::new();
            for row in conditions.all(t, InstanceRow::select)? {
                let view = InstanceView::read(t, row)?;
                if passes(&control, &request, &view) {
                    views.push(view);
                }
            }
            Ok(request.page.cut(views, |view| Cursor {
                created: view.row.ordinal,
                id: view.row.id.clone(),
            }))
        };
        let (views, page) = self.store().read(read).await?;
        Ok(Response {
            instances: views.into_iter().map(|view| view.show(self)).collect(),
            page,
        })
    }
}

fn conditions(caller: &Caller, request: &Request) -> Conditions {
    let mut all = Conditions::of_account(InstanceRow::TABLE, &caller.account);
    all.equals("region", &request.region_id);
    if let Some(ids) = &request.instance_ids {
        all.one_of("id", ids);
    }
    all.equals_if("status", request.status.as_ref());
    all.equals_if("zone", request.zone_id.as_ref());
    all.equals_if("image_id", request.image_id.as_ref());
    all.equals_if("instance_type", request.instance_type.as_ref());
    all.equals_if("instance_type", request.instance_type_family.as_ref());
    all.equals_if("key_pair", request.key_pair_name.as_ref());
    all.equals_if("resource_group", request.resource_group_id.as_ref());
    all.tagged(ResourceType::Instance, &request.tags);
    all.within("created_ms", &request.filters.created);
    all
}

fn passes(control: &Control, request: &Request, view: &InstanceView) -> bool {
    let own = &view.attributes;
    let same = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let address = |wanted: &Option<Vec<String>>, value: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| !value.is_empty() && wanted.iter().any(|one| one == value))
    };
    let expires = time::parse_minutes_or_seconds(time::NEVER_EXPIRES).unwrap_or_else(|| at(i64::MAX));
    let locked = match request.lock_reason.as_deref() {
        None => true,
        Some("security") => view.row.security_lock,
        Some(_) => false,
    };
    let hops = request.http_put_response_hop_limit;
    locked
        && request
            .instance_name
            .as_ref()
            .is_none_or(|pattern| name_matches(pattern, &view.row.name))
        && request
            .security_group_id
            .as_ref()
            .is_none_or(|group| own.security_group_ids.contains(group))
        && same(&request.vswitch_id, &own.vswitch_id)
        && same(&request.vpc_id, network::vpc_of(&own.vswitch_id))
        && same(&request.rdma_ip_addresses, "")
        && address(&request.private_ip_addresses, &own.private_ip_address)
        && address(&request.public_ip_addresses, "")
        && address(&request.eip_addresses, "")
        && address(&request.inner_ip_addresses, "")
        && request.ipv6_addresses.is_empty()
        && same(&request.instance_charge_type, "PostPaid")
        && same(&request.internet_charge_type, &own.internet_charge_type)
        && same(&request.instance_network_type, "vpc")
        && same(&request.http_endpoint, &own.http_endpoint)
        && same(&request.http_tokens, &own.http_tokens)
        && hops.is_none_or(|hops| hops == own.http_put_response_hop_limit)
        && request.io_optimized.is_none_or(|optimized| optimized)
        && request
            .device_available
            .is_none_or(|free| free == view.device_available(control))
        && request.filters.expired.contains(expires)
}
