//! What the vault's records say of snapshots: kept true after changes, and enough to make a lost catalogue again.

use crate::world::{FAR, REGION, World, call, call_in, code};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tidemark_control::{Clock, ControlError, FoundSnapshot, Rebuild, RebuildReport};
use tidemark_ecs::model::Snapshot;

/// What a snapshot's record in the vault says: its first line is JSON.
fn record(dir: &TempDir, id: &str) -> Value {
    record_in(dir, "vault", id)
}

/// As [`record`], in one of several vaults.
fn record_in(dir: &TempDir, vault: &str, id: &str) -> Value {
    let records = dir.path().join(vault).join("snapshots");
    let text = std::fs::read_to_string(records.join(id)).expect("a record");
    serde_json::from_str(text.lines().next().unwrap_or_default()).expect("JSON")
}

/// All snapshots, as who reads the vault finds them.
fn found(dir: &TempDir) -> Vec<FoundSnapshot> {
    found_in(dir, "vault")
}

/// As [`found`], in one of several vaults.
fn found_in(dir: &TempDir, vault: &str) -> Vec<FoundSnapshot> {
    let records = std::fs::read_dir(dir.path().join(vault).join("snapshots")).expect("records");
    let one = |name: &str| {
        let record = record_in(dir, vault, name);
        let number = |value: &Value| value.as_u64().expect("a number");
        FoundSnapshot {
            snapshot: name.parse().expect("an id"),
            disk: record["disk"].as_str().expect("a text").parse().expect("an id"),
            size_bytes: number(&record["size_bytes"]),
            created_ms: record["created_ms"].as_i64().expect("a number"),
            full_bytes: number(&record["stats"]["full_bytes"]),
            stored_bytes: number(&record["stats"]["stored_bytes"]),
            meta: record["meta"].clone(),
        }
    };
    records
        .map(|entry| one(&entry.expect("read").file_name().to_string_lossy()))
        .collect()
}

/// Rebuilds as the command does, on a thread of its own.
fn rebuild(
    dir: &Path,
    found: Vec<FoundSnapshot>,
    merge: bool,
    dry_run: bool,
) -> Result<RebuildReport, ControlError> {
    let data_dir = dir.join("control");
    std::fs::create_dir_all(&data_dir).expect("made");
    let what = Rebuild {
        data_dir,
        region: REGION.into(),
        merge,
        dry_run,
        clock: Clock::system(),
    };
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(tidemark_control::rebuild(&what, found))
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("does not panic"))
}

async fn all(world: &World) -> Vec<Snapshot> {
    let listed = call!(world, describe_snapshots, "PageSize=100");
    listed.expect("listed").snapshots
}

