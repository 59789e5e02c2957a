//! Making a catalogue again from what the vault's records say.
//!
//! What must stay true: one transaction, so there is all of it or nothing; a catalogue that holds something is not
//! touched, unless it is to be added to, and then what it has stays as it is; ids are the old ones. The snapshots'
//! disks are not made again: their data is gone, and a snapshot outlives its disk.
//!
//! Not here: reading the vault (the caller), accounts, keys, instances and disks, which are in no vault.

use crate::catalogue::groups::{self, GroupRow};
use crate::catalogue::locks::LockRow;
use crate::catalogue::snapshots::{self, SnapshotRow, SnapshotType};
use crate::catalogue::tags::{self, ResourceType};
use crate::clock::Clock;
use crate::config::DEFAULT_ACCOUNT;
use crate::control::{DEFAULT_RESOURCE_GROUP, random};
use crate::record_meta::{Reading, RecordedGroup, RecordedLock};
use crate::states::{SNAPSHOT, SnapshotCause};
use crate::store::{self, Store, StoreError, Transaction};
use crate::{CATALOGUE_FILE, ControlError, rules};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tidemark_ecs::id::{self, Kind};
use tidemark_ecs::model::Tag;
use tidemark_node::RecordedSnapshot;
use tidemark_units::{DiskId, GIB, SnapshotId};

/// Where, and how much of it.
#[derive(Clone, Debug)]
pub struct Rebuild {
    /// The catalogue will be `<data_dir>/catalogue.db`; no service uses it.
    pub data_dir: PathBuf,
    /// The region that will be served.
    pub region: String,
    /// Add what is missing to a catalogue that holds something.
    pub merge: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Business time.
    pub clock: Clock,
}

/// A snapshot, as its record in the vault tells of it.
#[derive(Clone, Debug)]
pub struct FoundSnapshot {
    /// Its id.
    pub snapshot: SnapshotId,
    /// The disk that it is of.
    pub disk: DiskId,
    /// That disk's size, in bytes.
    pub size_bytes: u64,
    /// When it was made: milliseconds since 1970-01-01 UTC.
    pub created_ms: i64,
    /// Bytes of all its chunks that are not zeros.
    pub full_bytes: u64,
    /// Bytes that it added to the vault.
    pub stored_bytes: u64,
    /// What a catalogue had said of it.
    pub meta: Value,
}

impl FoundSnapshot {
    /// Whose snapshot it is.
    pub(crate) fn account(&self) -> String {
        account(&mut Reading::new(&self.meta))
    }

    /// What decides among which snapshots it counts when it is back: its disk, its type, and whether it is a copy.
    pub(crate) fn counts_as(&self) -> (String, SnapshotType, bool) {
        let row = row(&mut Reading::new(&self.meta), self);
        (row.source_disk_id.clone(), row.snapshot_type, row.is_copy())
    }

    /// The name that people gave it, or `""`.
    pub(crate) fn name(&self) -> String {
        Reading::new(&self.meta).name()
    }
}

impl From<RecordedSnapshot> for FoundSnapshot {
    fn from(record: RecordedSnapshot) -> Self {
        Self {
            snapshot: record.snapshot,
            disk: record.disk,
            size_bytes: record.size_bytes,
            created_ms: record.created_ms,
            full_bytes: record.full_bytes,
            stored_bytes: record.stored_bytes,
            meta: record.meta,
        }
    }
}

/// A snapshot that is in the catalogue now (or would be).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Its id.
    pub snapshot: String,
    /// Its disk's.
    pub disk: String,
    /// Its name.
    pub name: String,
    /// Whether its retention is over: a service deletes it soon after its start.
    pub expired: bool,
}

/// What was done (or would be).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Snapshots that are new in the catalogue, oldest first.
    pub added: Vec<Rebuilt>,
    /// Ids of those that it had already.
    pub kept: Vec<String>,
    /// What could not be understood: a snapshot's id, and a sentence.
    pub problems: Vec<(String, String)>,
    /// Regions in which snapshots were made, other than the one that will be served.
    pub other_regions: BTreeSet<String>,
}

