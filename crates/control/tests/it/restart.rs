//! After a stop at any point, everything goes on where it was.
//!
//! Rows are set to what a crash would have left: the state and the job that one transaction had
//! committed, without what was to follow.

use crate::guest::Guest;
use crate::world::{World, ZONE, call, code};

/// A job row, as its action commits it.
fn job(kind: &str, subject: &str, lane: &str, arguments: &str) -> String {
    format!(
        "INSERT INTO jobs (id, kind, subject, lane, arguments, attempts, last_error, created_ms) \
         VALUES ((SELECT COALESCE(MAX(id), 1000000) + 1 FROM jobs), '{kind}', '{subject}', '{lane}', '{arguments}', 0, '', 0);"
    )
}

#[tokio::test]
async fn what_is_there_stays_there() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&disk).await;
    let before = world.everything().await;
    let world = world.restart().await;
    assert_eq!(world.everything().await, before);
    world.snapshot(&disk).await;
    world.disk_from(&format!("SnapshotId={snapshot}")).await;
}

#[tokio::test]
async fn a_disk_in_creation_is_made() {
    let world = World::with(|config| config.linger = std::time::Duration::ZERO).await;
    let answer = call!(world, create_disk, "ZoneId={ZONE}&Size=20").expect("promised");
    let world = world.restart().await;
    world.disk_is(&answer.disk_id, "Available").await;
}

#[tokio::test]
async fn an_instance_in_creation_is_made() {
    let world = World::with(|config| config.linger = std::time::Duration::ZERO).await;
    let answer = call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&DataDisk.1.Size=20"
    )
    .expect("promised");
    let id = &answer.instance_id_sets[0];
    let world = world.restart().await;
    world.instance_is(id, "Running").await;
    let disks = call!(world, describe_disks, "InstanceId={id}&Status=In_use").expect("listed");
    assert_eq!(disks.page.total_count, 2);
}

#[tokio::test]
async fn transitions_of_a_disk_are_finished() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&disk).await;
    let set = |status: &str| format!("UPDATE disks SET status = '{status}' WHERE id = '{disk}';");
    let world = world
        .restart_after(&format!(
            "{}{}",
            set("Attaching"),
            job("attach_disk", &disk, &instance, "")
        ))
        .await;
    world.disk_is(&disk, "In_use").await;
    world.stop(&instance).await;
    let resetting = format!(
        "UPDATE disks SET status_before = 'In_use' WHERE id = '{disk}';{}",
        set("ReIniting")
    );
    let world = world
        .restart_after(&format!(
            "{resetting}{}",
            job("reset_disk", &disk, &instance, &snapshot)
        ))
        .await;
    world.disk_is(&disk, "In_use").await;
    let world = world
        .restart_after(&format!(
            "{}{}",
            set("Detaching"),
            job("detach_disk", &disk, &instance, "")
        ))
        .await;
    world.disk_is(&disk, "Available").await;
    let world = world
        .restart_after(&format!(
            "{}{}",
            set("Deleting"),
            job("delete_disk", &disk, &disk, "")
        ))
        .await;
    world.disk_is(&disk, "").await;
    assert!(world.find_snapshot(&snapshot).await.is_some());
}

/// A job that never ends keeps those behind it in its lane from running.
fn never_ending(lane: &str) -> String {
    let blocker = job("resize_disk", "d-none", lane, "never");
    format!("{blocker}UPDATE jobs SET id = 0 WHERE arguments = 'never';")
}