fn lose_the_catalogue(dir: &TempDir) {
    // Its threads end a moment after the control plane, and tidy up by name: not beside a new one.
    let started = std::time::Instant::now();
    while dir.path().join("control/catalogue.db-wal").exists() {
        assert!(
            started.elapsed() < std::time::Duration::from_secs(60),
            "the catalogue stays open"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::remove_dir_all(dir.path().join("control")).expect("lost");
}

#[tokio::test]
async fn changes_reach_the_record() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let asked = "SnapshotName=one&Description=dd&Tag.1.Key=a&Tag.1.Value=1&Tag.2.Key=b&Tag.2.Value=2";
    let id = call!(world, create_snapshot, "DiskId={disk}&{asked}")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&id, "accomplished").await;
    let meta = record(&world.dir, &id)["meta"].clone();
    assert_eq!(
        (&meta["name"], &meta["source_disk"]["id"]),
        (&"one".into(), &disk.as_str().into())
    );
    assert_eq!(meta["tags"].as_array().map(Vec::len), Some(2));

    let on = format!("ResourceType=snapshot&ResourceId.1={id}");
    call!(world, tag_resources, "{on}&Tag.1.Key=c&Tag.1.Value=3").expect("tagged");
    call!(world, untag_resources, "{on}&TagKey.1=a").expect("untagged");
    for name in ["two", "three", "four"] {
        call!(
            world,
            modify_snapshot_attribute,
            "SnapshotId={id}&SnapshotName={name}"
        )
        .expect("renamed");
    }
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let now = record(&world.dir, &id)["meta"].clone();
    assert_eq!(
        (&now["name"], &now["description"]),
        (&"four".into(), &"dd".into())
    );
    let keys: Vec<_> = now["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .map(|tag| tag["TagKey"].clone())
        .collect();
    assert_eq!(keys, ["b", "c"]);
    assert_eq!(
        now["source_disk"], meta["source_disk"],
        "what cannot be known later stays"
    );

    call!(
        world,
        modify_snapshot_attribute,
        "SnapshotId={id}&SnapshotName=late"
    )
    .expect("renamed");
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    world.eventually(left, "jobs left", "0").await;
    let records = async || found(&world.dir).len().to_string();
    world
        .eventually(records, "records: a late change brings none back", "0")
        .await;
}

/// As it was, tags and number and all; also when the service stopped between the vault's word and the catalogue's.
#[tokio::test]
async fn a_deleted_snapshot_is_brought_back() {
    let world = World::forgiving().await;
    let (_, disk) = world.attached_disk().await;
    let asked = "SnapshotName=one&RetentionDays=1&Tag.1.Key=a&Tag.1.Value=1";
    let id = call!(world, create_snapshot, "DiskId={disk}&{asked}")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&id, "accomplished").await;
    let other = world.snapshot(&disk).await;
    let before = world.find_snapshot(&id).await.expect("listed");
    let deleted = async || {
        call!(world, describe_deleted_snapshots, "")
            .expect("listed")
            .deleted_snapshots
    };
    assert!(deleted().await.is_empty());
    call!(world, undelete_snapshot, "SnapshotId={id}").expect("it is there: nothing to do");
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    world.snapshot_is(&id, "").await;
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let row = deleted().await.pop().expect("it can be brought back");
    assert_eq!(
        (row.snapshot_id, row.source_disk_id, row.snapshot_name),
        (id.clone(), disk.clone(), "one".to_string())
    );
    assert!(row.deleted_until.ends_with('Z'), "{}", row.deleted_until);
    for nobodys in ["s-none", "no%id", &disk] {
        let refused = code(call!(world, undelete_snapshot, "SnapshotId={nobodys}"));
        assert_eq!(refused, (404, "InvalidSnapshotId.NotFound".into()));
    }

    // Cut off behind the vault's word.
    let (of, snapshot) = (disk.parse().expect("an id"), id.parse().expect("an id"));
    world
        .node
        .undelete_snapshot(&of, &snapshot)
        .await
        .expect("back in the vault");
    for _ in 0..2 {
        call!(world, undelete_snapshot, "SnapshotId={id}").expect("back");
        let after = world.find_snapshot(&id).await.expect("listed again");
        assert_eq!(comparable(vec![after]), comparable(vec![before.clone()]));
    }
    assert!(deleted().await.is_empty());
    assert!(world.find_snapshot(&other).await.is_some());

    // One that would go at once is kept.
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    world.snapshot_is(&id, "").await;
    world.eventually(left, "jobs left", "0").await;
    world.advance_days(3);
    call!(world, undelete_snapshot, "SnapshotId={id}").expect("back");
    let after = world.find_snapshot(&id).await.expect("listed again");
    assert_eq!(after.retention_days, None);
}

/// Deleting and bringing back is no way around the quota.
#[tokio::test]
async fn a_snapshot_is_not_brought_back_past_the_quota() {
    let world = World::forgiving_with(|config| {
        config.limits.manual_snapshots_per_disk = 1;
        config.limits.automatic_snapshots_per_disk = 1;
    })
    .await;
    let (_, disk) = world.attached_disk().await;
    let left = async || world.count("jobs").to_string();
    let delete = async |id: &str| {
        call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
        world.snapshot_is(id, "").await;
        world.eventually(left, "jobs left", "0").await;
    };
    let back = async |id: &str| call!(world, undelete_snapshot, "SnapshotId={id}");
    let full = (403, "QuotaExceed.Snapshot".to_owned());
    let make_automatic = async |id: &str| {
        let kind = format!("UPDATE snapshots SET snapshot_type = 'timer', name = 'auto' WHERE id = '{id}'");
        world.sql(&kind).await;
        // So that its record says so, too.
        call!(
            world,
            modify_snapshot_attribute,
            "SnapshotId={id}&Description=its"
        )
        .expect("changed");
        world.eventually(left, "jobs left", "0").await;
    };
    let first = world.snapshot(&disk).await;
    delete(&first).await;
    let second = world.snapshot(&disk).await;
    let before = world.everything().await;
    assert_eq!(code(back(&first).await), full);
    let deleted = call!(world, describe_deleted_snapshots, "")
        .expect("listed")
        .deleted_snapshots;
    assert_eq!(deleted.len(), 1, "it can still be brought back");
    assert_eq!(world.everything().await, before);

    // An automatic one has a quota of its own, unless that is full: then it would be a manual one.
    make_automatic(&second).await;
    delete(&second).await;
    back(&first).await.expect("there is room now");
    back(&second).await.expect("it is no manual one");
    delete(&second).await;
    delete(&first).await;
    let third = world.snapshot(&disk).await;
    make_automatic(&third).await;
    back(&first).await.expect("there is room");
    assert_eq!(code(back(&second).await), full);
}

