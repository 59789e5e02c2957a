//! What time brings, on a clock that the test sets.

use crate::world::{World, call};

#[tokio::test]
async fn retention_over_means_gone() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let for_ever = world.snapshot(&disk).await;
    let id = call!(world, create_snapshot, "DiskId={disk}&RetentionDays=2")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&id, "accomplished").await;
    world.advance_days(1);
    world.control.keep_house().await.expect("done");
    assert!(world.find_snapshot(&id).await.is_some());
    world.advance_days(1);
    world.control.keep_house().await.expect("done");
    assert!(world.find_snapshot(&id).await.is_none());
    assert!(world.find_snapshot(&for_ever).await.is_some(), "kept for ever");
}

#[tokio::test]
async fn a_failed_snapshot_stays_for_a_week() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'failed' WHERE id = '{id}'"
        ))
        .await;
    world.advance_days(6);
    world.control.keep_house().await.expect("done");
    assert!(world.find_snapshot(&id).await.is_some());
    world.advance_days(1);
    world.control.keep_house().await.expect("done");
    assert!(world.find_snapshot(&id).await.is_none());
}

/// More than one transaction removes.
#[tokio::test]
async fn many_snapshots_end_in_one_round() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let mut sql = format!(
        "BEGIN IMMEDIATE; CREATE TEMP TABLE many AS SELECT * FROM snapshots WHERE id = '{id}'; UPDATE many SET status = 'failed';"
    );
    for n in 0..450 {
        sql += &format!(
            "UPDATE many SET id = 's-many{n}', ordinal = {}; INSERT INTO snapshots SELECT * FROM many;",
            100_000 + n
        );
    }
    sql += "COMMIT;";
    world.sql(&sql).await;
    world.advance_days(8);
    world.control.keep_house().await.expect("done");
    assert_eq!(
        world.number("SELECT COUNT(*) FROM snapshots WHERE status = 'failed'"),
        0
    );
    assert!(world.find_snapshot(&id).await.is_some());
}

#[tokio::test]
async fn an_instance_is_released_at_its_time() {
    let world = World::new().await;
    let answer = call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&AutoReleaseTime=2999-01-01T00:00:00Z"
    )
    .expect("made");
    let id = &answer.instance_id_sets[0];
    world.instance_is(id, "Running").await;
    assert_eq!(
        world.find_instance(id).await.expect("listed").auto_release_time,
        "2999-01-01T00:00Z"
    );
    world.control.keep_house().await.expect("done");
    assert!(world.find_instance(id).await.is_some());
    world.advance_days(365 * 1000);
    world.control.keep_house().await.expect("done");
    assert!(world.find_instance(id).await.is_none());
}
