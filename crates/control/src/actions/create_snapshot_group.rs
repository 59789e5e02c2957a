//! CreateSnapshotGroup: fixes one instant of several disks and answers at once.
//!
//! Rows, marks, answer, as in [`super::create_snapshot`]: the group's row and its members' come first, in one transaction;
//! the node makes all marks or none; what it did not make is taken back as a whole. After a crash between the two each
//! member's job finds that the node has never heard of it, and the group goes with the last of them.
//! Every disk that was asked for is in the group, or the request is refused: none is left out in silence.

use super::create_snapshot::{check_quota, check_state, note_mark, refusal, take_back};
use crate::catalogue::disks::{self, DiskRow};
use crate::catalogue::groups::{self, GroupRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::jobs::LaneGuard;
use crate::notices;
use crate::record_meta;
use crate::rules::{self, Token};
use crate::states::{SNAPSHOT, SnapshotCause};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use std::collections::BTreeSet;
use std::time::Duration;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_snapshot_group::{Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_ecs::model::Tag;
use tidemark_node::{MarkRequest, Marked, NodeError, NodeErrorKind};
use tidemark_units::{DiskId, GroupId, SnapshotId};

/// The system tag of a member: the instance whose group it is in.
const CREATED_FROM: &str = "acs:ecs:createFrom";
/// How often the marks are tried, and the pause between: a busy machine may miss the moment in which all disks are held.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// A group that is in the catalogue and not marked yet, or the answer that was given before.
enum Begun {
    New(Box<Members>),
    Again(Response),
}

struct Members {
    group: String,
    rows: Vec<(SnapshotRow, serde_json::Value)>,
    /// No job of a member runs before its mark is noted.
    lanes: Vec<LaneGuard>,
}

impl Control {
    /// When this answers, the content of all disks is fixed as of one instant, durable, and listed; the captures go on by
    /// themselves.
    pub async fn create_snapshot_group(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let task = tokio::spawn(async move { control.create_group_to_the_end(caller, request).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "CreateSnapshotGroup ended early");
            Err(ApiError::internal())
        })
    }

    async fn create_group_to_the_end(&self, caller: Caller, request: Request) -> Result<Response, ApiError> {
        let consistency = request.consistency;
        let named = request.clone();
        let candidates = self
            .store()
            .read(move |t| candidates(t, &named))
            .await
            .map_err(ApiError::from)?;
        for disk in candidates {
            self.note_past_connections(&disk).await?;
            self.settle_snapshots(&disk).await?;
        }
        let control = self.clone();
        let insert = move |t: &mut dyn Transaction| insert(t, &control, &caller, &request);
        let Members { group, rows, lanes } = match self.store().write(insert).await? {
            Begun::New(members) => *members,
            Begun::Again(response) => return Ok(response),
        };
        let response = Response {
            snapshot_group_id: group.clone(),
        };
        let disks = rows.iter().map(|(row, _)| row.source_disk_id.clone()).collect();
        let snapshots = rows.iter().map(|(row, _)| row.id.clone()).collect();
        let quiesced = self.quiesce(consistency, disks).await;
        let marked = self.mark_group(&group, &rows).await;
        let reached = quiesced.release().await;
        match marked {
            Ok(marked) => {
                let marked = rows.into_iter().map(|(row, _)| row.id).zip(marked).collect();
                let control = self.clone();
                self.store()
                    .write(move |t| note_marks(t, &control, &group, marked))
                    .await?;
                self.label(snapshots, reached).await;
            }
            Err(error) => {
                tracing::error!(%group, %error, "no marks");
                let back = move |t: &mut dyn Transaction| {
                    rows.into_iter().try_for_each(|(row, _)| take_back(t, row))
                };
                self.store().write::<_, StoreError, _>(back).await?;
                let refusal = refusal(&error);
                // This action's table has one status for it.
                return Err(ApiError {
                    status: 403,
                    ..refusal
                });
            }
        }
        drop(lanes);
        Ok(response)
    }

    async fn mark_group(
        &self,
        group: &str,
        rows: &[(SnapshotRow, serde_json::Value)],
    ) -> Result<Vec<Marked>, NodeError> {
        let invalid = |e: tidemark_units::IdError| NodeError {
            kind: NodeErrorKind::Invalid,
            message: e.to_string(),
        };
        let region = rows.first().map_or("", |(row, _)| row.region.as_str());
        let node = self.node_of(region).map_err(|error| NodeError {
            kind: NodeErrorKind::Other,
            message: error.to_string(),
        })?;
        let group = GroupId::new(group).map_err(invalid)?;
        let mut requests = Vec::new();
        for (row, meta) in rows {
            let disk = DiskId::new(row.source_disk_id.as_str()).map_err(invalid)?;
            let snapshot = SnapshotId::new(row.id.as_str()).map_err(invalid)?;
            let meta = meta.clone();
            requests.push((disk, MarkRequest { snapshot, meta }));
        }
        let mut tries = 1;
        loop {
            match node.mark_group(&group, requests.clone()).await {
                Err(error) if error.kind == NodeErrorKind::Busy && tries < TRIES => {
                    tracing::debug!(%group, %error, tries, "once more");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }
}

/// The ids of the disks that the request may mean; what is wrong with them is found out later.
fn candidates(t: &mut dyn Transaction, request: &Request) -> Result<Vec<String>, StoreError> {
    match &request.instance_id {
        Some(instance) if request.disk_ids.is_empty() => {
            let own = disks::of_instance(t, instance)?;
            Ok(own.into_iter().map(|disk| disk.id).collect())
        }
        _ => Ok(request.disk_ids.clone()),
    }
}

fn insert(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<Begun, ApiError> {
    let now = control.now_ms();
    let given = request.client_token.as_ref();
    let token = Token::new(
        caller,
        "CreateSnapshotGroup",
        given,
        request,
        "IdempotentProcessing",
    )?;
    if let Some(response) = Token::replay(token.as_ref(), t, now)? {
        return Ok(Begun::Again(response));
    }
    let region = &control.region(Some(&request.region_id))?.id;
    let disks = chosen(t, caller, request)?;
    let resource_group = rules::resource_group(request.resource_group_id.as_deref())?;
    for disk in &disks {
        if disk.multi_attach == "Enabled" {
            let message = format!(
                "The disk {} can be attached to several instances at once.",
                disk.id
            );
            return Err(ApiError::new(403, "InvalidOperation.MultiAttachDisk", message));
        }
        check_state(t, caller, disk)?;
    }
    check_size(control, &disks)?;
    for disk in &disks {
        check_quota(t, control, disk)?;
    }
    let group = GroupRow {
        id: control.new_id(Kind::SnapshotGroup, region),
        ordinal: GroupRow::next_ordinal(t)?,
        account: caller.account.clone(),
        region: region.clone(),
        name: request.name.clone().unwrap_or_default(),
        description: request.description.clone().unwrap_or_default(),
        instance_id: instance_of(request, &disks),
        resource_group,
        made: false,
        created_ms: now,
        modified_ms: now,
    };
    group.insert(t)?;
    tags::set(
        t,
        &caller.account,
        ResourceType::SnapshotGroup,
        &group.id,
        &request.tags,
    )?;
    let (mut rows, mut lanes) = (Vec::new(), Vec::new());
    for disk in &disks {
        let row = member(t, control, &group, request, disk, now)?;
        lanes.extend(control.hold_lane(&row.id));
        let own = match group.instance_id.as_str() {
            "" => Vec::new(),
            instance => vec![Tag {
                key: CREATED_FROM.into(),
                value: instance.into(),
            }],
        };
        tags::set(t, &caller.account, ResourceType::Snapshot, &row.id, &own)?;
        let mut meta = record_meta::of_new(&row, &own, disk);
        if let Some(fields) = meta.as_object_mut() {
            fields.extend(record_meta::beside(Some(&group), None));
        }
        rows.push((row, meta));
    }
    let response = Response {
        snapshot_group_id: group.id.clone(),
    };
    Token::remember(token.as_ref(), t, &group.id, &response, true, now)?;
    Ok(Begun::New(Box::new(Members {
        group: group.id,
        rows,
        lanes,
    })))
}

/// One snapshot of the group, with its job.
fn member(
    t: &mut dyn Transaction,
    control: &Control,
    group: &GroupRow,
    request: &Request,
    disk: &DiskRow,
    now: i64,
) -> Result<SnapshotRow, StoreError> {
    let row = SnapshotRow {
        id: control.new_id(Kind::Snapshot, &disk.region),
        ordinal: SnapshotRow::next_ordinal(t)?,
        account: group.account.clone(),
        region: disk.region.clone(),
        source_snapshot_id: String::new(),
        source_region_id: String::new(),
        name: group.name.clone(),
        description: group.description.clone(),
        status: SNAPSHOT.birth(SnapshotCause::CreateSnapshot)?,
        marked: false,
        percent: 0,
        failure: String::new(),
        link_id: snapshots::link(
            t,
            &disk.id,
            &disk.region,
            &control.new_id(Kind::SnapshotLink, &disk.region),
        )?,
        source_disk_id: disk.id.clone(),
        source_disk_kind: disk.kind,
        source_disk_size_gib: disk.size_gib,
        snapshot_type: SnapshotType::User,
        category: "standard".into(),
        resource_group: group.resource_group.clone(),
        retention_days: None,
        instant_access: request.instant_access,
        instant_access_days: request.instant_access_retention_days,
        full_bytes: 0,
        stored_bytes: 0,
        created_ms: now,
        modified_ms: now,
        expires_ms: None,
        encrypted: disk.encrypted,
    };
    row.insert(t)?;
    groups::join(t, &group.id, &row.id)?;
    notices::quota(t, &row, control.limits().manual_snapshots_per_disk, now)?;
    jobs::add(t, JobKind::CompleteSnapshot, &row.id, &row.id, "", now)?;
    Ok(row)
}

/// The disks that are meant: those named, or all of the instance's but those excluded.
fn chosen(t: &mut dyn Transaction, caller: &Caller, request: &Request) -> Result<Vec<DiskRow>, ApiError> {
    let of_instance = match &request.instance_id {
        None => None,
        Some(id) => {
            let instance = rules::instance(t, caller, id)?;
            let own = disks::of_instance(t, &instance.id)?;
            for id in request.exclude_disk_ids.iter().chain(&request.disk_ids) {
                if own.iter().all(|disk| disk.id != *id) {
                    let message = format!("The disk {id:?} is not attached to the instance {}.", instance.id);
                    return Err(ApiError::new(404, "InvalidDiskId.NotFound", message));
                }
            }
            Some(own)
        }
    };
    let disks = match of_instance {
        Some(own) if request.disk_ids.is_empty() => {
            let excluded: BTreeSet<&String> = request.exclude_disk_ids.iter().collect();
            own.into_iter()
                .filter(|disk| !excluded.contains(&disk.id))
                .collect()
        }
        _ => {
            let mut disks = Vec::new();
            for id in &request.disk_ids {
                disks.push(rules::disk(t, caller, id)?);
            }
            disks
        }
    };
    let Some(first) = disks.first() else {
        let message = "The instance has no disk that is not excluded.";
        return Err(ApiError::new(403, "InvalidInstance.NoDisk", message));
    };
    if let Some(other) = disks.iter().find(|disk| disk.zone != first.zone) {
        let message = format!(
            "The disks are not in one zone: {} is in {}, {} in {}.",
            first.id, first.zone, other.id, other.zone
        );
        return Err(ApiError::new(400, "InvalidDiskIds.NotInSameZone", message));
    }
    Ok(disks)
}

fn check_size(control: &Control, disks: &[DiskRow]) -> Result<(), ApiError> {
    let limits = control.limits();
    if disks.len() as u64 > limits.disks_per_snapshot_group {
        let message = format!(
            "{} disks, where a snapshot group has {} at most.",
            disks.len(),
            limits.disks_per_snapshot_group
        );
        return Err(ApiError::new(403, "NumberExceed.TooManyDisks", message));
    }
    let gib: u64 = disks.iter().map(|disk| disk.size_gib.unsigned_abs()).sum();
    if gib > limits.snapshot_group_gib {
        let message = format!(
            "The disks have {gib} GiB together, where a snapshot group has {} GiB at most.",
            limits.snapshot_group_gib
        );
        return Err(ApiError::new(403, "CapacityExceed.TooManyDisks", message));
    }
    Ok(())
}

/// The instance that all disks are attached to; `""` if there is no such one.
fn instance_of(request: &Request, disks: &[DiskRow]) -> String {
    let mut instances: BTreeSet<Option<&String>> =
        disks.iter().map(|disk| disk.instance_id.as_ref()).collect();
    let only = match instances.len() {
        1 => instances.pop_first().flatten().cloned(),
        _ => None,
    };
    request.instance_id.clone().or(only).unwrap_or_default()
}

/// The creation time is the instant of the marks; members are marked at one moment, to the millisecond or so.
fn note_marks(
    t: &mut dyn Transaction,
    control: &Control,
    group: &str,
    marked: Vec<(String, Marked)>,
) -> Result<(), StoreError> {
    let instant = marked.iter().map(|(_, marked)| marked.unix_millis).min();
    for (snapshot, marked) in marked {
        note_mark(t, control, &snapshot, marked)?;
    }
    if let Some(mut row) = GroupRow::get(t, group)? {
        row.made = true;
        row.created_ms = instant.unwrap_or(row.created_ms);
        row.modified_ms = row.modified_ms.max(row.created_ms);
        row.save(t)?;
    }
    tokens::answered(t, group)
}
