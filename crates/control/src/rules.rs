//! Checks that several actions share, each with the status and code that the action's own table has.
//!
//! All run inside the action's transaction, in the order of ecs-api.md 1.9: ClientToken, region,
//! existence, lock and state, quota.

use crate::catalogue::disks::{DiskKind, DiskRow};
use crate::catalogue::images;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::policies::PolicyRow;
use crate::catalogue::snapshots::{SnapshotRow, SnapshotType};
use crate::catalogue::tokens::{self, Known, TokenKey};
use crate::catalogue::{disks, groups, locks, policies, usage};
use crate::clock::DAY_MS;
use crate::config::RegionConfig;
use crate::control::DEFAULT_RESOURCE_GROUP;
use crate::notices::{self, By};
use crate::states::{DiskStatus, SNAPSHOT, SnapshotCause, SnapshotStatus};
use crate::store::{StoreError, Transaction, Value};
use crate::{Caller, Control};
use serde::{Serialize, de::DeserializeOwned};
use tidemark_ecs::ApiError;

/// How long a ClientToken is remembered.
const TOKEN_MS: i64 = DAY_MS;

/// How long a snapshot waits for a copy that a policy owes: a region that is not served now may never be again.
const OWED_MOST_MS: i64 = 7 * DAY_MS;

/// The image that external instances have: a name for "whatever runs on that machine".
pub(crate) const EXTERNAL_IMAGE: &str = "tidemark_external.vhd";
/// The family of [`EXTERNAL_IMAGE`].
pub(crate) const EXTERNAL_IMAGE_FAMILY: &str = "tidemark_external";

impl Control {
    /// A region that was given must be one that is served.
    pub(crate) fn check_region(&self, given: Option<&str>) -> Result<(), ApiError> {
        self.region(given).map(drop)
    }

    /// As [`Self::check_region`], with the status and code that the action has for it.
    pub(crate) fn check_region_of(&self, action: &str, given: Option<&str>) -> Result<(), ApiError> {
        self.check_region(given).map_err(|error| match given {
            Some(region) if error.status == 404 => unknown_region(action, region),
            _ => error,
        })
    }

    /// A zone that was given must be one of the region's.
    pub(crate) fn check_zone(
        &self,
        region: &RegionConfig,
        given: Option<&str>,
        status: u16,
    ) -> Result<(), ApiError> {
        match given {
            Some(zone) if !region.zones.iter().any(|known| known == zone) => {
                let message = format!("The specified ZoneId {zone:?} does not exist in this region.");
                Err(ApiError::new(status, "InvalidZoneId.NotFound", message))
            }
            _ => Ok(()),
        }
    }
}

/// How an action says that there is no such region: most have the common code, some one of their own.
pub(crate) fn unknown_region(action: &str, region: &str) -> ApiError {
    let error = ApiError::region_not_found(region);
    let (status, code) = match action {
        "AttachDisk"
        | "DeleteDisk"
        | "DetachDisk"
        | "ModifyDiskAttribute"
        | "ReInitDisk"
        | "ResetDisk"
        | "ResetDisks"
        | "ResizeDisk" => (400, "InvalidRegionId.MalFormed"),
        "DescribeDisks" => (400, "InvalidRegion.NotFound"),
        "DescribeSnapshotLinks" => (400, "InvalidRegionId"),
        "DescribeSnapshotsUsage" => (403, "InvalidParam.RegionId"),
        "CancelTask" | "DescribeAutoSnapshotPolicyEx" | "DescribeTaskAttribute" | "DescribeTasks" => {
            (400, "InvalidRegionId.NotFound")
        }
        "ApplyAutoSnapshotPolicy"
        | "CancelAutoSnapshotPolicy"
        | "CreateAutoSnapshotPolicy"
        | "DeleteAutoSnapshotPolicy"
        | "ModifyAutoSnapshotPolicyEx" => (403, "ParameterInvalid"),
        _ => return error,
    };
    ApiError::new(status, code, error.message)
}

/// A resource group that was given must be the default one; that is also the answer.
pub(crate) fn resource_group(given: Option<&str>) -> Result<String, ApiError> {
    match given {
        Some(group) if group != DEFAULT_RESOURCE_GROUP => Err(ApiError::resource_group_not_found(group)),
        _ => Ok(DEFAULT_RESOURCE_GROUP.to_owned()),
    }
}

