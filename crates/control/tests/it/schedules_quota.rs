//! Which automatic snapshots go to make room, or with their disk, and which stay.

use crate::schedules::{AT_THREE, at, quiet};
use crate::world::{FAR, World, call, call_in};
use jiff::ToSpan;
use std::time::Duration;

#[tokio::test]
async fn the_oldest_automatic_snapshot_gives_way() {
    let world = quiet(|limits| limits.automatic_snapshots_per_disk = 3).await;
    let (_, disk) = world.attached_disk().await;
    let manual = world.snapshot(&disk).await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    let mut day = at("2027-03-01T19:05:00Z");
    for _ in 0..5 {
        world.round_at(day).await;
        day += 24.hours();
    }
    let named = |days: [u32; 3]| days.map(|day| format!("auto2.0_202703{day:02}_{policy}"));
    assert_eq!(world.names().await, named([4, 5, 6]), "the newest three");
    assert!(
        world.find_snapshot(&manual).await.is_some(),
        "manual ones are not counted and not touched"
    );

    // A disk is being made from the oldest: the one after it goes.
    let oldest = world.automatic("").await[0].snapshot_id.clone();
    let made = world.disk().await;
    let sql =
        format!("UPDATE disks SET status = 'Creating', source_snapshot_id = '{oldest}' WHERE id = '{made}'");
    world.sql(&sql).await;
    world.round_at(day).await;
    assert_eq!(world.names().await, named([4, 6, 7]));
    // None can go: no new one.
    for row in &world.automatic("").await[1..] {
        let other = world.disk().await;
        let id = &row.snapshot_id;
        let sql =
            format!("UPDATE disks SET status = 'Creating', source_snapshot_id = '{id}' WHERE id = '{other}'");
        world.sql(&sql).await;
    }
    world.round_at(day + 24.hours()).await;
    assert_eq!(world.names().await, named([4, 6, 7]));
}

/// Whoever brings a replaced snapshot back wants it for longer than until the next slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_snapshot_that_is_brought_back_stays() {
    let world = World::two_regions_with(None, None, |config| {
        config.housekeeping = Duration::from_secs(24 * 3600);
        config.limits.automatic_snapshots_per_disk = 2;
    })
    .await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    let mut day = at("2027-03-01T19:05:00Z");
    world.round_at(day).await;
    let first = world.automatic("").await[0].snapshot_id.clone();
    for _ in 0..2 {
        day += 24.hours();
        world.round_at(day).await;
    }
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    assert!(world.find_snapshot(&first).await.is_none(), "replaced");
    call!(world, undelete_snapshot, "SnapshotId={first}").expect("back");
    for _ in 0..2 {
        day += 24.hours();
        world.round_at(day).await;
        let back = world.find_snapshot(&first).await.expect("it stays");
        assert_eq!(back.snapshot_type, "user");
        assert_eq!(world.automatic("").await.len(), 2, "the policy's own");
    }
}

/// Locked ones stay, so soon none would give way: that is told before it comes to it, once on each way up.
#[tokio::test]
async fn automatic_snapshots_that_stay_are_told_when_they_are_nearly_all() {
    let world = quiet(|limits| limits.automatic_snapshots_per_disk = 2).await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    let told = || world.number("SELECT COUNT(*) FROM events WHERE name = 'Quota:Near'");
    let mut day = at("2027-03-01T19:05:00Z");
    let mut rounds = async |expected: i64| {
        for _ in 0..2 {
            world.round_at(day).await;
            day += 24.hours();
            assert_eq!(told(), expected);
        }
    };
    // One is locked for good; the newest besides it comes and goes, until it is locked as well.
    let lock = async |at: usize, cool_off: u32| {
        let id = world.automatic("").await[at].snapshot_id.clone();
        let query = format!("SnapshotId={id}&LockMode=compliance&LockDuration=30&CoolOffPeriod={cool_off}");
        call!(world, lock_snapshot, "{query}").expect("locked");
        id
    };
    rounds(0).await;
    lock(0, 0).await;
    rounds(0).await;
    let second = lock(1, 72).await;
    rounds(1).await;
    call!(world, unlock_snapshot, "SnapshotId={second}").expect("unlocked");
    rounds(1).await;
    lock(1, 0).await;
    rounds(2).await;
}

