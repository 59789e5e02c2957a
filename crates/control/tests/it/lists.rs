//! Filters and pages.

use crate::world::{World, call, code};

#[tokio::test]
async fn every_page_says_where_the_next_one_starts() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(world.disk_from(&format!("Size={}", 20 + n)).await);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = call!(world, describe_disks, "PageSize=2&NextToken={token}").expect("listed");
        seen.extend(page.disks.into_iter().map(|d| d.disk_id));
        token = page.page.next_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids, "newest first, each once");
    let page = call!(world, describe_disks, "PageSize=2&PageNumber=3").expect("listed");
    assert_eq!(
        (page.disks.len(), page.page.total_count, page.page.page_number),
        (1, 5, 3)
    );
    let past = call!(world, describe_disks, "PageSize=2&PageNumber=4").expect("listed");
    assert_eq!((past.disks.len(), past.page.total_count), (0, 5));
    assert_eq!(code(call!(world, describe_disks, "NextToken=nonsense")).0, 400);
}

#[tokio::test]
async fn disks_are_filtered_by_what_they_are() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let free = world.disk_from("Size=30&DiskName=free&Tag.1.Key=k").await;
    for (filter, count) in [
        ("".to_owned(), 3),
        (format!("InstanceId={instance}"), 2),
        ("DiskType=system".into(), 1),
        ("Status=Available".into(), 1),
        ("Status=In_use&DiskType=data".into(), 1),
        ("DiskName=free".into(), 1),
        ("DiskName=fre".into(), 0),
        ("DiskIds=[]".into(), 0),
        (format!("DiskIds=[\"{disk}\",\"{free}\",\"d-none\"]"), 2),
        ("Category=cloud_efficiency".into(), 1),
        ("Portable=true".into(), 3),
        ("Portable=false".into(), 0),
        ("EnableShared=true".into(), 0),
        ("EnableShared=false".into(), 3),
        ("DeleteWithInstance=true".into(), 1),
        ("Encrypted=false".into(), 3),
        ("Encrypted=true".into(), 0),
        ("InstanceId=i-none".into(), 0),
        ("Tag.1.Key=k".into(), 1),
        (
            "Filter.1.Key=CreationStartTime&Filter.1.Value=2999-01-01T00:00Z".into(),
            0,
        ),
        (
            "Filter.1.Key=CreationEndTime&Filter.1.Value=2999-01-01T00:00Z".into(),
            3,
        ),
    ] {
        let found = call!(world, describe_disks, "{filter}").expect("listed");
        assert_eq!(
            (found.disks.len(), found.page.total_count),
            (count, count),
            "{filter}"
        );
    }
    assert_eq!(
        code(call!(world, describe_disks, "DryRun=true")),
        (400, "DryRunOperation".into())
    );
}

#[tokio::test]
async fn performance_is_shown_to_who_asks_for_it() {
    let world = World::new().await;
    let disk = world.disk_from("Size=40&PerformanceLevel=PL0").await;
    let shown = async |more: &str| {
        let query = format!("DiskIds=[\"{disk}\"]{more}");
        let found = call!(world, describe_disks, "{query}").expect("listed").disks;
        let disk = found.into_iter().next().expect("listed");
        (
            [disk.iops, disk.iops_read, disk.iops_write],
            [disk.throughput, disk.throughput_read, disk.throughput_write],
        )
    };
    assert_eq!(shown("").await, ([None; 3], [None; 3]));
    assert_eq!(
        shown("&AdditionalAttributes.1=Placement").await,
        ([None; 3], [None; 3])
    );
    assert_eq!(
        shown("&AdditionalAttributes.1=IOPS").await,
        ([Some(2280); 3], [Some(110); 3])
    );
}

#[tokio::test]
async fn snapshots_are_filtered_by_what_they_are() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let used = world.snapshot(&disk).await;
    world.disk_from(&format!("SnapshotId={used}")).await;
    let link = world.find_snapshot(&id).await.expect("listed").snapshot_link_id;
    for (filter, count) in [
        ("".to_owned(), 2),
        (format!("DiskId={disk}"), 2),
        (format!("InstanceId={instance}"), 2),
        (format!("SnapshotLinkId={link}"), 2),
        (format!("SnapshotLinkId=[\"{link}\"]&DiskId=d-none"), 0),
        (format!("SnapshotIds=[\"{id}\"]"), 1),
        ("SnapshotIds=[]".into(), 0),
        ("Status=accomplished".into(), 2),
        ("Status=progressing".into(), 0),
        ("Status=all".into(), 2),
        ("SnapshotType=user".into(), 2),
        ("SnapshotType=auto".into(), 0),
        ("SourceDiskType=Data".into(), 2),
        ("SourceDiskType=system".into(), 0),
        ("Usage=disk".into(), 1),
        ("Usage=none".into(), 1),
        ("Usage=image".into(), 0),
        ("Category=Standard".into(), 2),
        ("Encrypted=true".into(), 0),
        ("DiskId=d-none".into(), 0),
    ] {
        let found = call!(world, describe_snapshots, "{filter}").expect("listed");
        assert_eq!(
            (found.snapshots.len(), found.page.total_count),
            (count, count),
            "{filter}"
        );
    }
}

#[tokio::test]
async fn a_chain_that_is_asked_for_must_exist() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let link = world.find_snapshot(&id).await.expect("listed").snapshot_link_id;
    let unknown = (404, "InvalidSnapshotLinkId.NotFound".to_owned());
    for query in ["sl-none".to_owned(), format!("[\"{link}\",\"sl-none\"]")] {
        let found = code(call!(world, describe_snapshots, "SnapshotLinkId={query}"));
        assert_eq!(found, unknown, "{query}");
    }
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    world.snapshot_is(&id, "").await;
    let gone = code(call!(world, describe_snapshots, "SnapshotLinkId={link}"));
    assert_eq!(gone, unknown, "with its last snapshot");
}

#[tokio::test]
async fn instances_are_filtered_by_what_they_are() {
    let world = World::new().await;
    let ask = "InstanceType=tidemark.external&PrivateIpAddress=10.0.0.7&SecurityGroupId=sg-1&VSwitchId=vsw-1";
    let id = call!(world, run_instances, "{ask}&InstanceName=web-1")
        .expect("made")
        .instance_id_sets
        .remove(0);
    world.instance_is(&id, "Running").await;
    let other = world.instance().await;
    world.stop(&other).await;
    for (filter, count) in [
        ("".to_owned(), 2),
        ("InstanceName=web*".into(), 1),
        ("InstanceName=*".into(), 2),
        ("Status=Running".into(), 1),
        ("InstanceIds=[]".into(), 0),
        (format!("InstanceIds=[\"{id}\"]"), 1),
        ("PrivateIpAddresses=[\"10.0.0.7\"]".into(), 1),
        ("SecurityGroupId=sg-1".into(), 1),
        ("VSwitchId=vsw-1".into(), 1),
        ("VSwitchId=vsw-default".into(), 1),
        ("VpcId=vpc-default".into(), 1),
        ("InstanceChargeType=PrePaid".into(), 0),
        ("ImageId=tidemark_external.vhd".into(), 2),
    ] {
        let found = call!(world, describe_instances, "{filter}").expect("listed");
        assert_eq!(
            (found.instances.len(), found.page.total_count),
            (count, count),
            "{filter}"
        );
    }
    let states = call!(world, describe_instance_status, "InstanceId.1={other}")
        .expect("listed")
        .instance_statuses;
    assert_eq!((states.len(), states[0].status.as_str()), (1, "Stopped"));
}
