//! CreateSnapshot: fixes a point in time of one disk and answers at once.
//!
//! Row, mark, answer. The row comes first, so that a mark never exists without one: a crash between
//! the two leaves a row that the node knows nothing of, which its job removes. The row's lane is
//! held meanwhile, and the whole runs in a task of its own, so that neither that job nor a caller
//! who hangs up comes between.

use crate::catalogue::disks::DiskRow;
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::control::DEFAULT_RESOURCE_GROUP;
use crate::error::node_refusal;
use crate::jobs::snapshot::{forget, settle};
use crate::notices;
use crate::record_meta;
use crate::rules::{self, Token};
use crate::scheduler;
use crate::states::{DiskStatus, InstanceStatus, SNAPSHOT, SnapshotCause};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_snapshot::{Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_ecs::model::Tag;
use tidemark_node::{MarkRequest, Marked, NodeError, NodeErrorKind};
use tidemark_units::{DiskId, SnapshotId};

/// A snapshot that is in the catalogue and not marked yet, or the answer that was given before.
pub(super) enum Begun {
    New(Box<SnapshotRow>, serde_json::Value),
    Again(Response),
}

impl Control {
    /// When this answers, the content is fixed, durable, and listed; the capture goes on by itself.
    pub async fn create_snapshot(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let task = tokio::spawn(async move { control.create_snapshot_to_the_end(caller, request).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "CreateSnapshot ended early");
            Err(ApiError::internal())
        })
    }

    async fn create_snapshot_to_the_end(
        &self,
        caller: Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.note_past_connections(&request.disk_id).await?;
        self.settle_snapshots(&request.disk_id).await?;
        let region = self.region_of_disk(&request.disk_id).await?;
        let id = self.new_id(Kind::Snapshot, &region);
        let link = self.new_id(Kind::SnapshotLink, &region);
        let lane = self.hold_lane(&id);
        let (consistency, disk) = (request.consistency, request.disk_id.clone());
        let control = self.clone();
        let insert = move |t: &mut dyn Transaction| insert(t, &control, &caller, &request, id, &link);
        let (row, meta) = match self.store().write(insert).await? {
            Begun::New(row, meta) => (row, meta),
            Begun::Again(response) => return Ok(response),
        };
        let response = Response {
            snapshot_id: row.id.clone(),
        };
        let quiesced = self.quiesce(consistency, vec![disk]).await;
        let marked = self.mark_new(*row, meta).await;
        let reached = quiesced.release().await;
        marked?;
        self.label(vec![response.snapshot_id.clone()], reached).await;
        drop(lane);
        Ok(response)
    }

    /// Marks the disk for a row that is in the catalogue, while the caller holds the row's lane; without a mark nothing
    /// of the row stays.
    pub(crate) async fn mark_new(&self, row: SnapshotRow, meta: serde_json::Value) -> Result<(), ApiError> {
        let marked = match self.mark(&row, meta).await {
            Ok(marked) => marked,
            Err(error) => {
                tracing::error!(snapshot = %row.id, disk = %row.source_disk_id, %error, "no mark");
                self.store().write(move |t| take_back(t, row)).await?;
                return Err(refusal(&error));
            }
        };
        let control = self.clone();
        let note = move |t: &mut dyn Transaction| note_mark(t, &control, &row.id, marked);
        Ok(self.store().write(note).await?)
    }

    /// The region of a disk, for ids of its snapshots; of one that is not there, the home region's code is as good.
    pub(crate) async fn region_of_disk(&self, disk: &str) -> Result<String, StoreError> {
        let id = disk.to_owned();
        let row = self.store().read(move |t| DiskRow::get(t, id)).await?;
        Ok(row.map_or_else(|| self.home_region().id.clone(), |row| row.region))
    }

    pub(super) async fn mark(&self, row: &SnapshotRow, meta: serde_json::Value) -> Result<Marked, NodeError> {
        let invalid = |e: tidemark_units::IdError| NodeError {
            kind: NodeErrorKind::Invalid,
            message: e.to_string(),
        };
        let disk = DiskId::new(row.source_disk_id.as_str()).map_err(invalid)?;
        let snapshot = SnapshotId::new(row.id.as_str()).map_err(invalid)?;
        let node = self.node_of(&row.region).map_err(|error| NodeError {
            kind: NodeErrorKind::Other,
            message: error.to_string(),
        })?;
        node.mark(&disk, MarkRequest { snapshot, meta }).await
    }

    /// A disk that was never attached may still have been written to, through its export.
    pub(super) async fn note_past_connections(&self, disk: &str) -> Result<(), StoreError> {
        let id = disk.to_owned();
        let row = self.store().read(move |t| DiskRow::get(t, id)).await?;
        let Some(row) = row.filter(|row| !row.ever_attached) else {
            return Ok(());
        };
        let Ok(id) = DiskId::new(row.id.as_str()) else {
            return Ok(());
        };
        if self
            .node_of(&row.region)?
            .disk_status(&id)
            .await
            .is_ok_and(|status| status.ever_connected)
        {
            let sql = "UPDATE disks SET ever_attached = 1 WHERE id = $1";
            self.store()
                .write(move |t| t.execute(sql, &[row.id.into()]))
                .await?;
        }
        Ok(())
    }

    /// Asks the node about the disk's snapshots in creation, so that one which has just ended is not
    /// in anyone's way.
    pub(crate) async fn settle_snapshots(&self, disk: &str) -> Result<(), StoreError> {
        let id = disk.to_owned();
        for row in self.store().read(move |t| snapshots::progressing(t, &id)).await? {
            let Some(id) = SnapshotId::new(row.id.as_str()).ok().filter(|_| row.marked) else {
                continue;
            };
            match self.node_of(&row.region)?.snapshot_status(&id).await {
                Ok(tidemark_node::SnapshotStatus::Unknown) | Err(_) => {}
                Ok(capture) => settle(self, &row, capture).await.map(drop)?,
            }
        }
        Ok(())
    }
}

