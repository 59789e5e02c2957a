//! Automatic snapshot policies, the disks that they are applied to, and what each run owes.

use super::{next_number, record};
use crate::catalogue::snapshots::{SnapshotRow, SnapshotType};
use crate::clock::{DAY_MS, MINUTE_MS};
use crate::store::{StoreError, StoreErrorKind, Transaction};
use tidemark_ecs::schedule::Schedule;

/// After how long a slot whose snapshot could not be marked is tried again.
pub(crate) const RETRY_MS: i64 = MINUTE_MS;
/// For how long from its snapshot on a copy that fails is begun again.
const TRIED_MS: i64 = 7 * DAY_MS;

record! {
    /// A policy.
    PolicyRow = "policies" {
        id: String,
        ordinal: i64,
        account: String,
        region: String,
        name: String,
        /// With `weekdays`: [`Schedule::masks`].
        hours: i64,
        weekdays: i64,
        /// -1: for ever.
        retention_days: i64,
        resource_group: String,
        copy_enabled: bool,
        copy_region: String,
        copy_retention_days: i64,
        copy_encrypted: bool,
        created_ms: i64,
    }
}

record! {
    /// A policy on a disk.
    AppliedRow = "policy_disks" {
        ordinal: i64,
        account: String,
        policy_id: String,
        disk_id: String,
        /// The next slot, or a past one that is still to be served.
        due_ms: i64,
        /// The configured clock when `due_ms` was decided.
        decided_ms: i64,
        /// Why its slots are skipped, as an event has told; empty: they are not, or it has to be told again.
        told: String,
    }
}

record! {
    /// What an automatic snapshot came from, and the copy that it is owed.
    RunRow = "policy_runs" {
        snapshot_id: String,
        policy_id: String,
        slot_ms: i64,
        /// Empty: no copy, or it is begun.
        copy_region: String,
        copy_retention_days: i64,
        copy_encrypted: bool,
    }
}

impl PolicyRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "policy")
    }

    /// When it runs.
    pub(crate) fn schedule(&self) -> Result<Schedule, StoreError> {
        Schedule::from_masks(self.hours, self.weekdays).ok_or_else(|| {
            let subject = format!("schedule of policy {}", self.id);
            StoreError::new(StoreErrorKind::Corrupt, subject, "no hours or weekdays")
        })
    }

    /// How long its snapshots are kept; `None`: for ever.
    pub(crate) fn kept_days(&self) -> Option<i64> {
        Some(self.retention_days).filter(|days| *days > 0)
    }

    /// What a snapshot that it takes for this slot owes.
    pub(crate) fn run(&self, snapshot_id: &str, slot_ms: i64) -> RunRow {
        let region = if self.copy_enabled {
            self.copy_region.clone()
        } else {
            String::new()
        };
        RunRow {
            snapshot_id: snapshot_id.to_owned(),
            policy_id: self.id.clone(),
            slot_ms,
            copy_region: region,
            copy_retention_days: self.copy_retention_days,
            copy_encrypted: self.copy_encrypted,
        }
    }
}

impl AppliedRow {
    /// Decides anew when it is due: at the first slot after now.
    pub(crate) fn decide(
        &mut self,
        t: &mut dyn Transaction,
        schedule: Schedule,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.due_ms = schedule.next_after(now_ms);
        self.decided_ms = now_ms;
        self.save(t)
    }
}

/// How many policies an account has in a region.
pub(crate) fn count(t: &mut dyn Transaction, account: &str, region: &str) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM policies WHERE account = $1 AND region = $2";
    number(t, sql, account, region)
}

/// How many disks a policy is applied to.
pub(crate) fn disk_count(t: &mut dyn Transaction, policy: &PolicyRow) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM policy_disks WHERE policy_id = $1 AND account = $2";
    number(t, sql, &policy.id, &policy.account)
}

fn number(t: &mut dyn Transaction, sql: &str, first: &str, second: &str) -> Result<u64, StoreError> {
    let row = t.query_one(sql, &[first.into(), second.into()])?;
    Ok(row.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs())
}

/// A disk's policies, the one that it has had longest first.
pub(crate) fn of_disk(t: &mut dyn Transaction, disk_id: &str) -> Result<Vec<AppliedRow>, StoreError> {
    AppliedRow::select(t, "WHERE disk_id = $1 ORDER BY ordinal", &[disk_id.into()])
}

/// A policy's disks, the one that has had it longest first.
pub(crate) fn of_policy(t: &mut dyn Transaction, policy_id: &str) -> Result<Vec<AppliedRow>, StoreError> {
    AppliedRow::select(t, "WHERE policy_id = $1 ORDER BY ordinal", &[policy_id.into()])
}

/// Applies a policy to a disk that does not have it, from the first slot after now on.
pub(crate) fn apply(
    t: &mut dyn Transaction,
    policy: &PolicyRow,
    disk_id: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let row = AppliedRow {
        ordinal: next_number(t, "policy_disk")?,
        account: policy.account.clone(),
        policy_id: policy.id.clone(),
        disk_id: disk_id.to_owned(),
        due_ms: policy.schedule()?.next_after(now_ms),
        decided_ms: now_ms,
        told: String::new(),
    };
    row.insert(t)
}

