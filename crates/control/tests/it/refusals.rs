//! Each rule with its documented status and code; and S13: a refusal leaves no trace.

use crate::world::{World, ZONE, call, code};

#[tokio::test]
async fn a_disk_that_was_never_attached_is_not_snapshotted() {
    let world = World::new().await;
    let disk = world.disk().await;
    let before = world.everything().await;
    let refusal = code(call!(world, create_snapshot, "DiskId={disk}&ClientToken=t"));
    assert_eq!(refusal, (403, "IncorrectDiskStatus.NeverAttached".into()));
    assert_eq!(world.everything().await, before);
    let instance = world.instance().await;
    world.attach(&instance, &disk).await;
    world.detach(&instance, &disk).await;
    // The refused token is not used up.
    call!(world, create_snapshot, "DiskId={disk}&ClientToken=t").expect("once attached is enough");
}

/// S10: one case per state. What the states come from is tested elsewhere; here they are set.
#[tokio::test]
async fn snapshots_need_a_disk_and_an_instance_at_rest() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    for status in ["Creating", "Attaching", "Detaching", "ReIniting"] {
        world
            .sql(&format!(
                "UPDATE disks SET status = '{status}' WHERE id = '{disk}'"
            ))
            .await;
        let refusal = call!(world, create_snapshot, "DiskId={disk}").expect_err(status);
        assert_eq!(
            (refusal.status, refusal.code.as_ref()),
            (403, "IncorrectDiskStatus")
        );
        assert!(
            refusal.message.contains(status),
            "names the cause: {}",
            refusal.message
        );
    }
    world
        .sql(&format!("UPDATE disks SET status = 'In_use' WHERE id = '{disk}'"))
        .await;
    for status in ["Pending", "Starting", "Stopping"] {
        world
            .sql(&format!(
                "UPDATE instances SET status = '{status}' WHERE id = '{instance}'"
            ))
            .await;
        let refusal = call!(world, create_snapshot, "DiskId={disk}").expect_err(status);
        assert_eq!(
            (refusal.status, refusal.code.as_ref()),
            (400, "IncorrectInstanceStatus")
        );
        assert!(
            refusal.message.contains(status),
            "names the cause: {}",
            refusal.message
        );
    }
    for status in ["Running", "Stopped"] {
        world
            .sql(&format!(
                "UPDATE instances SET status = '{status}' WHERE id = '{instance}'"
            ))
            .await;
        world.snapshot(&disk).await;
    }
    assert_eq!(
        call!(world, describe_snapshots, "")
            .expect("listed")
            .page
            .total_count,
        2
    );
}

#[tokio::test]
async fn what_a_snapshot_in_creation_forbids() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let done = world.snapshot(&disk).await;
    let id = world.snapshot(&disk).await;
    // In creation, and so far that nobody can ask the node about it.
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{id}'"
        ))
        .await;
    world.detach(&instance, &disk).await;
    let before = world.everything().await;
    let reset = format!("DiskId={disk}&SnapshotId");
    for (refusal, expected) in [
        (
            code(call!(world, create_snapshot, "DiskId={disk}")),
            (403, "IncorrectDiskStatus.CreatingSnapshot"),
        ),
        (
            code(call!(world, delete_disk, "DiskId={disk}")),
            (403, "DiskCreatingSnapshot"),
        ),
        (
            code(call!(world, reset_disk, "{reset}={done}")),
            (403, "IncorrectDiskStatus.HasUnfinishedSnapshot"),
        ),
        (
            code(call!(world, reset_disk, "{reset}={id}")),
            (403, "InvalidSnapshotId.NotReady"),
        ),
        (
            code(call!(
                world,
                create_disk,
                "ZoneId={ZONE}&DiskCategory=cloud_essd&SnapshotId={id}"
            )),
            (403, "InvalidSnapshotId.NotReady"),
        ),
        (
            code(call!(
                world,
                modify_snapshot_attribute,
                "SnapshotId={id}&RetentionDays=9"
            )),
            (400, "InvalidSnapshotId.NotReady"),
        ),
    ] {
        assert_eq!(refusal, (expected.0, expected.1.into()));
    }
    assert_eq!(world.everything().await, before);
    let shown = world.find_snapshot(&id).await.expect("listed");
    assert_ne!(shown.progress, "100%");
    assert!(!shown.available);
}

#[tokio::test]
async fn a_failed_snapshot_is_of_no_use_but_in_nobodys_way() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'failed', percent = 40 WHERE id = '{id}'"
        ))
        .await;
    world.detach(&instance, &disk).await;
    let make = code(call!(
        world,
        create_disk,
        "ZoneId={ZONE}&DiskCategory=cloud_essd&SnapshotId={id}"
    ));
    assert_eq!(make, (403, "OperationDenied.SnapshotNotAllowed".into()));
    assert_eq!(
        code(call!(world, reset_disk, "DiskId={disk}&SnapshotId={id}")),
        (403, "OperationDenied".into())
    );
    world.snapshot(&disk).await;
    call!(world, delete_snapshot, "SnapshotId={id}").expect("can be deleted");
}

#[tokio::test]
async fn several_snapshots_in_creation_have_another_code() {
    let world = World::with(|config| config.limits.concurrent_snapshots_per_disk = 2).await;
    let (_, disk) = world.attached_disk().await;
    world.snapshot(&disk).await;
    world.snapshot(&disk).await;
    world
        .sql("UPDATE snapshots SET status = 'progressing', marked = 0")
        .await;
    let refusal = code(call!(world, create_snapshot, "DiskId={disk}"));
    assert_eq!(refusal, (403, "QuotaExceed.ConcurrentSnapshotQuota".into()));
}

