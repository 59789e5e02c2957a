//! DescribeDisks: the caller's disks in a region, newest first.

use crate::catalogue::Conditions;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::tags::ResourceType;
use crate::states::DiskStatus;
use crate::store::{StoreError, Transaction};
use crate::views::DiskView;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_disks::{Request, Response};
use tidemark_ecs::model::Disk;
use tidemark_ecs::rules::disk::Performance;

impl Control {
    /// One page.
    pub async fn describe_disks(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let Some(region) = self.find_region(&request.region_id) else {
            let message = format!("The specified RegionId {:?} does not exist.", request.region_id);
            return Err(ApiError::new(400, "InvalidRegion.NotFound", message));
        };
        self.check_zone(region, request.zone_id.as_deref(), 400)?;
        if request.dry_run {
            return Err(ApiError::dry_run());
        }
        let (conditions, additional) = (conditions(caller, &request), request.additional_attributes);
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            let (rows, page) =
                conditions.page(t, &request.page, DiskRow::select, |row| (row.ordinal, &row.id))?;
            let views = rows
                .into_iter()
                .map(|row| DiskView::read(t, row))
                .collect::<Result<Vec<_>, _>>()?;
            Ok((views, page))
        };
        let (views, page) = self.store().read(read).await?;
        let mut disks: Vec<_> = views.into_iter().map(DiskView::show).collect();
        if additional.iter().any(|attribute| attribute == "IOPS") {
            disks.iter_mut().for_each(show_performance);
        }
        Ok(Response { disks, page })
    }
}

/// What the disk can do at most. Reads and writes share it, so each is told the whole.
fn show_performance(disk: &mut Disk) {
    let provisioned = disk.provisioned_iops.unwrap_or(0).unsigned_abs();
    let most = Performance::of(&disk.category, &disk.performance_level, disk.size, provisioned);
    let whole = |number: u64| i64::try_from(number).ok();
    let iops = most.and_then(|most| whole(most.iops));
    let throughput = most.and_then(|most| whole(most.throughput));
    (disk.iops, disk.iops_read, disk.iops_write) = (iops, iops, iops);
    (disk.throughput, disk.throughput_read, disk.throughput_write) = (throughput, throughput, throughput);
}

pub(super) fn conditions(caller: &Caller, request: &Request) -> Conditions {
    let mut all = Conditions::of_account(DiskRow::TABLE, &caller.account);
    all.term("disks.status <> ?", [DiskStatus::Deleting.word().into()]);
    all.equals("region", &request.region_id);
    if let Some(ids) = &request.disk_ids {
        all.one_of("id", ids);
    }
    all.equals_if("zone", request.zone_id.as_ref());
    all.equals_if("instance_id", request.instance_id.as_ref());
    all.equals_if("source_snapshot_id", request.snapshot_id.as_ref());
    all.equals_if("name", request.disk_name.as_ref());
    all.equals_if("resource_group", request.resource_group_id.as_ref());
    all.equals_if("kind", request.disk_type.as_ref());
    all.equals_if("category", request.category.as_ref());
    all.equals_if("status", request.status.as_ref());
    all.equals_if("delete_with_instance", request.delete_with_instance);
    all.equals_if("delete_auto_snapshot", request.delete_auto_snapshot);
    all.equals_if("enable_auto_snapshot", request.enable_auto_snapshot);
    all.equals_if("performance_level", request.performance_level.as_ref());
    all.equals_if("encrypted", request.encrypted);
    all.equals_if("multi_attach", request.multi_attach.as_ref());
    if let Some(policy) = &request.auto_snapshot_policy_id {
        all.term(
            &format!("EXISTS ({APPLIED} AND policy_disks.policy_id = ?)"),
            [policy.into()],
        );
    }
    match request.enable_automated_snapshot_policy {
        Some(true) => all.term(&format!("EXISTS ({APPLIED})"), []),
        Some(false) => all.term(&format!("NOT EXISTS ({APPLIED})"), []),
        None => {}
    }
    if let Some(reason) = &request.lock_reason {
        match reason.as_str() {
            "security" => all.term(LOCKED, []),
            // The other reasons are about money.
            _ => all.nothing(),
        }
    }
    // What holds for every disk here, or for none.
    let nothing_fits = request.portable == Some(false)
        || request.enable_shared == Some(true)
        || request.kms_key_id.is_some()
        || request.disk_charge_type.as_deref() == Some("PrePaid");
    if nothing_fits {
        all.nothing();
    }
    all.tagged(ResourceType::Disk, &request.tags);
    all.within("created_ms", &request.filters.created);
    all
}

const APPLIED: &str = "SELECT 1 FROM policy_disks WHERE policy_disks.disk_id = disks.id";

const LOCKED: &str = "EXISTS (SELECT 1 FROM instances WHERE instances.id = disks.instance_id \
                      AND instances.security_lock = 1 AND disks.status = 'In_use')";
