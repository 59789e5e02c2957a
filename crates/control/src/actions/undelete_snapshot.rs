//! UndeleteSnapshot: brings a deleted snapshot back.

use super::describe_deleted_snapshots::vault_error;
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::catalogue::usage;
use crate::config::Limits;
use crate::notices;
use crate::rebuild::{self, FoundSnapshot};
use crate::rules;
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, Identity, RegionConfig};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::undelete_snapshot::{Request, Response};
use tidemark_node::NodeErrorKind;
use tidemark_units::SnapshotId;

impl Control {
    /// The snapshot is on the lists when this answers, as it was when it was deleted. One whose retention is over is kept for
    /// ever from then on: whoever wants it back does not want it to go again at once. For the same reason an automatic one of a
    /// disk that has as many as it can is a manual one when it is back: it would give way at the next slot. One that is listed
    /// is fine. A manual one, or one that becomes one, must have room among its disk's. The vault comes first: what was cut off in between is repeated, and finds the snapshot there.
    pub async fn undelete_snapshot(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        // Its row is gone: without a region it may be anywhere. What a user may do was settled for the home region then.
        let regions: Vec<&RegionConfig> = match request.region_id.as_deref() {
            None if caller.identity == Identity::Root => self.config().regions.iter().collect(),
            named => vec![self.region(named)?],
        };
        let (id, of) = (request.snapshot_id.clone(), caller.account.clone());
        if self.store().read(move |t| is_listed(t, &id, &of)).await? {
            return Ok(Response {});
        }
        let gone = || {
            let message = format!(
                "The snapshot {} cannot be brought back: it is gone for good, or never was.",
                request.snapshot_id
            );
            ApiError::new(404, "InvalidSnapshotId.NotFound", message)
        };
        let id = SnapshotId::new(&request.snapshot_id).map_err(|_| gone())?;
        let mut known = None;
        for region in regions {
            let record = self.node_of(&region.id)?.recorded_snapshot(&id).await;
            if let Some(record) = record.map_err(vault_error)? {
                known = Some((region.id.clone(), FoundSnapshot::from(record)));
                break;
            }
        }
        let (region, found) = known.ok_or_else(gone)?;
        if found.account() != caller.account {
            return Err(gone());
        }
        let (at, of, limits) = (region.clone(), found.clone(), self.limits().clone());
        // Before the vault changes. A snapshot that is made between this and the end may be one too many.
        self.store()
            .read(move |t| check_quota(t, &at, &of, &limits))
            .await?;
        let node = self.node_of(&region)?;
        let back = node.undelete_snapshot(&found.disk, &id).await;
        let found: FoundSnapshot = match back {
            Ok(record) => record.into(),
            Err(error) if error.kind == NodeErrorKind::Missing => return Err(gone()),
            Err(error) => return Err(vault_error(error)),
        };
        let (now, limits) = (self.now_ms(), self.limits().clone());
        self.store()
            .write(move |t| restore(t, &region, &found, &limits, now))
            .await?;
        self.jobs().wake();
        Ok(Response {})
    }
}

/// Whether there is nothing to do; refuses what is on its way out.
fn is_listed(t: &mut dyn Transaction, id: &str, account: &str) -> Result<bool, ApiError> {
    match SnapshotRow::get(t, id)?.filter(|row| row.account == account) {
        None => Ok(false),
        Some(row) if row.status == SnapshotStatus::Deleting => Err(ApiError::new(
            403,
            "Operation.Conflict",
            format!("The snapshot {id} is being deleted; once it is, it can be brought back."),
        )),
        Some(_) => Ok(true),
    }
}

/// One that will be a manual one has to have room among those of its disk.
fn check_quota(
    t: &mut dyn Transaction,
    region: &str,
    found: &FoundSnapshot,
    limits: &Limits,
) -> Result<(), ApiError> {
    let (disk, kind, is_copy) = found.counts_as();
    if kind != SnapshotType::User && !gives_way(t, &disk, region, kind, is_copy, limits)? {
        return Ok(());
    }
    let most = limits.manual_snapshots_per_disk;
    if snapshots::count(t, &disk, region, SnapshotType::User)? >= most {
        let message = format!("The disk {disk} has {most} manual snapshots already; delete one first.");
        return Err(ApiError::new(403, "QuotaExceed.Snapshot", message));
    }
    Ok(())
}

/// Whether it would give way at the next slot, if it came back as it was.
fn gives_way(
    t: &mut dyn Transaction,
    disk: &str,
    region: &str,
    kind: SnapshotType,
    is_copy: bool,
    limits: &Limits,
) -> Result<bool, StoreError> {
    let counts = kind == SnapshotType::Timer && !is_copy;
    Ok(counts && rules::automatic_count(t, disk, region)? >= limits.automatic_snapshots_per_disk)
}

fn restore(
    t: &mut dyn Transaction,
    region: &str,
    found: &FoundSnapshot,
    limits: &Limits,
    now_ms: i64,
) -> Result<(), ApiError> {
    let is_back = SnapshotRow::get(t, found.snapshot.as_str())?.is_none();
    rebuild::restore_one(t, region, found)?;
    usage::reconcile(t, found.snapshot.as_str(), now_ms)?;
    let Some(mut row) = SnapshotRow::get(t, found.snapshot.as_str())? else {
        return Ok(());
    };
    let is_over = row.expires_ms.is_some_and(|end| end <= now_ms);
    let (disk, kind, is_copy) = (&row.source_disk_id, row.snapshot_type, row.is_copy());
    let gives_way = is_back && gives_way(t, disk, &row.region, kind, is_copy, limits)?;
    if is_over {
        (row.retention_days, row.expires_ms) = (None, None);
    }
    if gives_way {
        row.snapshot_type = SnapshotType::User;
    }
    if is_over || gives_way {
        row.modified_ms = now_ms;
        row.save(t)?;
        rules::update_record(t, &row.id, now_ms)?;
    }
    if is_back && row.snapshot_type == SnapshotType::User {
        notices::quota(t, &row, limits.manual_snapshots_per_disk, now_ms)?;
    }
    Ok(notices::snapshot_undeleted(t, &row, now_ms)?)
}