#[tokio::test]
async fn attaching_and_detaching_name_what_is_wrong() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let (other, free) = (world.instance().await, world.disk().await);
    let pair = |instance: &str, disk: &str| format!("InstanceId={instance}&DiskId={disk}");
    for (refusal, expected) in [
        (
            code(call!(world, attach_disk, "{}", pair(&instance, &disk))),
            (404, "InvalidDisk.InUse"),
        ),
        (
            code(call!(world, attach_disk, "{}", pair(&other, &disk))),
            (404, "InvalidDisk.InUse"),
        ),
        (
            code(call!(world, attach_disk, "{}", pair("i-none", &free))),
            (404, "InvalidInstanceId.NotFound"),
        ),
        (
            code(call!(world, attach_disk, "{}", pair(&other, "d-none"))),
            (404, "InvalidDiskId.NotFound"),
        ),
        (
            code(call!(world, detach_disk, "{}", pair(&other, &disk))),
            (403, "DependencyViolation"),
        ),
        (
            code(call!(world, detach_disk, "{}", pair(&instance, &free))),
            (404, "InvalidDisk.AlreadyDetached"),
        ),
        (
            code(call!(world, detach_disk, "{}", pair(&instance, "d-none"))),
            (404, "InvalidDiskId.NotFound"),
        ),
        (
            code(call!(world, delete_disk, "DiskId={disk}")),
            (403, "IncorrectDiskStatus"),
        ),
        (
            code(call!(world, delete_disk, "DiskId=d-none")),
            (404, "InvalidDiskId.NotFound"),
        ),
    ] {
        assert_eq!(refusal, (expected.0, expected.1.into()));
    }
    world
        .sql(&format!(
            "UPDATE disks SET status = 'Detaching' WHERE id = '{disk}'"
        ))
        .await;
    let again = code(call!(world, detach_disk, "{}", pair(&instance, &disk)));
    assert_eq!(again, (403, "InvalidOperation.DiskDetachingFromThisEcs".into()));
    let busy = code(call!(world, delete_instance, "InstanceId={instance}&Force=true"));
    assert_eq!(busy, (409, "OperationConflict".into()));
    world
        .sql(&format!(
            "UPDATE instances SET status = 'Starting' WHERE id = '{other}'"
        ))
        .await;
    let early = code(call!(world, attach_disk, "{}", pair(&other, &free)));
    assert_eq!(early, (400, "IncorrectInstanceStatus".into()));
}

#[tokio::test]
async fn a_security_lock_forbids_what_the_contract_lists() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let free = world.disk().await;
    let id = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "UPDATE instances SET security_lock = 1 WHERE id = '{instance}'"
        ))
        .await;
    let locked = (403, "InstanceLockedForSecurity".to_owned());
    assert_eq!(code(call!(world, create_snapshot, "DiskId={disk}")), locked);
    assert_eq!(
        code(call!(world, reset_disk, "DiskId={disk}&SnapshotId={id}")),
        locked
    );
    assert_eq!(
        code(call!(world, attach_disk, "InstanceId={instance}&DiskId={free}")),
        locked
    );
    assert_eq!(
        code(call!(world, detach_disk, "InstanceId={instance}&DiskId={disk}")),
        locked
    );
    assert_eq!(code(call!(world, stop_instance, "InstanceId={instance}")), locked);
    assert_eq!(
        world.find_disk(&disk).await.expect("listed").operation_locks[0].lock_reason,
        "security"
    );
    // Deletions stay allowed.
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    call!(world, delete_instance, "InstanceId={instance}&Force=true").expect("released");
    assert!(
        world.find_disk(&disk).await.is_none(),
        "released with a locked instance, whatever it was marked"
    );
}

#[tokio::test]
async fn unknown_places_have_each_actions_own_code() {
    let world = World::new().await;
    let create = |query: &str| {
        tidemark_ecs::Params::from_pairs(query.split('&').map(|p| p.split_once('=').expect("pair")))
    };
    let elsewhere = create("RegionId=mars-1&ZoneId=z&Size=20").expect("params");
    let request = tidemark_ecs::actions::create_disk::Request::parse(&elsewhere).expect("well formed");
    assert_eq!(
        code(world.control.create_disk(&world.caller, request).await),
        (404, "InvalidRegionId.NotFound".into())
    );
    let elsewhere = create("RegionId=mars-1").expect("params");
    let request = tidemark_ecs::actions::describe_disks::Request::parse(&elsewhere).expect("well formed");
    assert_eq!(
        code(world.control.describe_disks(&world.caller, request).await),
        (400, "InvalidRegion.NotFound".into())
    );
    assert_eq!(
        code(call!(world, create_disk, "ZoneId=nowhere&Size=20")),
        (404, "InvalidZoneId.NotFound".into())
    );
}

#[tokio::test]
async fn another_accounts_resources_do_not_exist() {
    let mut world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    world.caller.account = "2000000000000002".into();
    assert_eq!(
        code(call!(world, create_snapshot, "DiskId={disk}")),
        (404, "InvalidDiskId.NotFound".into())
    );
    assert_eq!(
        code(call!(world, delete_snapshot, "SnapshotId={id}")),
        (404, "InvalidSnapshotId.NotFound".into())
    );
    assert_eq!(
        code(call!(world, stop_instance, "InstanceId={instance}")),
        (404, "InvalidInstanceId.NotFound".into())
    );
    assert!(world.find_disk(&disk).await.is_none() && world.find_snapshot(&id).await.is_none());
}
