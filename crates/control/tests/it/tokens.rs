//! ClientTokens and nonces.

use crate::world::{World, ZONE, call, code};

#[tokio::test]
async fn the_same_request_again_gives_the_same_answer_even_after_a_restart() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let ask = format!("DiskId={disk}&SnapshotName=one&ClientToken=T");
    let first = call!(world, create_snapshot, "{ask}").expect("begun").snapshot_id;
    world.snapshot_is(&first, "accomplished").await;
    assert_eq!(
        call!(world, create_snapshot, "{ask}").expect("again").snapshot_id,
        first
    );
    let made = format!("ZoneId={ZONE}&Size=20&ClientToken=T");
    let copy = call!(world, create_disk, "{made}").expect("made").disk_id;
    let world = world.restart().await;
    assert_eq!(
        call!(world, create_snapshot, "{ask}").expect("again").snapshot_id,
        first
    );
    assert_eq!(call!(world, create_disk, "{made}").expect("again").disk_id, copy);
    assert_eq!(
        call!(world, describe_snapshots, "")
            .expect("listed")
            .page
            .total_count,
        1
    );
}

#[tokio::test]
async fn other_parameters_under_the_same_token_are_refused() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    call!(
        world,
        create_snapshot,
        "DiskId={disk}&SnapshotName=one&ClientToken=T"
    )
    .expect("begun");
    let other = code(call!(
        world,
        create_snapshot,
        "DiskId={disk}&SnapshotName=two&ClientToken=T"
    ));
    assert_eq!(other, (403, "IdempotentParameterMismatch".into()));
    let run = "InstanceType=tidemark.external&ClientToken=R";
    let first = call!(world, run_instances, "{run}")
        .expect("made")
        .instance_id_sets;
    assert_eq!(
        call!(world, run_instances, "{run}")
            .expect("again")
            .instance_id_sets,
        first
    );
    let other = code(call!(world, run_instances, "{run}&Amount=2"));
    assert_eq!(other, (400, "IdempotentParameterMismatch".into()));
}

#[tokio::test]
async fn a_dry_run_neither_uses_a_token_nor_minds_one() {
    let world = World::new().await;
    let dry = (400, "DryRunOperation".to_owned());
    let made = "InstanceType=tidemark.external&SystemDisk.Size=20&ClientToken=T";
    for _ in 0..2 {
        assert_eq!(code(call!(world, run_instances, "{made}&DryRun=true")), dry);
        let run = call!(world, run_instances, "{made}").expect("made");
        world.instance_is(&run.instance_id_sets[0], "Running").await;
        assert_eq!(code(call!(world, create_instance, "{made}&DryRun=true")), dry);
        call!(world, create_instance, "{made}").expect("made");
    }
    let (instance, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&world.system_disk(&instance).await).await;
    let image = format!("SnapshotId={snapshot}&ClientToken=T");
    let locked = format!("SnapshotId={snapshot}&ClientToken=T");
    let lock = format!("{locked}&LockMode=compliance&LockDuration=7&CoolOffPeriod=24");
    let spec = format!("DiskId={disk}&DiskCategory=cloud_ssd&ClientToken=T");
    let other = world.instance().await;
    let delete = format!("InstanceId.1={other}&Force=true&ClientToken=T");
    assert_eq!(code(call!(world, delete_instances, "{delete}&DryRun=true")), dry);
    for _ in 0..2 {
        assert_eq!(code(call!(world, create_image, "{image}&DryRun=true")), dry);
        call!(world, create_image, "{image}").expect("made");
        assert_eq!(code(call!(world, modify_disk_spec, "{spec}&DryRun=true")), dry);
        call!(world, modify_disk_spec, "{spec}").expect("modified");
        assert_eq!(code(call!(world, lock_snapshot, "{lock}&DryRun=true")), dry);
        call!(world, lock_snapshot, "{lock}").expect("locked");
    }
    assert_eq!(code(call!(world, unlock_snapshot, "{locked}&DryRun=true")), dry);
    call!(world, unlock_snapshot, "{locked}").expect("unlocked");
    call!(world, delete_instances, "{delete}").expect("deleted");
    let gone = code(call!(world, delete_instances, "{delete}&DryRun=true"));
    assert_eq!(
        gone,
        (404, "InvalidInstanceId.NotFound".into()),
        "not the answer that the token keeps"
    );
}

#[tokio::test]
async fn instances_that_are_left_keep_the_token_that_made_them() {
    let world = World::new().await;
    let run = "InstanceType=tidemark.external&SystemDisk.Size=20&Amount=2&ClientToken=R";
    let made = call!(world, run_instances, "{run}")
        .expect("made")
        .instance_id_sets;
    for id in &made {
        world.instance_is(id, "Running").await;
    }
    // As a crash leaves an instance whose disk cannot be made.
    let first = made[0].clone();
    let unmade = |id: &str| {
        format!(
            "UPDATE instances SET status = 'Pending' WHERE id = '{id}';\
             UPDATE disks SET id = id || 'x', status = 'Creating', source_snapshot_id = 's-none' \
             WHERE instance_id = '{id}';\
             INSERT INTO jobs VALUES (1000001, 'run_instance', '{id}', '{id}', '{first}', 0, '', 0);"
        )
    };
    let world = world.restart_after(&unmade(&made[0])).await;
    world.instance_is(&made[0], "").await;
    let again = call!(world, run_instances, "{run}")
        .expect("again")
        .instance_id_sets;
    assert_eq!(again, made[1..], "the one that is there, and no more are made");
    let world = world.restart_after(&unmade(&made[1])).await;
    world.instance_is(&made[1], "").await;
    let anew = call!(world, run_instances, "{run}")
        .expect("anew")
        .instance_id_sets;
    assert_eq!(anew.len(), 2);
    assert!(anew.iter().all(|id| !made.contains(id)), "nothing was left");
}