/// A quota that was lowered costs two old snapshots for a new one, not all at once; failed ones push nothing out.
#[tokio::test]
async fn a_lowered_quota_is_reached_step_by_step() {
    let world = quiet(|limits| limits.automatic_snapshots_per_disk = 2).await;
    let (_, disk) = world.attached_disk().await;
    for n in 0..5 {
        world.snapshot(&disk).await;
        world
            .sql(&format!(
                "UPDATE snapshots SET snapshot_type = 'timer', name = 'auto{n}' WHERE name = ''"
            ))
            .await;
    }
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    let mut day = at("2027-03-01T19:05:00Z");
    for left in [4, 3, 2, 2] {
        world.round_at(day).await;
        assert_eq!(world.automatic("").await.len(), left);
        day += 24.hours();
    }
    world
        .sql("UPDATE snapshots SET status = 'failed' WHERE name LIKE 'auto2.0_20270304%'")
        .await;
    world.round_at(day).await;
    let rows = world.automatic("").await;
    let status: Vec<_> = rows.iter().map(|row| row.status.as_str()).collect();
    assert_eq!(status, ["failed", "accomplished", "accomplished"]);
}

#[tokio::test]
async fn a_disk_takes_its_automatic_snapshots_along_if_it_is_so_marked() {
    let world = quiet(|_| {}).await;
    let (instance, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    let other = world.disk().await;
    world.attach(&instance, &other).await;
    world.apply(&policy, &disk).await;
    world.apply(&policy, &other).await;
    world.round_at(at("2027-03-01T19:05:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 2);
    world
        .sql(&format!(
            "UPDATE disks SET delete_auto_snapshot = 0 WHERE id = '{other}'"
        ))
        .await;
    for id in [&disk, &other] {
        world.detach(&instance, id).await;
        call!(world, delete_disk, "DiskId={id}").expect("deleted");
    }
    let left = world.automatic("").await;
    assert_eq!(
        left.iter().map(|row| &row.source_disk_id).collect::<Vec<_>>(),
        [&other]
    );
    let runs = async || world.count("policy_runs").to_string();
    world.eventually(runs, "what is known of runs", "1").await;
}

/// A disk that goes with its automatic snapshots leaves alone what is still needed of them, until it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_takes_no_snapshot_along_that_something_is_made_from() {
    let world = World::two_regions_with(None, None, |config| {
        config.housekeeping = Duration::from_secs(24 * 3600);
    })
    .await;
    let (instance, disk) = world.attached_disk().await;
    let (owed, read, free) = (
        world.snapshot(&disk).await,
        world.snapshot(&disk).await,
        world.snapshot(&disk).await,
    );
    let made = world.disk().await;
    world
        .sql(&format!(
            "UPDATE snapshots SET snapshot_type = 'timer'; \
             INSERT INTO policy_runs (snapshot_id, policy_id, slot_ms, copy_region, copy_retention_days, copy_encrypted) \
             VALUES ('{owed}', 'sp-gone', 0, '{FAR}', -1, 0); \
             UPDATE disks SET status = 'Creating', source_snapshot_id = '{read}' WHERE id = '{made}'"
        ))
        .await;
    world.detach(&instance, &disk).await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    world.snapshot_is(&free, "").await;
    // The round that begins the copy does not remove what it is of.
    world.control.keep_house().await.expect("done");
    for id in [&owed, &read] {
        world.snapshot_is(id, "accomplished").await;
    }
    let copies = async || {
        let found = call_in!(world, FAR, describe_snapshots, "Status=accomplished").expect("listed");
        found.snapshots.len().to_string()
    };
    world.eventually(copies, "copies", "1").await;
    world
        .sql(&format!(
            "UPDATE disks SET status = 'Available' WHERE id = '{made}'"
        ))
        .await;
    world.control.keep_house().await.expect("done");
    for id in [&owed, &read] {
        world.snapshot_is(id, "").await;
    }
}