/// A change outlives a vault that is away, and a restart.
#[tokio::test]
async fn a_change_waits_for_the_vault() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let vault = world.dir.path().join("vault");
    let away = world.dir.path().join("away");
    std::fs::rename(&vault, &away).expect("away");
    call!(
        world,
        modify_snapshot_attribute,
        "SnapshotId={id}&SnapshotName=first"
    )
    .expect("renamed");
    call!(
        world,
        modify_snapshot_attribute,
        "SnapshotId={id}&SnapshotName=last"
    )
    .expect("renamed");
    let tried = async || {
        let sql = "SELECT COUNT(*) FROM jobs WHERE kind = 'update_record' AND attempts > 1";
        let file = rusqlite::Connection::open(world.dir.path().join("control/catalogue.db")).expect("opens");
        file.query_row(sql, [], |row| row.get::<_, i64>(0))
            .expect("counts")
            .to_string()
    };
    world.eventually(tried, "jobs that were tried twice", "1").await;
    let back = |dir: &TempDir| {
        // What the node made there in the meantime is nothing.
        let _ = std::fs::remove_dir_all(dir.path().join("vault"));
        std::fs::rename(dir.path().join("away"), dir.path().join("vault")).expect("back");
    };
    let world = world.restart_with(back).await;
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    assert_eq!(record(&world.dir, &id)["meta"]["name"], "last");
}

/// Deleted before its record said so: with its last name, in its group, and without the lock that was taken off.
#[tokio::test]
async fn what_was_changed_right_before_a_deletion_comes_back_with_it() {
    let world = World::forgiving().await;
    let (instance, disk) = world.attached_disk().await;
    let asked = format!("InstanceId={instance}&DiskId.1={disk}&Name=night");
    let group = call!(world, create_snapshot_group, "{asked}")
        .expect("begun")
        .snapshot_group_id;
    let rows = call!(world, describe_snapshots, "DiskId={disk}")
        .expect("listed")
        .snapshots;
    let id = rows[0].snapshot_id.clone();
    world.snapshot_is(&id, "accomplished").await;
    let lock = "LockMode=compliance&LockDuration=5&CoolOffPeriod=24";
    call!(world, lock_snapshot, "SnapshotId={id}&{lock}").expect("locked");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let (vault, away) = (world.dir.path().join("vault"), world.dir.path().join("away"));
    std::fs::rename(&vault, &away).expect("away");
    call!(world, unlock_snapshot, "SnapshotId={id}").expect("unlocked");
    let change = "SnapshotName=last&Description=words";
    call!(world, modify_snapshot_attribute, "SnapshotId={id}&{change}").expect("changed");
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    let back = |dir: &TempDir| {
        let _ = std::fs::remove_dir_all(dir.path().join("vault"));
        std::fs::rename(dir.path().join("away"), dir.path().join("vault")).expect("back");
    };
    let world = world.restart_with(back).await;
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    assert!(world.find_snapshot(&id).await.is_none());
    world.advance_days(2);
    call!(world, undelete_snapshot, "SnapshotId={id}").expect("back");
    let after = world.find_snapshot(&id).await.expect("listed again");
    assert_eq!((&*after.snapshot_name, &*after.description), ("last", "words"));
    let groups = call!(world, describe_snapshot_groups, "SnapshotGroupId.1={group}").expect("listed");
    assert_eq!(groups.snapshot_groups[0].snapshots[0].snapshot_id, id);
    call!(world, delete_snapshot, "SnapshotId={id}").expect("no lock came back");
}

/// What a snapshot looks like, but for what the record cannot know of it.
fn comparable(mut snapshots: Vec<Snapshot>) -> Vec<Snapshot> {
    for snapshot in &mut snapshots {
        // Of one that was never changed: when its capture was done.
        snapshot.last_modified_time = String::new();
        snapshot.usage = String::new();
    }
    snapshots
}