#[tokio::test]
async fn a_token_is_looked_at_before_the_region() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&world.system_disk(&instance).await).await;
    let elsewhere = "RegionId=nowhere&ClientToken=T";
    let image = format!("SnapshotId={snapshot}");
    call!(world, create_snapshot, "DiskId={disk}&ClientToken=T").expect("begun");
    let used = code(call!(world, create_snapshot, "DiskId={disk}&{elsewhere}"));
    assert_eq!(used, (403, "IdempotentParameterMismatch".into()));
    call!(world, create_image, "{image}&ClientToken=T").expect("made");
    let used = code(call!(world, create_image, "{image}&{elsewhere}"));
    assert_eq!(used, (400, "IdempotenceParamNotMatch".into()));
    let unused = code(call!(world, create_image, "{image}&RegionId=nowhere"));
    assert_eq!(unused, (404, "InvalidRegionId.NotFound".into()));
}

#[tokio::test]
async fn a_call_that_is_left_with_too_few_instances_leaves_neither_them_nor_its_token() {
    let world = World::with(|config| config.linger = std::time::Duration::from_secs(60)).await;
    // The second instance's disk cannot be made.
    world
        .sql(
            "CREATE TRIGGER second AFTER INSERT ON disks WHEN (SELECT COUNT(*) FROM disks) = 2 \
             BEGIN UPDATE disks SET source_snapshot_id = 's-none' WHERE id = NEW.id; END",
        )
        .await;
    let run = "InstanceType=tidemark.external&SystemDisk.Size=20&Amount=2&ClientToken";
    let few = code(call!(world, run_instances, "{run}=all"));
    assert_eq!(few, (403, "OperationDenied.SnapshotNotAllowed".into()));
    for table in ["instances", "disks", "client_tokens"] {
        let left = async || world.count(table).to_string();
        world.eventually(left, table, "0").await;
    }
    let some = call!(world, run_instances, "{run}=some&MinAmount=1").expect("one is enough");
    assert_eq!(some.instance_id_sets.len(), 1);
    let again = call!(world, run_instances, "{run}=some&MinAmount=1").expect("again");
    assert_eq!(again, some, "no more are made");
    world.sql("DROP TRIGGER second").await;
    let all = call!(world, run_instances, "{run}=all").expect("tried again");
    assert_eq!(all.instance_id_sets.len(), 2);
    for id in &all.instance_id_sets {
        world.instance_is(id, "Running").await;
    }
}

#[tokio::test]
async fn a_token_is_forgotten_after_a_day() {
    let world = World::new().await;
    let ask = format!("ZoneId={ZONE}&Size=20&ClientToken=T");
    let first = call!(world, create_disk, "{ask}").expect("made").disk_id;
    world.advance_days(1);
    assert_ne!(
        call!(world, create_disk, "{ask}").expect("made anew").disk_id,
        first
    );
}

#[tokio::test]
async fn a_request_that_is_still_worked_on_says_so() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let ask = format!("DiskId={disk}&ClientToken=T");
    call!(world, create_snapshot, "{ask}").expect("begun");
    world.sql("UPDATE client_tokens SET processing = 1").await;
    assert_eq!(
        code(call!(world, create_snapshot, "{ask}")),
        (403, "IdempotentProcessing".into())
    );
}

#[tokio::test]
async fn many_at_once_with_one_token_make_one_disk() {
    let world = World::new().await;
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let (control, caller) = (world.control.clone(), world.caller.clone());
            let params = crate::world::params(&format!("ZoneId={ZONE}&Size=20&ClientToken=T"));
            let request = tidemark_ecs::actions::create_disk::Request::parse(&params).expect("well formed");
            tokio::spawn(async move { control.create_disk(&caller, request).await })
        })
        .collect();
    let mut ids = Vec::new();
    for one in asked {
        ids.push(one.await.expect("no panic").expect("answered").disk_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        call!(world, describe_disks, "").expect("listed").page.total_count,
        1
    );
}

#[tokio::test]
async fn nonces_and_the_root_key_survive_a_restart() {
    let world = World::with(|config| config.root_key = Some(("testid".into(), "testsecret".into()))).await;
    for (nonce, synced) in [("n", true), ("m", false)] {
        assert!(
            world
                .control
                .use_nonce("testid", nonce, synced)
                .await
                .expect("stored")
        );
    }
    let world = world.restart().await;
    for (nonce, synced) in [("n", false), ("m", true)] {
        assert!(
            !world
                .control
                .use_nonce("testid", nonce, synced)
                .await
                .expect("stored")
        );
    }
    let key = world
        .control
        .access_key("testid")
        .await
        .expect("readable")
        .expect("known");
    assert_eq!((key.secret.as_str(), key.active), ("testsecret", true));
    assert_eq!(world.control.access_key("other").await.expect("readable"), None);
    assert!(
        !format!("{key:?}").contains("testsecret"),
        "secrets stay out of logs"
    );
}
