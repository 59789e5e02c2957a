//! Several regions in one control plane: what is in one is not in another, and each has its own node.

use crate::guest::Guest;
use crate::world::{FAR, FAR_ZONES, REGION, World, ZONE, call, call_in, code};
use tidemark_control::{Caller, Control, ControlConfig, RegionConfig};

#[tokio::test(flavor = "multi_thread")]
async fn regions_and_their_zones_are_listed() {
    let world = World::two_regions().await;
    let regions = call!(world, describe_regions, "AcceptLanguage=en-US")
        .expect("listed")
        .regions;
    let shown: Vec<_> = regions
        .iter()
        .map(|r| (&*r.region_id, &*r.local_name, &*r.region_endpoint))
        .collect();
    let expected = [
        (REGION, "China (Hangzhou)", ""),
        (FAR, "China (Beijing)", "far.example:7480"),
    ];
    assert_eq!(shown, expected);
    let zones = async |region: &str| {
        let listed = call_in!(world, region, describe_zones, "").expect("listed").zones;
        listed.into_iter().map(|zone| zone.zone_id).collect::<Vec<_>>()
    };
    assert_eq!(zones(REGION).await, [ZONE]);
    assert_eq!(zones(FAR).await, FAR_ZONES);
    let refused = code(call_in!(world, "cn-nowhere", describe_zones, ""));
    assert_eq!(refused, (404, "InvalidRegionId.NotFound".into()));
}

/// One of each in both regions: every list shows its region's, every action reaches its region's.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_one_region_does_not_exist_in_another() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&disk).await;
    let (far_instance, far_disk) = (
        world.far_instance().await,
        world.far_disk("Size=20&Tag.1.Key=k").await,
    );
    assert!(far_disk.starts_with("d-2ze") && far_instance.starts_with("i-2ze"));
    let before = world.everything().await;

    let disks = call_in!(world, FAR, describe_disks, "").expect("listed").disks;
    assert_eq!(disks.len(), 2, "the instance's and the other");
    assert!(
        disks
            .iter()
            .all(|d| d.region_id == FAR && d.zone_id == FAR_ZONES[0])
    );
    let instances = call_in!(world, FAR, describe_instances, "")
        .expect("listed")
        .instances;
    assert_eq!((instances.len(), &*instances[0].region_id), (1, FAR));
    let states = call_in!(world, FAR, describe_instance_status, "").expect("listed");
    assert_eq!(states.instance_statuses.len(), 1);
    assert!(
        call_in!(world, FAR, describe_snapshots, "")
            .expect("listed")
            .snapshots
            .is_empty()
    );
    let tagged = async |region: &str| {
        let listed = call_in!(world, region, list_tag_resources, "ResourceType=disk&Tag.1.Key=k");
        listed.expect("listed").tag_resources.len()
    };
    assert_eq!((tagged(REGION).await, tagged(FAR).await), (0, 1));

    let not_found = |what: &str| (404, format!("Invalid{what}.NotFound"));
    for (refused, expected) in [
        (
            code(call!(world, delete_disk, "DiskId={far_disk}")),
            not_found("DiskId"),
        ),
        (
            code(call_in!(world, FAR, create_snapshot, "DiskId={disk}")),
            not_found("DiskId"),
        ),
        (
            code(call_in!(world, FAR, delete_snapshot, "SnapshotId={snapshot}")),
            not_found("SnapshotId"),
        ),
        (
            code(call!(world, stop_instance, "InstanceId={far_instance}")),
            not_found("InstanceId"),
        ),
        (
            code(call_in!(
                world,
                FAR,
                attach_disk,
                "InstanceId={far_instance}&DiskId={disk}"
            )),
            not_found("DiskId"),
        ),
        (
            code(call_in!(
                world,
                FAR,
                create_disk,
                "ZoneId={}&DiskCategory=cloud_essd&SnapshotId={snapshot}",
                FAR_ZONES[0]
            )),
            not_found("SnapshotId"),
        ),
        (
            code(call_in!(world, FAR, create_disk, "ZoneId={ZONE}&Size=20")),
            not_found("ZoneId"),
        ),
        (
            code(call!(world, create_disk, "ZoneId={}&Size=20", FAR_ZONES[1])),
            not_found("ZoneId"),
        ),
        (
            code(call!(
                world,
                tag_resources,
                "ResourceType=disk&ResourceId.1={far_disk}&Tag.1.Key=a"
            )),
            not_found("ResourceId"),
        ),
    ] {
        assert_eq!(refused, expected);
    }
    assert_eq!(world.everything().await, before);
}

