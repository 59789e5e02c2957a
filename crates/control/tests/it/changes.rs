//! What differs between two snapshots, and what only one of them has.

use crate::data::fill;
use crate::guest::Guest;
use crate::world::{World, call, code, params};
use tidemark_ecs::actions::describe_snapshot_changes::Request;

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
    // What has no content yet has no place on either side.
    let third = world.snapshot(&one).await;
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'progressing' WHERE id = '{third}'"
        ))
        .await;
    for query in [
        format!("SnapshotId={third}"),
        format!("SnapshotId={first}&BaseSnapshotId={third}"),
    ] {
        assert_eq!(
            code(call!(world, describe_snapshot_changes, "{query}")),
            (403, "InvalidSnapshotId.NotReady".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_grew_in_between_differs_where_it_was_written() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 1);
    let first = world.snapshot(&disk).await;
    call!(world, resize_disk, "DiskId={disk}&NewSize=30&Type=online").expect("grows");
    {
        let mut guest = Guest::connect(&world, &disk).expect("exported");
        guest.write(25 * 1024 * MIB, &[1; 4096]);
        guest.flush();
    }
    let second = world.snapshot(&disk).await;

    let grown =
        call!(world, describe_snapshot_changes, "SnapshotId={second}&Parts=30").expect("the larger one");
    assert_eq!((grown.size, grown.changed_size), (30 * 1024 * MIB, 64 << 10));
    assert_eq!((grown.added_size, grown.alone_size), (64 << 10, 64 << 10));
    assert_eq!((grown.parts.len(), grown.parts[25]), (30, 64 << 10));
    assert_eq!(grown.changed_ranges[0].offset, 25 * 1024 * MIB);

    // The other way round, the picture is of the larger one, too.
    let back = call!(
        world,
        describe_snapshot_changes,
        "SnapshotId={first}&BaseSnapshotId={second}&Parts=30"
    )
    .expect("the smaller one");
    assert_eq!((back.size, back.changed_size), (20 * 1024 * MIB, 64 << 10));
    assert_eq!((back.parts.len(), back.parts[25]), (30, 64 << 10));
    assert_eq!((back.added_size, back.alone_size), (MIB, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_nobody_named_is_asked_about_as_one_that_is_named() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let (first, second) = (world.snapshot(&disk).await, world.snapshot(&disk).await);
    let allowed = |resources: &str| {
        format!(r#"{{"Effect":"Allow","Action":"ecs:DescribeSnapshotChanges","Resource":[{resources}]}}"#)
    };
    let resource = |id: &str| format!(r#""acs:ecs:*:*:snapshot/{id}""#);
    let one = world.user("one", &allowed(&resource(&second))).await;
    let both = format!("{},{}", resource(&first), resource(&second));
    let both = world.user("both", &allowed(&both)).await;
    let request = || Request::parse(&params(&format!("SnapshotId={second}"))).expect("valid");

    let refused = world.control.describe_snapshot_changes(&one, request()).await;
    let refused = refused.expect_err("the first one is none of theirs");
    assert_eq!((refused.status, &*refused.code), (403, "Forbidden.RAM"));
    assert!(!refused.message.contains(&first), "{}", refused.message);
    let answer = world.control.describe_snapshot_changes(&both, request()).await;
    assert_eq!(answer.expect("allowed").base_snapshot_id, first);
}
