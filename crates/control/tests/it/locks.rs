//! Retention locks: what they forbid to everyone, and who may change one when.

use crate::world::{World, call, code};
use tidemark_ecs::model::LockedSnapshot;

const HOUR_MS: i64 = 3600 * 1000;

fn lock(snapshot: &str, days: i64, cool_off: i64) -> String {
    format!("SnapshotId={snapshot}&LockMode=compliance&LockDuration={days}&CoolOffPeriod={cool_off}")
}

async fn locked(world: &World, filter: &str) -> Vec<LockedSnapshot> {
    let answer = call!(world, describe_locked_snapshots, "{filter}").expect("listed");
    answer.locked_snapshots_info
}

/// The statuses of all locks, as the list and each of its filters have them.
async fn statuses(world: &World) -> Vec<String> {
    let all = locked(world, "").await;
    for status in ["compliance-cooloff", "compliance", "expired"] {
        let filtered = locked(world, &format!("LockStatus={status}")).await;
        let expected: Vec<_> = all
            .iter()
            .filter(|lock| lock.lock_status == status)
            .cloned()
            .collect();
        assert_eq!(filtered, expected, "{status}");
    }
    all.into_iter().map(|lock| lock.lock_status).collect()
}

#[tokio::test]
async fn a_lock_can_be_taken_off_then_only_made_longer_then_is_over() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let unlock = format!("SnapshotId={id}");
    let refused = (403, "InvalidOperation.SnapshotLocked".to_owned());
    let too_late = (403, "InvalidOperation.CoolOffPeriodExpired".to_owned());
    assert_eq!(
        code(call!(world, unlock_snapshot, "{unlock}")),
        (404, "InvalidSnapshotLock.NotFound".into())
    );
    assert_eq!(
        code(call!(world, lock_snapshot, "{}&DryRun=true", lock(&id, 5, 24))),
        (400, "DryRunOperation".into())
    );
    assert!(locked(&world, "").await.is_empty());

    // In the cool-off period: off, on, longer, shorter.
    let first = call!(world, lock_snapshot, "{}", lock(&id, 5, 24))
        .expect("locked")
        .locked_snapshot_info;
    assert_eq!(
        (
            first.lock_status.as_str(),
            first.lock_mode.as_str(),
            first.lock_duration,
            first.cool_off_period
        ),
        ("compliance-cooloff", "compliance", 5, 24)
    );
    assert_eq!(
        code(call!(world, delete_snapshot, "SnapshotId={id}&Force=true")),
        refused
    );
    assert_eq!(
        code(call!(world, unlock_snapshot, "{unlock}&DryRun=true")),
        (400, "DryRunOperation".into())
    );
    call!(world, unlock_snapshot, "{unlock}").expect("in time");
    assert!(locked(&world, "").await.is_empty());
    call!(world, lock_snapshot, "{}", lock(&id, 9, 24)).expect("locked again");
    let shorter = call!(world, lock_snapshot, "{}", lock(&id, 2, 12))
        .expect("shorter")
        .locked_snapshot_info;
    assert_eq!((shorter.lock_duration, shorter.cool_off_period), (2, 12));
    assert_eq!(statuses(&world).await, ["compliance-cooloff"]);

    // After it.
    world.advance_ms(12 * HOUR_MS);
    assert_eq!(statuses(&world).await, ["compliance"]);
    assert_eq!(code(call!(world, unlock_snapshot, "{unlock}")), too_late);
    assert_eq!(code(call!(world, lock_snapshot, "{}", lock(&id, 1, 0))), too_late);
    assert_eq!(code(call!(world, lock_snapshot, "{}", lock(&id, 3, 1))), too_late);
    let longer = call!(world, lock_snapshot, "{}", lock(&id, 3, 0))
        .expect("longer")
        .locked_snapshot_info;
    assert_eq!(
        longer.lock_duration_start_time, shorter.lock_duration_start_time,
        "counted from where it began"
    );
    assert_eq!(code(call!(world, delete_snapshot, "SnapshotId={id}")), refused);
    let world = world.restart().await;
    world.advance_days(2);
    assert_eq!(
        code(call!(world, delete_snapshot, "SnapshotId={id}")),
        refused,
        "twelve hours are left"
    );

    // When it is over.
    world.advance_ms(12 * HOUR_MS);
    assert_eq!(statuses(&world).await, ["expired"]);
    assert_eq!(
        code(call!(world, unlock_snapshot, "{unlock}")),
        (404, "InvalidSnapshotLock.NotFound".into())
    );
    call!(world, lock_snapshot, "{}", lock(&id, 1, 0)).expect("a new one");
    assert_eq!(statuses(&world).await, ["compliance"]);
    world.advance_days(1);
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    assert!(locked(&world, "").await.is_empty());
}

