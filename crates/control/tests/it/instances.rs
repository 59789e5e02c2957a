//! Instances, their disks, and what is exported when.

use crate::world::{World, ZONE, call, code};

#[tokio::test]
async fn an_instance_comes_with_a_system_disk_and_data_disks() {
    let world = World::new().await;
    let answer = call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&ImageId=tidemark_external.vhd&InstanceName=host&Amount=2&UniqueSuffix=true\
         &SystemDisk.Size=30&DataDisk.1.Size=20&DataDisk.1.DeleteWithInstance=false&DataDisk.2.Size=25\
         &DataDisk.2.Device=/dev/xvdb&Tag.1.Key=k&Tag.1.Value=v"
    )
    .expect("made");
    assert_eq!(answer.instance_id_sets.len(), 2);
    for (id, name) in answer.instance_id_sets.iter().zip(["host001", "host002"]) {
        world.instance_is(id, "Running").await;
        let instance = world.find_instance(id).await.expect("listed");
        assert_eq!(instance.instance_name, name);
        assert_eq!(
            (instance.tags[0].key.as_str(), instance.tags[0].value.as_str()),
            ("k", "v")
        );
        let disks = call!(world, describe_disks, "InstanceId={id}")
            .expect("listed")
            .disks;
        let mut shape: Vec<_> = disks
            .iter()
            .map(|d| {
                (
                    d.device.as_str(),
                    d.disk_type.as_str(),
                    d.size,
                    d.delete_with_instance,
                )
            })
            .collect();
        shape.sort_unstable();
        assert_eq!(
            shape,
            [
                ("/dev/xvda", "system", 30, true),
                ("/dev/xvdb", "data", 25, true),
                ("/dev/xvdc", "data", 20, false)
            ]
        );
        assert!(disks.iter().all(|d| d.status == "In_use" && d.tags.len() == 1));
    }
}

