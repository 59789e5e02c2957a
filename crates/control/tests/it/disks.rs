//! Disks that change: larger, renamed, as they were made, replaced. Each rule with its documented status and code.

use crate::guest::Guest;
use crate::world::{World, call, code};

const GIB: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_grows_while_it_is_used_and_after_a_restart_it_is_as_large() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    guest.write(0, &[1; 4096]);
    assert!(guest.try_read(25 * GIB, 512).is_err(), "past the end");
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    call!(world, resize_disk, "DiskId={disk}&NewSize=30&Type=online").expect("grows");
    assert_eq!(world.find_disk(&disk).await.expect("listed").size, 30, "at once");
    assert_eq!(guest.read(0, 4096), [1; 4096], "who is connected goes on");
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    guest.write(25 * GIB, &[2; 4096]);
    guest.flush();
    // The snapshots before keep their size, the next has the new one.
    let snapshot = world.snapshot(&disk).await;
    assert_eq!(
        world
            .find_snapshot(&snapshot)
            .await
            .expect("listed")
            .source_disk_size,
        30
    );

    let world = world.restart().await;
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    assert_eq!(guest.read(25 * GIB, 4096), [2; 4096]);
    // Offline, attached and not.
    world.stop(&instance).await;
    call!(world, resize_disk, "DiskId={disk}&NewSize=31").expect("grows");
    world.detach(&instance, &disk).await;
    call!(world, resize_disk, "DiskId={disk}&NewSize=32&ClientToken=t").expect("grows");
    call!(world, resize_disk, "DiskId={disk}&NewSize=32&ClientToken=t").expect("asked before");
    assert_eq!(world.find_disk(&disk).await.expect("listed").size, 32);
    let other = code(call!(
        world,
        resize_disk,
        "DiskId={disk}&NewSize=33&ClientToken=t"
    ));
    assert_eq!(other, (400, "IdempotentParameterMismatch".into()));
}

#[tokio::test]
async fn a_disk_that_grew_unseen_is_listed_with_the_size_that_it_has() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = tidemark_units::DiskId::new(disk.as_str()).expect("an id");
    // As when a job was given up after the volume had grown.
    world.node.grow_disk(&id, 30 * GIB).await.expect("grows");
    assert_eq!(world.find_disk(&disk).await.expect("listed").size, 20);
    let world = world.restart().await;
    assert_eq!(world.find_disk(&disk).await.expect("listed").size, 30);
}

#[tokio::test]
async fn a_growth_that_cannot_be_is_told() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let far_too_large = 1_i64 << 40;
    world
        .sql(&format!(
            "INSERT INTO jobs VALUES (9001, 'resize_disk', '{disk}', '{instance}', '{far_too_large}', 0, '', 0)"
        ))
        .await;
    let world = world.restart().await;
    let told = async || {
        let answer = call!(world, describe_events, "ResourceId={disk}").expect("listed");
        let mut failed = answer.events.into_iter().filter(|event| event.level == "WARN");
        failed.next().map(|event| event.content["operation"].to_string())
    };
    let look = async || told().await.unwrap_or_default();
    world.eventually(look, "the event", "\"ResizeDisk\"").await;
    assert_eq!(world.find_disk(&disk).await.expect("listed").size, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_keeps_the_size_that_the_disk_has() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    Guest::connect(&world, &disk)
        .expect("exported")
        .write(0, &[1; 4096]);
    let snapshot = world.snapshot(&disk).await;
    call!(world, resize_disk, "DiskId={disk}&NewSize=30").expect("grows");
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    guest.write(0, &[2; 4096]);
    guest.write(25 * GIB, &[2; 4096]);
    guest.flush();
    world.stop(&instance).await;
    call!(world, reset_disk, "DiskId={disk}&SnapshotId={snapshot}").expect("rolls back");
    world.disk_is(&disk, "In_use").await;
    assert_eq!(world.find_disk(&disk).await.expect("listed").size, 30);
    call!(world, start_instance, "InstanceId={instance}").expect("starts");
    world.instance_is(&instance, "Running").await;
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    assert_eq!(guest.read(0, 4096), [1; 4096]);
    assert_eq!(
        guest.read(25 * GIB, 4096),
        [0; 4096],
        "the tail that it did not have"
    );
}