/// A catalogue of these snapshots, or more of it.
pub async fn rebuild(what: &Rebuild, found: Vec<FoundSnapshot>) -> Result<RebuildReport, ControlError> {
    let path = what.data_dir.join(CATALOGUE_FILE);
    // An empty file is what a first start leaves that was killed right away.
    let there = match std::fs::metadata(&path) {
        Ok(file) if file.len() > 0 => store::contents(&path)?,
        _ => store::Contents::default(),
    };
    if !what.merge && !there.is_empty() {
        return Err(ControlError::NotEmpty {
            path,
            what: there.to_string(),
        });
    }
    let plan = Plan::new(what, found, &there.snapshots);
    if what.dry_run {
        return Ok(plan.report);
    }
    let store = Store::open(&path)?;
    let (rows, region) = (plan.rows, what.region.clone());
    let insert = move |t: &mut dyn Transaction| insert(t, &region, rows);
    store.write::<_, StoreError, _>(insert).await?;
    Ok(plan.report)
}

/// Makes the row of one snapshot that was deleted, with its tags, number and chain, in a catalogue that is in use. One that
/// it has stays as it is. No lock comes back: one that binds would have kept it from being deleted.
pub(crate) fn restore_one(
    t: &mut dyn Transaction,
    region: &str,
    found: &FoundSnapshot,
) -> Result<(), StoreError> {
    if SnapshotRow::get(t, found.snapshot.as_str())?.is_some() {
        return Ok(());
    }
    let mut meta = Reading::new(&found.meta);
    let new = NewRow {
        row: row(&mut meta, found),
        ordinal: meta.ordinal(),
        tags: meta.tags(),
        group: meta.snapshot_group(),
        lock: None,
    };
    for problem in meta.problems {
        tracing::warn!(snapshot = %found.snapshot, %problem, "a snapshot comes back without a part of what was said of it");
    }
    insert(t, region, vec![new])
}

/// A row to be, but for its number and its chain.
struct NewRow {
    row: SnapshotRow,
    /// Its number in the catalogue that is lost.
    ordinal: Option<i64>,
    tags: Vec<Tag>,
    group: Option<RecordedGroup>,
    lock: Option<RecordedLock>,
}

/// Rows to be, and what is told of them.
struct Plan {
    rows: Vec<NewRow>,
    report: RebuildReport,
}

impl Plan {
    fn new(what: &Rebuild, mut found: Vec<FoundSnapshot>, there: &BTreeSet<String>) -> Self {
        let (mut rows, mut report) = (Vec::new(), RebuildReport::default());
        found.sort_by(|a, b| (a.created_ms, &a.snapshot).cmp(&(b.created_ms, &b.snapshot)));
        for one in &found {
            if there.contains(one.snapshot.as_str()) {
                report.kept.push(one.snapshot.to_string());
                continue;
            }
            let mut meta = Reading::new(&one.meta);
            let row = row(&mut meta, one);
            report.added.push(Rebuilt {
                snapshot: row.id.clone(),
                disk: row.source_disk_id.clone(),
                name: row.name.clone(),
                expired: row.expires_ms.is_some_and(|end| end <= what.clock.now_ms()),
            });
            let region = meta.region().filter(|region| *region != what.region);
            report.other_regions.extend(region);
            rows.push(NewRow {
                row,
                ordinal: meta.ordinal(),
                tags: meta.tags(),
                group: meta.snapshot_group(),
                lock: meta.lock(),
            });
            let named = |problem| (one.snapshot.to_string(), problem);
            report.problems.extend(meta.problems.into_iter().map(named));
        }
        Self { rows, report }
    }
}

/// The row of a snapshot, but for its number and its link.
fn row(meta: &mut Reading<'_>, one: &FoundSnapshot) -> SnapshotRow {
    let retention_days = meta.retention_days();
    let copy_of = meta.copy_of();
    // A copy's record has the time of what it is a copy of.
    let created_ms = copy_of.as_ref().map_or(one.created_ms, |copy| copy.copied_ms);
    let (source_snapshot_id, source_region_id) =
        copy_of.map_or_else(Default::default, |copy| (copy.snapshot, copy.region));
    SnapshotRow {
        id: one.snapshot.to_string(),
        ordinal: 0,
        account: account(meta),
        name: meta.name(),
        description: meta.description(),
        // The insertion asks the table.
        status: crate::states::SnapshotStatus::Accomplished,
        marked: true,
        percent: 100,
        failure: String::new(),
        link_id: meta.link_id().unwrap_or_default(),
        source_disk_id: one.disk.to_string(),
        source_disk_kind: meta.source_disk_kind(),
        source_disk_size_gib: signed(one.size_bytes.div_ceil(GIB)),
        snapshot_type: meta.snapshot_type(),
        category: meta.category(),
        resource_group: meta
            .resource_group()
            .unwrap_or_else(|| DEFAULT_RESOURCE_GROUP.into()),
        retention_days,
        instant_access: meta.instant_access(),
        instant_access_days: meta.instant_access_days(),
        full_bytes: signed(one.full_bytes),
        stored_bytes: signed(one.stored_bytes),
        created_ms,
        modified_ms: meta.modified_ms().unwrap_or(created_ms).max(created_ms),
        expires_ms: rules::expiry(created_ms, retention_days),
        encrypted: meta.encrypted(),
        // The insertion knows.
        region: String::new(),
        source_snapshot_id,
        source_region_id,
    }
}