#[tokio::test]
async fn images_and_types_that_do_not_exist_are_refused() {
    let world = World::new().await;
    let before = world.everything().await;
    for (query, expected) in [
        (
            "InstanceType=tidemark.external&ImageId=m-nope",
            (404, "InvalidImageId.NotFound"),
        ),
        (
            "InstanceType=ecs.g6.large&ImageId=tidemark_external.vhd",
            (400, "InvalidInstanceType.ValueNotSupported"),
        ),
        (
            "InstanceType=tidemark.external&ZoneId=cn-hangzhou-z",
            (404, "InvalidZoneId.NotFound"),
        ),
        (
            "InstanceType=tidemark.external&DataDisk.1.SnapshotId=s-none",
            (404, "InvalidDataDiskSnapshotId.NotFound"),
        ),
        (
            "InstanceType=tidemark.external&ResourceGroupId=rg-none",
            (404, "InvalidResourceGroup.NotFound"),
        ),
        (
            "InstanceType=tidemark.external&DryRun=true",
            (400, "DryRunOperation"),
        ),
    ] {
        assert_eq!(
            code(call!(world, run_instances, "{query}")),
            (expected.0, expected.1.into()),
            "{query}"
        );
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn start_and_stop_follow_the_state() {
    let world = World::new().await;
    let id = world.instance().await;
    assert_eq!(
        code(call!(world, start_instance, "InstanceId={id}")),
        (403, "IncorrectInstanceStatus".into())
    );
    assert_eq!(
        code(call!(world, stop_instance, "InstanceId={id}&DryRun=true")),
        (400, "DryRunOperation".into())
    );
    world.stop(&id).await;
    assert_eq!(
        code(call!(world, stop_instance, "InstanceId={id}")),
        (403, "IncorrectInstanceStatus".into())
    );
    assert_eq!(
        code(call!(world, reboot_instance, "InstanceId={id}")),
        (403, "IncorrectInstanceStatus".into())
    );
    call!(world, start_instance, "InstanceId={id}").expect("starts");
    world.instance_is(&id, "Running").await;
    call!(world, reboot_instance, "InstanceId={id}").expect("reboots");
    world.instance_is(&id, "Running").await;
    for action in ["i-none", "../../etc", ""] {
        let refusal = code(call!(world, start_instance, "InstanceId={action}"));
        assert!(refusal.0 == 404 || refusal.1 == "MissingParameter", "{refusal:?}");
    }
}

#[tokio::test]
async fn releasing_an_instance_takes_or_leaves_its_disks_as_marked() {
    let world = World::new().await;
    let id = world.instance().await;
    let (kept, taken) = (world.disk().await, world.disk().await);
    world.attach(&id, &kept).await;
    call!(
        world,
        attach_disk,
        "InstanceId={id}&DiskId={taken}&DeleteWithInstance=true"
    )
    .expect("attached");
    world.disk_is(&taken, "In_use").await;
    let snapshot = world.snapshot(&taken).await;

    assert_eq!(
        code(call!(world, delete_instance, "InstanceId={id}")),
        (403, "IncorrectInstanceStatus".into())
    );
    call!(world, delete_instance, "InstanceId={id}&Force=true").expect("released");
    assert!(world.find_instance(&id).await.is_none(), "gone with the answer");
    assert!(world.find_disk(&taken).await.is_none());
    world.disk_is(&kept, "Available").await;
    let kept = world.find_disk(&kept).await.expect("kept");
    assert_eq!(
        (
            kept.instance_id.as_str(),
            kept.device.as_str(),
            kept.disk_type.as_str()
        ),
        ("", "", "data")
    );
    assert!(!kept.detached_time.is_empty());
    // S5: what was snapshotted can be had again.
    assert!(world.find_snapshot(&snapshot).await.is_some());
    world.disk_from(&format!("SnapshotId={snapshot}")).await;
}

#[tokio::test]
async fn deletion_protection_holds() {
    let world = World::new().await;
    let answer = call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&DeletionProtection=true"
    )
    .expect("made");
    let id = &answer.instance_id_sets[0];
    world.instance_is(id, "Running").await;
    let refusal = code(call!(world, delete_instance, "InstanceId={id}&Force=true"));
    assert_eq!(refusal, (403, "InvalidOperation.DeletionProtection".into()));
}

#[tokio::test]
async fn a_system_disk_can_leave_and_come_back() {
    let world = World::new().await;
    let (id, other) = (world.instance().await, world.instance().await);
    let disks = call!(world, describe_disks, "InstanceId={id}&DiskType=system")
        .expect("listed")
        .disks;
    let system = disks[0].disk_id.clone();
    let detach = format!("InstanceId={id}&DiskId={system}");
    assert_eq!(
        code(call!(world, detach_disk, "{detach}")),
        (403, "IncorrectInstanceStatus".into())
    );
    world.stop(&id).await;
    world.detach(&id, &system).await;
    assert_eq!(
        code(call!(world, start_instance, "InstanceId={id}")),
        (400, "InvalidInstance.NotFoundSystemDisk".into())
    );
    let bootable = "Bootable=true&KeyPairName=k";
    world.stop(&other).await;
    assert_eq!(
        code(call!(
            world,
            attach_disk,
            "InstanceId={other}&DiskId={system}&{bootable}"
        )),
        (400, "InvalidInstance.NotOriginInstance".into())
    );
    let data = world.disk().await;
    assert_eq!(
        code(call!(
            world,
            attach_disk,
            "InstanceId={id}&DiskId={data}&{bootable}"
        )),
        (400, "InvalidDisk.DiskNotBootable".into())
    );
    call!(world, attach_disk, "{detach}&{bootable}").expect("comes back");
    world.disk_is(&system, "In_use").await;
    assert_eq!(
        world.find_disk(&system).await.expect("listed").device,
        "/dev/xvda"
    );
    call!(world, start_instance, "InstanceId={id}").expect("starts again");
}

#[tokio::test]
async fn data_disks_get_device_names_and_a_limit() {
    let world = World::with(|config| config.limits.data_disks_per_instance = 2).await;
    let id = world.instance().await;
    let disks = [world.disk().await, world.disk().await, world.disk().await];
    call!(
        world,
        attach_disk,
        "InstanceId={id}&DiskId={}&Device=/dev/xvdc",
        disks[0]
    )
    .expect("attached");
    world.disk_is(&disks[0], "In_use").await;
    let taken = code(call!(
        world,
        attach_disk,
        "InstanceId={id}&DiskId={}&Device=/dev/xvdc",
        disks[1]
    ));
    assert_eq!(taken, (403, "InvalidDevice.InUse".into()));
    world.attach(&id, &disks[1]).await;
    let devices: Vec<_> = [
        world.find_disk(&disks[0]).await.expect("listed").device,
        world.find_disk(&disks[1]).await.expect("listed").device,
    ]
    .into();
    assert_eq!(devices, ["/dev/xvdc", "/dev/xvdb"]);
    assert!(!world.find_instance(&id).await.expect("listed").device_available);
    let many = code(call!(world, attach_disk, "InstanceId={id}&DiskId={}", disks[2]));
    assert_eq!(many, (403, "InstanceDiskLimitExceeded".into()));
}

#[tokio::test]
async fn regions_and_zones_name_the_one_that_is_served() {
    let world = World::new().await;
    let regions = call!(world, describe_regions, "").expect("listed").regions;
    assert_eq!(
        regions.iter().map(|r| r.region_id.as_str()).collect::<Vec<_>>(),
        ["cn-hangzhou"]
    );
    let zones = call!(world, describe_zones, "").expect("listed").zones;
    assert_eq!(
        zones.iter().map(|z| z.zone_id.as_str()).collect::<Vec<_>>(),
        [ZONE]
    );
    assert!(zones[0].available_resource_creation.contains(&"Disk".to_owned()));
}
