//! The life of a snapshot, and what can be made of it.

use crate::world::{World, call, code};

#[tokio::test]
async fn a_snapshot_is_listed_at_once_and_becomes_accomplished() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let answer = call!(
        world,
        create_snapshot,
        "DiskId={disk}&SnapshotName=one&Description=first of all&RetentionDays=3&Tag.1.Key=k&Tag.1.Value=v"
    )
    .expect("begun");
    let id = answer.snapshot_id;
    assert!(id.starts_with("s-bp1"), "{id}");
    let seen = world
        .find_snapshot(&id)
        .await
        .expect("visible to the very next Describe");
    assert!(["progressing", "accomplished"].contains(&seen.status.as_str()));
    assert_eq!(seen.progress == "100%", seen.status == "accomplished");
    world.snapshot_is(&id, "accomplished").await;

    let by_instance = call!(world, describe_snapshots, "InstanceId={instance}")
        .expect("listed")
        .snapshots;
    assert_eq!(by_instance.len(), 1);
    let row = &by_instance[0];
    assert_eq!(
        (row.progress.as_str(), row.remain_time, row.available),
        ("100%", 0, true)
    );
    assert_eq!(
        (row.snapshot_name.as_str(), row.description.as_str()),
        ("one", "first of all")
    );
    assert_eq!(
        (row.source_disk_id.as_str(), row.source_disk_size),
        (disk.as_str(), 20)
    );
    assert_eq!(
        (
            row.source_disk_type.as_str(),
            row.snapshot_type.as_str(),
            row.usage.as_str()
        ),
        ("data", "user", "none")
    );
    assert_eq!((row.category.as_str(), row.retention_days), ("standard", Some(3)));
    assert!(row.snapshot_link_id.starts_with("sl-"));
    assert_eq!(row.tags.len(), 1);
}

#[tokio::test]
async fn snapshots_of_a_disk_share_a_chain_and_come_newest_first() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let first = world.snapshot(&disk).await;
    let second = world.snapshot(&disk).await;
    let rows = call!(world, describe_snapshots, "DiskId={disk}")
        .expect("listed")
        .snapshots;
    assert_eq!(
        rows.iter().map(|r| r.snapshot_id.as_str()).collect::<Vec<_>>(),
        [second.as_str(), first.as_str()]
    );
    assert_eq!(rows[0].snapshot_link_id, rows[1].snapshot_link_id);
}

#[tokio::test]
async fn deleting_is_seen_at_once_and_happens_once() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    assert!(world.find_snapshot(&id).await.is_none());
    assert_eq!(
        code(call!(world, delete_snapshot, "SnapshotId={id}")),
        (404, "InvalidSnapshotId.NotFound".into())
    );
    // Cancelling: the same call, without waiting for the end.
    let id = call!(world, create_snapshot, "DiskId={disk}")
        .expect("begun")
        .snapshot_id;
    call!(world, delete_snapshot, "SnapshotId={id}").expect("cancelled");
    assert!(world.find_snapshot(&id).await.is_none());
    world.snapshot(&disk).await;
}

#[tokio::test]
async fn a_disk_from_a_snapshot_keeps_it_until_forced() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let copy = world.disk_from(&format!("SnapshotId={id}")).await;
    let shown = world.find_disk(&copy).await.expect("listed");
    assert_eq!((shown.source_snapshot_id.as_str(), shown.size), (id.as_str(), 20));
    assert_eq!(world.find_snapshot(&id).await.expect("listed").usage, "disk");
    assert_eq!(
        code(call!(world, delete_snapshot, "SnapshotId={id}")),
        (403, "SnapshotCreatedDisk".into())
    );
    assert!(world.find_snapshot(&id).await.is_some());
    call!(world, delete_snapshot, "SnapshotId={id}&Force=true").expect("forced");
    assert!(world.find_snapshot(&id).await.is_none());
    assert_eq!(
        world.find_disk(&copy).await.expect("works on").status,
        "Available"
    );
    let refusal = code(call!(
        world,
        create_disk,
        "ZoneId=cn-hangzhou-g&DiskCategory=cloud_essd&SnapshotId={id}"
    ));
    assert_eq!(refusal, (404, "InvalidSnapshotId.NotFound".into()));
}