pub(super) fn insert(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
    id: String,
    link: &str,
) -> Result<Begun, ApiError> {
    let now = control.now_ms();
    let given = request.client_token.as_ref();
    let token = Token::new(caller, "CreateSnapshot", given, request, "IdempotentProcessing")?;
    if let Some(response) = Token::replay(token.as_ref(), t, now)? {
        return Ok(Begun::Again(response));
    }
    control.check_region(request.region_id.as_deref())?;
    let disk = rules::disk(t, caller, &request.disk_id)?;
    let resource_group = rules::resource_group(request.resource_group_id.as_deref())?;
    check_state(t, caller, &disk)?;
    check_quota(t, control, &disk)?;
    let row = SnapshotRow {
        name: request.snapshot_name.clone().unwrap_or_default(),
        description: request.description.clone().unwrap_or_default(),
        category: request
            .category
            .as_ref()
            .map_or_else(|| "standard".into(), |c| c.to_lowercase()),
        resource_group,
        retention_days: request.retention_days,
        instant_access: request.instant_access,
        instant_access_days: request.instant_access_retention_days,
        expires_ms: rules::expiry(now, request.retention_days),
        ..blank(t, &disk, SnapshotCause::CreateSnapshot, (id, link), now)?
    };
    let meta = add(t, &row, &request.tags, &disk)?;
    notices::quota(t, &row, control.limits().manual_snapshots_per_disk, now)?;
    let response = Response {
        snapshot_id: row.id.clone(),
    };
    Token::remember(token.as_ref(), t, &row.id, &response, true, now)?;
    Ok(Begun::New(Box::new(row), meta))
}

/// What all new snapshots of a disk have in common. `ids`: its own, and that of the disk's chain should it begin now.
pub(crate) fn blank(
    t: &mut dyn Transaction,
    disk: &DiskRow,
    by: SnapshotCause,
    (id, link): (String, &str),
    now_ms: i64,
) -> Result<SnapshotRow, StoreError> {
    Ok(SnapshotRow {
        id,
        ordinal: SnapshotRow::next_ordinal(t)?,
        account: disk.account.clone(),
        name: String::new(),
        description: String::new(),
        status: SNAPSHOT.birth(by)?,
        marked: false,
        percent: 0,
        failure: String::new(),
        link_id: snapshots::link(t, &disk.id, &disk.region, link)?,
        source_disk_id: disk.id.clone(),
        source_disk_kind: disk.kind,
        source_disk_size_gib: disk.size_gib,
        snapshot_type: SnapshotType::User,
        category: "standard".into(),
        resource_group: DEFAULT_RESOURCE_GROUP.into(),
        retention_days: None,
        instant_access: false,
        instant_access_days: None,
        full_bytes: 0,
        stored_bytes: 0,
        created_ms: now_ms,
        modified_ms: now_ms,
        expires_ms: None,
        encrypted: disk.encrypted,
        region: disk.region.clone(),
        source_snapshot_id: String::new(),
        source_region_id: String::new(),
    })
}

/// Puts a new snapshot into the catalogue, with its tags and the job that follows it. Answers what its record will say.
pub(crate) fn add(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    tags: &[Tag],
    disk: &DiskRow,
) -> Result<serde_json::Value, StoreError> {
    row.insert(t)?;
    tags::set(t, &row.account, ResourceType::Snapshot, &row.id, tags)?;
    jobs::add(t, JobKind::CompleteSnapshot, &row.id, &row.id, "", row.created_ms)?;
    Ok(record_meta::of_new(row, tags, disk))
}

