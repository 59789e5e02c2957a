//! CopySnapshot: from one region to another, incremental, cancelled, over a restart; and each rule with its code.

use crate::guest::Guest;
use crate::world::{FAR, REGION, World, call, call_in, code, key};
use std::path::Path;
use tidemark_ecs::model::Snapshot;

const MIB: u64 = 1 << 20;

/// Bytes that do not compress, different for each seed.
fn noise(seed: u64, len: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..len / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

fn write(world: &World, disk: &str, offset: u64, data: &[u8]) {
    let mut guest = Guest::connect(world, disk).expect("exported");
    for (at, piece) in data.chunks(MIB as usize).enumerate() {
        guest.write(offset + at as u64 * MIB, piece);
    }
    guest.flush();
}

async fn begin(world: &World, snapshot: &str, more: &str) -> String {
    let asked = format!("SnapshotId={snapshot}&DestinationRegionId={FAR}&{more}");
    let answer = call!(world, copy_snapshot, "{asked}");
    answer.expect("the copy is begun").snapshot_id
}

async fn copied(world: &World, snapshot: &str, more: &str) -> Snapshot {
    let id = begin(world, snapshot, more).await;
    world.snapshot_in_is(FAR, &id, "accomplished").await;
    world.find_snapshot_in(FAR, &id).await.expect("listed")
}

/// Bytes of all files below a directory.
fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("read"))
        .map(|entry| match entry.metadata().expect("there").is_dir() {
            true => bytes_in(&entry.path()),
            false => entry.metadata().expect("there").len(),
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_a_snapshot_of_its_own_and_the_next_one_is_incremental() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    let data = noise(1, 8 * MIB);
    write(&world, &disk, 0, &data);
    let asked = format!("DiskId={disk}&SnapshotName=one&Tag.1.Key=source");
    let source = call!(world, create_snapshot, "{asked}")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&source, "accomplished").await;
    let before = world.everything().await;
    let asked =
        "DestinationSnapshotName=copy&DestinationSnapshotDescription=dd&RetentionDays=3&Tag.1.Key=own";
    let copy = copied(&world, &source, asked).await;
    assert!(copy.snapshot_id.starts_with("s-2ze"));
    assert_eq!(
        (&*copy.source_snapshot_id, &*copy.source_region_id),
        (&*source, REGION)
    );
    assert_eq!((&*copy.region_id, &*copy.source_disk_id), (FAR, &*disk));
    assert_eq!((&*copy.snapshot_name, &*copy.description), ("copy", "dd"));
    assert_eq!((copy.retention_days, &*copy.progress), (Some(3), "100%"));
    assert_eq!((copy.source_disk_size, &*copy.snapshot_type), (20, "user"));
    let keys: Vec<_> = copy.tags.iter().map(|tag| tag.key.as_str()).collect();
    assert_eq!(keys, ["own"], "the source's tags are not copied");
    assert_eq!(
        world.everything().await,
        before,
        "nothing changed where it came from"
    );
    let chain = world
        .find_snapshot(&source)
        .await
        .expect("listed")
        .snapshot_link_id;
    assert_ne!(copy.snapshot_link_id, chain, "a chain of its own");

    // Byte for byte, also when the source is gone.
    call!(world, delete_snapshot, "SnapshotId={source}").expect("deleted");
    let far_disk = world.far_disk(&format!("SnapshotId={}", copy.snapshot_id)).await;
    let instance = world.far_instance().await;
    call_in!(world, FAR, attach_disk, "InstanceId={instance}&DiskId={far_disk}").expect("attaching begins");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let mut guest = Guest::connect_far(&world, &far_disk).expect("exported");
    for (at, piece) in data.chunks(MIB as usize).enumerate() {
        assert!(
            guest.read(at as u64 * MIB, piece.len()) == piece,
            "MiB {at} differs"
        );
    }

    // What changed since is all that the second copy brings.
    call!(world, undelete_snapshot, "SnapshotId={source}").expect("back");
    write(&world, &disk, 4 * MIB, &noise(2, MIB));
    let second = world.snapshot(&disk).await;
    let vault = world.dir.path().join("far-vault");
    let had = bytes_in(&vault);
    let copy = copied(&world, &second, "").await;
    let brought = bytes_in(&vault) - had;
    assert!((MIB..2 * MIB).contains(&brought), "{brought} bytes for 1 MiB");
    assert_eq!(copy.retention_days, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_a_copy() {
    let world =
        World::two_regions_with(None, None, |config| config.limits.manual_snapshots_per_disk = 2).await;
    let (_, disk) = world.attached_disk().await;
    let source = world.snapshot(&disk).await;
    let ask = async |more: &str| {
        let asked = format!("SnapshotId={source}&{more}");
        code(call!(world, copy_snapshot, "{asked}"))
    };
    let to_far = format!("DestinationRegionId={FAR}");
    for (refused, expected) in [
        (
            ask(&format!("DestinationRegionId={REGION}")).await,
            (403, "InvalidOperation.NotSupportCopyInSameRegion"),
        ),
        (
            ask("DestinationRegionId=cn-nowhere").await,
            (403, "InvalidRegionId.NotExists"),
        ),
        (
            ask(&format!("{to_far}&ResourceGroupId=rg-x")).await,
            (404, "InvalidResourceGroup.NotFound"),
        ),
        (
            ask(&format!("{to_far}&Encrypted=true")).await,
            (400, "InvalidParameter.Encrypted"),
        ),
        (
            code(call!(world, copy_snapshot, "SnapshotId=s-none&{to_far}")),
            (403, "InvalidSnapshotId.NotFound"),
        ),
        (
            code(call_in!(
                world,
                FAR,
                copy_snapshot,
                "SnapshotId={source}&DestinationRegionId={REGION}"
            )),
            (403, "InvalidSnapshotId.NotFound"),
        ),
        (
            code(call_in!(
                world,
                "cn-nowhere",
                copy_snapshot,
                "SnapshotId={source}&{to_far}"
            )),
            (404, "InvalidRegionId.NotFound"),
        ),
    ] {
        assert_eq!(refused, (expected.0, expected.1.to_owned()));
    }
    let set =
        |status: &str| format!("UPDATE snapshots SET status = '{status}', marked = 0 WHERE id = '{source}'");
    for status in ["progressing", "failed"] {
        world.sql(&set(status)).await;
        assert_eq!(ask(&to_far).await, (403, "InvalidSnapshotId.NotReady".into()));
    }
    world.sql(&set("accomplished")).await;
    let none = call_in!(world, FAR, describe_snapshots, "").expect("listed");
    assert_eq!(none.page.total_count, 0, "a refusal leaves nothing");

    let first = copied(&world, &source, "").await;
    copied(&world, &source, "").await;
    assert_eq!(ask(&to_far).await, (403, "QuotaExceed.SnapshotQuota".into()));
    // The quota of the disk itself is another.
    world.snapshot(&disk).await;
    let stop = format!(
        "UPDATE snapshots SET status = 'progressing' WHERE id = '{}'",
        first.snapshot_id
    );
    world.sql(&stop).await;
    assert_eq!(
        ask(&to_far).await,
        (403, "InvalidOperation.UnfinishedCrossRegionCopy".into())
    );
    let refused = code(call!(world, delete_snapshot, "SnapshotId={source}&Force=true"));
    assert_eq!(refused, (403, "Operation.Conflict".into()), "it is being copied");
}

/// A copy belongs to no disk: neither its source's, nor after a way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_rolls_nothing_back() {
    let world = World::two_regions().await;
    let (instance, disk) = world.attached_disk().await;
    write(&world, &disk, 0, &noise(1, MIB));
    let source = world.snapshot(&disk).await;
    let there = copied(&world, &source, "").await.snapshot_id;
    let asked = format!("SnapshotId={there}&DestinationRegionId={REGION}");
    let back = call_in!(world, FAR, copy_snapshot, "{asked}")
        .expect("begun")
        .snapshot_id;
    // In progress or not, it takes nothing from the disk.
    world.stop(&instance).await;
    world.snapshot_is(&back, "accomplished").await;
    let refused = code(call!(world, reset_disk, "DiskId={disk}&SnapshotId={back}"));
    assert_eq!(refused, (403, "InvalidParameter.Mismatch".into()));
    call!(world, reset_disk, "DiskId={disk}&SnapshotId={source}").expect("its own");
    world.disk_is(&disk, "In_use").await;
    let disk = world.disk_from(&format!("SnapshotId={back}")).await;
    assert!(world.find_disk(&disk).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_makes_one_copy() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    let source = world.snapshot(&disk).await;
    let first = begin(&world, &source, "ClientToken=t").await;
    let again = begin(&world, &source, "ClientToken=t").await;
    assert_eq!(first, again);
    let asked = format!("SnapshotId={source}&DestinationRegionId={FAR}&ClientToken=t&RetentionDays=1");
    let other = code(call!(world, copy_snapshot, "{asked}"));
    assert_eq!(other, (400, "IdempotentParameterMismatch".into()));
    world.snapshot_in_is(FAR, &first, "accomplished").await;
    let world = world.restart().await;
    assert_eq!(begin(&world, &source, "ClientToken=t").await, first);
    assert_eq!(
        call_in!(world, FAR, describe_snapshots, "")
            .expect("listed")
            .page
            .total_count,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_cancelled_by_deleting_it() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    write(&world, &disk, 0, &noise(1, 32 * MIB));
    let source = world.snapshot(&disk).await;
    let copy = begin(&world, &source, "").await;
    call_in!(world, FAR, delete_snapshot, "SnapshotId={copy}").expect("cancelled");
    assert!(world.find_snapshot_in(FAR, &copy).await.is_none());
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let leftovers = std::fs::read_dir(world.dir.path().join("far-node/copies")).expect("there");
    assert_eq!(leftovers.count(), 0, "its spool is gone");
    // The source is free, and can be copied again.
    let copy = copied(&world, &source, "").await;
    call!(world, delete_snapshot, "SnapshotId={source}").expect("deleted");
    assert!(world.find_snapshot_in(FAR, &copy.snapshot_id).await.is_some());
}

/// Stopped at any point, it goes on: the row and its job say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_after_a_restart() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    let data = noise(1, 24 * MIB);
    write(&world, &disk, 0, &data);
    let source = world.snapshot(&disk).await;
    let copy = begin(&world, &source, "DestinationSnapshotName=late").await;
    let world = world.restart().await;
    world.snapshot_in_is(FAR, &copy, "accomplished").await;
    let row = world.find_snapshot_in(FAR, &copy).await.expect("listed");
    assert_eq!(
        (&*row.snapshot_name, row.full_snapshot_size_in_bytes),
        ("late", Some(24 * MIB))
    );
    let mut export = Guest::connect_far(&world, &copy).expect("snapshots are exported");
    for (at, piece) in data.chunks(MIB as usize).enumerate() {
        assert!(
            export.read(at as u64 * MIB, piece.len()) == piece,
            "MiB {at} differs"
        );
    }
}

/// A copy that cannot be made fails, says so, and can be deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_what_is_lost_fails() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    write(&world, &disk, 0, &noise(1, 2 * MIB));
    let source = world.snapshot(&disk).await;
    std::fs::remove_dir_all(world.dir.path().join("vault/packs")).expect("lost");
    let copy = begin(&world, &source, "").await;
    world.snapshot_in_is(FAR, &copy, "failed").await;
    call_in!(world, FAR, delete_snapshot, "SnapshotId={copy}").expect("deleted");
    world.snapshot_in_is(FAR, &copy, "").await;
}

/// A policy's copy is begun again once what it failed for may be over.
#[tokio::test(flavor = "multi_thread")]
async fn a_policys_copy_that_failed_is_made_later() {
    let world = World::two_regions_with(None, None, |config| {
        config.housekeeping = std::time::Duration::from_secs(24 * 3600);
    })
    .await;
    let (_, disk) = world.attached_disk().await;
    write(&world, &disk, 0, &noise(1, 2 * MIB));
    let source = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "INSERT INTO policy_runs (snapshot_id, policy_id, slot_ms, copy_region, copy_retention_days, copy_encrypted) \
             VALUES ('{source}', 'sp-1', 0, '{FAR}', -1, 0)"
        ))
        .await;
    let (packs, away) = (
        world.dir.path().join("vault/packs"),
        world.dir.path().join("away"),
    );
    std::fs::rename(&packs, &away).expect("away");
    let copies = |status: &str| {
        let sql =
            format!("SELECT COUNT(*) FROM snapshots WHERE source_region_id <> '' AND status = '{status}'");
        world.number(&sql).to_string()
    };
    world.control.keep_house().await.expect("done");
    world
        .eventually(async || copies("failed"), "copies that failed", "1")
        .await;
    world.control.keep_house().await.expect("done");
    assert_eq!(copies("progressing"), "0", "not at once");
    world.advance_ms(11 * 60_000);
    world.control.keep_house().await.expect("done");
    world
        .eventually(async || copies("failed"), "copies that failed", "2")
        .await;
    let _ = std::fs::remove_dir_all(&packs);
    std::fs::rename(&away, &packs).expect("back");
    world.advance_ms(11 * 60_000);
    world.control.keep_house().await.expect("done");
    assert_eq!(copies("progressing"), "0", "twice as long now");
    world.advance_ms(10 * 60_000);
    world.control.keep_house().await.expect("done");
    world
        .eventually(async || copies("accomplished"), "copies", "1")
        .await;
    world.control.keep_house().await.expect("done");
    assert_eq!(copies("progressing"), "0", "once");
}