#[tokio::test]
async fn a_system_disk_stays_as_it_is_while_it_is_being_replaced() {
    let world = World::with(|config| config.linger = std::time::Duration::ZERO).await;
    let instance = world.instance().await;
    let old = world.system_disk(&instance).await;
    let snapshot = world.snapshot(&old).await;
    world.stop(&instance).await;
    world.sql(&never_ending(&instance)).await;
    let new = call!(
        world,
        replace_system_disk,
        "InstanceId={instance}&ImageId=tidemark_external.vhd"
    )
    .expect("promised")
    .disk_id;
    let disk = (403, "IncorrectDiskStatus".to_owned());
    assert_eq!(code(call!(world, re_init_disk, "DiskId={old}")), disk);
    let reset = format!("DiskId={old}&SnapshotId={snapshot}");
    assert_eq!(code(call!(world, reset_disk, "{reset}")), disk);
    let reset = format!("Disk.1.DiskId={old}&Disk.1.SnapshotId={snapshot}");
    assert_eq!(code(call!(world, reset_disks, "{reset}")), disk);
    let detach = format!("InstanceId={instance}&DiskId={old}");
    assert_eq!(code(call!(world, detach_disk, "{detach}")), disk);
    assert_eq!(code(call!(world, resize_disk, "DiskId={old}&NewSize=50")), disk);
    let start = code(call!(world, start_instance, "InstanceId={instance}"));
    assert_eq!(start, (403, "IncorrectInstanceStatus".into()));

    let world = world.restart_after("DELETE FROM jobs WHERE id = 0").await;
    world.disk_is(&new, "In_use").await;
    world.disk_is(&old, "").await;
    call!(world, start_instance, "InstanceId={instance}").expect("starts");
    world.instance_is(&instance, "Running").await;
}

/// What was begun on the old disk before it was refused there ends, and the instance keeps that disk.
#[tokio::test]
async fn a_system_disk_that_is_on_its_way_somewhere_is_not_replaced() {
    let world = World::with(|config| config.linger = std::time::Duration::ZERO).await;
    let instance = world.instance().await;
    let old = world.system_disk(&instance).await;
    let snapshot = world.snapshot(&old).await;
    world.stop(&instance).await;
    world.sql(&never_ending(&instance)).await;
    let new = call!(
        world,
        replace_system_disk,
        "InstanceId={instance}&ImageId=tidemark_external.vhd"
    )
    .expect("promised")
    .disk_id;
    let world = world
        .restart_after(&format!(
            "DELETE FROM jobs WHERE id = 0;\
             UPDATE disks SET status = 'ReIniting', status_before = 'In_use' WHERE id = '{old}';{}",
            job("reset_disk", &old, &instance, &snapshot)
        ))
        .await;
    world.disk_is(&new, "").await;
    world.disk_is(&old, "In_use").await;
    let told = format!("ResourceId={new}&EventName.1=Disk:CreateDiskFailed");
    let told = call!(world, describe_events, "{told}").expect("listed");
    assert_eq!(told.events.len(), 1);
    call!(world, start_instance, "InstanceId={instance}").expect("starts");
    world.instance_is(&instance, "Running").await;
}

#[tokio::test]
async fn transitions_of_an_instance_are_finished() {
    let world = World::new().await;
    let id = world.instance().await;
    let set = |status: &str| format!("UPDATE instances SET status = '{status}' WHERE id = '{id}';");
    let world = world
        .restart_after(&format!(
            "{}{}",
            set("Stopping"),
            job("stop_instance", &id, &id, "")
        ))
        .await;
    world.instance_is(&id, "Stopped").await;
    let world = world
        .restart_after(&format!(
            "{}{}",
            set("Starting"),
            job("start_instance", &id, &id, "")
        ))
        .await;
    world.instance_is(&id, "Running").await;
}

#[tokio::test]
async fn a_snapshot_whose_mark_was_never_made_is_removed_with_its_token() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let model = world.snapshot(&disk).await;
    // The row, its job and its token are there; the crash came before the mark.
    let row = format!(
        "CREATE TEMP TABLE copy AS SELECT * FROM snapshots WHERE id = '{model}';\
         UPDATE copy SET id = 's-unmarked', ordinal = 999, status = 'progressing', marked = 0, percent = 0;\
         INSERT INTO snapshots SELECT * FROM copy;\
         INSERT INTO client_tokens VALUES ('1', 'CreateSnapshot', 'T', 'f', 1, 's-unmarked', '{{}}', 9000000000000000);"
    );
    let world = world
        .restart_after(&format!(
            "{row}{}",
            job("complete_snapshot", "s-unmarked", "s-unmarked", "")
        ))
        .await;
    world.snapshot_is("s-unmarked", "").await;
    let snapshots = call!(world, describe_snapshots, "DiskId={disk}")
        .expect("listed")
        .snapshots;
    assert_eq!(snapshots.len(), 1, "the others are not touched");
    call!(world, create_snapshot, "DiskId={disk}&ClientToken=T").expect("the token can be used");
}

