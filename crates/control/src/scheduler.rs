//! Automatic snapshots: serves the slots of policies as they become due.
//!
//! Every policy on a disk has one instant in the catalogue at which it is due next, its *slot*. A round serves what is due,
//! and the transaction that puts an automatic snapshot into the catalogue moves the slot on to the first one after now.
//! What must stay true:
//! (1) a slot is served at most once, also across a crash and a clock that is set back by up to [`SET_BACK_MS`];
//! (2) a slot that nobody served, because the service was down or the mark failed, stays due: one snapshot makes up for all
//! slots that were missed; (3) a slot that fell into a time when the disk may not be snapshotted is skipped, for ever;
//! (4) that slots are skipped is told when the reason begins, and no more while it stays the same: a disk that lies detached
//! for a year is no news every day. A disk that was attached, or switched on, in between has begun anew;
//! (5) an automatic snapshot is removed for the quota's sake only once the newer one is durable.
//!
//! Not here: when slots are (`tidemark_ecs::schedule`), the mark itself (`actions::create_snapshot`).

use crate::actions::create_snapshot::{add, blank, check_state};
use crate::catalogue::disks::DiskRow;
use crate::catalogue::policies::{self, AppliedRow, PolicyRow};
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::catalogue::tags::{self, ResourceType};
use crate::notices::{self, Quota};
use crate::rules;
use crate::states::{DiskStatus, SnapshotCause};
use crate::store::{StoreError, Transaction};
use crate::views::at;
use crate::{Caller, Control, Identity};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemark_ecs::ApiError;
use tidemark_ecs::id::Kind;
use tidemark_ecs::schedule::{self, HOUR_MS};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Disks that are seen to at once.
const AT_ONCE: usize = 16;
/// How long a round waits for its disks. One that hangs keeps neither retention nor the next round waiting.
const ROUND_MOST: Duration = Duration::from_secs(60);
/// A clock that is set back by no more than this repeats no slot; set back by more, it goes by the new time, rather than
/// wait for the old one to come again.
const SET_BACK_MS: i64 = HOUR_MS;
/// Most automatic snapshots that one new one removes: its predecessor's place, and one more, so that a quota that was
/// lowered is reached step by step and never at the cost of many snapshots at once.
const REPLACED_MOST: usize = 2;

/// What came of a policy that is due on a disk.
enum Turn {
    /// A row that is to be marked.
    Take(Box<Taking>),
    /// Not this time.
    Skip(String),
    /// Later: something else is in the way, and will not be for long.
    Wait,
    /// Not due any more, or skipped as the slots before it.
    Nothing,
}

/// A row that is to be marked, and what its record will say.
struct Taking {
    row: SnapshotRow,
    meta: serde_json::Value,
    /// The policy, unless it was told already that its slot has to wait for a mark.
    untold: Option<String>,
}

/// Why a slot is not served now.
enum Obstacle {
    Skip(String),
    Wait,
}

