//! Policies that run, on a clock that the test sets: which snapshots exist, and which do not.

use crate::world::{FAR, World, call, call_in};
use jiff::{Timestamp, ToSpan};
use std::time::Duration;
use tidemark_ecs::model::Snapshot;

/// Rounds are the test's own.
pub async fn quiet(change: impl FnOnce(&mut tidemark_control::Limits)) -> World {
    World::with(|config| {
        config.housekeeping = Duration::from_secs(24 * 3600);
        change(&mut config.limits);
    })
    .await
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a test's own time")
}

impl World {
    /// Sets the clock and does one round; afterwards nothing is in creation that can end.
    pub async fn round_at(&self, now: Timestamp) {
        self.set_clock(now);
        self.control.keep_house().await.expect("done");
        let unfinished = async || {
            let rows = self.automatic("").await;
            rows.iter()
                .filter(|row| row.status == "progressing")
                .count()
                .to_string()
        };
        self.eventually(unfinished, "snapshots in creation", "0").await;
    }

    /// All automatic snapshots, oldest first.
    pub async fn automatic(&self, filter: &str) -> Vec<Snapshot> {
        let (mut rows, mut token) = (Vec::new(), String::new());
        loop {
            let query = format!("SnapshotType=auto&MaxResults=100&NextToken={token}&{filter}");
            let page = call!(self, describe_snapshots, "{query}").expect("listed");
            rows.extend(page.snapshots);
            token = page.page.next_token;
            if token.is_empty() {
                rows.reverse();
                return rows;
            }
        }
    }

    pub async fn names(&self) -> Vec<String> {
        self.automatic("")
            .await
            .into_iter()
            .map(|row| row.snapshot_name)
            .collect()
    }
}

/// Every day at 03:00 in UTC+8.
pub const AT_THREE: &str = "timePoints=[3]&repeatWeekdays=[1,2,3,4,5,6,7]";