/// What is under a disk's key stays under one.
#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_snapshot_is_copied_into_an_encrypted_vault_only() {
    let world = World::two_regions_with(Some(key(7)), None, |_| {}).await;
    let (source, _) = encrypted_snapshot(&world).await;
    let asked = format!("SnapshotId={source}&DestinationRegionId={FAR}");
    let refused = code(call!(world, copy_snapshot, "{asked}"));
    assert_eq!(refused, (400, "InvalidParameter.Encrypted".into()));

    let world = World::two_regions_with(Some(key(7)), Some(key(8)), |_| {}).await;
    let (source, data) = encrypted_snapshot(&world).await;
    let asked = format!("SnapshotId={source}&DestinationRegionId={FAR}&Encrypted=false");
    let refused = code(call!(world, copy_snapshot, "{asked}"));
    assert_eq!(refused, (403, "InvalidEncrypted.NotMatchSnapshot".into()));
    let copy = copied(&world, &source, "").await;
    assert!(copy.encrypted);
    let world = world.restart().await;
    let mut export = Guest::connect_far(&world, &copy.snapshot_id).expect("exported");
    assert!(export.read(0, data.len()) == data);
    // Its key goes with the last copy: nothing but the vault's own is left.
    let keys = world.dir.path().join("far-node/diskkeys");
    let count = || std::fs::read_dir(&keys).map_or(0, Iterator::count);
    assert_eq!(count(), 1);
}

async fn encrypted_snapshot(world: &World) -> (String, Vec<u8>) {
    let instance = world.instance().await;
    let disk = world.disk_from("Size=20&Encrypted=true").await;
    world.attach(&instance, &disk).await;
    let data = noise(3, MIB);
    write(world, &disk, 0, &data);
    (world.snapshot(&disk).await, data)
}

/// What the vault's record says of a copy makes the same row again.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_deleted_comes_back_as_it_was() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    let source = world.snapshot(&disk).await;
    let before = copied(&world, &source, "RetentionDays=1&Tag.1.Key=k").await;
    let id = before.snapshot_id.clone();
    call_in!(world, FAR, delete_snapshot, "SnapshotId={id}").expect("deleted");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    call_in!(world, FAR, undelete_snapshot, "SnapshotId={id}").expect("back");
    let after = world.find_snapshot_in(FAR, &id).await.expect("listed");
    let told = |s: &Snapshot| {
        (
            s.source_snapshot_id.clone(),
            s.source_region_id.clone(),
            s.region_id.clone(),
            s.creation_time.clone(),
            s.retention_days,
            s.tags.clone(),
        )
    };
    assert_eq!(told(&after), told(&before));
}
