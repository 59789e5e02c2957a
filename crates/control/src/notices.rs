//! What is said of disks, snapshots, instances and the vault when something happens to them: one function for each.
//!
//! Each is called in the transaction that makes the change, with the row as it is then. What somebody has asked for says
//! who, and in which request ([`By`]): that is the audit trail, and the log has the rest under the request's id.

use crate::Caller;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::events::{self, EventKind, Happening, Level};
use crate::catalogue::groups::GroupRow;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::locks::LockRow;
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};
use crate::views;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemark_ecs::time;
use tidemark_node::Loss;

fn of_snapshot(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    (kind, level): (EventKind, Level),
    now_ms: i64,
    content: Value,
) -> Result<(), StoreError> {
    let what = Happening {
        kind,
        level,
        account: &row.account,
        region: &row.region,
        resource_type: "snapshot",
        resource_id: &row.id,
        content,
    };
    events::add(t, now_ms, &what)
}

fn of_disk(
    t: &mut dyn Transaction,
    row: &DiskRow,
    (kind, level): (EventKind, Level),
    now_ms: i64,
    content: Value,
) -> Result<(), StoreError> {
    let what = Happening {
        kind,
        level,
        account: &row.account,
        region: &row.region,
        resource_type: "disk",
        resource_id: &row.id,
        content,
    };
    events::add(t, now_ms, &what)
}

/// Who makes a change: what its event says beside what is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct By {
    /// The caller's ARN; `service`: nobody asks for it now.
    by: String,
    /// Of the caller's request; `""`: it did not come as one.
    request_id: String,
    /// What was asked for, which may be more than this change.
    action: String,
}

impl By {
    /// Somebody who asks for `action`.
    pub(crate) fn caller(caller: &Caller, action: &str) -> Self {
        Self {
            by: caller.identity.arn(&caller.account),
            request_id: caller.request_id.clone().unwrap_or_default(),
            action: action.into(),
        }
    }

    /// What was settled before, such as a time of release.
    pub(crate) fn service(action: &str) -> Self {
        Self {
            by: "service".into(),
            request_id: String::new(),
            action: action.into(),
        }
    }

    /// For a job that makes the change later.
    pub(crate) fn to_text(&self) -> String {
        json!(self).to_string()
    }

    /// What [`By::to_text`] made; what has none was begun before there was one.
    pub(crate) fn from_text(text: &str, action: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self::service(action))
    }

    fn with(&self, more: Value) -> Value {
        let mut content = json!(self);
        if let (Some(content), Value::Object(more)) = (content.as_object_mut(), more) {
            content.extend(more);
        }
        content
    }
}

/// `failed` with a reason, or how it is called when it went well.
fn result(well: &'static str, failure: Option<&str>) -> (Level, &'static str) {
    match failure {
        None => (Level::Info, well),
        Some(_) => (Level::Warn, "failed"),
    }
}

/// A snapshot or a copy is accomplished or failed.
pub(crate) fn snapshot_ended(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    now_ms: i64,
) -> Result<(), StoreError> {
    let failure = (row.status == SnapshotStatus::Failed).then_some(row.failure.as_str());
    let (level, result) = result("accomplished", failure);
    if row.is_copy() {
        let content = json!({
            "result": result,
            "reason": failure.unwrap_or_default(),
            "snapshotId": row.id,
            "snapshotName": row.name,
            "sourceSnapshotId": row.source_snapshot_id,
            "sourceRegionId": row.source_region_id,
        });
        return of_snapshot(t, row, (EventKind::CopyCompleted, level), now_ms, content);
    }
    let content = json!({
        "result": result,
        "reason": failure.unwrap_or_default(),
        "snapshotId": row.id,
        "snapshotName": row.name,
        "snapshotType": row.snapshot_type.word(),
        "diskId": row.source_disk_id,
        "startTime": time::seconds(views::at(row.created_ms)),
        "endTime": time::seconds(views::at(now_ms)),
    });
    of_snapshot(t, row, (EventKind::SnapshotCompleted, level), now_ms, content)
}

/// Somebody deletes a snapshot, or cancels it.
pub(crate) fn snapshot_deleted(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    by: &By,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = by.with(json!({
        "cancelled": row.status == SnapshotStatus::Progressing,
        "snapshotName": row.name,
        "snapshotType": row.snapshot_type.word(),
        "diskId": row.source_disk_id,
    }));
    let kind = (EventKind::SnapshotDeleted, Level::Info);
    of_snapshot(t, row, kind, now_ms, content)
}

/// Somebody locks a snapshot, or changes its lock.
pub(crate) fn snapshot_locked(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    lock: &LockRow,
    by: &By,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = by.with(json!({
        "snapshotName": row.name,
        "lockDuration": lock.duration_days,
        "coolOffPeriod": lock.cool_off_hours,
    }));
    of_snapshot(t, row, (EventKind::SnapshotLocked, Level::Info), now_ms, content)
}

