//! CreateDisk: a data disk, empty or from a snapshot.

use crate::catalogue::disks::{DiskKind, DiskRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::error::node_refusal;
use crate::rules::{self, Token};
use crate::states::{DISK, DiskCause, SnapshotStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_disk::{Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_node::{NodeError, NodeErrorKind};

impl Control {
    /// Answers when the disk is in the catalogue; it becomes Available soon after. When making it
    /// fails at once, that is the answer, and there is no disk.
    pub async fn create_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let token = Token::new(
            caller,
            "CreateDisk",
            request.client_token.as_ref(),
            &request,
            "LastTokenProcessing",
        )?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| insert(t, &control, &caller, &request, token.as_ref());
        let (response, job) = self.store().write(work).await?;
        self.jobs().wake();
        let linger = self.jobs().linger(job.as_slice(), self.config().linger).await;
        linger
            .into_iter()
            .next()
            .map_or(Ok(response), |(_, error)| Err(refusal(&error)))
    }
}

fn insert(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
    token: Option<&Token>,
) -> Result<(Response, Option<i64>), ApiError> {
    let now = control.now_ms();
    if let Some(response) = Token::replay(token, t, now)? {
        return Ok((response, None));
    }
    let region = control.region(Some(&request.region_id))?;
    control.check_zone(region, Some(&request.zone_id), 404)?;
    let resource_group = rules::resource_group(request.resource_group_id.as_deref())?;
    let source = match &request.snapshot_id {
        None => None,
        Some(id) => Some(usable_source(t, caller, &region.id, id)?),
    };
    let encrypted = rules::encrypted(
        control,
        &region.id,
        "Encrypted",
        request.encrypted,
        source.as_ref(),
    )?;
    let size = match &source {
        None => request.size.ok_or_else(|| ApiError::missing_parameter("Size"))?,
        Some(snapshot) => {
            let least = snapshot.source_disk_size_gib.unsigned_abs();
            // Register pick 8: a smaller wish yields the snapshot's size. A snapshot may come from a
            // disk that is smaller than this category starts; then the category's floor counts.
            let size = request.size.unwrap_or(0).max(least);
            match request.check_size(size) {
                Err(_) if request.size.is_none() => smallest_that_holds(request, least)?,
                checked => checked.map(|()| size)?,
            }
        }
    };
    let row = DiskRow {
        id: control.new_id(Kind::Disk, &region.id),
        ordinal: DiskRow::next_ordinal(t)?,
        account: caller.account.clone(),
        name: request.disk_name.clone().unwrap_or_default(),
        description: request.description.clone().unwrap_or_default(),
        kind: DiskKind::Data,
        status: DISK.birth(DiskCause::CreateDisk)?,
        status_before: String::new(),
        category: request.disk_category.clone(),
        performance_level: request.performance_level.clone().unwrap_or_default(),
        size_gib: i64::try_from(size).unwrap_or(i64::MAX),
        region: region.id.clone(),
        zone: request.zone_id.clone(),
        resource_group,
        instance_id: None,
        device: String::new(),
        ever_attached: false,
        delete_with_instance: false,
        delete_auto_snapshot: true,
        enable_auto_snapshot: true,
        bursting_enabled: request.bursting_enabled,
        provisioned_iops: request.provisioned_iops.unwrap_or(0),
        multi_attach: "Disabled".into(),
        source_snapshot_id: request.snapshot_id.clone().unwrap_or_default(),
        image_id: String::new(),
        origin_instance_id: String::new(),
        created_ms: now,
        attached_ms: None,
        detached_ms: None,
        encrypted,
    };
    row.insert(t)?;
    tags::set(t, &caller.account, ResourceType::Disk, &row.id, &request.tags)?;
    let response = Response {
        disk_id: row.id.clone(),
    };
    Token::remember(token, t, &row.id, &response, false, now)?;
    let job = jobs::add(t, JobKind::CreateDisk, &row.id, &row.id, "", now)?;
    Ok((response, Some(job)))
}

/// A snapshot that a disk in the region can be made from.
pub(super) fn usable_source(
    t: &mut dyn Transaction,
    caller: &Caller,
    region: &str,
    id: &str,
) -> Result<SnapshotRow, ApiError> {
    let snapshot = rules::snapshot(t, caller, id)?;
    if snapshot.region != region {
        return Err(ApiError::snapshot_not_found(id));
    }
    match snapshot.status {
        SnapshotStatus::Accomplished => Ok(snapshot),
        SnapshotStatus::Progressing => {
            let message = format!("The snapshot {id} is still being created.");
            Err(ApiError::new(403, "InvalidSnapshotId.NotReady", message))
        }
        SnapshotStatus::Failed | SnapshotStatus::Deleting => {
            let message = format!("The snapshot {id} is {} and has no content.", snapshot.status);
            Err(ApiError::new(403, "OperationDenied.SnapshotNotAllowed", message))
        }
    }
}

/// Without a wish for the size, a category that starts above the snapshot's size gets its smallest.
fn smallest_that_holds(request: &Request, least: u64) -> Result<u64, ApiError> {
    let sizes = tidemark_ecs::rules::category(&request.disk_category)
        .map(|category| category.data_sizes(request.performance_level.as_deref()));
    let size = sizes.map_or(least, |sizes| least.max(*sizes.start()));
    request.check_size(size).map(|()| size)
}

/// Why the node could not make a disk, in the contract's words.
pub(super) fn refusal(error: &NodeError) -> ApiError {
    match error.kind {
        NodeErrorKind::Full => node_refusal(
            400,
            "QuotaExceed.DiskCapacity",
            "The storage has no room for the disk",
            error,
        ),
        NodeErrorKind::Missing | NodeErrorKind::Corrupt => node_refusal(
            403,
            "OperationDenied.SnapshotNotAllowed",
            "The snapshot cannot be used",
            error,
        ),
        NodeErrorKind::Invalid => node_refusal(
            400,
            "InvalidSize.ValueNotSupported",
            "The disk cannot be made",
            error,
        ),
        NodeErrorKind::Busy | NodeErrorKind::Poisoned | NodeErrorKind::Other => {
            tracing::error!(%error, "a disk cannot be made");
            ApiError::internal()
        }
    }
}