#[tokio::test]
async fn a_lost_catalogue_comes_back_from_the_records() {
    let world = World::new().await;
    let (instance, first) = world.attached_disk().await;
    let second = world.disk().await;
    world.attach(&instance, &second).await;
    for (disk, more) in [
        (
            &first,
            "SnapshotName=aa&Tag.1.Key=k&Tag.1.Value=v&RetentionDays=30",
        ),
        (&second, "SnapshotName=bb&Description=of the other"),
        (&first, "SnapshotName=cc&InstantAccess=true"),
    ] {
        let id = call!(world, create_snapshot, "DiskId={disk}&{more}")
            .expect("begun")
            .snapshot_id;
        world.snapshot_is(&id, "accomplished").await;
    }
    let before = all(&world).await;
    let changed = &before[1].snapshot_id;
    call!(
        world,
        modify_snapshot_attribute,
        "SnapshotId={changed}&SnapshotName=BB"
    )
    .expect("renamed");
    call!(
        world,
        tag_resources,
        "ResourceType=snapshot&ResourceId.1={changed}&Tag.1.Key=late"
    )
    .expect("tagged");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let before = all(&world).await;

    let world = world
        .restart_with(|dir| {
            lose_the_catalogue(dir);
            let dry = rebuild(dir.path(), found(dir), false, true).expect("planned");
            assert!(!dir.path().join("control/catalogue.db").exists(), "only said");
            let report = rebuild(dir.path(), found(dir), false, false).expect("rebuilt");
            assert_eq!(report, dry);
            let names: Vec<_> = report.added.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, ["aa", "BB", "cc"], "oldest first");
            assert!(
                report.problems.is_empty() && report.other_regions.is_empty(),
                "{report:?}"
            );
        })
        .await;
    let after = all(&world).await;
    assert_eq!(after[1].last_modified_time, before[1].last_modified_time);
    assert_eq!(comparable(after.clone()), comparable(before));
    assert!(call!(world, describe_disks, "").expect("listed").disks.is_empty());
    // They can be used, deleted, and are counted on from.
    let restored = world.disk_from(&format!("SnapshotId={changed}")).await;
    let instance = world.instance().await;
    world.attach(&instance, &restored).await;
    let next = world.snapshot(&restored).await;
    let next = world.find_snapshot(&next).await.expect("listed");
    let number = |snapshot: &Snapshot| snapshot.snapshot_sn.parse::<i64>().expect("a number");
    assert!(
        after.iter().all(|old| number(old) < number(&next)),
        "its number is new"
    );
    assert!(
        after
            .iter()
            .all(|old| old.snapshot_link_id != next.snapshot_link_id)
    );
    let gone = &after[0].snapshot_id;
    call!(world, delete_snapshot, "SnapshotId={gone}").expect("deleted");
    world.snapshot_is(gone, "").await;
}

/// A group that was renamed, a member that was locked after it: both are in the records.
#[tokio::test]
async fn groups_and_locks_come_back_with_their_snapshots() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let group = call!(world, create_snapshot_group, "InstanceId={instance}&Name=old")
        .expect("begun")
        .snapshot_group_id;
    let groups = async |world: &World| {
        let listed = call!(world, describe_snapshot_groups, "").expect("listed");
        listed.snapshot_groups
    };
    for member in groups(&world).await.remove(0).snapshots {
        world.snapshot_is(&member.snapshot_id, "accomplished").await;
    }
    let single = world.snapshot(&disk).await;
    call!(world, modify_snapshot_group, "SnapshotGroupId={group}&Name=new").expect("renamed");
    let member = groups(&world).await[0].snapshots[0].snapshot_id.clone();
    for (snapshot, cool_off) in [(&member, 0), (&single, 1)] {
        let lock =
            format!("SnapshotId={snapshot}&LockMode=compliance&LockDuration=9&CoolOffPeriod={cool_off}");
        call!(world, lock_snapshot, "{lock}").expect("locked");
    }
    call!(world, unlock_snapshot, "SnapshotId={single}").expect("in time");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let locks = async |world: &World| {
        let listed = call!(world, describe_locked_snapshots, "").expect("listed");
        listed.locked_snapshots_info
    };
    let (before, locked) = (groups(&world).await, locks(&world).await);
    assert_eq!((before[0].name.as_str(), locked.len()), ("new", 1));

    let world = world
        .restart_with(|dir| {
            lose_the_catalogue(dir);
            let report = rebuild(dir.path(), found(dir), false, false).expect("rebuilt");
            assert!(report.problems.is_empty(), "{report:?}");
        })
        .await;
    assert_eq!((groups(&world).await, locks(&world).await), (before, locked));
    let refused = code(call!(world, delete_snapshot, "SnapshotId={member}"));
    assert_eq!(refused, (403, "InvalidOperation.SnapshotLocked".into()));
    call!(world, delete_snapshot, "SnapshotId={single}").expect("its lock was taken off");
}