impl Control {
    /// Serves every policy that is due at this time of the configured clock. A part of every round of housekeeping.
    pub async fn run_policies(&self) -> Result<(), ApiError> {
        self.notice_set_back().await?;
        let now = self.now_ms();
        let due = self
            .store()
            .read_in_background(move |t| policies::due(t, now))
            .await?;
        let mut disks: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for applied in due {
            disks.entry(applied.disk_id).or_default().push(applied.ordinal);
        }
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let serve = |(disk, applied): (String, Vec<i64>)| {
            let (control, places) = (self.clone(), Arc::clone(&places));
            // A task of its own: a mark that has begun is noted, whoever gives up waiting.
            tokio::spawn(async move {
                let _place = places.acquire().await;
                if let Err(error) = control.serve(&disk, applied).await {
                    tracing::warn!(%disk, %error, "an automatic snapshot has to wait");
                }
            })
        };
        let patience = Instant::now() + ROUND_MOST;
        for served in disks.into_iter().map(serve).collect::<Vec<_>>() {
            match tokio::time::timeout_at(patience, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "taking automatic snapshots of a disk ended early");
                }
                Err(_) => {
                    tracing::warn!("automatic snapshots take their time; other work goes on beside them");
                    break;
                }
            }
        }
        Ok(())
    }

    /// Decides anew where a decision lies in the future.
    async fn notice_set_back(&self) -> Result<(), StoreError> {
        let now = self.now_ms();
        let latest = now.saturating_add(SET_BACK_MS);
        let stale = self
            .store()
            .read_in_background(move |t| policies::decided_after(t, latest))
            .await?;
        if stale.is_empty() {
            return Ok(());
        }
        tracing::warn!("the clock was set back: automatic snapshot policies go by its new time");
        let decide = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
            for mut applied in policies::decided_after(t, latest)? {
                if let Some(policy) = PolicyRow::get(t, &applied.policy_id)? {
                    applied.decide(t, policy.schedule()?, now)?;
                }
            }
            Ok(())
        };
        self.store().write(decide).await
    }

    async fn serve(&self, disk: &str, applied: Vec<i64>) -> Result<(), ApiError> {
        // A round that came before may still be at it.
        let Some(_own) = self.hold_lane(&format!("slots of {disk}")) else {
            return Ok(());
        };
        self.settle_snapshots(disk).await?;
        let region = self.region_of_disk(disk).await?;
        for ordinal in applied {
            if self.is_stopped() {
                break;
            }
            let (id, link) = (
                self.new_id(Kind::Snapshot, &region),
                self.new_id(Kind::SnapshotLink, &region),
            );
            let lane = self.hold_lane(&id);
            let control = self.clone();
            let turn = move |t: &mut dyn Transaction| turn(t, &control, ordinal, id, &link);
            match self.store().write(turn).await? {
                Turn::Take(taking) => self.take(disk, *taking).await?,
                Turn::Skip(why) => tracing::info!(disk, %why, "an automatic snapshot is skipped"),
                Turn::Wait | Turn::Nothing => {}
            }
            drop(lane);
        }
        self.jobs().wake();
        Ok(())
    }

    /// Marks the disk; that it cannot be marked is told once for a slot, however often it is tried.
    async fn take(&self, disk: &str, taking: Taking) -> Result<(), ApiError> {
        let Taking { row, meta, untold } = taking;
        let marked = self.mark_new(row, meta).await;
        if let (Err(failure), Some(policy)) = (&marked, untold) {
            let (id, now) = (disk.to_owned(), self.now_ms());
            let why = format!("{}; it is tried again", failure.message.trim_end_matches('.'));
            let tell = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
                match DiskRow::get(t, id)? {
                    Some(disk) => notices::snapshot_skipped(t, &disk, &policy, &why, now),
                    None => Ok(()),
                }
            };
            self.store().write(tell).await?;
            self.jobs().wake();
        }
        marked
    }
}

/// Decides about one policy on one disk, and does all of it that the catalogue has to know.
fn turn(
    t: &mut dyn Transaction,
    control: &Control,
    ordinal: i64,
    id: String,
    link: &str,
) -> Result<Turn, ApiError> {
    let now = control.now_ms();
    let Some(mut applied) = AppliedRow::get(t, ordinal)?.filter(|applied| applied.due_ms <= now) else {
        return Ok(Turn::Nothing);
    };
    let (policy, disk) = (
        PolicyRow::get(t, &applied.policy_id)?,
        DiskRow::get(t, &applied.disk_id)?,
    );
    let (Some(policy), Some(disk)) = (policy, disk) else {
        return Ok(Turn::Nothing);
    };
    let slot_ms = applied.due_ms;
    notice_kept(t, control, &disk, now)?;
    match obstacle(t, control, &disk, slot_ms)? {
        Some(Obstacle::Wait) => return Ok(Turn::Wait),
        Some(Obstacle::Skip(why)) => {
            let is_known = applied.told == why;
            applied.told.clone_from(&why);
            applied.decide(t, policy.schedule()?, now)?;
            if is_known {
                return Ok(Turn::Nothing);
            }
            notices::snapshot_skipped(t, &disk, &policy.id, &why, now)?;
            return Ok(Turn::Skip(why));
        }
        None => {
            applied.told = String::new();
            applied.decide(t, policy.schedule()?, now)?;
        }
    }
    let row = SnapshotRow {
        name: format!("auto2.0_{}_{}", schedule::day(at(now)), policy.id),
        snapshot_type: SnapshotType::Timer,
        resource_group: disk.resource_group.clone(),
        retention_days: policy.kept_days(),
        expires_ms: rules::expiry(now, policy.kept_days()),
        ..blank(t, &disk, SnapshotCause::Scheduled, (id, link), now)?
    };
    let tags = tags::of(t, ResourceType::Policy, &policy.id)?;
    let meta = add(t, &row, &tags, &disk)?;
    policy.run(&row.id, slot_ms).insert(t)?;
    // What is tried again after a failure is due between two slots.
    let is_slot = policy
        .schedule()?
        .next_after(slot_ms.saturating_sub(policies::RETRY_MS))
        <= now;
    let untold = is_slot.then_some(policy.id);
    Ok(Turn::Take(Box::new(Taking { row, meta, untold })))
}