/// The caller's disk; somebody else's does not exist, nor one in another region than the request names.
pub(crate) fn disk(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<DiskRow, ApiError> {
    DiskRow::get(t, id)?
        .filter(|disk| caller.sees(&disk.account, &disk.region) && disk.status != DiskStatus::Deleting)
        .ok_or_else(|| ApiError::disk_not_found(id))
}

/// The caller's snapshot; somebody else's does not exist, nor one in another region than the request names.
pub(crate) fn snapshot(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<SnapshotRow, ApiError> {
    SnapshotRow::get(t, id)?
        .filter(|row| caller.sees(&row.account, &row.region) && row.status != SnapshotStatus::Deleting)
        .ok_or_else(|| ApiError::snapshot_not_found(id))
}

/// The caller's instance; somebody else's does not exist, nor one in another region than the request names.
pub(crate) fn instance(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<InstanceRow, ApiError> {
    InstanceRow::get(t, id)?
        .filter(|row| caller.sees(&row.account, &row.region))
        .ok_or_else(|| ApiError::instance_not_found(id))
}

/// The caller's automatic snapshot policy; somebody else's does not exist, nor one in another region than the request names.
pub(crate) fn policy(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<PolicyRow, ApiError> {
    PolicyRow::get(t, id)?
        .filter(|row| caller.sees(&row.account, &row.region))
        .ok_or_else(|| tidemark_ecs::rules::policy::not_found(id))
}

/// Refuses what an administrator's hold on the instance forbids (ecs-api.md 3.9).
pub(crate) fn not_locked(instance: &InstanceRow) -> Result<(), ApiError> {
    if !instance.security_lock {
        return Ok(());
    }
    let message = format!("The instance {} is locked for security reasons.", instance.id);
    Err(ApiError::new(403, "InstanceLockedForSecurity", message))
}

/// The disk is in a state that does not allow the action.
pub(crate) fn wrong_disk_state(disk: &DiskRow, wanted: &str) -> ApiError {
    let message = format!("The disk {} is {}; it must be {wanted}.", disk.id, disk.status);
    ApiError::new(403, "IncorrectDiskStatus", message)
}

/// The instance is in a state that does not allow the action.
pub(crate) fn wrong_instance_state(status: u16, instance: &InstanceRow, wanted: &str) -> ApiError {
    let message = format!(
        "The instance {} is {}; it must be {wanted}.",
        instance.id, instance.status
    );
    ApiError::new(status, "IncorrectInstanceStatus", message)
}

/// Whether a new disk gets a key of its own: as wished in the `named` parameter, else as the snapshot that it is made from.
/// What is under a disk's key does not become readable without it by making a disk of it.
pub(crate) fn encrypted(
    control: &Control,
    region: &str,
    named: &str,
    wished: Option<bool>,
    source: Option<&SnapshotRow>,
) -> Result<bool, ApiError> {
    let of_source = source.filter(|snapshot| snapshot.encrypted);
    if let (Some(snapshot), Some(false)) = (of_source, wished) {
        let message = format!(
            "The snapshot {} is encrypted, so what is made from it is: {named} must be true or absent.",
            snapshot.id
        );
        return Err(ApiError::new(403, "InvalidEncrypted.NotMatchSnapshot", message));
    }
    let encrypted = wished.unwrap_or(of_source.is_some());
    if encrypted && !control.node_of(region)?.vault_is_encrypted() {
        let message = format!(
            "The parameter \"{named}\" is not valid: the vault of this region is not encrypted, so no disk in it can be. \
             That is chosen when a vault is made: `tidemark vault init`, then start the service with that vault."
        );
        return Err(ApiError::new(400, "InvalidParameter.Encrypted", message));
    }
    Ok(encrypted)
}

/// The ClientToken that counts. That of a dry run does not: its answer is never one that was given before, and it is in
/// nobody's way.
pub(crate) fn token_given(token: Option<&String>, dry_run: bool) -> Option<&String> {
    token.filter(|_| !dry_run)
}

/// How an action says that a ClientToken came with other parameters: most have the common code, some one of their own.
fn mismatch(action: &str) -> (u16, &'static str) {
    match action {
        "CreateDisk" | "CreateSnapshot" | "CreateSnapshotGroup" => (403, "IdempotentParameterMismatch"),
        "CreateImage" => (400, "IdempotenceParamNotMatch"),
        _ => (400, "IdempotentParameterMismatch"),
    }
}

/// A request's ClientToken with what it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    key: TokenKey,
    fingerprint: String,
    /// Code while the first request is being worked on.
    processing: &'static str,
}

impl Token {
    /// `None` without a token. `request` serialises to what two equal requests have in common.
    pub(crate) fn new(
        caller: &Caller,
        action: &'static str,
        token: Option<&String>,
        request: &impl Serialize,
        processing: &'static str,
    ) -> Result<Option<Self>, ApiError> {
        let Some(token) = token else { return Ok(None) };
        let fingerprint = serde_json::to_string(request).map_err(|error| {
            tracing::error!(action, %error, "a request cannot be fingerprinted");
            ApiError::internal()
        })?;
        let key = TokenKey {
            account: caller.account.clone(),
            action,
            token: token.clone(),
        };
        Ok(Some(Self {
            key,
            fingerprint,
            processing,
        }))
    }

    /// The answer to give again, if this request was answered before.
    pub(crate) fn replay<R: DeserializeOwned>(
        token: Option<&Self>,
        t: &mut dyn Transaction,
        now_ms: i64,
    ) -> Result<Option<R>, ApiError> {
        let Some(own) = token else { return Ok(None) };
        match tokens::look_up(t, &own.key, &own.fingerprint, now_ms)? {
            Known::New => Ok(None),
            Known::Answered(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
                tracing::error!(%error, "the answer kept for a ClientToken cannot be read");
                ApiError::internal()
            }),
            Known::Processing => {
                let message = "The first request with this ClientToken is still being processed.";
                Err(ApiError::new(403, own.processing, message))
            }
            Known::Mismatch => {
                let message = "This ClientToken was used in a request with other parameters.";
                let (status, code) = mismatch(own.key.action);
                Err(ApiError::new(status, code, message))
            }
        }
    }

    /// Remembers the answer, in the transaction that makes `resource`.
    pub(crate) fn remember(
        token: Option<&Self>,
        t: &mut dyn Transaction,
        resource: &str,
        response: &impl Serialize,
        processing: bool,
        now_ms: i64,
    ) -> Result<(), ApiError> {
        let Some(own) = token else { return Ok(()) };
        let text = serde_json::to_string(response).map_err(|error| {
            tracing::error!(%error, "an answer cannot be kept for its ClientToken");
            ApiError::internal()
        })?;
        let expires_ms = now_ms.saturating_add(TOKEN_MS);
        Ok(tokens::remember(
            t,
            &own.key,
            &own.fingerprint,
            resource,
            &text,
            processing,
            expires_ms,
        )?)
    }
}

/// The disk that is about to get its content from the snapshot, or the snapshot that is being copied from it, if there is
/// one: until it has, the node needs the snapshot itself, and not only its data.
pub(crate) fn in_transfer(t: &mut dyn Transaction, snapshot: &str) -> Result<Option<String>, StoreError> {
    let making = "SELECT id FROM disks WHERE source_snapshot_id = $1 AND status = 'Creating' LIMIT 1";
    let resetting = "SELECT subject FROM jobs WHERE kind IN ('reset_disk', 'reinit_disk') \
                     AND (arguments = $1 OR arguments = $1 || ' start') LIMIT 1";
    let copying = "SELECT id FROM snapshots WHERE source_snapshot_id = $1 AND status = 'progressing' LIMIT 1";
    for (what, sql) in [("disk", making), ("disk", resetting), ("snapshot", copying)] {
        if let Some(row) = t.query_one(sql, &[snapshot.into()])? {
            return Ok(Some(format!("The {what} {}", row.text(0)?)));
        }
    }
    Ok(None)
}

/// Whether the snapshot stays for the sake of a copy that a policy wants of it and that is not begun; `since_ms`: when it
/// could have gone. One that failed is never copied.
pub(crate) fn is_owed(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    since_ms: i64,
    now_ms: i64,
) -> Result<bool, StoreError> {
    Ok(row.status != SnapshotStatus::Failed
        && now_ms < since_ms.saturating_add(OWED_MOST_MS)
        && policies::owes_copy(t, &row.id)?)
}

/// Whether the disk is about to get larger: until it has, what its size is depends on the moment.
pub(crate) fn is_growing(t: &mut dyn Transaction, disk: &str) -> Result<bool, StoreError> {
    Ok(jobs::newest(t, JobKind::ResizeDisk, disk)? > 0)
}

/// Whether the instance is about to get another system disk: until it has, the one that it has stays as it is.
pub(crate) fn is_being_replaced(t: &mut dyn Transaction, instance: &str) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM jobs WHERE kind = $1 AND lane = $2 LIMIT 1";
    let found = t.query_one(sql, &[JobKind::ReplaceSystemDisk.word().into(), instance.into()])?;
    Ok(found.is_some())
}

/// Refuses what must not happen to a system disk while another one is made to take its place.
pub(crate) fn not_being_replaced(t: &mut dyn Transaction, disk: &DiskRow) -> Result<(), ApiError> {
    let Some(instance) = disk
        .instance_id
        .as_ref()
        .filter(|_| disk.kind == DiskKind::System)
    else {
        return Ok(());
    };
    if !is_being_replaced(t, instance)? {
        return Ok(());
    }
    let message = format!("The disk {} is being replaced by another system disk.", disk.id);
    Err(ApiError::new(403, "IncorrectDiskStatus", message))
}

/// Of a job that deletes a snapshot: its record is to be written first.
pub(crate) const RECORD_FIRST: &str = "record first";

/// Takes a snapshot off the lists and starts its removal; cancels one in creation.
pub(crate) fn remove_snapshot(
    t: &mut dyn Transaction,
    mut row: SnapshotRow,
    by: SnapshotCause,
    now_ms: i64,
) -> Result<i64, StoreError> {
    usage::end(t, &row, now_ms)?;
    row.step(t, by)?;
    jobs::drop_kind(t, JobKind::CompleteSnapshot, &row.id)?;
    jobs::drop_kind(t, JobKind::CopySnapshot, &row.id)?;
    // What its record does not say yet is written before it goes: it may be brought back.
    let arguments = match jobs::newest(t, JobKind::UpdateRecord, &row.id)? {
        0 => "",
        _ => RECORD_FIRST,
    };
    jobs::drop_kind(t, JobKind::UpdateRecord, &row.id)?;
    jobs::add(t, JobKind::DeleteSnapshot, &row.id, &row.id, arguments, now_ms)
}

/// Removes a snapshot because somebody wants it to go.
pub(crate) fn delete_snapshot(
    t: &mut dyn Transaction,
    row: SnapshotRow,
    by: &By,
    now_ms: i64,
) -> Result<i64, StoreError> {
    notices::snapshot_deleted(t, &row, by, now_ms)?;
    remove_snapshot(t, row, SnapshotCause::DeleteSnapshot, now_ms)
}

/// Has a change of a snapshot written into its record in the vault, after its capture if that still runs.
pub(crate) fn update_record(t: &mut dyn Transaction, snapshot: &str, now_ms: i64) -> Result<(), StoreError> {
    jobs::add(t, JobKind::UpdateRecord, snapshot, snapshot, "", now_ms).map(drop)
}

/// Why a snapshot must not be deleted now, if there is a reason; `force`: that disks were made from it is none.
pub(crate) fn kept(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    force: bool,
    now_ms: i64,
) -> Result<Option<ApiError>, StoreError> {
    if let Some(lock) = locks::binding(t, &row.id, now_ms)? {
        let until = match lock.expires_ms {
            Some(end) => format!("until {}", tidemark_ecs::time::seconds(crate::views::at(end))),
            None => format!("for {} days from its completion", lock.duration_days),
        };
        let message = format!("The snapshot {} is locked {until}.", row.id);
        return Ok(Some(ApiError::new(
            403,
            "InvalidOperation.SnapshotLocked",
            message,
        )));
    }
    if let Some(user) = in_transfer(t, &row.id)? {
        let message = format!("{user} is being made from the snapshot {}.", row.id);
        return Ok(Some(ApiError::new(403, "Operation.Conflict", message)));
    }
    if let Some(image) = images::feeds(t, &row.id)? {
        let message = format!(
            "The image {image} needs the snapshot {}; delete the image first. Force does not help.",
            row.id
        );
        return Ok(Some(ApiError::new(403, "SnapshotCreatedImage", message)));
    }
    if !force && disks::any_from(t, &row.id)? {
        let message = format!(
            "Disks that were created from the snapshot {} exist; Force deletes it all the same.",
            row.id
        );
        return Ok(Some(ApiError::new(403, "SnapshotCreatedDisk", message)));
    }
    Ok(None)
}

/// The caller's snapshot group; somebody else's does not exist, nor one whose snapshots are all gone.
pub(crate) fn snapshot_group(
    t: &mut dyn Transaction,
    caller: &Caller,
    id: &str,
) -> Result<groups::GroupRow, ApiError> {
    groups::GroupRow::get(t, id)?
        .filter(|row| caller.sees(&row.account, &row.region))
        .ok_or_else(|| {
            let message = format!("The specified SnapshotGroupId {id:?} does not exist.");
            ApiError::new(404, "InvalidSnapshotGroup.NotFound", message)
        })
}

/// Starts the removal of a disk's automatic snapshots, when it is released with them. The retention of one that something is
/// being made from, or that has to be copied yet, is over: housekeeping removes it once it is free.
pub(crate) fn remove_automatic_snapshots(
    t: &mut dyn Transaction,
    disk: &DiskRow,
    by: &By,
    now_ms: i64,
) -> Result<(), StoreError> {
    if !disk.delete_auto_snapshot {
        return Ok(());
    }
    // Copies are others' backups: those in other regions as well as one that came back.
    let rest = "WHERE source_disk_id = $1 AND region = $2 AND source_region_id = '' \
                AND snapshot_type = 'timer' AND status <> 'deleting'";
    for mut row in SnapshotRow::select(t, rest, &[(&disk.id).into(), (&disk.region).into()])? {
        // An image outlives what its snapshots were taken from, and so does a lock.
        if images::feeds(t, &row.id)?.is_some() || locks::binding(t, &row.id, now_ms)?.is_some() {
            continue;
        }
        // A mark that nobody knows to be durable promises no copy.
        let is_owed = row.marked && is_owed(t, &row, now_ms, now_ms)?;
        if is_owed || in_transfer(t, &row.id)?.is_some() {
            let before = row.clone();
            row.expires_ms = Some(row.expires_ms.map_or(now_ms, |end| end.min(now_ms)));
            row.save(t)?;
            notices::snapshot_modified(t, (&before, &row), by, now_ms)?;
            continue;
        }
        delete_snapshot(t, row, by, now_ms)?;
    }
    Ok(())
}

/// A disk's automatic snapshots in a region that count against its quota. One that failed holds nothing, so it pushes nothing
/// out; a copy is kept as long as its policy says, whatever the quota.
const AUTOMATIC: &str = "WHERE source_disk_id = $1 AND snapshot_type = $2 AND region = $3 AND source_region_id = '' \
                         AND status IN ('progressing', 'accomplished')";

/// How many of a disk's automatic snapshots count against its quota.
pub(crate) fn automatic_count(t: &mut dyn Transaction, disk: &str, region: &str) -> Result<u64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM {} {AUTOMATIC}", SnapshotRow::TABLE);
    let row = t.query_one(&sql, &automatic(disk, region))?;
    Ok(row.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs())
}

