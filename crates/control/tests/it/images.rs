//! Images: what they are made of, what is made of them, and what they keep from going.

use crate::guest::Guest;
use crate::world::{World, call, code};
use tidemark_ecs::model::Image;

impl World {
    pub async fn find_image(&self, id: &str) -> Option<Image> {
        let answer = call!(self, describe_images, "ImageId={id}&Status=ALL");
        answer.expect("images are listed").images.pop()
    }

    pub async fn image_is(&self, id: &str, status: &str) {
        let seen = async || {
            self.find_image(id)
                .await
                .map(|image| image.status)
                .unwrap_or_default()
        };
        self.eventually(seen, id, status).await;
    }

    pub async fn system_disk(&self, instance: &str) -> String {
        let answer = call!(self, describe_disks, "InstanceId={instance}&DiskType=system");
        answer.expect("disks are listed").disks.remove(0).disk_id
    }

    /// The system disk of a new running instance, with content, and its snapshot.
    pub async fn system_snapshot(&self, fill: u8) -> (String, String) {
        let instance = self.instance().await;
        let disk = self.system_disk(&instance).await;
        let mut guest = Guest::connect(self, &disk).expect("exported");
        guest.write(0, &[fill; 4096]);
        guest.flush();
        let snapshot = self.snapshot(&disk).await;
        (instance, snapshot)
    }

    pub async fn usage(&self, snapshot: &str) -> String {
        self.find_snapshot(snapshot).await.expect("listed").usage
    }
}