/// What keeps a slot from being served now.
fn obstacle(
    t: &mut dyn Transaction,
    control: &Control,
    disk: &DiskRow,
    slot_ms: i64,
) -> Result<Option<Obstacle>, ApiError> {
    let skip = |why: String| Ok(Some(Obstacle::Skip(why)));
    if !disk.enable_auto_snapshot {
        return skip("the disk's EnableAutoSnapshot is off".into());
    }
    if disk.status != DiskStatus::InUse {
        return skip(format!("the disk is {}", disk.status));
    }
    let owner = Caller {
        account: disk.account.clone(),
        access_key: String::new(),
        identity: Identity::Root,
        source: None,
        region: None,
        request_id: None,
    };
    match check_state(t, &owner, disk) {
        Err(failure) if failure.is_server_fault() => return Err(failure),
        Err(refusal) => return skip(refusal.message),
        Ok(()) => {}
    }
    let limits = control.limits();
    let in_creation = snapshots::progressing(t, &disk.id)?;
    if in_creation.len() as u64 >= limits.concurrent_snapshots_per_disk {
        for other in &in_creation {
            // What ran already when the slot came is in its way. What began since then is only quicker: another policy's
            // for the same slot, or for an earlier one that was missed as this one was; and what somebody asked for.
            let is_automatic = policies::slot_of(t, &other.id)?.is_some();
            let earlier = is_automatic && other.created_ms < slot_ms;
            if earlier || limits.concurrent_snapshots_per_disk > 1 {
                return skip(format!("the snapshot {} is still being created", other.id));
            }
        }
        return Ok(Some(Obstacle::Wait));
    }
    let most = limits.automatic_snapshots_per_disk;
    if rules::automatic_count(t, &disk.id, &disk.region)? >= most
        && rules::oldest_to_give_way(t, &disk.id, &disk.region, control.now_ms())?.is_none()
    {
        return skip(format!(
            "the disk has {most} automatic snapshots, and none of them can give way"
        ));
    }
    Ok(None)
}

/// Tells when nearly as many automatic snapshots of the disk as it may have stay for a lock's or an image's sake: soon none
/// can give way to a newer one. That grows and shrinks in many places, so it is looked at when the limit matters.
fn notice_kept(
    t: &mut dyn Transaction,
    control: &Control,
    disk: &DiskRow,
    now: i64,
) -> Result<(), StoreError> {
    let limit = control.limits().automatic_snapshots_per_disk;
    let near = Quota::near(limit);
    // Seldom so many, so the costlier count is seldom made.
    let kept = match rules::automatic_count(t, &disk.id, &disk.region)? >= near {
        true => rules::automatic_kept_count(t, &disk.id, &disk.region, now)?,
        false => 0,
    };
    if !policies::set_told_kept(t, &disk.id, kept >= near)? || kept < near {
        return Ok(());
    }
    let quota = Quota {
        account: &disk.account,
        region: &disk.region,
        of: ("disk", &disk.id),
        what: "automatic snapshots of the disk that cannot give way",
        limit,
    };
    quota.grown(t, (0, kept), now)
}

/// Removes the disk's oldest automatic snapshots in its region that are beyond its quota, a few at most.
pub(crate) fn replace_oldest(
    t: &mut dyn Transaction,
    control: &Control,
    (disk, region): (&str, &str),
) -> Result<(), StoreError> {
    let most = control.limits().automatic_snapshots_per_disk;
    for _ in 0..REPLACED_MOST {
        if rules::automatic_count(t, disk, region)? <= most {
            break;
        }
        let now = control.now_ms();
        let Some(oldest) = rules::oldest_to_give_way(t, disk, region, now)? else {
            break;
        };
        tracing::info!(snapshot = %oldest.id, disk, "a newer automatic snapshot takes its place");
        notices::snapshot_replaced(t, &oldest, now)?;
        rules::remove_snapshot(t, oldest, SnapshotCause::Replaced, now)?;
    }
    Ok(())
}