/// S10 to S12: only a disk whose content nobody is moving, on an instance that is not changing.
pub(crate) fn check_state(t: &mut dyn Transaction, caller: &Caller, disk: &DiskRow) -> Result<(), ApiError> {
    if !matches!(disk.status, DiskStatus::InUse | DiskStatus::Available) {
        return Err(rules::wrong_disk_state(disk, "In_use or Available"));
    }
    if let Some(id) = &disk.instance_id {
        let instance = rules::instance(t, caller, id)?;
        rules::not_locked(&instance)?;
        if !matches!(instance.status, InstanceStatus::Running | InstanceStatus::Stopped) {
            return Err(rules::wrong_instance_state(400, &instance, "Running or Stopped"));
        }
    }
    if rules::is_growing(t, &disk.id)? {
        let message = format!("The disk {} is being resized.", disk.id);
        return Err(ApiError::new(403, "IncorrectDiskStatus", message));
    }
    if !disk.ever_attached {
        let message = format!(
            "The disk {} has never been attached, so its content is unchanged.",
            disk.id
        );
        return Err(ApiError::new(403, "IncorrectDiskStatus.NeverAttached", message));
    }
    Ok(())
}

pub(super) fn check_quota(
    t: &mut dyn Transaction,
    control: &Control,
    disk: &DiskRow,
) -> Result<(), ApiError> {
    let limits = control.limits();
    let in_creation = snapshots::progressing(t, &disk.id)?.len() as u64;
    if in_creation >= limits.concurrent_snapshots_per_disk {
        let code = match limits.concurrent_snapshots_per_disk {
            0 | 1 => "IncorrectDiskStatus.CreatingSnapshot",
            _ => "QuotaExceed.ConcurrentSnapshotQuota",
        };
        let message = format!(
            "{in_creation} snapshots of the disk {} are being created already.",
            disk.id
        );
        return Err(ApiError::new(403, code, message));
    }
    let most = limits.manual_snapshots_per_disk;
    if snapshots::count(t, &disk.id, &disk.region, SnapshotType::User)? >= most {
        let message = format!("The disk {} has {most} manual snapshots already.", disk.id);
        return Err(ApiError::new(403, "QuotaExceed.Snapshot", message));
    }
    Ok(())
}

/// The creation time is the instant of the mark. An automatic snapshot that is durable takes the oldest one's place.
pub(super) fn note_mark(
    t: &mut dyn Transaction,
    control: &Control,
    id: &str,
    marked: Marked,
) -> Result<(), StoreError> {
    if let Some(mut row) = SnapshotRow::get(t, id)? {
        row.marked = true;
        row.created_ms = marked.unix_millis;
        row.modified_ms = row.modified_ms.max(marked.unix_millis);
        row.expires_ms = rules::expiry(row.created_ms, row.retention_days);
        row.save(t)?;
        if row.snapshot_type == SnapshotType::Timer {
            scheduler::replace_oldest(t, control, (&row.source_disk_id, &row.region))?;
        }
    }
    tokens::answered(t, id)
}

/// The mark failed: nothing of the request stays.
pub(super) fn take_back(t: &mut dyn Transaction, row: SnapshotRow) -> Result<(), StoreError> {
    jobs::drop_kind(t, JobKind::CompleteSnapshot, &row.id)?;
    jobs::drop_kind(t, JobKind::UpdateRecord, &row.id)?;
    // DeleteSnapshot may have been quicker; then its job sees to the rest.
    match SnapshotRow::get(t, &row.id)?.filter(|now| now.status == row.status) {
        Some(row) => forget(t, row),
        None => tokens::take_back(t, &row.id),
    }
}

/// Refuses while a snapshot of the disk is in creation.
pub(super) fn unfinished(t: &mut dyn Transaction, disk: &str, code: &'static str) -> Result<(), ApiError> {
    match snapshots::progressing(t, disk)?.first() {
        None => Ok(()),
        Some(row) => {
            let message = format!(
                "The snapshot {} of the disk {disk} is still being created.",
                row.id
            );
            Err(ApiError::new(403, code, message))
        }
    }
}

/// Why the node could not mark, in the contract's words.
pub(super) fn refusal(error: &NodeError) -> ApiError {
    match error.kind {
        NodeErrorKind::Missing | NodeErrorKind::Busy | NodeErrorKind::Corrupt | NodeErrorKind::Poisoned => {
            node_refusal(
                403,
                "IncorrectDiskStatus.Invalid",
                "The disk cannot be snapshotted now",
                error,
            )
        }
        NodeErrorKind::Full | NodeErrorKind::Invalid | NodeErrorKind::Other => node_refusal(
            400,
            "CreateSnapshot.Failed",
            "The snapshot could not be started",
            error,
        ),
    }
}