/// What kept the policies of a disk from being served has ended: if they are not served again, that is news.
pub(crate) fn goes_on(t: &mut dyn Transaction, disk_id: &str) -> Result<(), StoreError> {
    let sql = "UPDATE policy_disks SET told = '' WHERE disk_id = $1";
    t.execute(sql, &[disk_id.into()]).map(drop)
}

/// Remembers whether it was told that nearly all automatic snapshots of a disk stay; answers whether that is another answer.
pub(crate) fn set_told_kept(t: &mut dyn Transaction, disk_id: &str, told: bool) -> Result<bool, StoreError> {
    let sql = "SELECT COALESCE(MAX(told_kept), 0) FROM policy_disks WHERE disk_id = $1";
    let before = t.query_one(sql, &[disk_id.into()])?;
    let before = before.map_or(Ok(0), |row| row.integer(0))? != 0;
    if before != told {
        let sql = "UPDATE policy_disks SET told_kept = $2 WHERE disk_id = $1";
        t.execute(sql, &[disk_id.into(), i64::from(told).into()])?;
    }
    Ok(before != told)
}

/// Takes all policies off a disk.
pub(crate) fn leave(t: &mut dyn Transaction, disk_id: &str) -> Result<(), StoreError> {
    t.execute("DELETE FROM policy_disks WHERE disk_id = $1", &[disk_id.into()])
        .map(drop)
}

/// What is due. Of one disk, the policy that keeps longest comes first: if only one gets its turn, it is that.
pub(crate) fn due(t: &mut dyn Transaction, now_ms: i64) -> Result<Vec<AppliedRow>, StoreError> {
    let rest = "JOIN policies ON policies.id = policy_disks.policy_id WHERE policy_disks.due_ms <= $1 \
                ORDER BY CASE WHEN policies.retention_days < 0 THEN 0 ELSE 1 END, policies.retention_days DESC, \
                policy_disks.ordinal";
    AppliedRow::select(t, rest, &[now_ms.into()])
}

/// What was decided after this instant: the clock has been set back since.
pub(crate) fn decided_after(t: &mut dyn Transaction, ms: i64) -> Result<Vec<AppliedRow>, StoreError> {
    AppliedRow::select(t, "WHERE decided_ms > $1 ORDER BY ordinal", &[ms.into()])
}

/// The slot that an automatic snapshot was taken for.
pub(crate) fn slot_of(t: &mut dyn Transaction, snapshot_id: &str) -> Result<Option<i64>, StoreError> {
    Ok(RunRow::get(t, snapshot_id)?.map(|run| run.slot_ms))
}

/// Whether a policy wants a copy of the snapshot that is not begun.
pub(crate) fn owes_copy(t: &mut dyn Transaction, snapshot_id: &str) -> Result<bool, StoreError> {
    Ok(RunRow::get(t, snapshot_id)?.is_some_and(|run| !run.copy_region.is_empty()))
}

/// A copy has failed: if a policy made it, it is owed again while its source is new. Who begins copies pauses in between.
pub(crate) fn owe_again(t: &mut dyn Transaction, copy: &SnapshotRow) -> Result<(), StoreError> {
    if !copy.is_copy() || copy.snapshot_type != SnapshotType::Timer {
        return Ok(());
    }
    let is_new = |source: &SnapshotRow| copy.modified_ms < source.created_ms.saturating_add(TRIED_MS);
    if SnapshotRow::get(t, copy.source_snapshot_id.as_str())?.is_some_and(|source| is_new(&source)) {
        let sql = "UPDATE policy_runs SET copy_region = $2 WHERE snapshot_id = $1 AND copy_region = ''";
        t.execute(sql, &[(&copy.source_snapshot_id).into(), (&copy.region).into()])?;
    }
    Ok(())
}

/// What is owed of snapshots that are accomplished, oldest first.
pub(crate) fn copies_due(t: &mut dyn Transaction) -> Result<Vec<RunRow>, StoreError> {
    // As a join it is a walk through all snapshots.
    let rest = "WHERE copy_region > '' AND EXISTS (SELECT 1 FROM snapshots WHERE snapshots.id = policy_runs.snapshot_id \
                AND snapshots.status = 'accomplished') \
                ORDER BY (SELECT ordinal FROM snapshots WHERE snapshots.id = policy_runs.snapshot_id)";
    RunRow::select(t, rest, &[])
}

/// An automatic snapshot was never marked: its slot is due again a little later.
pub(crate) fn put_back(t: &mut dyn Transaction, snapshot: &SnapshotRow) -> Result<(), StoreError> {
    let Some(run) = RunRow::get(t, &snapshot.id)? else {
        return Ok(());
    };
    let sql = "UPDATE policy_disks SET due_ms = $3 WHERE policy_id = $1 AND disk_id = $2 AND due_ms > $3";
    let again = snapshot.created_ms.saturating_add(RETRY_MS);
    let parameters = [
        run.policy_id.into(),
        (&snapshot.source_disk_id).into(),
        again.into(),
    ];
    t.execute(sql, &parameters).map(drop)
}
