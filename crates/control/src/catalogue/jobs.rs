//! Jobs: work that was promised and has to be done, whatever happens in between.

use super::{next_number, record};
use crate::store::{StoreError, Transaction};
use crate::words::words;

words! {
    /// What a job does; its subject is a resource id.
    JobKind {
        /// Make a disk's volume.
        CreateDisk = "create_disk",
        /// Make a new instance's disks and export them; the argument is the first instance that was asked for with it.
        RunInstance = "run_instance",
        /// Export a stopped instance's disks.
        StartInstance = "start_instance",
        /// End an instance's guest and withdraw its disks; the argument may be [`BY_FORCE`].
        StopInstance = "stop_instance",
        /// End the guest of an instance, which may be gone itself; the argument may be [`BY_FORCE`].
        EndGuest = "end_guest",
        /// Bring a disk to its instance.
        AttachDisk = "attach_disk",
        /// Take a disk from its instance.
        DetachDisk = "detach_disk",
        /// Remove a disk's volume.
        DeleteDisk = "delete_disk",
        /// Roll a disk back; the argument is the snapshot.
        ResetDisk = "reset_disk",
        /// Make a disk larger; the argument is its new size in GiB.
        ResizeDisk = "resize_disk",
        /// Give a disk the content that it was made with; the argument is the snapshot, or nothing, and [`THEN_START`].
        ReInitDisk = "reinit_disk",
        /// Make the disk that takes the place of an instance's system disk.
        ReplaceSystemDisk = "replace_system_disk",
        /// Make a new instance's disks and leave it stopped; the argument is the instance.
        CreateInstance = "create_instance",
        /// Follow the snapshots of an image to their ends.
        CompleteImage = "complete_image",
        /// Follow a capture to its end.
        CompleteSnapshot = "complete_snapshot",
        /// Have a copy made, and follow it to its end.
        CopySnapshot = "copy_snapshot",
        /// Remove a snapshot.
        DeleteSnapshot = "delete_snapshot",
        /// Write what the catalogue says of a snapshot into its record in the vault.
        UpdateRecord = "update_record",
        /// Send a webhook the events that it has not seen.
        DeliverEvents = "deliver_events",
    }
}

/// The argument of a job that ends a guest without asking it.
pub(crate) const BY_FORCE: &str = "force";

/// Ends the argument of a job after which the disk's instance is to be started.
pub(crate) const THEN_START: &str = " start";

record! {
    /// A job that is not finished.
    JobRow = "jobs" {
        id: i64,
        kind: JobKind,
        subject: String,
        /// Jobs with the same lane run one after another, oldest first.
        lane: String,
        arguments: String,
        attempts: i64,
        last_error: String,
        created_ms: i64,
    }
}

/// Adds a job; returns its id.
pub(crate) fn add(
    t: &mut dyn Transaction,
    kind: JobKind,
    subject: &str,
    lane: &str,
    arguments: &str,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let id = next_number(t, "job")?;
    let row = JobRow {
        id,
        kind,
        subject: subject.into(),
        lane: lane.into(),
        arguments: arguments.into(),
        attempts: 0,
        last_error: String::new(),
        created_ms: now_ms,
    };
    row.insert(t)?;
    Ok(id)
}

/// All unfinished jobs, oldest first.
pub(crate) fn all(t: &mut dyn Transaction) -> Result<Vec<JobRow>, StoreError> {
    JobRow::select(t, "ORDER BY id", &[])
}

/// Takes a job off the list: its effect is committed in the same transaction.
pub(crate) fn finish(t: &mut dyn Transaction, id: i64) -> Result<(), StoreError> {
    t.execute("DELETE FROM jobs WHERE id = $1", &[id.into()])
        .map(drop)
}

/// The newest of a subject's jobs of one kind; 0: there is none.
pub(crate) fn newest(t: &mut dyn Transaction, kind: JobKind, subject: &str) -> Result<i64, StoreError> {
    let sql = "SELECT COALESCE(MAX(id), 0) FROM jobs WHERE kind = $1 AND subject = $2";
    let row = t.query_one(sql, &[kind.word().into(), subject.into()])?;
    row.map_or(Ok(0), |row| row.integer(0))
}

/// Takes a subject's jobs of one kind off the list, up to and with `last`: one run has done them all.
pub(crate) fn finish_up_to(
    t: &mut dyn Transaction,
    kind: JobKind,
    subject: &str,
    last: i64,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM jobs WHERE kind = $1 AND subject = $2 AND id <= $3";
    t.execute(sql, &[kind.word().into(), subject.into(), last.into()])
        .map(drop)
}

/// Drops a subject's jobs of one kind: something else has made them pointless.
pub(crate) fn drop_kind(t: &mut dyn Transaction, kind: JobKind, subject: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM jobs WHERE kind = $1 AND subject = $2";
    t.execute(sql, &[kind.word().into(), subject.into()]).map(drop)
}

/// A job that goes on for long has got somewhere: what fails next has not failed before.
pub(crate) fn forget_failures(t: &mut dyn Transaction, id: i64) -> Result<(), StoreError> {
    let sql = "UPDATE jobs SET attempts = 0, last_error = '' WHERE id = $1 AND attempts > 0";
    t.execute(sql, &[id.into()]).map(drop)
}

/// Notes a failed attempt, for whoever looks.
pub(crate) fn note_failure(t: &mut dyn Transaction, id: i64, error: &str) -> Result<(), StoreError> {
    let sql = "UPDATE jobs SET attempts = attempts + 1, last_error = $2 WHERE id = $1";
    t.execute(sql, &[id.into(), error.into()]).map(drop)
}