pub fn total(
    answer: Result<tidemark_ecs::actions::describe_images::Response, tidemark_ecs::ApiError>,
) -> usize {
    answer.expect("listed").page.total_count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_of_an_image_has_its_disks() {
    let world = World::new().await;
    let (instance, system) = world.system_snapshot(7).await;
    let data = world.disk().await;
    world.attach(&instance, &data).await;
    let mut guest = Guest::connect(&world, &data).expect("exported");
    guest.write(0, &[8; 4096]);
    guest.flush();
    let made = call!(
        world,
        create_image,
        "InstanceId={instance}&ImageName=golden&ImageFamily=web&Platform=Ubuntu&Tag.1.Key=k&Tag.1.Value=v&ClientToken=t"
    );
    let image = made.expect("begun").image_id;
    assert!(image.starts_with("m-bp1"), "{image}");
    let seen = world
        .find_image(&image)
        .await
        .expect("visible to the very next Describe");
    assert_eq!(seen.progress == "100%", seen.status == "Available");
    world.image_is(&image, "Available").await;
    let seen = world.find_image(&image).await.expect("listed");
    assert_eq!(
        (seen.size, seen.os_type.as_str(), seen.platform.as_str()),
        (20, "linux", "Ubuntu")
    );
    assert_eq!(
        (seen.usage.as_str(), seen.image_owner_alias.as_str()),
        ("none", "self")
    );
    let mappings: Vec<_> = seen
        .disk_device_mappings
        .iter()
        .map(|disk| (disk.device.as_str(), disk.size.as_str()))
        .collect();
    assert_eq!(mappings, [("/dev/xvda", "20"), ("/dev/xvdb", "20")]);
    let taken: Vec<_> = seen
        .disk_device_mappings
        .iter()
        .map(|disk| disk.snapshot_id.clone())
        .collect();
    assert!(!taken.contains(&system), "its own snapshots");
    let again = call!(
        world,
        create_image,
        "InstanceId={instance}&ImageName=golden&ImageFamily=web&Platform=Ubuntu&Tag.1.Key=k&Tag.1.Value=v&ClientToken=t"
    );
    assert_eq!(again.expect("answered before").image_id, image);
    for snapshot in &taken {
        assert_eq!(world.usage(snapshot).await, "image");
    }

    // Two instances of it, one by its family: a larger system disk, and a data disk that overrides the image's category.
    let run = format!(
        "InstanceType=tidemark.external&ImageId={image}&SystemDisk.Size=30&DataDisk.1.Device=/dev/xvdb&DataDisk.1.Size=25&DataDisk.1.Category=cloud_ssd"
    );
    let one = call!(world, run_instances, "{run}")
        .expect("made")
        .instance_id_sets
        .remove(0);
    let two = call!(
        world,
        create_instance,
        "InstanceType=tidemark.external&ImageFamily=web"
    )
    .expect("made")
    .instance_id;
    assert_eq!(
        world.find_instance(&two).await.expect("listed").status,
        "Stopped",
        "at once"
    );
    call!(world, start_instance, "InstanceId={two}").expect("started at once");
    for (id, sizes) in [(&one, [30, 25]), (&two, [40, 20])] {
        world.instance_is(id, "Running").await;
        let row = world.find_instance(id).await.expect("listed");
        assert_eq!(
            (row.image_id.as_str(), row.os_type.as_str()),
            (image.as_str(), "linux")
        );
        let disks = call!(world, describe_disks, "InstanceId={id}")
            .expect("listed")
            .disks;
        let of = |device: &str| disks.iter().find(|disk| disk.device == device).expect("there");
        assert_eq!([of("/dev/xvda").size, of("/dev/xvdb").size], sizes);
        assert_eq!(of("/dev/xvda").image_id, image);
        for (device, fill) in [("/dev/xvda", 7), ("/dev/xvdb", 8)] {
            let mut guest = Guest::connect(&world, &of(device).disk_id).expect("exported");
            assert_eq!(guest.read(0, 4096), [fill; 4096], "{device}");
        }
    }
    assert_eq!(world.usage(&taken[0]).await, "image_disk");
    assert_eq!(world.find_image(&image).await.expect("listed").usage, "instance");

    // What it needs stays, also by force, until it goes; then its snapshots are like any others.
    for force in ["false", "true"] {
        let refusal = code(call!(
            world,
            delete_snapshot,
            "SnapshotId={}&Force={force}",
            taken[0]
        ));
        assert_eq!(refusal, (403, "SnapshotCreatedImage".into()), "Force={force}");
    }
    let used = code(call!(world, delete_image, "ImageId={image}"));
    assert_eq!(used, (403, "ImageUsingByInstance".into()));
    // The instance's system disk goes back to the image while there is one.
    let disk = world.system_disk(&one).await;
    Guest::connect(&world, &disk)
        .expect("exported")
        .write(0, &[9; 4096]);
    world.stop(&one).await;
    call!(world, re_init_disk, "DiskId={disk}&AutoStartInstance=true").expect("begins");
    world.instance_is(&one, "Running").await;
    assert_eq!(
        Guest::connect(&world, &disk).expect("exported").read(0, 4096),
        [7; 4096]
    );
    call!(world, delete_image, "ImageId={image}&Force=true").expect("deleted");
    assert!(world.find_image(&image).await.is_none());
    assert_eq!(world.usage(&taken[0]).await, "disk");
    world.stop(&one).await;
    let gone = code(call!(world, re_init_disk, "DiskId={disk}"));
    assert_eq!(gone, (404, "InvalidDiskId.OperationNotSupported".into()));
    let of_disks = code(call!(world, delete_snapshot, "SnapshotId={}", taken[0]));
    assert_eq!(of_disks, (403, "SnapshotCreatedDisk".into()));
    call!(world, delete_snapshot, "SnapshotId={}&Force=true", taken[0]).expect("deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_disk_is_replaced_by_one_of_an_image() {
    let world = World::new().await;
    let (instance, snapshot) = world.system_snapshot(7).await;
    let old = world.system_disk(&instance).await;
    let image = call!(world, create_image, "SnapshotId={snapshot}")
        .expect("made")
        .image_id;
    world.image_is(&image, "Available").await;
    assert_eq!(
        world.find_image(&image).await.expect("listed").image_name,
        image,
        "named after itself"
    );
    let mut guest = Guest::connect(&world, &old).expect("exported");
    guest.write(0, &[1; 4096]);
    drop(guest);
    let automatic = world.snapshot(&old).await;
    let by_policy = format!("UPDATE snapshots SET snapshot_type = 'timer' WHERE id = '{automatic}'");
    world.sql(&by_policy).await;
    let replace = format!("InstanceId={instance}&ImageId");
    let running = code(call!(world, replace_system_disk, "{replace}={image}"));
    assert_eq!(running, (403, "IncorrectInstanceStatus".into()));
    world.stop(&instance).await;
    let before = world.everything().await;
    for (query, status, expected) in [
        ("m-none", 404, "InvalidImageId.NotFound".to_owned()),
        (
            &format!("{image}&SystemDisk.Size=19"),
            404,
            "InvalidSystemDiskSize.LessThanMinSize".into(),
        ),
        (
            &format!("{image}&SystemDisk.Size=2049"),
            404,
            "InvalidSystemDiskSize.MoreThanMaxSize".into(),
        ),
    ] {
        assert_eq!(
            code(call!(world, replace_system_disk, "{replace}={query}")),
            (status, expected)
        );
    }
    assert_eq!(world.everything().await, before, "a refusal changes nothing");
    let disk = call!(world, replace_system_disk, "{replace}={image}&SystemDisk.Size=50")
        .expect("replaced")
        .disk_id;
    world.disk_is(&disk, "In_use").await;
    world.disk_is(&old, "").await;
    let row = world.find_disk(&disk).await.expect("listed");
    assert_eq!(
        (row.size, row.disk_type.as_str(), row.device.as_str()),
        (50, "system", "/dev/xvda")
    );
    call!(world, start_instance, "InstanceId={instance}").expect("starts");
    world.instance_is(&instance, "Running").await;
    assert_eq!(
        world.find_instance(&instance).await.expect("listed").image_id,
        image
    );
    assert_eq!(
        Guest::connect(&world, &disk).expect("exported").read(0, 4096),
        [7; 4096]
    );
    // The old disk's snapshots stay, and are no way back for the new disk.
    assert!(
        world.find_snapshot(&automatic).await.is_some(),
        "nor does an automatic one go"
    );
    world.stop(&instance).await;
    let other = code(call!(world, reset_disk, "DiskId={disk}&SnapshotId={snapshot}"));
    assert_eq!(other, (403, "InvalidParameter.Mismatch".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_image_can_be_made_of() {
    let world = World::new().await;
    let (instance, system) = world.system_snapshot(7).await;
    let data = world.disk().await;
    world.attach(&instance, &data).await;
    let data = world.snapshot(&data).await;
    call!(world, create_image, "SnapshotId={system}&ImageName=taken").expect("made");
    let map = "DiskDeviceMapping";
    let both = format!("{map}.1.SnapshotId={system}&{map}.2.SnapshotId");
    let before = (
        total(call!(world, describe_images, "Status=ALL")),
        world.everything().await,
    );
    for (query, status, expected) in [
        ("ImageName=ab".to_owned(), 400, "MissingParameter"),
        (
            format!("SnapshotId={system}&ImageName=taken"),
            400,
            "InvalidImageName.Duplicated",
        ),
        ("SnapshotId=s-none".into(), 404, "InvalidSnapshotId.NotFound"),
        (format!("SnapshotId={data}"), 403, "OperationDenied"),
        ("InstanceId=i-none".into(), 404, "InvalidInstanceId.NotFound"),
        (format!("{map}.1.SnapshotId={data}"), 400, "OperationDenied"),
        (format!("{map}.1.Device=/dev/xvda"), 400, "OperationDenied"),
        (
            format!("{both}={system}&{map}.2.DiskType=system"),
            400,
            "OperationDenied",
        ),
        (
            format!("{both}={data}&{map}.2.Size=19"),
            400,
            "InvalidSize.ValueNotSupported",
        ),
        (
            format!("{both}={data}&{map}.2.DiskType=data&{map}.2.Device=/dev/xvda"),
            400,
            "InvalidDevice.Malformed",
        ),
        (format!("SnapshotId={system}&DryRun=true"), 400, "DryRunOperation"),
        (
            format!("InstanceId={instance}&DryRun=true"),
            400,
            "DryRunOperation",
        ),
        (
            format!("SnapshotId={system}&ResourceGroupId=rg-x"),
            404,
            "InvalidResourceGroup.NotFound",
        ),
    ] {
        let refusal = code(call!(world, create_image, "{query}"));
        assert_eq!(refusal, (status, expected.into()), "{query}");
    }
    let after = (
        total(call!(world, describe_images, "Status=ALL")),
        world.everything().await,
    );
    assert_eq!(after, before, "a refusal leaves no trace");

    // Snapshots for devices of their own, and an empty disk.
    let image = call!(
        world,
        create_image,
        "{both}={data}&{map}.2.Size=30&{map}.3.Size=7&{map}.3.Device=/dev/xvde"
    )
    .expect("made")
    .image_id;
    let row = world.find_image(&image).await.expect("listed");
    let disks: Vec<_> = row
        .disk_device_mappings
        .iter()
        .map(|disk| (disk.disk_type.as_str(), disk.device.as_str(), disk.size.as_str()))
        .collect();
    assert_eq!(
        disks,
        [
            ("system", "/dev/xvda", "20"),
            ("data", "/dev/xvdb", "30"),
            ("data", "/dev/xvde", "7")
        ]
    );
    call!(
        world,
        create_image,
        "SnapshotId={system}&ImageName=one&ClientToken=t"
    )
    .expect("made");
    let other = code(call!(
        world,
        create_image,
        "SnapshotId={system}&ImageName=two&ClientToken=t"
    ));
    assert_eq!(other, (400, "IdempotenceParamNotMatch".into()));

    let set = async |what: &str| {
        world
            .sql(&format!("UPDATE instances SET {what} WHERE id = '{instance}'"))
            .await;
    };
    set("security_lock = 1").await;
    let locked = code(call!(world, create_image, "InstanceId={instance}"));
    assert_eq!(locked, (400, "InstanceLockedForSecurity".into()));
    set("security_lock = 0, status = 'Starting'").await;
    let busy = code(call!(world, create_image, "InstanceId={instance}"));
    assert_eq!(busy, (400, "IncorrectInstanceStatus".into()));
    set("status = 'Running'").await;
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{system}'"
        ))
        .await;
    let early = code(call!(world, create_image, "SnapshotId={system}"));
    assert_eq!(early, (403, "InvalidSnapshotId.NotReady".into()));
    let creating = code(call!(world, create_image, "InstanceId={instance}"));
    assert_eq!(creating, (403, "IncorrectDiskStatus.CreatingSnapshot".into()));
}

/// A crash after the rows and before the last mark: nobody was told of the image, and the token works again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_a_crash_interrupted_is_taken_back() {
    let world = World::new().await;
    let (instance, _) = world.system_snapshot(1).await;
    let create = format!("InstanceId={instance}&ImageName=golden&ClientToken=t");
    let image = call!(world, create_image, "{create}").expect("made").image_id;
    world.image_is(&image, "Available").await;
    let snapshots = world.count("snapshots");
    let undo = format!(
        "UPDATE images SET status = 'Creating', marked = 0; \
         INSERT INTO jobs VALUES (9001, 'complete_image', '{image}', '{image}', '', 0, '', 0)"
    );
    let world = world.restart_after(&undo).await;
    world
        .eventually(async || world.count("images").to_string(), "images", "0")
        .await;
    world
        .eventually(
            async || world.count("snapshots").to_string(),
            "snapshots",
            &(snapshots - 1).to_string(),
        )
        .await;
    let again = call!(world, create_image, "{create}")
        .expect("made again")
        .image_id;
    assert_ne!(again, image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_fails_fails_its_image() {
    let world = World::new().await;
    let (instance, _) = world.system_snapshot(1).await;
    let image = call!(world, create_image, "InstanceId={instance}")
        .expect("made")
        .image_id;
    world.image_is(&image, "Available").await;
    let row = world.find_image(&image).await.expect("listed");
    let snapshot = &row.disk_device_mappings[0].snapshot_id;
    let world = world
        .restart_after(&format!(
            "UPDATE images SET status = 'Creating'; \
             UPDATE snapshots SET status = 'failed' WHERE id = '{snapshot}'; \
             INSERT INTO jobs VALUES (9001, 'complete_image', '{image}', '{image}', '', 0, '', 0)"
        ))
        .await;
    world.image_is(&image, "CreateFailed").await;
    assert!(row.usable && !world.find_image(&image).await.expect("listed").usable);
    let run = "InstanceType=tidemark.external&ImageId";
    let unusable = code(call!(world, run_instances, "{run}={image}"));
    assert_eq!(unusable, (403, "OperationDenied.ImageNotValid".into()));
    call!(world, delete_image, "ImageId={image}").expect("deleted");
    let missing = code(call!(world, delete_image, "ImageId={image}"));
    assert_eq!(missing, (404, "InvalidImageId.NotFound".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_that_an_image_forbids() {
    let world = World::new().await;
    let (_, snapshot) = world.system_snapshot(1).await;
    let map = "DiskDeviceMapping.1";
    let image = call!(world, create_image, "{map}.SnapshotId={snapshot}&{map}.Size=60")
        .expect("made")
        .image_id;
    let run = format!("InstanceType=tidemark.external&ImageId={image}");
    let small = code(call!(world, run_instances, "{run}&SystemDisk.Size=50"));
    assert_eq!(small, (404, "InvalidSystemDiskSize.LessThanImageSize".into()));
    let huge = call!(world, create_image, "{map}.SnapshotId={snapshot}&{map}.Size=600")
        .expect("made")
        .image_id;
    world.image_is(&huge, "Available").await;
    let old = call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&SystemDisk.Category=cloud"
    );
    let old = old.expect("made").instance_id_sets.remove(0);
    world.instance_is(&old, "Running").await;
    world.stop(&old).await;
    let huge = code(call!(
        world,
        replace_system_disk,
        "InstanceId={old}&ImageId={huge}"
    ));
    assert_eq!(huge, (400, "InvalidSystemDiskSize.ValueNotSupported".into()));
    let many: Vec<_> = (1..=16)
        .map(|n| format!("DiskDeviceMapping.{}.Size=20", n + 1))
        .collect();
    let wide = call!(
        world,
        create_image,
        "{map}.SnapshotId={snapshot}&{}",
        many.join("&")
    )
    .expect("made")
    .image_id;
    let run = format!("InstanceType=tidemark.external&ImageId={wide}&DataDisk.1.Size=20");
    let crowded = code(call!(world, run_instances, "{run}"));
    assert_eq!(crowded, (400, "InstanceDiskNumber.LimitExceed".into()));
    // What is asked for a device of the image may leave the size to it; for another device it may not.
    let run = "InstanceType=tidemark.external";
    let auto =
        "DataDisk.1.Category=cloud_auto&DataDisk.1.ProvisionedIops=500&DataDisk.1.BurstingEnabled=true";
    let made = call!(
        world,
        run_instances,
        "{run}&ImageId={wide}&DataDisk.1.Device=/dev/xvdb&{auto}"
    );
    let made = made.expect("made").instance_id_sets.remove(0);
    world.instance_is(&made, "Running").await;
    let disks = call!(world, describe_disks, "InstanceId={made}&Category=cloud_auto");
    let disk = disks.expect("listed").disks.remove(0);
    assert_eq!((disk.device.as_str(), disk.size), ("/dev/xvdb", 20));
    assert_eq!((disk.provisioned_iops, disk.bursting_enabled), (Some(500), true));
    let sizeless = code(call!(
        world,
        run_instances,
        "{run}&ImageId={image}&DataDisk.1.Device=/dev/xvdz"
    ));
    assert_eq!(sizeless, (400, "MissingParameter".into()));
    let unknown = code(call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&ImageFamily=none"
    ));
    assert_eq!(unknown, (404, "InvalidImageId.NotFound".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_image_needs_outlives_its_retention_and_its_disk() {
    let world = World::new().await;
    let instance = world.instance().await;
    let disk = world.system_disk(&instance).await;
    let kept = call!(world, create_snapshot, "DiskId={disk}&RetentionDays=1").expect("begun");
    let kept = kept.snapshot_id;
    world.snapshot_is(&kept, "accomplished").await;
    let automatic = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "UPDATE snapshots SET snapshot_type = 'timer' WHERE id = '{automatic}'"
        ))
        .await;
    let map = "DiskDeviceMapping";
    let image = call!(
        world,
        create_image,
        "{map}.1.SnapshotId={kept}&{map}.2.SnapshotId={automatic}&{map}.2.DiskType=data"
    )
    .expect("made")
    .image_id;
    world.advance_days(2);
    world.control.keep_house().await.expect("kept");
    call!(world, delete_instance, "InstanceId={instance}&Force=true").expect("released");
    world.disk_is(&disk, "").await;
    for snapshot in [&kept, &automatic] {
        assert_eq!(world.usage(snapshot).await, "image");
    }
    call!(world, delete_image, "ImageId={image}").expect("deleted");
    world.control.keep_house().await.expect("kept");
    world.snapshot_is(&kept, "").await;
    assert_eq!(world.usage(&automatic).await, "none", "like any other now");
}