#[tokio::test]
async fn what_refuses_a_resize() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let before = world.everything().await;
    let refusal = async |query: &str| code(call!(world, resize_disk, "DiskId={disk}&{query}"));
    for (query, status, expected) in [
        ("NewSize=19", 403, "InvalidDiskSize.TooSmall"),
        ("NewSize=-1", 403, "InvalidDiskSize.TooSmall"),
        ("NewSize=20", 403, "InvalidDiskSize"),
        ("NewSize=65537", 403, "InvalidDiskSize.TooLarge"),
    ] {
        assert_eq!(refusal(query).await, (status, expected.into()), "{query}");
    }
    let missing = code(call!(world, resize_disk, "DiskId=d-none&NewSize=30"));
    assert_eq!(missing, (404, "InvalidDiskId.NotFound".into()));
    let system = call!(world, describe_disks, "InstanceId={instance}&DiskType=system").expect("listed");
    let system = &system.disks[0].disk_id;
    let too_large = code(call!(world, resize_disk, "DiskId={system}&NewSize=2049"));
    assert_eq!(too_large, (400, "InvalidSystemDiskSize.ValueNotSupported".into()));
    assert_eq!(world.everything().await, before, "a refusal changes nothing");

    let set = async |table: &str, id: &str, what: &str| {
        world
            .sql(&format!("UPDATE {table} SET {what} WHERE id = '{id}'"))
            .await;
    };
    for status in ["Creating", "Attaching", "Detaching", "ReIniting"] {
        set("disks", &disk, &format!("status = '{status}'")).await;
        assert_eq!(
            refusal("NewSize=30").await,
            (403, "IncorrectDiskStatus".into()),
            "{status}"
        );
    }
    set("disks", &disk, "status = 'In_use'").await;
    for status in ["Pending", "Starting", "Stopping"] {
        set("instances", &instance, &format!("status = '{status}'")).await;
        assert_eq!(
            refusal("NewSize=30").await,
            (403, "IncorrectInstanceStatus".into()),
            "{status}"
        );
    }
    set("instances", &instance, "status = 'Stopped'").await;
    assert_eq!(
        refusal("NewSize=30&Type=online").await,
        (403, "InvalidInstanceStatus.NotRunning".into())
    );
    set("instances", &instance, "status = 'Running', security_lock = 1").await;
    assert_eq!(
        refusal("NewSize=30").await,
        (403, "InstanceLockedForSecurity".into())
    );
    set("instances", &instance, "security_lock = 0").await;
    let snapshot = world.snapshot(&disk).await;
    set("snapshots", &snapshot, "status = 'progressing', marked = 0").await;
    assert_eq!(refusal("NewSize=30").await, (403, "DiskCreatingSnapshot".into()));
    set("snapshots", &snapshot, "status = 'accomplished', marked = 1").await;
    set("disks", system, "status = 'Available', instance_id = NULL").await;
    let detached = code(call!(world, resize_disk, "DiskId={system}&NewSize=50"));
    assert_eq!(detached, (400, "InvalidDisk.DetachedSystemDisk".into()));
}

#[tokio::test]
async fn a_snapshot_is_not_taken_of_a_disk_whose_size_is_about_to_change() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    // A job that never succeeds.
    world
        .sql(&format!(
            "INSERT INTO jobs VALUES (9001, 'resize_disk', '{disk}', '{disk}', 'not a size', 0, '', 0)"
        ))
        .await;
    let refusal = code(call!(world, create_snapshot, "DiskId={disk}"));
    assert_eq!(refusal, (403, "IncorrectDiskStatus".into()));
    let again = code(call!(world, resize_disk, "DiskId={disk}&NewSize=30"));
    assert_eq!(again, (403, "Operation.Conflict".into()));
}