/// Actions on one resource by its id work without a region, wherever the resource is.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_enough() {
    let world = World::two_regions().await;
    let (instance, disk) = (world.far_instance().await, world.far_disk("Size=20").await);
    let nowhere = Caller {
        region: None,
        ..world.caller.clone()
    };
    let attach = tidemark_ecs::actions::attach_disk::Request::parse(&bare(&format!(
        "InstanceId={instance}&DiskId={disk}"
    )));
    world
        .control
        .attach_disk(&nowhere, attach.expect("valid"))
        .await
        .expect("attaching begins");
    let status = async || {
        let listed = call_in!(world, FAR, describe_disks, "DiskIds=[\"{disk}\"]").expect("listed");
        listed.disks[0].status.clone()
    };
    world.eventually(status, &disk, "In_use").await;
    let mut guest = Guest::connect_far(&world, &disk).expect("exported on its own node");
    guest.write(0, b"far away");
    assert!(Guest::connect(&world, &disk).is_none(), "and on no other");
    let take = tidemark_ecs::actions::create_snapshot::Request::parse(&bare(&format!("DiskId={disk}")));
    let taken = world
        .control
        .create_snapshot(&nowhere, take.expect("valid"))
        .await;
    let snapshot = taken.expect("begun").snapshot_id;
    world.snapshot_in_is(FAR, &snapshot, "accomplished").await;
    assert!(
        world
            .dir
            .path()
            .join("far-vault/snapshots")
            .join(&snapshot)
            .exists()
    );

    // Deleted, and brought back, without anybody saying where.
    call_in!(world, FAR, delete_snapshot, "SnapshotId={snapshot}").expect("deleted");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let gone = call_in!(world, FAR, describe_deleted_snapshots, "").expect("listed");
    assert_eq!(gone.deleted_snapshots.len(), 1);
    let gone = call!(world, describe_deleted_snapshots, "").expect("listed");
    assert!(gone.deleted_snapshots.is_empty());
    let back =
        tidemark_ecs::actions::undelete_snapshot::Request::parse(&bare(&format!("SnapshotId={snapshot}")));
    world
        .control
        .undelete_snapshot(&nowhere, back.expect("valid"))
        .await
        .expect("back");
    world.snapshot_in_is(FAR, &snapshot, "accomplished").await;
}

