//! What the states promise, checked on bytes through the disks' exports.

use crate::guest::Guest;
use crate::world::{World, call};

const MIB: usize = 1 << 20;

/// Bytes that do not compress and do not repeat, different for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}

/// Writes noise over the first MiBs of a disk.
pub fn fill(world: &World, disk: &str, seed: u64, mib: usize) {
    let mut guest = Guest::connect(world, disk).expect("exported");
    for (n, part) in noise(seed, mib * MIB).chunks(MIB).enumerate() {
        guest.write((n * MIB) as u64, part);
    }
    guest.flush();
}

/// Whether the first MiBs of a disk are that noise.
fn holds(world: &World, disk: &str, seed: u64, mib: usize) -> bool {
    let mut guest = Guest::connect(world, disk).expect("exported");
    noise(seed, mib * MIB)
        .chunks(MIB)
        .enumerate()
        .all(|(n, part)| guest.read((n * MIB) as u64, MIB) == part)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_exported_exactly_while_its_instance_runs() {
    let world = World::new().await;
    let (instance, disk) = (world.instance().await, world.disk().await);
    assert!(Guest::connect(&world, &disk).is_none(), "not attached");
    world.attach(&instance, &disk).await;
    let mut guest = Guest::connect(&world, &disk).expect("attached to a running instance");
    guest.write(0, &[7; 4096]);
    world.stop(&instance).await;
    assert!(guest.try_read(0, 4096).is_err(), "Stopped ends connections");
    assert!(Guest::connect(&world, &disk).is_none(), "Stopped");
    let world = world.restart().await;
    assert!(Guest::connect(&world, &disk).is_none(), "still Stopped");
    call!(world, start_instance, "InstanceId={instance}").expect("starts");
    world.instance_is(&instance, "Running").await;
    assert_eq!(
        Guest::connect(&world, &disk).expect("Running").read(0, 4096),
        [7; 4096]
    );
    let world = world.restart().await;
    let mut guest = Guest::connect(&world, &disk).expect("exported again by itself");
    world.detach(&instance, &disk).await;
    assert!(guest.try_read(0, 4096).is_err(), "detaching ends connections");
    assert!(Guest::connect(&world, &disk).is_none(), "detached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_hold_the_instant_and_bring_it_back() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 8);
    let first = call!(world, create_snapshot, "DiskId={disk}")
        .expect("begun")
        .snapshot_id;
    fill(&world, &disk, 2, 4); // S15, S23: not in it
    world.snapshot_is(&first, "accomplished").await;
    let second = world.snapshot(&disk).await;
    fill(&world, &disk, 3, 8);

    world.stop(&instance).await;
    call!(world, reset_disk, "DiskId={disk}&SnapshotId={first}").expect("begun");
    world.disk_is(&disk, "In_use").await;
    call!(world, start_instance, "InstanceId={instance}").expect("starts");
    world.instance_is(&instance, "Running").await;
    assert!(holds(&world, &disk, 1, 8), "rolled back");

    // The newer snapshot is untouched by the rollback (2.9).
    let copy = world.disk_from(&format!("SnapshotId={second}&Size=21")).await;
    world.attach(&instance, &copy).await;
    assert!(holds(&world, &copy, 2, 4), "a disk from the second snapshot");
    let mut guest = Guest::connect(&world, &copy).expect("exported");
    assert_eq!(
        guest.read((20 << 30) + 4096, 4096),
        [0; 4096],
        "the tail reads as zeros"
    );

    // S5: the source goes, and what was snapshotted comes back.
    call!(world, delete_instance, "InstanceId={instance}&Force=true").expect("released");
    world.disk_is(&disk, "Available").await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    let world = world.restart().await;
    let (other, again) = (
        world.instance().await,
        world.disk_from(&format!("SnapshotId={first}")).await,
    );
    world.attach(&other, &again).await;
    assert!(
        holds(&world, &again, 1, 8),
        "from the snapshot of a disk that is gone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_deletion_takes_nothing_from_a_disk_that_is_being_filled() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 48);
    let id = world.snapshot(&disk).await;
    let copy = world.disk_from(&format!("SnapshotId={id}")).await;
    call!(world, delete_snapshot, "SnapshotId={id}&Force=true").expect("deleted");
    fill(&world, &disk, 2, 48);
    world.node.collect(&at_once()).await.expect("collected");
    let world = world.restart().await;
    world.node.collect(&at_once()).await.expect("collected");
    world.attach(&instance, &copy).await;
    assert!(holds(&world, &copy, 1, 48));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_was_interrupted_is_right_in_the_end() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 32);
    let id = call!(world, create_snapshot, "DiskId={disk}")
        .expect("begun")
        .snapshot_id;
    let world = world.restart().await;
    fill(&world, &disk, 2, 32);
    world.snapshot_is(&id, "accomplished").await;
    let copy = world.disk_from(&format!("SnapshotId={id}")).await;
    world.attach(&instance, &copy).await;
    assert!(holds(&world, &copy, 1, 32));
    assert!(holds(&world, &disk, 2, 32));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_snapshot_leaves_the_next_one_whole() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 24);
    let id = call!(world, create_snapshot, "DiskId={disk}")
        .expect("begun")
        .snapshot_id;
    call!(world, delete_snapshot, "SnapshotId={id}").expect("cancelled");
    // On a busy machine the call answers while the capture is still being ended; until then the disk has its mark.
    let begin = async || match call!(world, create_snapshot, "DiskId={disk}") {
        Ok(begun) => begun.snapshot_id,
        Err(refused) => {
            assert_eq!(refused.code, "IncorrectDiskStatus.Invalid");
            String::new()
        }
    };
    let mut next = begin().await;
    while next.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        next = begin().await;
    }
    world.snapshot_is(&next, "accomplished").await;
    // Deleting the disk right after must not hurt, either.
    world.detach(&instance, &disk).await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    let copy = world.disk_from(&format!("SnapshotId={next}")).await;
    world.attach(&instance, &copy).await;
    assert!(holds(&world, &copy, 1, 24));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_rises_and_reaches_the_end_only_at_the_end() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 64);
    let id = call!(world, create_snapshot, "DiskId={disk}")
        .expect("begun")
        .snapshot_id;
    let mut last = 0;
    loop {
        let row = world.find_snapshot(&id).await.expect("listed");
        let percent: u32 = row
            .progress
            .strip_suffix('%')
            .expect("a percent sign")
            .parse()
            .expect("a number");
        assert!(percent >= last, "{percent} after {last}");
        assert_eq!(percent == 100, row.status == "accomplished");
        last = percent;
        if row.status != "progressing" {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(last, 100);
}

/// Deleted snapshots are gone for good at once.
fn at_once() -> tidemark_node::CollectOptions {
    tidemark_node::CollectOptions {
        purge_all: true,
        ..Default::default()
    }
}