#[tokio::test]
async fn a_size_below_the_snapshots_is_raised_and_one_above_is_kept() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    for (asked, given) in [("Size=10", 20), ("Size=50", 50), ("PerformanceLevel=PL0", 20)] {
        let copy = world.disk_from(&format!("SnapshotId={id}&{asked}")).await;
        assert_eq!(
            world.find_disk(&copy).await.expect("listed").size,
            given,
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_rollback_returns_to_the_former_state() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let reset = format!("DiskId={disk}&SnapshotId={id}");
    assert_eq!(
        code(call!(world, reset_disk, "{reset}")),
        (403, "IncorrectInstanceStatus".into())
    );
    world.stop(&instance).await;
    assert_eq!(
        code(call!(world, reset_disk, "{reset}&DryRun=true")),
        (400, "DryRunOperation".into())
    );
    call!(world, reset_disk, "{reset}").expect("begun");
    world.disk_is(&disk, "In_use").await;
    world.detach(&instance, &disk).await;
    call!(world, reset_disk, "{reset}").expect("an Available disk, too");
    world.disk_is(&disk, "Available").await;
    assert!(world.find_snapshot(&id).await.is_some(), "snapshots stay");

    let other = world.disk().await;
    let refusal = code(call!(world, reset_disk, "DiskId={other}&SnapshotId={id}"));
    assert_eq!(refusal, (403, "InvalidParameter.Mismatch".into()));
}

#[tokio::test]
async fn attributes_change_and_retention_only_grows() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let for_ever = world.snapshot(&disk).await;
    let id = call!(world, create_snapshot, "DiskId={disk}&RetentionDays=5")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&id, "accomplished").await;
    call!(
        world,
        modify_snapshot_attribute,
        "SnapshotId={id}&SnapshotName=new&Description=&RetentionDays=6"
    )
    .expect("changed");
    let row = world.find_snapshot(&id).await.expect("listed");
    assert_eq!(
        (
            row.snapshot_name.as_str(),
            row.description.as_str(),
            row.retention_days
        ),
        ("new", "", Some(6))
    );
    for (snapshot, change, expected) in [
        (
            &id,
            "RetentionDays=5",
            (400, "InvalidOperation.DecreaseRetentionDaysUnsupported"),
        ),
        (
            &for_ever,
            "RetentionDays=5",
            (400, "InvalidOperation.DecreaseRetentionDaysUnsupported"),
        ),
        (&id, "", (400, "NoAttributeToModify")),
        (
            &"s-none".to_owned(),
            "SnapshotName=new",
            (404, "InvalidSnapshotId.NotFound"),
        ),
    ] {
        let refusal = code(call!(
            world,
            modify_snapshot_attribute,
            "SnapshotId={snapshot}&{change}"
        ));
        assert_eq!(refusal, (expected.0, expected.1.into()), "{change}");
    }
}

#[tokio::test]
async fn the_quota_of_manual_snapshots_holds() {
    let world = World::with(|config| config.limits.manual_snapshots_per_disk = 2).await;
    let (_, disk) = world.attached_disk().await;
    let first = world.snapshot(&disk).await;
    world.snapshot(&disk).await;
    let before = world.everything().await;
    assert_eq!(
        code(call!(world, create_snapshot, "DiskId={disk}")),
        (403, "QuotaExceed.Snapshot".into())
    );
    assert_eq!(world.everything().await, before);
    call!(world, delete_snapshot, "SnapshotId={first}").expect("deleted");
    world.snapshot(&disk).await;
}
