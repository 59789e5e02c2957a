//! Disks.

use super::{next_number, policies, record};
use crate::states::{DISK, DiskCause, DiskStatus};
use crate::store::{StoreError, Transaction};
use crate::words::words;

words! {
    /// What a disk is to its instance.
    DiskKind {
        /// Its first disk.
        System = "system",
        /// Any other.
        Data = "data",
    }
}

record! {
    /// A disk.
    DiskRow = "disks" {
        id: String,
        ordinal: i64,
        account: String,
        name: String,
        description: String,
        kind: DiskKind,
        status: DiskStatus,
        /// While `ReIniting`: where to go back to.
        status_before: String,
        category: String,
        performance_level: String,
        size_gib: i64,
        /// Never changes.
        region: String,
        zone: String,
        resource_group: String,
        /// Set from Attaching to Detaching; null in the last steps of a deleted instance's disks.
        instance_id: Option<String>,
        device: String,
        /// By AttachDisk, with its instance, or by a client of an export.
        ever_attached: bool,
        delete_with_instance: bool,
        delete_auto_snapshot: bool,
        enable_auto_snapshot: bool,
        bursting_enabled: bool,
        provisioned_iops: i64,
        multi_attach: String,
        source_snapshot_id: String,
        image_id: String,
        /// The instance that a system disk came from.
        origin_instance_id: String,
        created_ms: i64,
        attached_ms: Option<i64>,
        detached_ms: Option<i64>,
        /// What its captures store is under a key of its own. Never changes.
        encrypted: bool,
    }
}

impl DiskRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "disk")
    }

    /// Does one transition of the table and writes the row; `false`: the disk is gone now. A disk that is on its way
    /// out has no policies any more.
    pub(crate) fn step(&mut self, t: &mut dyn Transaction, by: DiskCause) -> Result<bool, StoreError> {
        let next = DISK.next(self.status, by)?;
        if matches!(next, None | Some(DiskStatus::Deleting)) {
            policies::leave(t, &self.id)?;
        }
        match next {
            Some(status) => {
                self.status = status;
                self.save(t)?;
                Ok(true)
            }
            None => {
                self.remove(t)?;
                Ok(false)
            }
        }
    }
}

/// The disks that have an instance, system disk first.
pub(crate) fn of_instance(t: &mut dyn Transaction, instance_id: &str) -> Result<Vec<DiskRow>, StoreError> {
    DiskRow::select(
        t,
        "WHERE instance_id = $1 ORDER BY kind DESC, ordinal",
        &[instance_id.into()],
    )
}

/// Whether a disk that was made from the snapshot still exists.
pub(crate) fn any_from(t: &mut dyn Transaction, snapshot_id: &str) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM disks WHERE source_snapshot_id = $1 AND status <> $2 LIMIT 1";
    let deleting = DiskStatus::Deleting.word().into();
    Ok(t.query_one(sql, &[snapshot_id.into(), deleting])?.is_some())
}