/// Parameters without a region.
fn bare(query: &str) -> tidemark_ecs::Params {
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').expect("Name=value"));
    tidemark_ecs::Params::from_pairs(pairs).expect("each name once")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_stays_in_its_zone() {
    let world = World::two_regions().await;
    let [a, b] = FAR_ZONES;
    let asked = format!("InstanceType=tidemark.external&SystemDisk.Size=20&ZoneId={b}");
    let made = call_in!(world, FAR, run_instances, "{asked}").expect("made");
    let in_b = &made.instance_id_sets[0];
    let status = async || {
        let listed = call_in!(world, FAR, describe_instances, "InstanceIds=[\"{in_b}\"]");
        listed.expect("listed").instances[0].status.clone()
    };
    world.eventually(status, in_b, "Running").await;
    let in_a = world.far_disk("Size=20").await;
    let refused = code(call_in!(
        world,
        FAR,
        attach_disk,
        "InstanceId={in_b}&DiskId={in_a}"
    ));
    assert_eq!(refused, (403, "ResourcesNotInSameZone".into()));
    let count = async |zone: &str| {
        let listed = call_in!(world, FAR, describe_disks, "ZoneId={zone}").expect("listed");
        listed.page.total_count
    };
    assert_eq!((count(a).await, count(b).await), (1, 1));
    let refused = code(call_in!(world, FAR, describe_disks, "ZoneId={ZONE}"));
    assert_eq!(refused, (400, "InvalidZoneId.NotFound".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_all_regions_is_there_after_a_restart() {
    let world = World::two_regions().await;
    let (instance, disk) = (world.far_instance().await, world.far_disk("Size=20").await);
    call_in!(world, FAR, attach_disk, "InstanceId={instance}&DiskId={disk}").expect("attaching begins");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    Guest::connect_far(&world, &disk)
        .expect("exported")
        .write(4096, b"stays");
    let shown = async |world: &World| format!("{:#?}", call_in!(world, FAR, describe_disks, ""));
    let before = shown(&world).await;
    let world = world.restart().await;
    assert_eq!(shown(&world).await, before);
    let mut guest = Guest::connect_far(&world, &disk).expect("exported again");
    assert_eq!(guest.read(4096, 5), b"stays");
}

/// A catalogue from before there were regions belongs to the region that its service starts with.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_catalogue_is_the_home_region_s() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&disk).await;
    let before = world.everything().await;
    let older = "UPDATE disks SET region = ''; UPDATE instances SET region = ''; \
                 UPDATE snapshots SET region = ''; UPDATE links SET region = ''; DELETE FROM regions;";
    let world = world.restart_after(older).await;
    assert_eq!(world.everything().await, before);
    let second = world.snapshot(&disk).await;
    let chain = async |id: &str| world.find_snapshot(id).await.expect("listed").snapshot_link_id;
    assert_eq!(chain(&snapshot).await, chain(&second).await);
}

/// An empty home region cannot be left out: the other's data lies beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_with_resources_does_not_become_the_home_region() {
    let world = World::two_regions().await;
    world.far_disk("Size=20").await;
    let mut config = ControlConfig::new(world.dir.path().join("control"));
    config.regions = vec![RegionConfig::new(FAR)];
    let node = world.far.clone().expect("a second node");
    let refused = Control::open_regions(config, vec![node]).await;
    let error = refused.expect_err("refused").to_string();
    assert!(error.contains("name cn-hangzhou first"), "{error}");
    let world = world.restart().await;
    let disks = call_in!(world, FAR, describe_disks, "").expect("listed").disks;
    assert_eq!(disks.len(), 1);
}

/// What would leave rows without a node, or give them another's.
#[tokio::test(flavor = "multi_thread")]
async fn regions_that_do_not_go_with_the_catalogue_are_refused() {
    let world = World::two_regions().await;
    world.disk().await;
    world.far_disk("Size=20").await;
    let open = async |regions: &[&str], nodes: usize| {
        let mut config = ControlConfig::new(world.dir.path().join("control"));
        config.regions = regions.iter().map(|id| RegionConfig::new(*id)).collect();
        let far = world.far.clone().expect("a second node");
        let nodes = [world.node.clone(), far].into_iter().take(nodes).collect();
        let refused = Control::open_regions(config, nodes).await;
        refused.expect_err("refused").to_string()
    };
    for (regions, nodes, word) in [
        (&[REGION][..], 1, "cn-beijing, which is not among"),
        (&[FAR, REGION], 2, "home region is cn-hangzhou"),
        (&[REGION, FAR], 1, "each region needs one"),
        (&[REGION, REGION], 2, "twice"),
        (&[], 0, "0 regions"),
    ] {
        let error = open(regions, nodes).await;
        assert!(error.contains(word), "{error}");
    }
}