/// Somebody takes a snapshot's lock off.
pub(crate) fn snapshot_unlocked(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    by: &By,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = by.with(json!({ "snapshotName": row.name }));
    let kind = (EventKind::SnapshotUnlocked, Level::Info);
    of_snapshot(t, row, kind, now_ms, content)
}

/// Somebody has changed a snapshot; nothing is said if nothing is different.
pub(crate) fn snapshot_modified(
    t: &mut dyn Transaction,
    (before, after): (&SnapshotRow, &SnapshotRow),
    by: &By,
    now_ms: i64,
) -> Result<(), StoreError> {
    let end = |row: &SnapshotRow| {
        row.expires_ms
            .map_or_else(String::new, |ms| time::seconds(views::at(ms)))
    };
    let mut changed = Vec::new();
    let mut content = json!({});
    if before.name != after.name {
        changed.push("SnapshotName");
        content["nameBefore"] = json!(before.name);
    }
    if before.description != after.description {
        changed.push("Description");
    }
    if (before.retention_days, before.expires_ms) != (after.retention_days, after.expires_ms) {
        changed.push("RetentionDays");
        content["retentionDays"] = json!(after.retention_days);
        content["retentionDaysBefore"] = json!(before.retention_days);
        content["expires"] = json!(end(after));
        content["expiresBefore"] = json!(end(before));
    }
    if changed.is_empty() {
        return Ok(());
    }
    content["changed"] = json!(changed);
    content["snapshotName"] = json!(after.name);
    let kind = (EventKind::SnapshotModified, Level::Info);
    of_snapshot(t, after, kind, now_ms, by.with(content))
}

/// Somebody deletes a group. `kept`: the snapshots that stay.
pub(crate) fn group_deleted(
    t: &mut dyn Transaction,
    row: &GroupRow,
    kept: &[String],
    by: &By,
    now_ms: i64,
) -> Result<(), StoreError> {
    let what = Happening {
        kind: EventKind::GroupDeleted,
        level: Level::Info,
        account: &row.account,
        region: &row.region,
        resource_type: "snapshotgroup",
        resource_id: &row.id,
        content: by.with(json!({ "name": row.name, "keptSnapshotIds": kept })),
    };
    events::add(t, now_ms, &what)
}

/// Somebody deletes a disk, or what it goes with. `instance`: where it was; `""`: nowhere.
pub(crate) fn disk_deleted(
    t: &mut dyn Transaction,
    row: &DiskRow,
    instance: &str,
    by: &By,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = by.with(json!({
        "diskName": row.name,
        "sizeGiB": row.size_gib,
        "instanceId": instance,
    }));
    of_disk(t, row, (EventKind::DiskDeleted, Level::Info), now_ms, content)
}

/// A snapshot's retention is over.
pub(crate) fn snapshot_expired(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content =
        json!({ "snapshotName": row.name, "diskId": row.source_disk_id, "status": row.status.word() });
    of_snapshot(t, row, (EventKind::SnapshotExpired, Level::Info), now_ms, content)
}

/// An automatic snapshot gives way to a newer one.
pub(crate) fn snapshot_replaced(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = json!({ "snapshotName": row.name, "diskId": row.source_disk_id });
    of_snapshot(
        t,
        row,
        (EventKind::SnapshotReplaced, Level::Info),
        now_ms,
        content,
    )
}

/// A policy's time came, and no snapshot of the disk is made; or not yet, as the reason then says.
pub(crate) fn snapshot_skipped(
    t: &mut dyn Transaction,
    row: &DiskRow,
    policy: &str,
    why: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = json!({ "autoSnapshotPolicyId": policy, "reason": why });
    of_disk(t, row, (EventKind::SnapshotSkipped, Level::Warn), now_ms, content)
}

/// A deleted snapshot is back.
pub(crate) fn snapshot_undeleted(
    t: &mut dyn Transaction,
    row: &SnapshotRow,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = json!({ "snapshotName": row.name, "diskId": row.source_disk_id });
    of_snapshot(
        t,
        row,
        (EventKind::SnapshotUndeleted, Level::Info),
        now_ms,
        content,
    )
}

/// A limit that there may be more under than before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota<'a> {
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    /// Type and id of what it is a limit of.
    pub(crate) of: (&'a str, &'a str),
    /// What is counted.
    pub(crate) what: &'a str,
    pub(crate) limit: u64,
}