#[tokio::test]
async fn a_slot_gives_one_snapshot_with_the_policys_name_tags_and_retention() {
    let world = quiet(|_| {}).await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T18:59:00Z"));
    let policy = world
        .policy(&format!(
            "{AT_THREE}&retentionDays=2&Tag.1.Key=env&Tag.1.Value=prod"
        ))
        .await;
    world.apply(&policy, &disk).await;
    world.round_at(at("2027-03-01T18:59:30Z")).await;
    assert!(world.automatic("").await.is_empty(), "its hour has not come");
    world.round_at(at("2027-03-01T19:00:10Z")).await;
    world.round_at(at("2027-03-01T19:00:20Z")).await;
    let rows = world.automatic(&format!("DiskId={disk}")).await;
    assert_eq!(rows.len(), 1, "once");
    let row = &rows[0];
    assert_eq!(
        row.snapshot_name,
        format!("auto2.0_20270302_{policy}"),
        "03:00 on the 2nd, in UTC+8"
    );
    assert_eq!(
        (row.snapshot_type.as_str(), row.status.as_str()),
        ("timer", "accomplished")
    );
    assert_eq!((row.retention_days, row.tags.len()), (Some(2), 1));
    assert!(
        row.creation_time.starts_with("2027-03-01T19:00:"),
        "{}",
        row.creation_time
    );
    // Retention counts from the snapshot on; meanwhile the next day's is taken, and the day after that.
    world.round_at(at("2027-03-02T19:01:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 2);
    world.round_at(at("2027-03-03T19:01:00Z")).await;
    let names = world.names().await;
    assert_eq!(
        names,
        ["20270303", "20270304"].map(|day| format!("auto2.0_{day}_{policy}"))
    );
}

#[tokio::test]
async fn a_changed_policy_goes_by_its_new_settings_and_makes_up_for_nothing() {
    let world = quiet(|_| {}).await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=5")).await;
    world.apply(&policy, &disk).await;
    world.round_at(at("2027-03-01T19:05:00Z")).await;
    assert_eq!(world.automatic("").await[0].retention_days, Some(5));
    // 02:00 is over for today; 05:00 is still to come.
    world.set_clock(at("2027-03-01T20:00:00Z"));
    let change = format!("autoSnapshotPolicyId={policy}&timePoints=[2,5]&retentionDays=-1");
    call!(world, modify_auto_snapshot_policy_ex, "{change}").expect("changed");
    world.round_at(at("2027-03-01T20:10:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 1);
    world.round_at(at("2027-03-01T21:00:00Z")).await;
    let kept: Vec<_> = world
        .automatic("")
        .await
        .iter()
        .map(|row| row.retention_days)
        .collect();
    assert_eq!(kept, [Some(5), None], "what exists keeps its retention");
    // A slot that is over when its policy changes was promised all the same.
    world.set_clock(at("2027-03-02T18:30:00Z"));
    let change = format!("autoSnapshotPolicyId={policy}&timePoints=[23]");
    call!(world, modify_auto_snapshot_policy_ex, "{change}").expect("changed");
    world.round_at(at("2027-03-02T18:31:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 3);
    // Cancelled means no more.
    call!(world, cancel_auto_snapshot_policy, "diskIds=[\"{disk}\"]").expect("cancelled");
    world.round_at(at("2027-03-05T18:31:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 3);
}

#[tokio::test]
async fn a_disk_that_may_not_be_snapshotted_misses_its_slot() {
    let world = quiet(|_| {}).await;
    let (instance, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    let mut day = at("2027-03-01T19:05:00Z");
    for (makes, undoes) in [
        ("disks SET status = 'Available'", "disks SET status = 'In_use'"),
        ("disks SET status = 'ReIniting'", "disks SET status = 'In_use'"),
        (
            "disks SET enable_auto_snapshot = 0",
            "disks SET enable_auto_snapshot = 1",
        ),
        (
            "instances SET status = 'Stopping'",
            "instances SET status = 'Running'",
        ),
        (
            "instances SET status = 'Starting'",
            "instances SET status = 'Running'",
        ),
        (
            "instances SET security_lock = 1",
            "instances SET security_lock = 0",
        ),
    ] {
        world
            .sql(&format!("UPDATE {makes} WHERE id IN ('{disk}', '{instance}')"))
            .await;
        world.round_at(day).await;
        world
            .sql(&format!("UPDATE {undoes} WHERE id IN ('{disk}', '{instance}')"))
            .await;
        world.round_at(day + 1.hour()).await;
        assert!(
            world.automatic("").await.is_empty(),
            "{makes}: missed, and not made up for"
        );
        day += 24.hours();
    }
    world.stop(&instance).await;
    world.round_at(day).await;
    assert_eq!(world.automatic("").await.len(), 1, "a stopped instance is fine");
}

/// A disk that lies detached is no news every day; it is again when it was attached in between.
#[tokio::test]
async fn why_slots_are_skipped_is_told_once() {
    let world = quiet(|_| {}).await;
    let (instance, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    let told = || world.number("SELECT COUNT(*) FROM events WHERE name = 'Snapshot:AutoSnapshotSkipped'");
    let mut day = at("2027-03-01T19:05:00Z");
    let mut days = async |expected: i64| {
        for _ in 0..3 {
            world.round_at(day).await;
            day += 24.hours();
            assert_eq!(told(), expected);
        }
    };
    world.detach(&instance, &disk).await;
    days(1).await;
    world.attach(&instance, &disk).await;
    world.detach(&instance, &disk).await;
    days(2).await;
    // Another reason is news, the old one after it too.
    let switch = async |on: bool| {
        let query = format!("DiskId={disk}&EnableAutoSnapshot={on}");
        call!(world, modify_disk_attribute, "{query}").expect("changed");
    };
    switch(false).await;
    days(3).await;
    switch(true).await;
    days(4).await;
    switch(false).await;
    world.attach(&instance, &disk).await;
    days(5).await;
    assert!(world.automatic("").await.is_empty());
    switch(true).await;
    days(5).await;
    assert_eq!(world.automatic("").await.len(), 3, "it goes on");
    switch(false).await;
    days(6).await;
    assert_eq!(
        world.number("SELECT COUNT(*) FROM policy_disks WHERE due_ms > 0"),
        1
    );
}

/// The documented example: a run at 09:00 that lasts until 10:20 makes 10:00 miss; the next is at 11:00.
#[tokio::test]
async fn a_run_that_lasts_too_long_costs_the_next_slot() {
    let world = quiet(|_| {}).await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:30:00Z"));
    let hours = (0..24).map(|hour| hour.to_string()).collect::<Vec<_>>().join(",");
    let policy = world
        .policy(&format!(
            "timePoints=[{hours}]&repeatWeekdays=[1,2,3,4,5,6,7]&retentionDays=-1"
        ))
        .await;
    world.apply(&policy, &disk).await;
    world.round_at(at("2027-03-01T01:00:05Z")).await;
    let set = async |status: &str, marked: u8| {
        let sql = format!(
            "UPDATE snapshots SET status = '{status}', marked = {marked} WHERE snapshot_type = 'timer'"
        );
        world.sql(&sql).await;
    };
    // Still in creation at the next slot, and nobody can tell its end.
    set("progressing", 0).await;
    world.set_clock(at("2027-03-01T02:00:05Z"));
    world.control.keep_house().await.expect("done");
    set("accomplished", 1).await;
    world.round_at(at("2027-03-01T02:20:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 1, "that slot is gone");
    world.round_at(at("2027-03-01T03:00:05Z")).await;
    assert_eq!(world.automatic("").await.len(), 2);
}

#[tokio::test]
async fn a_slot_waits_for_a_manual_snapshot() {
    let world = quiet(|_| {}).await;
    let (_, disk) = world.attached_disk().await;
    let manual = world.snapshot(&disk).await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    let set = async |status: &str, marked: u8| {
        let sql =
            format!("UPDATE snapshots SET status = '{status}', marked = {marked} WHERE id = '{manual}'");
        world.sql(&sql).await;
    };
    set("progressing", 0).await;
    world.set_clock(at("2027-03-01T19:00:05Z"));
    world.control.keep_house().await.expect("done");
    assert!(world.automatic("").await.is_empty());
    set("accomplished", 1).await;
    world.round_at(at("2027-03-01T19:40:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 1);
    world.round_at(at("2027-03-01T19:50:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 1, "once");
}

/// The one that is kept longest is never the one that finds the disk busy.
#[tokio::test]
async fn policies_that_meet_at_a_slot_each_get_their_snapshot() {
    let world = quiet(|limits| limits.policies_per_disk = 3).await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let mut policies = Vec::new();
    for days in [3, -1, 30] {
        let policy = world.policy(&format!("{AT_THREE}&retentionDays={days}")).await;
        world.apply(&policy, &disk).await;
        policies.push(policy);
    }
    for minute in 0..4 {
        world
            .round_at(at("2027-03-01T19:00:05Z") + minute.minutes())
            .await;
    }
    let kept: Vec<_> = world
        .automatic("")
        .await
        .iter()
        .map(|row| row.retention_days)
        .collect();
    assert_eq!(kept, [None, Some(30), Some(3)]);
    let names = [&policies[1], &policies[2], &policies[0]].map(|id| format!("auto2.0_20270302_{id}"));
    assert_eq!(world.names().await, names);
}

/// Two slots of one disk that were missed while nothing ran are both made up for, whichever is served first.
#[tokio::test]
async fn slots_that_were_missed_are_made_up_for_one_after_the_other() {
    for days in [[30, 3], [3, 30]] {
        let world = quiet(|limits| limits.policies_per_disk = 2).await;
        let (_, disk) = world.attached_disk().await;
        world.set_clock(at("2027-03-01T00:00:00Z"));
        for (hour, days) in [3, 5].into_iter().zip(days) {
            let daily = "repeatWeekdays=[1,2,3,4,5,6,7]";
            let policy = format!("timePoints=[{hour}]&{daily}&retentionDays={days}");
            world.apply(&world.policy(&policy).await, &disk).await;
        }
        // 06:00 in UTC+8.
        for minute in 0..3 {
            world
                .round_at(at("2027-03-01T22:00:05Z") + minute.minutes())
                .await;
        }
        let kept = world.automatic("").await;
        let kept: Vec<_> = kept.iter().map(|row| row.retention_days).collect();
        assert_eq!(kept, [Some(30), Some(3)], "{days:?}");
    }
}

/// A crash between the row and the mark: the slot is not lost, and nothing of the row stays.
#[tokio::test]
async fn a_slot_without_a_mark_is_served_after_the_crash() {
    let world = quiet(|_| {}).await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &disk).await;
    world.round_at(at("2027-03-01T19:00:05Z")).await;
    let id = world.automatic("").await[0].snapshot_id.clone();
    // As if the process had ended there: the node has never heard of the snapshot that the row names.
    let world = world
        .restart_after(&format!(
            "UPDATE snapshots SET id = 's-bp1ghost', status = 'progressing', marked = 0, percent = 0 WHERE id = '{id}'; \
             UPDATE policy_runs SET snapshot_id = 's-bp1ghost' WHERE snapshot_id = '{id}'; \
             INSERT INTO jobs (id, kind, subject, lane, arguments, attempts, last_error, created_ms) \
             VALUES (100000, 'complete_snapshot', 's-bp1ghost', 's-bp1ghost', '', 0, '', 0)"
        ))
        .await;
    let ghosts = async || world.automatic("").await.len().to_string();
    world.eventually(ghosts, "the row without a mark", "0").await;
    world.round_at(at("2027-03-01T19:02:00Z")).await;
    let rows = world.automatic("").await;
    assert_eq!(rows.len(), 1);
    assert_ne!(rows[0].snapshot_id, "s-bp1ghost");
    world.round_at(at("2027-03-01T19:09:00Z")).await;
    assert_eq!(world.automatic("").await.len(), 1);
}

/// A disk that cannot be marked leaves no row, is tried again, and keeps no other disk from its snapshot.
#[tokio::test]
async fn a_mark_that_fails_is_tried_again() {
    let world = quiet(|_| {}).await;
    let ((_, broken), (_, sound)) = (world.attached_disk().await, world.attached_disk().await);
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let policy = world.policy(&format!("{AT_THREE}&retentionDays=-1")).await;
    world.apply(&policy, &broken).await;
    world.apply(&policy, &sound).await;
    let id = tidemark_units::DiskId::new(broken.as_str()).expect("an id");
    world.node.set_exported(&id, false).await.expect("withdrawn");
    world.node.delete_disk(&id).await.expect("gone from the node");
    for (now, count) in [("19:00:05", 1), ("19:00:30", 1), ("19:02:00", 1)] {
        world.round_at(at(&format!("2027-03-01T{now}Z"))).await;
        let rows = world.automatic("").await;
        assert_eq!(rows.len(), count);
        assert!(rows.iter().all(|row| row.source_disk_id == sound));
    }
    let due = world.number(&format!(
        "SELECT due_ms FROM policy_disks WHERE disk_id = '{broken}'"
    ));
    let next = due - at("2027-03-01T19:02:00Z").as_millisecond();
    assert!((60_000..90_000).contains(&next), "again in a minute: {next} ms");
    let told = world.number(&format!(
        "SELECT COUNT(*) FROM events WHERE name = 'Snapshot:AutoSnapshotSkipped' AND resource_id = '{broken}'"
    ));
    assert_eq!(told, 1, "for the slot, not for every try");
}

#[tokio::test]
async fn copies_are_made_as_the_policy_said_when_it_ran() {
    let world = World::two_regions_with(None, None, |config| {
        config.housekeeping = Duration::from_secs(24 * 3600);
    })
    .await;
    let (_, disk) = world.attached_disk().await;
    world.set_clock(at("2027-03-01T00:00:00Z"));
    let copied = "EnableCrossRegionCopy=true&TargetCopyRegions=[\"cn-beijing\"]&CopiedSnapshotsRetentionDays";
    let policy = world
        .policy(&format!("{AT_THREE}&retentionDays=-1&Tag.1.Key=k&{copied}=9"))
        .await;
    world.apply(&policy, &disk).await;
    let change = async |query: &str| {
        let query = format!("autoSnapshotPolicyId={policy}&{query}");
        call!(world, modify_auto_snapshot_policy_ex, "{query}").expect("changed");
    };
    world.round_at(at("2027-03-01T19:05:00Z")).await;
    change("CopiedSnapshotsRetentionDays=-1").await;
    for minute in 0..2 {
        world
            .round_at(at("2027-03-02T19:05:00Z") + minute.minutes())
            .await;
    }
    change("EnableCrossRegionCopy=false").await;
    for minute in 0..2 {
        world
            .round_at(at("2027-03-03T19:05:00Z") + minute.minutes())
            .await;
    }
    let rows = world.automatic("").await;
    assert_eq!(rows.len(), 3, "the copies are not among the disk's own");
    let copies = async || {
        let found = call_in!(world, FAR, describe_snapshots, "SnapshotType=auto")
            .expect("listed")
            .snapshots;
        let show = |row: Snapshot| {
            (
                row.source_snapshot_id,
                row.snapshot_name,
                row.retention_days,
                row.status,
            )
        };
        found.into_iter().rev().map(show).collect::<Vec<_>>()
    };
    let copy = |at: usize, days| {
        let row = &rows[at];
        (
            row.snapshot_id.clone(),
            row.snapshot_name.clone(),
            days,
            "accomplished".to_owned(),
        )
    };
    let expected = format!("{:?}", [copy(0, Some(9)), copy(1, None)]);
    world
        .eventually(async || format!("{:?}", copies().await), "copies", &expected)
        .await;
    // Nine days count from the copy on.
    world.round_at(at("2027-03-10T19:00:00Z")).await;
    world.round_at(at("2027-03-12T19:00:00Z")).await;
    let left: Vec<_> = copies().await.into_iter().map(|(source, ..)| source).collect();
    assert_eq!(left, [rows[1].snapshot_id.clone()]);
}
