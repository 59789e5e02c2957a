//! CopySnapshot: the same content as a snapshot of its own in another region.
//!
//! Row and job in one transaction, then the answer; the target's node does the copying, and is asked how far it is as
//! for any capture. What must stay true: the copy is listed, in progress, when this answers; nobody deletes what it is
//! made from before it is done or deleted; a copy is nobody's for a rollback.
//!
//! [`begin`] is the part that a schedule does in a transaction of its own.

use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::catalogue::tags::{self, ResourceType};
use crate::notices;
use crate::rules::{self, Token};
use crate::states::{SNAPSHOT, SnapshotCause, SnapshotStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::copy_snapshot::{Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_ecs::model::Tag;

/// What a copy will be like.
pub(crate) struct NewCopy {
    /// Where it will be.
    pub(crate) region: String,
    pub(crate) name: String,
    pub(crate) description: String,
    /// From the copy's creation; `None`: for ever.
    pub(crate) retention_days: Option<i64>,
    /// A copy that a policy makes counts with the automatic ones.
    pub(crate) snapshot_type: SnapshotType,
    /// `None`: as the source.
    pub(crate) encrypted: Option<bool>,
    pub(crate) resource_group: String,
    pub(crate) tags: Vec<Tag>,
}

impl Control {
    /// Answers when the copy is listed; it is made in the background.
    pub async fn copy_snapshot(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| copy(t, &control, &caller, request);
        let response = self.store().write(work).await?;
        self.jobs().wake();
        Ok(response)
    }
}

fn copy(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let now = control.now_ms();
    let given = request.client_token.as_ref();
    let token = Token::new(caller, "CopySnapshot", given, &request, "IdempotentProcessing")?;
    if let Some(response) = Token::replay(token.as_ref(), t, now)? {
        return Ok(response);
    }
    let region = control.region(Some(&request.region_id))?;
    if request.destination_region_id == region.id {
        let message = format!(
            "The snapshot is in region {} already; a copy goes to another one.",
            region.id
        );
        return Err(ApiError::new(
            403,
            "InvalidOperation.NotSupportCopyInSameRegion",
            message,
        ));
    }
    if control.find_region(&request.destination_region_id).is_none() {
        let message = format!(
            "The specified DestinationRegionId {:?} does not exist.",
            request.destination_region_id
        );
        return Err(ApiError::new(403, "InvalidRegionId.NotExists", message));
    }
    let resource_group = rules::resource_group(request.resource_group_id.as_deref())?;
    let source = match rules::snapshot(t, caller, &request.snapshot_id) {
        Err(failure) if failure.is_server_fault() => return Err(failure),
        found => found.ok().filter(|source| source.region == region.id),
    };
    let source = source.ok_or_else(|| {
        let not_found = ApiError::snapshot_not_found(&request.snapshot_id);
        ApiError::new(403, not_found.code, not_found.message)
    })?;
    let new = NewCopy {
        region: request.destination_region_id,
        name: request.destination_snapshot_name.unwrap_or_default(),
        description: request.destination_snapshot_description.unwrap_or_default(),
        retention_days: request.retention_days,
        snapshot_type: SnapshotType::User,
        encrypted: request.encrypted,
        resource_group,
        tags: request.tags,
    };
    let response = Response {
        snapshot_id: begin(t, control, &source, new)?,
    };
    Token::remember(token.as_ref(), t, &response.snapshot_id, &response, false, now)?;
    Ok(response)
}

/// Begins a copy of a snapshot into another region, which is served, in the caller's transaction; gives the copy's id. Who
/// has committed it wakes the jobs.
pub(crate) fn begin(
    t: &mut dyn Transaction,
    control: &Control,
    source: &SnapshotRow,
    new: NewCopy,
) -> Result<String, ApiError> {
    if source.status != SnapshotStatus::Accomplished {
        let message = format!(
            "The snapshot {} is {}; only one that is accomplished can be copied.",
            source.id, source.status
        );
        return Err(ApiError::new(403, "InvalidSnapshotId.NotReady", message));
    }
    let encrypted = check_encryption(control, source, &new)?;
    if let Some(other) = snapshots::unfinished_copy(t, &source.id, &new.region)? {
        let message = format!(
            "The snapshot {} is being copied to {} already, as {other}.",
            source.id, new.region
        );
        return Err(ApiError::new(
            403,
            "InvalidOperation.UnfinishedCrossRegionCopy",
            message,
        ));
    }
    check_quota(t, control, source, &new)?;
    let now = control.now_ms();
    let fresh_link = control.new_id(Kind::SnapshotLink, &new.region);
    let row = SnapshotRow {
        id: control.new_id(Kind::Snapshot, &new.region),
        ordinal: SnapshotRow::next_ordinal(t)?,
        account: source.account.clone(),
        name: new.name,
        description: new.description,
        status: SNAPSHOT.birth(SnapshotCause::CopySnapshot)?,
        // There is no mark to be made: it may be asked about at once.
        marked: true,
        percent: 0,
        failure: String::new(),
        link_id: snapshots::link(t, &source.source_disk_id, &new.region, &fresh_link)?,
        source_disk_id: source.source_disk_id.clone(),
        source_disk_kind: source.source_disk_kind,
        source_disk_size_gib: source.source_disk_size_gib,
        snapshot_type: new.snapshot_type,
        category: "standard".into(),
        resource_group: new.resource_group,
        retention_days: new.retention_days,
        instant_access: false,
        instant_access_days: None,
        full_bytes: 0,
        stored_bytes: 0,
        created_ms: now,
        modified_ms: now,
        expires_ms: rules::expiry(now, new.retention_days),
        encrypted,
        region: new.region,
        source_snapshot_id: source.id.clone(),
        source_region_id: source.region.clone(),
    };
    row.insert(t)?;
    tags::set(t, &row.account, ResourceType::Snapshot, &row.id, &new.tags)?;
    jobs::add(t, JobKind::CopySnapshot, &row.id, &row.id, "", now)?;
    if row.snapshot_type == SnapshotType::User {
        notices::quota(t, &row, control.limits().manual_snapshots_per_disk, now)?;
    }
    Ok(row.id)
}

/// What is under a disk's own key stays under one, in the other vault one of its own; what is not does not get one.
fn check_encryption(control: &Control, source: &SnapshotRow, new: &NewCopy) -> Result<bool, ApiError> {
    let encrypted = rules::encrypted(control, &new.region, "Encrypted", new.encrypted, Some(source))?;
    if encrypted && !source.encrypted {
        let message = format!(
            "The parameter \"Encrypted\" is not valid: the snapshot {} is not encrypted, so a copy of it is not. Make an \
             encrypted disk of it, and copy that disk's snapshots.",
            source.id
        );
        return Err(ApiError::new(400, "InvalidParameter.Encrypted", message));
    }
    Ok(encrypted)
}

/// Automatic ones have no quota here: who makes them replaces the oldest.
fn check_quota(
    t: &mut dyn Transaction,
    control: &Control,
    source: &SnapshotRow,
    new: &NewCopy,
) -> Result<(), ApiError> {
    let most = control.limits().manual_snapshots_per_disk;
    let disk = &source.source_disk_id;
    if new.snapshot_type == SnapshotType::User
        && snapshots::count(t, disk, &new.region, SnapshotType::User)? >= most
    {
        let message = format!(
            "Region {} has {most} manual snapshots of the disk {disk} already.",
            new.region
        );
        return Err(ApiError::new(403, "QuotaExceed.SnapshotQuota", message));
    }
    Ok(())
}
