//! What time brings: retention, releases, forgotten rows, disks that stopped serving.

use crate::Control;
use crate::actions::delete_instance;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::{nonces, tokens};
use crate::clock::DAY_MS;
use crate::rules;
use crate::states::{INSTANCE, InstanceCause, SnapshotCause};
use crate::store::{StoreError, Transaction};
use tidemark_ecs::ApiError;
use tidemark_node::NodeErrorKind;
use tidemark_units::DiskId;

/// How long a failed snapshot stays listed.
const FAILED_KEPT_MS: i64 = 7 * DAY_MS;

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
        self.store().write(move |t| expire(t, now)).await?;
        self.jobs().wake();
        self.revive_disks().await?;
        Ok(())
    }

    /// Opens again what stopped serving after a failed write or sync, or could not be opened.
    async fn revive_disks(&self) -> Result<(), StoreError> {
        let rows = self
            .store()
            .read(|t| DiskRow::select(t, "WHERE status <> 'Creating'", &[]))
            .await?;
        for disk in rows {
            let Ok(id) = DiskId::new(disk.id.as_str()) else {
                continue;
            };
            let down = match self.node().disk_status(&id).await {
                Ok(status) => status.poisoned,
                Err(error) if error.kind == NodeErrorKind::Corrupt => None,
                Err(error) => Some(error.message),
            };
            let Some(why) = down else { continue };
            // While a job moves the disk, its export is the job's.
            let lane = disk.instance_id.as_ref().unwrap_or(&disk.id);
            if let Some(_held) = self.hold_lane(lane)
                && self.reopen_disk(&disk.id).await
            {
                tracing::warn!(disk = %disk.id, %why, "the disk had stopped serving and serves again");
            }
        }
        Ok(())
    }
}

fn expire(t: &mut dyn Transaction, now: i64) -> Result<(), ApiError> {
    tokens::sweep(t, now)?;
    let due = "WHERE status = 'accomplished' AND expires_ms <= $1 \
               OR status = 'failed' AND (expires_ms <= $1 OR modified_ms <= $2)";
    for row in SnapshotRow::select(t, due, &[now.into(), (now - FAILED_KEPT_MS).into()])? {
        if rules::in_transfer(t, &row.id)?.is_some() {
            continue; // the next round
        }
        tracing::info!(snapshot = %row.id, "its time is over");
        rules::remove_snapshot(t, row, SnapshotCause::Expired, now)?;
    }
    for instance in InstanceRow::select(t, "WHERE auto_release_ms <= $1", &[now.into()])? {
        if !INSTANCE.allows(instance.status, InstanceCause::ForceDelete) {
            continue;
        }
        let id = instance.id.clone();
        match delete_instance::release(t, instance, InstanceCause::ForceDelete, now) {
            Ok(_) => tracing::info!(instance = %id, "its AutoReleaseTime is reached"),
            // A disk is on its way somewhere: the next round.
            Err(error) if error.status == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