/// The parameters of [`AUTOMATIC`].
fn automatic(disk: &str, region: &str) -> [Value; 3] {
    [disk.into(), SnapshotType::Timer.word().into(), region.into()]
}

/// How many of them never give way by themselves: an image needs them, or a lock keeps them.
pub(crate) fn automatic_kept_count(
    t: &mut dyn Transaction,
    disk: &str,
    region: &str,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let sql = format!(
        "SELECT COUNT(*) FROM {} {AUTOMATIC} \
         AND (EXISTS (SELECT 1 FROM image_disks WHERE image_disks.snapshot_id = snapshots.id) \
         OR EXISTS (SELECT 1 FROM snapshot_locks WHERE snapshot_locks.snapshot_id = snapshots.id \
         AND (snapshot_locks.expires_ms IS NULL OR snapshot_locks.expires_ms > $4)))",
        SnapshotRow::TABLE
    );
    let [disk, kind, region] = automatic(disk, region);
    let row = t.query_one(&sql, &[disk, kind, region, now_ms.into()])?;
    Ok(row.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs())
}

/// The disk's oldest automatic snapshot that can give way to a newer one. What is still read, has to be copied yet, or is
/// protected, is passed over.
pub(crate) fn oldest_to_give_way(
    t: &mut dyn Transaction,
    disk: &str,
    region: &str,
    now_ms: i64,
) -> Result<Option<SnapshotRow>, StoreError> {
    let rest = format!("{AUTOMATIC} ORDER BY ordinal");
    for row in SnapshotRow::select(t, &rest, &automatic(disk, region))? {
        if SNAPSHOT.allows(row.status, SnapshotCause::Replaced)
            && !is_owed(t, &row, row.created_ms, now_ms)?
            && kept(t, &row, true, now_ms)?.is_none()
        {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// When a snapshot's retention is over.
pub(crate) fn expiry(created_ms: i64, retention_days: Option<i64>) -> Option<i64> {
    retention_days.map(|days| created_ms.saturating_add(days.saturating_mul(DAY_MS)))
}