/// A copy's lock is in the copy's record, and is not its original's.
#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_copy_comes_back() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    let source = world.snapshot(&disk).await;
    let lock = "LockMode=compliance&LockDuration=9&CoolOffPeriod=0";
    call!(world, lock_snapshot, "SnapshotId={source}&{lock}").expect("locked");
    let mut copies = Vec::new();
    for _ in 0..2 {
        let asked = format!("SnapshotId={source}&DestinationRegionId={FAR}");
        let copy = call!(world, copy_snapshot, "{asked}").expect("begun").snapshot_id;
        world.snapshot_in_is(FAR, &copy, "accomplished").await;
        copies.push(copy);
    }
    let locked = &copies[0];
    call_in!(world, FAR, lock_snapshot, "SnapshotId={locked}&{lock}").expect("locked");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    // The vault of the copies is what is left; they come back in the region that it is given to.
    let world = world
        .restart_with(|dir| {
            lose_the_catalogue(dir);
            let report = rebuild(dir.path(), found_in(dir, "far-vault"), false, false).expect("rebuilt");
            assert_eq!((report.added.len(), report.problems.len()), (2, 0), "{report:?}");
        })
        .await;
    let locks = call!(world, describe_locked_snapshots, "").expect("listed");
    let ids: Vec<_> = locks
        .locked_snapshots_info
        .iter()
        .map(|lock| lock.snapshot_id.as_str())
        .collect();
    assert_eq!(ids, [locked.as_str()]);
    let refused = code(call!(world, delete_snapshot, "SnapshotId={locked}"));
    assert_eq!(refused, (403, "InvalidOperation.SnapshotLocked".into()));
}

#[tokio::test]
async fn what_is_there_is_refused_or_left_as_it_is() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let (kept, lost) = (world.snapshot(&disk).await, world.snapshot(&disk).await);
    let before = world.find_snapshot(&kept).await.expect("listed");
    let rename = format!("UPDATE snapshots SET name = 'mine' WHERE id = '{kept}';");
    world.sql(&rename).await;
    world
        .sql(&format!("DELETE FROM snapshots WHERE id = '{lost}';"))
        .await;
    let world = world
        .restart_with(|dir| {
            let refused = rebuild(dir.path(), found(dir), false, false).expect_err("there is something");
            assert!(matches!(refused, ControlError::NotEmpty { .. }), "{refused}");
            assert!(
                refused
                    .to_string()
                    .contains("1 snapshots, 2 disks and 1 instances"),
                "{refused}"
            );
            let report = rebuild(dir.path(), found(dir), true, false).expect("merged");
            assert_eq!(report.kept, [kept.as_str()]);
            assert_eq!(report.added.len(), 1);
        })
        .await;
    let after = world.find_snapshot(&kept).await.expect("listed");
    assert_eq!(
        after.snapshot_name, "mine",
        "the vault's word counts for what is missing only"
    );
    let back = world.find_snapshot(&lost).await.expect("listed again");
    assert_eq!(back.snapshot_link_id, before.snapshot_link_id, "the chain is one");
    assert!(world.find_disk(&disk).await.is_some());
}

/// Records of another's making: the snapshots are there, and what was not understood is named.
#[tokio::test]
async fn foreign_records_cost_names_not_snapshots() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    for _ in 0..3 {
        world.snapshot(&disk).await;
    }
    let world = world
        .restart_with(|dir| {
            lose_the_catalogue(dir);
            let mut records = found(dir);
            records[0].meta = Value::Null;
            records[1].meta["ordinal"] = i64::MAX.into();
            records[1].meta["link_id"] = "../x".into();
            let same = records[1].meta["source_disk"].clone();
            records[2].meta["tags"] = same;
            records[2].meta["region"] = "eu-central-1".into();
            let report = rebuild(dir.path(), records, false, false).expect("rebuilt");
            assert_eq!((report.added.len(), report.problems.len()), (3, 2), "{report:?}");
            assert_eq!(report.other_regions.len(), 1);
        })
        .await;
    let listed = all(&world).await;
    assert_eq!(listed.len(), 3);
    assert!(
        listed
            .iter()
            .all(|one| one.snapshot_link_id == listed[0].snapshot_link_id)
    );
    for one in &listed {
        world.disk_from(&format!("SnapshotId={}", one.snapshot_id)).await;
    }
}
