//! What differs between two snapshots, and what only one of them has.

use crate::data::fill;
use crate::guest::Guest;
use crate::world::{World, call, code};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_counted_by_part_and_listed_by_range() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 4);
    let first = world.snapshot(&disk).await;
    {
        let mut guest = Guest::connect(&world, &disk).expect("exported");
        // One block in each of two chunks, a GiB apart.
        guest.write(MIB, &[1; 4096]);
        guest.write(1024 * MIB, &[2; 4096]);
        guest.flush();
    }
    let second = world.snapshot(&disk).await;
    let third = world.snapshot(&disk).await;

    let whole = call!(world, describe_snapshot_changes, "SnapshotId={first}").expect("the first one");
    assert_eq!(
        (whole.base_snapshot_id.as_str(), whole.changed_size),
        ("", 4 * MIB)
    );
    // A chunk of the first one was written over later, the rest is shared.
    assert_eq!((whole.added_size, whole.alone_size), (4 * MIB, 64 << 10));

    let parts =
        call!(world, describe_snapshot_changes, "SnapshotId={second}&Parts=20").expect("the second one");
    assert_eq!(parts.base_snapshot_id, first);
    assert_eq!((parts.changed_size, parts.parts.len()), (128 << 10, 20));
    assert_eq!(parts.parts[..2], [64 << 10, 64 << 10]);
    assert!(parts.parts[2..].iter().all(|bytes| *bytes == 0));
    let ranges: Vec<_> = parts
        .changed_ranges
        .iter()
        .map(|range| (range.offset, range.length))
        .collect();
    assert_eq!(ranges, [(MIB, 64 << 10), (1024 * MIB, 64 << 10)]);
    assert_eq!(parts.alone_size, 0, "the third one has all of it");

    // Page by page.
    let page = call!(
        world,
        describe_snapshot_changes,
        "SnapshotId={second}&MaxRanges=1"
    )
    .expect("a page");
    assert_eq!(
        (page.changed_ranges.len(), page.next_offset),
        (1, Some(1024 * MIB))
    );
    let rest = call!(
        world,
        describe_snapshot_changes,
        "SnapshotId={second}&MaxRanges=1&StartOffset={}",
        1024 * MIB
    );
    let rest = rest.expect("the rest");
    assert_eq!(
        (rest.changed_ranges[0].offset, rest.next_offset),
        (1024 * MIB, None)
    );

    // Against any other one of the disk, and against itself.
    let across = call!(
        world,
        describe_snapshot_changes,
        "SnapshotId={third}&BaseSnapshotId={first}"
    )
    .expect("across");
    assert_eq!(across.changed_size, 128 << 10);
    let same = call!(world, describe_snapshot_changes, "SnapshotId={third}").expect("nothing changed");
    assert_eq!(
        (same.base_snapshot_id.as_str(), same.changed_size),
        (second.as_str(), 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_complete_snapshots_of_one_disk_are_compared() {
    let world = World::new().await;
    let (_, one) = world.attached_disk().await;
    let (_, other) = world.attached_disk().await;
    let (first, second) = (world.snapshot(&one).await, world.snapshot(&other).await);
    assert_eq!(
        code(call!(
            world,
            describe_snapshot_changes,
            "SnapshotId={first}&BaseSnapshotId={second}"
        )),
        (403, "InvalidParameter.Mismatch".into())
    );
    assert_eq!(
        code(call!(world, describe_snapshot_changes, "SnapshotId=s-bp1nosuch")),
        (404, "InvalidSnapshotId.NotFound".into())
    );
}
