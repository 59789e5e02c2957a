//! What time brings: automatic snapshots (`scheduler`), retention, releases, forgotten rows, disks that stopped serving,
//! damage that nobody was told of (`damage`).

use crate::Control;
use crate::actions::delete_instance;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::images;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::{events, keys, locks, nonces, tasks, tokens, usage};
use crate::clock::DAY_MS;
use crate::config::Limits;
use crate::notices::{self, By};
use crate::rules;
use crate::states::{DiskStatus, INSTANCE, InstanceCause, SnapshotCause, SnapshotStatus};
use crate::store::{Row, StoreError, Transaction};
use tidemark_ecs::ApiError;
use tidemark_node::NodeErrorKind;
use tidemark_units::DiskId;

/// How long a failed snapshot stays listed.
const FAILED_KEPT_MS: i64 = 7 * DAY_MS;

/// Most snapshots whose time is over that one transaction removes, so that callers have their turns in between.
const EXPIRED_AT_ONCE: usize = 200;
/// How long a task that has ended stays listed.
const TASKS_KEPT_MS: i64 = 30 * DAY_MS;
/// How long temporary keys are remembered when they have ended, so that who still uses them learns why they do not work.
const SESSION_REMEMBERED_MS: i64 = DAY_MS;

/// Does the rounds until the control plane is shut down.
pub(crate) async fn keep(control: Control) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(control.config().housekeeping) => {}
            () = control.stopped() => return,
        }
        if let Err(error) = control.keep_house().await {
            tracing::error!(%error, "housekeeping failed, and will be tried again");
        }
    }
}

impl Control {
    /// One round: what is due at this time of the configured clock. Runs by itself, too.
    pub async fn keep_house(&self) -> Result<(), ApiError> {
        let now = self.now_ms();
        // Each on its own, so that callers have their turns in between.
        while self
            .store()
            .write_unsynced(move |t| nonces::sweep(t, now))
            .await?
        {}
        let limits = self.limits().clone();
        self.store().write(move |t| expire(t, &limits, now)).await?;
        self.expire_snapshots(now).await?;
        self.reconcile_usage().await?;
        self.run_policies().await?;
        self.begin_due_copies().await?;
        self.jobs().wake();
        self.revive_disks().await?;
        self.look_at_guests().await?;
        self.tell_all_damage().await;
        Ok(())
    }

    /// Removes the snapshots whose time is over.
    async fn expire_snapshots(&self, now: i64) -> Result<(), StoreError> {
        let over = self.store().read_in_background(move |t| ids_over(t, now)).await?;
        for some in over.chunks(EXPIRED_AT_ONCE) {
            let some = some.to_vec();
            self.store()
                .write(move |t| some.iter().try_for_each(|id| expire_one(t, id, now)))
                .await?;
        }
        Ok(())
    }

    /// Opens again what stopped serving after a failed write or sync, or could not be opened.
    async fn revive_disks(&self) -> Result<(), StoreError> {
        let rows = self
            .store()
            .read_in_background(|t| DiskRow::select(t, "WHERE status <> 'Creating'", &[]))
            .await?;
        for disk in rows {
            // On its way out, or off an instance that is gone: a job has it, in that instance's lane.
            let leaves = disk.status == DiskStatus::Deleting
                || disk.status == DiskStatus::Detaching && disk.instance_id.is_none();
            if leaves {
                continue;
            }
            let Ok(id) = DiskId::new(disk.id.as_str()) else {
                continue;
            };
            let down = match self.node_of(&disk.region)?.disk_status(&id).await {
                Ok(status) => status.poisoned,
                Err(error) if error.kind == NodeErrorKind::Corrupt => None,
                Err(error) => Some(error.message),
            };
            let Some(why) = down else { continue };
            // While a job moves the disk, its export is the job's.
            let lane = disk.instance_id.as_ref().unwrap_or(&disk.id);
            if let Some(_held) = self.hold_lane(lane)
                && self.reopen_disk(&disk).await
            {
                tracing::warn!(disk = %disk.id, %why, "the disk had stopped serving and serves again");
            }
        }
        Ok(())
    }
}

fn expire(t: &mut dyn Transaction, limits: &Limits, now: i64) -> Result<(), ApiError> {
    tokens::sweep(t, now)?;
    tasks::sweep(t, now - TASKS_KEPT_MS)?;
    usage::sweep(
        t,
        now - i64::try_from(limits.usage_kept_days)
            .unwrap_or(i64::MAX / DAY_MS)
            .saturating_mul(DAY_MS),
    )?;
    keys::sweep_sessions(t, now - SESSION_REMEMBERED_MS)?;
    events::sweep(t, limits, now)?;
    for instance in InstanceRow::select(t, "WHERE auto_release_ms <= $1", &[now.into()])? {
        if !INSTANCE.allows(instance.status, InstanceCause::ForceDelete) {
            continue;
        }
        let id = instance.id.clone();
        let by = By::service("AutoReleaseTime");
        match delete_instance::release(t, instance, InstanceCause::ForceDelete, &by, now) {
            Ok(_) => tracing::info!(instance = %id, "its AutoReleaseTime is reached"),
            // A disk is on its way somewhere: the next round.
            Err(error) if error.status == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ids of the snapshots whose retention is over, or that have been failed for long, oldest first.
pub(crate) fn ids_over(t: &mut dyn Transaction, now: i64) -> Result<Vec<String>, StoreError> {
    // Sorted here: asked for their order, the database walks through all snapshots in it.
    let sql = "SELECT ordinal, id FROM snapshots WHERE status = 'accomplished' AND expires_ms <= $1 \
               OR status = 'failed' AND (expires_ms <= $1 OR modified_ms <= $2)";
    let rows = t.query(sql, &[now.into(), (now - FAILED_KEPT_MS).into()])?;
    let read = |row: &Row| Ok((row.integer(0)?, row.text(1)?));
    let mut over = rows.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
    over.sort_unstable();
    Ok(over.into_iter().map(|(_, id)| id).collect())
}

/// Removes a snapshot if its time is over still, and nobody needs it.
fn expire_one(t: &mut dyn Transaction, id: &str, now: i64) -> Result<(), StoreError> {
    let Some(row) = SnapshotRow::get(t, id)? else {
        return Ok(());
    };
    let is_old = row.expires_ms.is_some_and(|end| end <= now);
    let is_over = match row.status {
        SnapshotStatus::Accomplished => is_old,
        SnapshotStatus::Failed => is_old || row.modified_ms <= now - FAILED_KEPT_MS,
        SnapshotStatus::Progressing | SnapshotStatus::Deleting => false,
    };
    if !is_over {
        return Ok(());
    }
    // What is being made from it needs it still, an image for as long as there is the image; a lock may end later
    // than its retention, and a copy that is owed begin later.
    let is_needed = rules::in_transfer(t, &row.id)?.is_some()
        || images::feeds(t, &row.id)?.is_some()
        || locks::binding(t, &row.id, now)?.is_some()
        || rules::is_owed(t, &row, row.expires_ms.unwrap_or(now), now)?;
    if is_needed {
        return Ok(()); // the next round
    }
    tracing::info!(snapshot = %row.id, "its time is over");
    notices::snapshot_expired(t, &row, now)?;
    rules::remove_snapshot(t, row, SnapshotCause::Expired, now).map(drop)
}