#[tokio::test]
async fn attributes_of_one_disk_or_of_many() {
    let world = World::new().await;
    let (one, two) = (world.disk().await, world.disk().await);
    call!(
        world,
        modify_disk_attribute,
        "DiskIds.1={one}&DiskIds.2={two}&DiskName=1-data&Description=for the tests&DeleteAutoSnapshot=false&EnableAutoSnapshot=False&DeleteWithInstance=true"
    )
    .expect("modified");
    for id in [&one, &two] {
        let disk = world.find_disk(id).await.expect("listed");
        assert_eq!(
            (disk.disk_name.as_str(), disk.description.as_str()),
            ("1-data", "for the tests")
        );
        assert!(!disk.delete_auto_snapshot && !disk.enable_auto_snapshot && disk.delete_with_instance);
    }
    call!(world, modify_disk_attribute, "DiskId={one}&DiskName=other").expect("modified");
    let disk = world.find_disk(&one).await.expect("listed");
    assert_eq!(
        (disk.disk_name.as_str(), disk.description.as_str()),
        ("other", "for the tests")
    );
    let before = world.everything().await;
    let missing = code(call!(
        world,
        modify_disk_attribute,
        "DiskIds.1={one}&DiskIds.2=d-none&DiskName=third"
    ));
    assert_eq!(missing, (404, "InvalidDiskId.NotFound".into()));
    let bursting = code(call!(
        world,
        modify_disk_attribute,
        "DiskId={one}&BurstingEnabled=true"
    ));
    assert_eq!(
        bursting,
        (400, "BurstingEnabledForDiskCategoryUnsupported".into())
    );
    assert_eq!(world.everything().await, before, "all of them, or none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_becomes_again_what_it_was_made_as() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    guest.write(0, &[1; 4096]);
    guest.flush();
    let snapshot = world.snapshot(&disk).await;
    let copy = world.disk_from(&format!("SnapshotId={snapshot}")).await;
    world.attach(&instance, &copy).await;
    for id in [&disk, &copy] {
        let mut guest = Guest::connect(&world, id).expect("exported");
        guest.write(0, &[9; 4096]);
        guest.write(15 * GIB, &[9; 4096]);
        guest.flush();
    }
    call!(world, resize_disk, "DiskId={copy}&NewSize=25").expect("grows");
    world.stop(&instance).await;
    call!(world, re_init_disk, "DiskId={disk}").expect("begins");
    world.disk_is(&disk, "In_use").await;
    call!(world, re_init_disk, "DiskId={copy}&AutoStartInstance=true").expect("begins");
    world.disk_is(&copy, "In_use").await;
    world.instance_is(&instance, "Running").await;
    let mut made_empty = Guest::connect(&world, &disk).expect("exported");
    assert_eq!(made_empty.read(0, 4096), [0; 4096]);
    assert_eq!(made_empty.read(15 * GIB, 4096), [0; 4096]);
    let mut made_of_snapshot = Guest::connect(&world, &copy).expect("exported");
    assert_eq!(made_of_snapshot.read(0, 4096), [1; 4096]);
    assert_eq!(made_of_snapshot.read(15 * GIB, 4096), [0; 4096]);
    assert_eq!(
        world.find_disk(&copy).await.expect("listed").size,
        25,
        "the size of today"
    );
    // Its own snapshots are still its own.
    world.stop(&instance).await;
    call!(world, reset_disk, "DiskId={disk}&SnapshotId={snapshot}").expect("begins");
    world.disk_is(&disk, "In_use").await;
    // With its source gone it cannot go back any more.
    call!(world, delete_snapshot, "SnapshotId={snapshot}&Force=true").expect("deleted");
    let gone = code(call!(world, re_init_disk, "DiskId={copy}"));
    assert_eq!(gone, (403, "InvalidSourceSnapshot".into()));
}

#[tokio::test]
async fn what_refuses_a_reinit() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let free = world.disk().await;
    let snapshot = world.snapshot(&disk).await;
    let before = world.everything().await;
    let refusal = async |id: &str| code(call!(world, re_init_disk, "DiskId={id}"));
    assert_eq!(refusal("d-none").await, (404, "InvalidDiskId.NotFound".into()));
    assert_eq!(
        refusal(&free).await,
        (403, "IncorrectDiskStatus".into()),
        "not attached"
    );
    assert_eq!(
        refusal(&disk).await,
        (403, "IncorrectInstanceStatus".into()),
        "running"
    );
    assert_eq!(world.everything().await, before, "a refusal changes nothing");
    world.stop(&instance).await;
    let set = async |table: &str, id: &str, what: &str| {
        world
            .sql(&format!("UPDATE {table} SET {what} WHERE id = '{id}'"))
            .await;
    };
    set("instances", &instance, "security_lock = 1").await;
    assert_eq!(refusal(&disk).await, (403, "InstanceLockedForSecurity".into()));
    set("instances", &instance, "security_lock = 0, started_ms = NULL").await;
    assert_eq!(
        refusal(&disk).await,
        (403, "IncorrectInstanceStatus".into()),
        "never started"
    );
    set("instances", &instance, "started_ms = 1").await;
    set("snapshots", &snapshot, "status = 'progressing', marked = 0").await;
    assert_eq!(refusal(&disk).await, (403, "DiskCreatingSnapshot".into()));
    set("snapshots", &snapshot, "status = 'accomplished', marked = 1").await;
    set("disks", &disk, "image_id = 'm-gone'").await;
    assert_eq!(
        refusal(&disk).await,
        (404, "InvalidDiskId.OperationNotSupported".into())
    );
}