#[tokio::test]
async fn refusals_of_a_lock() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let short = call!(world, create_snapshot, "DiskId={disk}&RetentionDays=5")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&short, "accomplished").await;
    let failed = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'failed' WHERE id = '{failed}'"
        ))
        .await;
    for (query, status, expected) in [
        (lock("s-none", 1, 0), 404, "InvalidSnapshotId.NotFound"),
        (lock(&failed, 1, 0), 403, "InvalidOperation.SnapshotNotAvailable"),
        (lock(&short, 5, 0), 400, "InvalidLockDuration.ExceedRetentionDays"),
    ] {
        assert_eq!(
            code(call!(world, lock_snapshot, "{query}")),
            (status, expected.into()),
            "{query}"
        );
    }
    assert_eq!(
        code(call!(world, unlock_snapshot, "SnapshotId=s-none")),
        (404, "InvalidSnapshotId.NotFound".into())
    );
    // Retention first, then the lock.
    call!(
        world,
        modify_snapshot_attribute,
        "SnapshotId={short}&RetentionDays=6"
    )
    .expect("extended");
    call!(world, lock_snapshot, "{}", lock(&short, 5, 0)).expect("locked");
    let answer = code(call!(world, modify_snapshot_category, "SnapshotId={short}"));
    assert_eq!(answer, (400, "UnsupportedOperation".into()));
    assert_eq!(
        code(call!(world, modify_snapshot_category, "SnapshotId=s-none")),
        (404, "InvalidSnapshotId.NotFound".into())
    );
}

/// The days of a lock on a snapshot in creation count from its completion, which nobody knows before.
#[tokio::test]
async fn a_snapshot_in_creation_can_be_locked_and_not_be_cancelled() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'progressing', marked = 0, percent = 3 WHERE id = '{id}'"
        ))
        .await;
    let info = call!(world, lock_snapshot, "{}", lock(&id, 1, 0))
        .expect("locked")
        .locked_snapshot_info;
    assert_eq!(
        (
            info.lock_duration_start_time.as_str(),
            info.lock_expired_time.as_str()
        ),
        ("", "")
    );
    assert_eq!(info.lock_status, "compliance");
    world.advance_days(2);
    let refused = code(call!(world, delete_snapshot, "SnapshotId={id}"));
    assert_eq!(refused, (403, "InvalidOperation.SnapshotLocked".into()));
    let job = format!(
        "INSERT INTO jobs (id, kind, subject, lane, arguments, attempts, last_error, created_ms) VALUES \
         (90000, 'complete_snapshot', '{id}', '{id}', '', 0, '', 0)"
    );
    let world = world.restart_after(&job).await;
    world.snapshot_is(&id, "accomplished").await;
    let info = locked(&world, &format!("SnapshotIds.1={id}")).await.remove(0);
    assert_eq!(info.lock_status, "compliance");
    assert!(info.lock_expired_time.ends_with('Z'), "{info:?}");
    world.advance_days(1);
    call!(world, delete_snapshot, "SnapshotId={id}").expect("it is over");
}

/// There is nothing to be kept of a snapshot that fails under its lock: it goes as any other that failed.
#[tokio::test]
async fn a_lock_ends_with_a_capture_that_fails() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    // The node has never heard of it.
    let ghost = "s-bp1ghost";
    world
        .sql(&format!(
            "UPDATE snapshots SET id = '{ghost}', status = 'progressing', marked = 0, percent = 3 WHERE id = '{id}'"
        ))
        .await;
    call!(world, lock_snapshot, "{}", lock(ghost, 900, 0)).expect("locked");
    let world = world
        .restart_after(&format!(
            "UPDATE snapshots SET marked = 1 WHERE id = '{ghost}'; \
             INSERT INTO jobs (id, kind, subject, lane, arguments, attempts, last_error, created_ms) VALUES \
             (90000, 'complete_snapshot', '{ghost}', '{ghost}', '', 0, '', 0)"
        ))
        .await;
    world.snapshot_is(ghost, "failed").await;
    assert!(locked(&world, "").await.is_empty());
    call!(world, delete_snapshot, "SnapshotId={ghost}").expect("deleted");
    world.snapshot_is(ghost, "").await;
}

/// Retention and the disk's own end take no snapshot that is locked.
#[tokio::test]
async fn nobody_else_deletes_a_locked_snapshot() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let (kept, gone) = (world.snapshot(&disk).await, world.snapshot(&disk).await);
    for id in [&kept, &gone] {
        world
            .sql(&format!(
                "UPDATE snapshots SET snapshot_type = 'timer' WHERE id = '{id}'"
            ))
            .await;
    }
    call!(world, lock_snapshot, "{}", lock(&kept, 3, 0)).expect("locked");
    world.detach(&instance, &disk).await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    world.snapshot_is(&gone, "").await;
    assert!(world.find_snapshot(&kept).await.is_some());
    // A lock that was put on while it was in creation may end later than its retention.
    world
        .sql(&format!(
            "UPDATE snapshots SET expires_ms = created_ms WHERE id = '{kept}'"
        ))
        .await;
    world.control.keep_house().await.expect("done");
    assert!(world.find_snapshot(&kept).await.is_some());
    world.advance_days(3);
    world.control.keep_house().await.expect("done");
    assert!(world.find_snapshot(&kept).await.is_none());
}

#[tokio::test]
async fn the_same_lock_again_is_the_same_answer() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let ask = format!("{}&ClientToken=T", lock(&id, 5, 1));
    let first = call!(world, lock_snapshot, "{ask}").expect("locked");
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(call!(world, lock_snapshot, "{ask}").expect("again"), first);
    let other = code(call!(world, lock_snapshot, "{}&ClientToken=T", lock(&id, 6, 0)));
    assert_eq!(other, (400, "IdempotentParameterMismatch".into()));
}