impl Quota<'_> {
    /// How many are said to be near the limit: nine tenths of it.
    pub(crate) fn near(limit: u64) -> u64 {
        limit.saturating_mul(9).div_ceil(10)
    }

    /// There are `used` where there were `before`: said when nine tenths are reached, once on each way up. Every way to more
    /// calls this, so that no number is left out.
    pub(crate) fn grown(
        &self,
        t: &mut dyn Transaction,
        (before, used): (u64, u64),
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let near = Self::near(self.limit);
        if before >= near || used < near {
            return Ok(());
        }
        let what = Happening {
            kind: EventKind::QuotaNear,
            level: Level::Warn,
            account: self.account,
            region: self.region,
            resource_type: self.of.0,
            resource_id: self.of.1,
            content: json!({ "quota": self.what, "used": used, "limit": self.limit }),
        };
        events::add(t, now_ms, &what)
    }
}

/// One more manual snapshot of a disk in the region counts against the limit of `most`. The snapshot's disk may be gone, or in
/// another region.
pub(crate) fn quota(
    t: &mut dyn Transaction,
    added: &SnapshotRow,
    most: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let count = snapshots::count(t, &added.source_disk_id, &added.region, SnapshotType::User)?;
    let quota = Quota {
        account: &added.account,
        region: &added.region,
        of: ("disk", &added.source_disk_id),
        what: "manual snapshots of the disk",
        limit: most,
    };
    quota.grown(t, (count.saturating_sub(1), count), now_ms)
}

/// A policy wants a copy of the snapshot in another region, and there will be none.
pub(crate) fn copy_refused(
    t: &mut dyn Transaction,
    source: &SnapshotRow,
    region: &str,
    why: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = json!({
        "result": "failed",
        "reason": why,
        "snapshotId": "",
        "snapshotName": source.name,
        "sourceSnapshotId": source.id,
        "sourceRegionId": source.region,
        "destinationRegionId": region,
    });
    of_snapshot(
        t,
        source,
        (EventKind::CopyCompleted, Level::Warn),
        now_ms,
        content,
    )
}

/// A disk is rolled back, or could not be.
pub(crate) fn disk_reset(
    t: &mut dyn Transaction,
    row: &DiskRow,
    snapshot: &str,
    failure: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (level, result) = result("done", failure);
    let content = json!({ "result": result, "reason": failure.unwrap_or_default(), "snapshotId": snapshot });
    of_disk(t, row, (EventKind::DiskReset, level), now_ms, content)
}

/// A disk is attached or detached, or could not be; or it could not be resized or made anew. `instance`: where.
pub(crate) fn disk_operation(
    t: &mut dyn Transaction,
    row: &DiskRow,
    (operation, instance): (&str, &str),
    failure: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let (level, result) = result("accomplished", failure);
    let content = json!({
        "operation": operation,
        "result": result,
        "reason": failure.unwrap_or_default(),
        "instanceId": instance,
    });
    of_disk(t, row, (EventKind::DiskOperation, level), now_ms, content)
}

/// A disk that was promised cannot be made.
pub(crate) fn disk_not_made(
    t: &mut dyn Transaction,
    row: &DiskRow,
    why: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = json!({ "reason": why, "snapshotId": row.source_snapshot_id });
    of_disk(
        t,
        row,
        (EventKind::DiskCreateFailed, Level::Warn),
        now_ms,
        content,
    )
}

/// An instance has come to another lasting state; `failure`: not the one that was asked for.
pub(crate) fn instance_state(
    t: &mut dyn Transaction,
    row: &InstanceRow,
    state: &str,
    failure: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let content = json!({ "state": state, "instanceName": row.name, "reason": failure.unwrap_or_default() });
    let what = Happening {
        kind: EventKind::InstanceState,
        level: failure.map_or(Level::Info, |_| Level::Warn),
        account: &row.account,
        region: &row.region,
        resource_type: "instance",
        resource_id: &row.id,
        content,
    };
    events::add(t, now_ms, &what)
}

/// The scrub has met damage, and has repaired it or cannot. It is told to whom a snapshot that is hit belongs to; where
/// none is known, to `account`.
pub(crate) fn vault_damage(
    t: &mut dyn Transaction,
    (account, region): (&str, &str),
    loss: &Loss,
    repaired: bool,
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut owner = None;
    for snapshot in &loss.snapshots {
        owner = owner.or(SnapshotRow::get(t, snapshot.as_str())?.map(|row| row.account));
    }
    let (kind, level) = match (repaired, loss.lost) {
        (true, _) => (EventKind::VaultRepaired, Level::Warn),
        (false, true) => (EventKind::VaultDamaged, Level::Critical),
        (false, false) => (EventKind::VaultDamaged, Level::Warn),
    };
    let disk = loss.disk.as_ref().map(|disk| disk.as_str());
    let what = Happening {
        kind,
        level,
        account: owner.as_deref().unwrap_or(account),
        region,
        resource_type: disk.map_or("vault", |_| "disk"),
        resource_id: disk.unwrap_or_default(),
        content: json!({
            "object": loss.object,
            "what": loss.what,
            "contentLost": loss.lost && !repaired,
            "snapshotIds": loss.snapshots.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
            "start": loss.start,
            "end": loss.end,
        }),
    };
    events::add(t, now_ms, &what)
}