#[tokio::test]
async fn a_snapshot_that_ended_unseen_is_accomplished() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    // The node was done; the catalogue had not heard of it, not even of the mark.
    let row =
        format!("UPDATE snapshots SET status = 'progressing', marked = 0, percent = 30 WHERE id = '{id}';");
    let world = world
        .restart_after(&format!("{row}{}", job("complete_snapshot", &id, &id, "")))
        .await;
    world.snapshot_is(&id, "accomplished").await;
}

#[tokio::test]
async fn a_deletion_is_finished() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let row = format!("UPDATE snapshots SET status = 'deleting' WHERE id = '{id}';");
    let world = world
        .restart_after(&format!("{row}{}", job("delete_snapshot", &id, &id, "")))
        .await;
    world.snapshot_is(&id, "").await;
    let left = async || world.count("snapshots").to_string();
    world.eventually(left, "rows of deleted snapshots", "0").await;
    assert_eq!(
        tidemark_node::SnapshotStatus::Unknown,
        world
            .node
            .snapshot_status(&id.parse().expect("an id"))
            .await
            .expect("answers")
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_part_row_and_mark() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    for _ in 0..20 {
        let params = crate::world::params(&format!("DiskId={disk}"));
        let request = tidemark_ecs::actions::create_snapshot::Request::parse(&params).expect("well formed");
        let hung_up = world.control.create_snapshot(&world.caller, request);
        // Polled a few times at most, then dropped.
        let _ = tokio::time::timeout(std::time::Duration::from_micros(300), hung_up).await;
        let settled = async || {
            let rows = call!(world, describe_snapshots, "DiskId={disk}&PageSize=100")
                .expect("listed")
                .snapshots;
            rows.iter().all(|row| row.status == "accomplished").to_string()
        };
        world
            .eventually(settled, "snapshots of callers who hung up", "true")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_opened_is_alone_with_it_and_comes_back() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let (other, kept) = (world.disk().await, world.snapshot(&disk).await);
    let volume = format!("node/volumes/{disk}");
    let world = world
        .restart_with(|dir| {
            std::fs::rename(dir.path().join(&volume), dir.path().join("aside")).expect("moved away");
        })
        .await;
    // The mark cannot be made: a refusal without a trace, whose token is free again.
    let before = world.everything().await;
    let refusal = code(call!(world, create_snapshot, "DiskId={disk}&ClientToken=T"));
    assert_eq!(refusal, (403, "IncorrectDiskStatus.Invalid".into()));
    assert_eq!(world.everything().await, before);
    assert_eq!(
        (
            world.count("jobs"),
            world.count("client_tokens"),
            world.count("snapshots")
        ),
        (0, 0, 1)
    );
    // Everything else serves, and the export of that disk is refused, not made up.
    assert!(Guest::connect(&world, &disk).is_none());
    world.attach(&instance, &other).await;
    assert!(Guest::connect(&world, &other).is_some());
    world.disk_from(&format!("SnapshotId={kept}")).await;

    std::fs::rename(world.dir.path().join("aside"), world.dir.path().join(&volume)).expect("moved back");
    world.control.keep_house().await.expect("done");
    assert!(
        Guest::connect(&world, &disk).is_some(),
        "opened and exported by itself"
    );
    call!(world, create_snapshot, "DiskId={disk}&ClientToken=T").expect("works again");
}

#[tokio::test]
async fn a_catalogue_from_the_future_is_refused() {
    let world = World::new().await;
    world.sql("PRAGMA user_version = 99").await;
    let config = tidemark_control::ControlConfig::new(world.dir.path().join("control"));
    let error = tidemark_control::Control::open(config, world.node.clone())
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("99"), "{error}");
    assert_eq!(
        code(call!(world, delete_disk, "DiskId=d-none")).0,
        404,
        "the one that is open goes on"
    );
}
