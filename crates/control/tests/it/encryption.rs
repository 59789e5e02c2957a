//! Disks with keys of their own: who gets one, what lists say about it, and that the key goes with the disk.

use crate::guest::Guest;
use crate::world::{World, ZONE, call, code};
use tidemark_ecs::model::Disk;

/// Keys of disks that the vault's directory holds.
fn keys(world: &World) -> usize {
    std::fs::read_dir(world.dir.path().join("vault/diskkeys")).map_or(0, |entries| entries.count())
}

async fn disk(world: &World, id: &str) -> Disk {
    world.find_disk(id).await.expect("listed")
}

/// Lists of the disks and the snapshots that a filter on `Encrypted` leaves.
async fn listed(world: &World, filter: &str) -> (Vec<String>, Vec<String>) {
    let disks = call!(world, describe_disks, "{filter}").expect("listed").disks;
    let snapshots = call!(world, describe_snapshots, "{filter}")
        .expect("listed")
        .snapshots;
    (
        disks.into_iter().map(|disk| disk.disk_id).collect(),
        snapshots
            .into_iter()
            .map(|snapshot| snapshot.snapshot_id)
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_its_snapshots_and_what_is_made_from_them_are_encrypted() {
    let world = World::encrypted().await;
    let instance = world.instance().await;
    let plain = world.disk().await;
    let closed = world.disk_from("Size=20&Encrypted=true").await;
    assert_eq!(
        keys(&world),
        1,
        "the disk that was asked for one has a key, no other"
    );
    for disk in [&plain, &closed] {
        world.attach(&instance, disk).await;
        Guest::connect(&world, disk)
            .expect("exported")
            .write(0, &[7; 4096]);
    }
    let (open_snapshot, closed_snapshot) = (world.snapshot(&plain).await, world.snapshot(&closed).await);
    let from = async |wish: &str| world.disk_from(wish).await;
    let by_default = from(&format!("SnapshotId={closed_snapshot}")).await;
    let as_wished = from(&format!("SnapshotId={closed_snapshot}&Encrypted=true")).await;
    let still_plain = from(&format!("SnapshotId={open_snapshot}")).await;
    let closed_now = from(&format!("SnapshotId={open_snapshot}&Encrypted=true")).await;

    let world = world.restart().await;
    for (id, encrypted) in [
        (&plain, false),
        (&closed, true),
        (&by_default, true),
        (&as_wished, true),
        (&still_plain, false),
        (&closed_now, true),
    ] {
        let row = disk(&world, id).await;
        assert_eq!((row.encrypted, row.kms_key_id.as_str()), (encrypted, ""), "{id}");
    }
    assert_eq!(keys(&world), 4);
    let (disks, snapshots) = listed(&world, "Encrypted=true").await;
    assert_eq!(disks, [closed_now, as_wished, by_default, closed.clone()]);
    assert_eq!(snapshots, std::slice::from_ref(&closed_snapshot));
    let (disks, _) = listed(&world, "Encrypted=false&DiskType=data").await;
    assert_eq!(disks, [still_plain, plain]);
    assert_eq!(listed(&world, "KMSKeyId=k-1").await, (Vec::new(), Vec::new()));
    for (id, encrypted) in [(&open_snapshot, false), (&closed_snapshot, true)] {
        let row = world.find_snapshot(id).await.expect("listed");
        assert_eq!((row.encrypted, row.kms_key_id.as_str()), (encrypted, ""), "{id}");
    }
}

#[tokio::test]
async fn an_instance_gets_the_encrypted_disks_that_it_asks_for() {
    let world = World::encrypted().await;
    let ask =
        "InstanceType=tidemark.external&SystemDisk.Encrypted=true&DataDisk.1.Size=20&DataDisk.2.Size=20";
    let answer = call!(world, run_instances, "{ask}&DataDisk.2.Encrypted=true").expect("made");
    let instance = &answer.instance_id_sets[0];
    world.instance_is(instance, "Running").await;
    let disks = call!(world, describe_disks, "InstanceId={instance}")
        .expect("listed")
        .disks;
    let found: Vec<_> = disks
        .iter()
        .map(|disk| (disk.device.as_str(), disk.encrypted))
        .collect();
    for wanted in [("/dev/xvda", true), ("/dev/xvdb", false), ("/dev/xvdc", true)] {
        assert!(found.contains(&wanted), "{wanted:?} in {found:?}");
    }
}

#[tokio::test]
async fn what_an_encrypted_snapshot_holds_is_not_opened_by_a_disk() {
    let world = World::encrypted().await;
    let instance = world.instance().await;
    let closed = world.disk_from("Size=20&Encrypted=true").await;
    world.attach(&instance, &closed).await;
    let snapshot = world.snapshot(&closed).await;
    let before = world.everything().await;
    let ask = format!("ZoneId={ZONE}&SnapshotId={snapshot}&Encrypted=false&DiskCategory=cloud_essd");
    assert_eq!(
        code(call!(world, create_disk, "{ask}")),
        (403, "InvalidEncrypted.NotMatchSnapshot".into())
    );
    let ask =
        format!("InstanceType=tidemark.external&DataDisk.1.SnapshotId={snapshot}&DataDisk.1.Encrypted=false");
    assert_eq!(
        code(call!(world, run_instances, "{ask}")),
        (403, "InvalidEncrypted.NotMatchSnapshot".into())
    );
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn a_vault_that_is_not_encrypted_has_no_encrypted_disks() {
    let world = World::new().await;
    let before = world.everything().await;
    let ask = format!("ZoneId={ZONE}&Size=20&Encrypted=true");
    let refusal = call!(world, create_disk, "{ask}").expect_err("the vault is plain");
    for word in ["\"Encrypted\"", "vault", "tidemark vault init"] {
        assert!(refusal.message.contains(word), "{word} in {}", refusal.message);
    }
    assert_eq!(
        (refusal.status, refusal.code.as_ref()),
        (400, "InvalidParameter.Encrypted")
    );
    for disk in ["SystemDisk", "DataDisk.1"] {
        let ask = format!("InstanceType=tidemark.external&DataDisk.1.Size=20&{disk}.Encrypted=true");
        assert_eq!(
            code(call!(world, run_instances, "{ask}")),
            (400, "InvalidParameter.Encrypted".into())
        );
    }
    assert_eq!(world.everything().await, before);
    let open = world.disk_from("Size=20&Encrypted=false").await;
    assert!(!disk(&world, &open).await.encrypted);
}

/// The node collects by itself some time after a deletion, and the key goes with the last thing that needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_with_the_disk_and_its_last_snapshot() {
    let world = World::encrypted().await;
    let instance = world.instance().await;
    let closed = world.disk_from("Size=20&Encrypted=true").await;
    world.attach(&instance, &closed).await;
    Guest::connect(&world, &closed)
        .expect("exported")
        .write(0, &[7; 4096]);
    let snapshot = world.snapshot(&closed).await;
    world.detach(&instance, &closed).await;
    call!(world, delete_disk, "DiskId={closed}").expect("deleting begins");
    world.disk_is(&closed, "").await;
    let at_once = tidemark_node::CollectOptions {
        purge_all: true,
        ..Default::default()
    };
    world.node.collect(&at_once).await.expect("collects");
    assert_eq!(keys(&world), 1, "its snapshot can still be read");
    call!(world, delete_snapshot, "SnapshotId={snapshot}").expect("deleting begins");
    world.snapshot_is(&snapshot, "").await;
    world
        .eventually(async || keys(&world).to_string(), "keys of disks", "0")
        .await;
}