fn account(meta: &mut Reading<'_>) -> String {
    meta.account().unwrap_or_else(|| DEFAULT_ACCOUNT.into())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn insert(t: &mut dyn Transaction, region: &str, rows: Vec<NewRow>) -> Result<(), StoreError> {
    // The old numbers first, where they are free: lists keep their order, and no new number is one of them.
    let mut numberless = Vec::new();
    for mut new in rows {
        new.row.status = SNAPSHOT.birth(SnapshotCause::Rebuilt)?;
        new.row.region = region.to_owned();
        new.row.link_id = link_of(t, &new.row)?;
        match new.ordinal {
            Some(ordinal) if snapshots::take_ordinal(t, ordinal)? => {
                new.row.ordinal = ordinal;
                add(t, &new)?;
            }
            _ => numberless.push(new),
        }
    }
    for mut new in numberless {
        new.row.ordinal = SnapshotRow::next_ordinal(t)?;
        add(t, &new)?;
    }
    Ok(())
}

fn add(t: &mut dyn Transaction, new: &NewRow) -> Result<(), StoreError> {
    new.row.insert(t)?;
    tags::set(
        t,
        &new.row.account,
        ResourceType::Snapshot,
        &new.row.id,
        &new.tags,
    )?;
    // A group is of originals: what a copy's record might say of one is its original's. A lock is the copy's own.
    if let Some(group) = new.group.as_ref().filter(|_| !new.row.is_copy()) {
        rejoin(t, group, &new.row)?;
    }
    if let Some(lock) = &new.lock {
        relock(t, lock, &new.row)?;
    }
    Ok(())
}

/// The snapshot is in its group again, which is made again with the first of its members.
fn rejoin(t: &mut dyn Transaction, recorded: &RecordedGroup, row: &SnapshotRow) -> Result<(), StoreError> {
    match GroupRow::get(t, recorded.id.as_str())? {
        Some(group) if group.account != row.account => return Ok(()),
        Some(_) => {}
        None => {
            let group = GroupRow {
                id: recorded.id.clone(),
                ordinal: GroupRow::next_ordinal(t)?,
                account: row.account.clone(),
                region: row.region.clone(),
                name: recorded.name.clone(),
                description: recorded.description.clone(),
                instance_id: recorded.instance_id.clone(),
                resource_group: row.resource_group.clone(),
                made: true,
                created_ms: recorded.created_ms,
                modified_ms: recorded.created_ms,
            };
            group.insert(t)?;
        }
    }
    groups::join(t, &recorded.id, &row.id)
}

/// The snapshot is locked again. Days that had not begun to count in its record count from its creation.
fn relock(t: &mut dyn Transaction, recorded: &RecordedLock, row: &SnapshotRow) -> Result<(), StoreError> {
    let mut lock = LockRow {
        snapshot_id: row.id.clone(),
        account: row.account.clone(),
        duration_days: recorded.duration_days,
        cool_off_hours: recorded.cool_off_hours,
        created_ms: recorded.created_ms,
        cool_off_ends_ms: recorded.cool_off_ends_ms,
        starts_ms: None,
        expires_ms: None,
    };
    lock.start(recorded.starts_ms.unwrap_or(row.created_ms));
    lock.insert(t)
}

/// The disk's chain: the one that it has, the one that the record names, or a new one.
fn link_of(t: &mut dyn Transaction, row: &SnapshotRow) -> Result<String, StoreError> {
    let is_free = !row.link_id.is_empty() && !snapshots::is_link(t, &row.link_id)?;
    let fresh = match is_free {
        true => row.link_id.clone(),
        false => id::new(Kind::SnapshotLink, &row.region, &random()),
    };
    snapshots::link(t, &row.source_disk_id, &row.region, &fresh)
}
