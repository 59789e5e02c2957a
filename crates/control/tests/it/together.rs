//! Many callers at once: whatever they do, refusals are refusals, and states and exports agree.

use crate::guest::Guest;
use crate::world::{World, call, code};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_fight_over_one_instance_leave_it_consistent() {
    let world = Arc::new(World::new().await);
    let instance = world.instance().await;
    let disks = [world.disk().await, world.disk().await];
    let snapshots = {
        let mut made = Vec::new();
        for disk in &disks {
            world.attach(&instance, disk).await;
            made.push(world.snapshot(disk).await);
        }
        made
    };
    let fighters: Vec<_> = (0..4_usize)
        .map(|n| {
            let (world, instance) = (world.clone(), instance.clone());
            let (disk, snapshot) = (disks[n % 2].clone(), snapshots[n % 2].clone());
            tokio::spawn(async move {
                for round in 0..25 {
                    let pair = format!("InstanceId={instance}&DiskId={disk}");
                    // Each walks through the actions in an order of its own.
                    let outcome = match (round * (2 * n + 3) + n) % 7 {
                        0 => call!(world, start_instance, "InstanceId={instance}").map(drop),
                        1 => call!(world, stop_instance, "InstanceId={instance}&ForceStop=true").map(drop),
                        2 => call!(world, attach_disk, "{pair}").map(drop),
                        3 => call!(world, detach_disk, "{pair}").map(drop),
                        4 => call!(world, reset_disk, "DiskId={disk}&SnapshotId={snapshot}").map(drop),
                        5 => call!(world, create_snapshot, "DiskId={disk}").map(drop),
                        _ => call!(world, reboot_instance, "InstanceId={instance}").map(drop),
                    };
                    if let Err(refusal) = outcome {
                        assert!((400..500).contains(&refusal.status), "{refusal}");
                    }
                }
            })
        })
        .collect();
    for fighter in fighters {
        fighter.await.expect("no panic");
    }
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let running = world.find_instance(&instance).await.expect("listed").status == "Running";
    for disk in &disks {
        let row = world.find_disk(disk).await.expect("listed");
        assert!(
            ["Available", "In_use"].contains(&row.status.as_str()),
            "{}",
            row.status
        );
        let exported = Guest::connect(&world, disk).is_some();
        assert_eq!(
            exported,
            running && row.status == "In_use",
            "{} on {running}",
            row.status
        );
    }
    let system = call!(world, describe_disks, "InstanceId={instance}&DiskType=system")
        .expect("listed")
        .disks;
    assert_eq!(Guest::connect(&world, &system[0].disk_id).is_some(), running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_snapshots_at_once_one_is_made_at_a_time() {
    let world = Arc::new(World::new().await);
    let (_, disk) = world.attached_disk().await;
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let (world, disk) = (world.clone(), disk.clone());
            tokio::spawn(async move { call!(world, create_snapshot, "DiskId={disk}") })
        })
        .collect();
    let mut made = 0;
    for one in asked {
        match one.await.expect("no panic") {
            Ok(_) => made += 1,
            refused => assert_eq!(
                code(refused),
                (403, "IncorrectDiskStatus.CreatingSnapshot".into())
            ),
        }
    }
    assert!(made >= 1);
    let rows = call!(world, describe_snapshots, "DiskId={disk}").expect("listed");
    assert_eq!(rows.page.total_count, made, "a refusal leaves no snapshot");
}
