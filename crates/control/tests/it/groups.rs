//! Snapshot-consistent groups: what they are, what they refuse, and what a stop in between leaves.

use crate::guest::Guest;
use crate::world::{World, ZONE, call, code};
use std::time::Duration;
use tidemark_ecs::model::SnapshotGroup;

/// An instance with its system disk and one more, and the two.
async fn two_disks(world: &World) -> (String, Vec<String>) {
    let (instance, data) = world.attached_disk().await;
    let disks = call!(world, describe_disks, "InstanceId={instance}&DiskType=system").expect("listed");
    (instance, vec![disks.disks[0].disk_id.clone(), data])
}

async fn create(world: &World, query: &str) -> String {
    let answer = call!(world, create_snapshot_group, "{query}").expect("begun");
    answer.snapshot_group_id
}

async fn listed(world: &World, filter: &str) -> Vec<SnapshotGroup> {
    let answer = call!(world, describe_snapshot_groups, "{filter}").expect("listed");
    answer.snapshot_groups
}

async fn find(world: &World, group: &str) -> Option<SnapshotGroup> {
    listed(world, &format!("SnapshotGroupId.1={group}")).await.pop()
}

/// Waits until the group has this status; `""`: until it is gone.
async fn group_is(world: &World, group: &str, status: &str) {
    let look = async || find(world, group).await.map(|g| g.status).unwrap_or_default();
    world.eventually(look, group, status).await;
}

fn ids(group: &SnapshotGroup) -> Vec<String> {
    group.snapshots.iter().map(|s| s.snapshot_id.clone()).collect()
}

#[tokio::test]
async fn a_group_is_listed_at_once_and_accomplished_with_its_last_snapshot() {
    let world = World::new().await;
    let (instance, disks) = two_disks(&world).await;
    let asked = "Name=night&Description=of the machine&Tag.1.Key=k&Tag.1.Value=v";
    let id = create(&world, &format!("InstanceId={instance}&{asked}")).await;
    assert!(id.starts_with("ssg-bp1"), "{id}");
    let seen = find(&world, &id)
        .await
        .expect("visible to the very next Describe");
    assert_eq!(seen.snapshots.len(), 2, "no disk is left out");
    group_is(&world, &id, "accomplished").await;

    let group = find(&world, &id).await.expect("listed");
    assert_eq!(
        (
            group.name.as_str(),
            group.description.as_str(),
            group.instance_id.as_str()
        ),
        ("night", "of the machine", instance.as_str())
    );
    assert_eq!(
        (group.tags[0].key.as_str(), group.tags[0].value.as_str()),
        ("k", "v")
    );
    assert_eq!(
        group
            .snapshots
            .iter()
            .map(|s| s.source_disk_id.as_str())
            .collect::<Vec<_>>(),
        disks
    );
    for member in &group.snapshots {
        assert_eq!((member.progress.as_str(), member.available), ("100%", true));
        assert_eq!(
            (member.tags[0].key.as_str(), member.tags[0].value.as_str()),
            ("acs:ecs:createFrom", instance.as_str())
        );
        // Each is an ordinary snapshot, too.
        let row = world.find_snapshot(&member.snapshot_id).await.expect("listed");
        assert_eq!(
            (
                row.snapshot_group_id.as_str(),
                row.snapshot_type.as_str(),
                row.retention_days
            ),
            (id.as_str(), "user", None)
        );
        world
            .disk_from(&format!("SnapshotId={}", member.snapshot_id))
            .await;
    }

    let other = create(&world, &format!("DiskId.1={}", disks[1])).await;
    group_is(&world, &other, "accomplished").await;
    let found = async |filter: &str| {
        let rows = listed(&world, filter).await;
        let ids: Vec<_> = rows.into_iter().map(|row| row.snapshot_group_id).collect();
        ids.join(" ")
    };
    assert_eq!(found("").await, format!("{other} {id}"), "newest first");
    assert_eq!(found("Name=night").await, id);
    assert_eq!(found("Tag.1.Key=k").await, id);
    assert_eq!(
        found(&format!("InstanceId={instance}")).await,
        format!("{other} {id}")
    );
    assert_eq!(
        found("Status.1=accomplished&Status.2=failed").await,
        format!("{other} {id}")
    );
    assert_eq!(found("Status.1=progressing").await, "");
    assert_eq!(found("ResourceGroupId=rg-other").await, "");

    call!(world, modify_snapshot_group, "SnapshotGroupId={id}&Name=1st").expect("changed");
    let group = find(&world, &id).await.expect("listed");
    assert_eq!(
        (group.name.as_str(), group.description.as_str()),
        ("1st", "of the machine")
    );
}

#[tokio::test]
async fn a_group_is_what_its_members_are() {
    let world = World::new().await;
    let (instance, _) = two_disks(&world).await;
    let id = create(&world, &format!("InstanceId={instance}")).await;
    group_is(&world, &id, "accomplished").await;
    let members = ids(&find(&world, &id).await.expect("listed"));
    for (status, expected) in [("progressing", "progressing"), ("failed", "failed")] {
        let set = format!(
            "UPDATE snapshots SET status = '{status}', marked = 0, percent = 30 WHERE id = '{}'",
            members[0]
        );
        world.sql(&set).await;
        let group = find(&world, &id).await.expect("listed");
        assert_eq!(group.status, expected);
        assert_eq!(
            (group.snapshots[0].progress.as_str(), group.snapshots[0].available),
            ("30%", false)
        );
        assert_eq!(listed(&world, &format!("Status.1={expected}")).await.len(), 1);
        assert!(listed(&world, "Status.1=accomplished").await.is_empty());
    }
}

#[tokio::test]
async fn disks_are_chosen_or_excluded() {
    let world = World::new().await;
    let (instance, disks) = two_disks(&world).await;
    let (other, elsewhere) = world.attached_disk().await;
    let of = async |query: String| -> (String, Vec<String>) {
        let id = create(&world, &query).await;
        group_is(&world, &id, "accomplished").await;
        let group = find(&world, &id).await.expect("listed");
        let disks = group.snapshots.into_iter().map(|s| s.source_disk_id).collect();
        (group.instance_id, disks)
    };
    let excluded = of(format!("InstanceId={instance}&ExcludeDiskId.1={}", disks[0])).await;
    assert_eq!(excluded, (instance.clone(), vec![disks[1].clone()]));
    let across = of(format!("DiskId.1={elsewhere}&DiskId.2={}", disks[1])).await;
    assert_eq!(across, (String::new(), vec![elsewhere.clone(), disks[1].clone()]));
    // Once attached is enough.
    world.detach(&other, &elsewhere).await;
    assert_eq!(
        of(format!("DiskId.1={elsewhere}")).await,
        (String::new(), vec![elsewhere])
    );
}

#[tokio::test]
async fn refusals_name_what_is_wrong_and_leave_no_trace() {
    let world = World::with(|config| {
        config.limits.disks_per_snapshot_group = 2;
        config.limits.snapshot_group_gib = 100;
        config.limits.manual_snapshots_per_disk = 1;
    })
    .await;
    let (instance, disks) = two_disks(&world).await;
    let (never, free) = (world.disk().await, world.instance().await);
    let (third, large) = (world.disk().await, world.disk_from("Size=101").await);
    world.attach(&free, &third).await;
    world.attach(&free, &large).await;
    let full = world.disk().await;
    world.attach(&free, &full).await;
    world.snapshot(&full).await;
    let system = call!(world, describe_disks, "InstanceId={free}&DiskType=system").expect("listed");
    let system = &system.disks[0].disk_id;
    world.sql("").await; // The snapshot's job may be about to go.
    let before = (world.everything().await, world.count("jobs"));
    let exclude: Vec<_> = disks
        .iter()
        .enumerate()
        .map(|(n, d)| format!("ExcludeDiskId.{}={d}", n + 1))
        .collect();
    for (query, status, expected) in [
        ("InstanceId=i-none".to_owned(), 404, "InvalidInstanceId.NotFound"),
        ("DiskId.1=d-none".to_owned(), 404, "InvalidDiskId.NotFound"),
        (
            format!("InstanceId={instance}&DiskId.1={third}"),
            404,
            "InvalidDiskId.NotFound",
        ),
        (
            format!("InstanceId={instance}&ExcludeDiskId.1={third}"),
            404,
            "InvalidDiskId.NotFound",
        ),
        (
            format!("InstanceId={instance}&{}", exclude.join("&")),
            403,
            "InvalidInstance.NoDisk",
        ),
        (
            format!("DiskId.1={}&ResourceGroupId=rg-none", disks[1]),
            404,
            "InvalidResourceGroup.NotFound",
        ),
        (
            format!("DiskId.1={never}&DiskId.2={}", disks[1]),
            403,
            "IncorrectDiskStatus.NeverAttached",
        ),
        (
            format!("DiskId.1={}&DiskId.2={}&DiskId.3={third}", disks[0], disks[1]),
            403,
            "NumberExceed.TooManyDisks",
        ),
        (format!("DiskId.1={large}"), 403, "CapacityExceed.TooManyDisks"),
        (
            format!("DiskId.1={full}&DiskId.2={system}"),
            403,
            "QuotaExceed.Snapshot",
        ),
    ] {
        let refusal = code(call!(world, create_snapshot_group, "{query}&ClientToken=T"));
        assert_eq!(refusal, (status, expected.into()), "{query}");
    }
    let tables = ["snapshot_groups", "snapshot_group_members", "client_tokens"];
    assert_eq!(tables.map(|table| world.count(table)), [0, 0, 0]);
    assert_eq!((world.everything().await, world.count("jobs")), before);

    for (set, expected) in [
        (
            format!("UPDATE disks SET zone = 'elsewhere' WHERE id = '{third}'"),
            (400, "InvalidDiskIds.NotInSameZone"),
        ),
        (
            format!("UPDATE disks SET zone = '{ZONE}', multi_attach = 'Enabled' WHERE id = '{third}'"),
            (403, "InvalidOperation.MultiAttachDisk"),
        ),
        (
            format!("UPDATE disks SET multi_attach = '', status = 'ReIniting' WHERE id = '{third}'"),
            (403, "IncorrectDiskStatus"),
        ),
        (
            format!(
                "UPDATE disks SET status = 'In_use' WHERE id = '{third}';\
                 UPDATE instances SET status = 'Starting' WHERE id = '{free}'"
            ),
            (400, "IncorrectInstanceStatus"),
        ),
        (
            format!("UPDATE instances SET status = 'Running', security_lock = 1 WHERE id = '{free}'"),
            (403, "InstanceLockedForSecurity"),
        ),
    ] {
        world.sql(&set).await;
        let refusal = code(call!(
            world,
            create_snapshot_group,
            "DiskId.1={}&DiskId.2={third}",
            disks[1]
        ));
        assert_eq!(refusal, (expected.0, expected.1.into()), "{set}");
    }
    assert_eq!(world.count("snapshot_groups"), 0);
    for missing in ["modify_snapshot_group", "delete_snapshot_group"] {
        let refusal = match missing {
            "modify_snapshot_group" => code(call!(
                world,
                modify_snapshot_group,
                "SnapshotGroupId=ssg-none&Name=ab"
            )),
            _ => code(call!(world, delete_snapshot_group, "SnapshotGroupId=ssg-none")),
        };
        assert_eq!(
            refusal,
            (404, "InvalidSnapshotGroup.NotFound".into()),
            "{missing}"
        );
    }
    let unknown = code(call!(world, describe_snapshot_groups, "InstanceId=i-none"));
    assert_eq!(unknown, (404, "InvalidInstanceId.NotFound".into()));
}

#[tokio::test]
async fn a_snapshot_in_creation_keeps_its_disk_out() {
    let world = World::new().await;
    let (instance, disks) = two_disks(&world).await;
    let id = world.snapshot(&disks[1]).await;
    world
        .sql(&format!(
            "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{id}'"
        ))
        .await;
    let refusal = code(call!(world, create_snapshot_group, "InstanceId={instance}"));
    assert_eq!(refusal, (403, "IncorrectDiskStatus.CreatingSnapshot".into()));
}

#[tokio::test]
async fn the_same_request_again_gives_the_same_group_even_after_a_restart() {
    let world = World::new().await;
    let (instance, _) = two_disks(&world).await;
    let ask = format!("InstanceId={instance}&Name=one&ClientToken=T");
    let id = create(&world, &ask).await;
    group_is(&world, &id, "accomplished").await;
    assert_eq!(create(&world, &ask).await, id);
    let world = world.restart().await;
    assert_eq!(create(&world, &ask).await, id);
    assert_eq!(listed(&world, "").await.len(), 1);
    let other = code(call!(
        world,
        create_snapshot_group,
        "InstanceId={instance}&Name=two&ClientToken=T"
    ));
    assert_eq!(other, (403, "IdempotentParameterMismatch".into()));
}

/// The rows, their jobs and the token are there; the crash came before the marks.
#[tokio::test]
async fn a_group_whose_marks_were_never_made_is_removed_with_its_token() {
    let world = World::new().await;
    let (instance, _) = two_disks(&world).await;
    let ask = format!("InstanceId={instance}&ClientToken=T");
    let id = create(&world, &ask).await;
    group_is(&world, &id, "accomplished").await;
    let members = ids(&find(&world, &id).await.expect("listed"));
    let mut sql =
        String::from("UPDATE snapshot_groups SET made = 0; UPDATE client_tokens SET processing = 1;");
    for (n, old) in members.iter().enumerate() {
        // Under ids that no node has heard of.
        sql.push_str(&format!(
            "UPDATE snapshots SET id = 's-unmarked{n}', status = 'progressing', marked = 0, percent = 0 WHERE id = '{old}';\
             UPDATE snapshot_group_members SET snapshot_id = 's-unmarked{n}' WHERE snapshot_id = '{old}';\
             UPDATE tags SET resource_id = 's-unmarked{n}' WHERE resource_id = '{old}';\
             DELETE FROM snapshot_usage WHERE snapshot_id = '{old}';\
             INSERT INTO jobs (id, kind, subject, lane, arguments, attempts, last_error, created_ms) VALUES \
             (9000{n}, 'complete_snapshot', 's-unmarked{n}', 's-unmarked{n}', '', 0, '', 0);"
        ));
    }
    let world = world.restart_after(&sql).await;
    group_is(&world, &id, "").await;
    let left = async || {
        [
            "snapshots",
            "snapshot_groups",
            "snapshot_group_members",
            "client_tokens",
            "tags",
            "jobs",
        ]
        .map(|table| world.count(table).to_string())
        .join(" ")
    };
    world.eventually(left, "rows", "0 0 0 0 0 0").await;
    let again = create(&world, &ask).await;
    assert_ne!(again, id, "the token can be used");
    group_is(&world, &again, "accomplished").await;
}

/// The marks were made; the catalogue had not heard of it.
#[tokio::test]
async fn a_group_that_ended_unseen_is_accomplished_and_its_token_answers() {
    let world = World::new().await;
    let (instance, _) = two_disks(&world).await;
    let ask = format!("InstanceId={instance}&ClientToken=T");
    let id = create(&world, &ask).await;
    group_is(&world, &id, "accomplished").await;
    let mut sql =
        String::from("UPDATE snapshot_groups SET made = 0; UPDATE client_tokens SET processing = 1;");
    for (n, member) in ids(&find(&world, &id).await.expect("listed")).iter().enumerate() {
        sql.push_str(&format!(
            "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{member}';\
             INSERT INTO jobs (id, kind, subject, lane, arguments, attempts, last_error, created_ms) VALUES \
             (9000{n}, 'complete_snapshot', '{member}', '{member}', '', 0, '', 0);"
        ));
    }
    let world = world.restart_after(&sql).await;
    group_is(&world, &id, "accomplished").await;
    assert_eq!(create(&world, &ask).await, id);
}

/// A stop came between the marks and what the catalogue says of them: whoever asks again does not wait for the captures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_answers_while_what_it_made_is_still_being_captured() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let mut seed = 1_u64;
    let mut guest = Guest::connect(&world, &disk).expect("exported");
    for at in 0..24 {
        let words = std::iter::repeat_with(|| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            seed.to_be_bytes()
        });
        let noise: Vec<u8> = words.take((4 << 20) / 8).flatten().collect();
        guest.write(at * (4 << 20), &noise);
    }
    let ask = format!("InstanceId={instance}&ClientToken=T");
    let id = create(&world, &ask).await;
    let percents = async || {
        let rows = call!(world, describe_snapshots, "Status=progressing").expect("listed");
        let percent = |row: &tidemark_ecs::model::Snapshot| row.progress.trim_end_matches('%').parse::<u8>();
        let begun = rows.snapshots.iter().any(|row| percent(row).unwrap_or(0) > 0);
        begun.to_string()
    };
    world.eventually(percents, "a capture under way", "true").await;
    // It can go no further.
    let (vault, away) = (world.dir.path().join("vault"), world.dir.path().join("away"));
    std::fs::rename(&vault, &away).expect("away");
    let file = rusqlite::Connection::open(world.dir.path().join("control/catalogue.db")).expect("opens");
    file.execute_batch(
        "UPDATE snapshot_groups SET made = 0; UPDATE client_tokens SET processing = 1; \
         UPDATE snapshots SET marked = 0 WHERE status = 'progressing'",
    )
    .expect("as a crash would leave it");
    let again = async || match call!(world, create_snapshot_group, "{ask}") {
        Ok(answer) => answer.snapshot_group_id,
        Err(error) => error.code.to_string(),
    };
    world.eventually(again, "the answer", &id).await;
    assert_eq!(find(&world, &id).await.expect("listed").status, "progressing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_disk_that_cannot_be_marked_is_no_group_at_all() {
    let world = World::new().await;
    let (instance, disks) = two_disks(&world).await;
    let volume = format!("node/volumes/{}", disks[1]);
    let world = world
        .restart_with(|dir| {
            std::fs::rename(dir.path().join(&volume), dir.path().join("aside")).expect("moved away");
        })
        .await;
    let before = world.everything().await;
    let ask = format!("InstanceId={instance}&ClientToken=T&Tag.1.Key=k");
    let refusal = code(call!(world, create_snapshot_group, "{ask}"));
    assert_eq!(refusal, (403, "IncorrectDiskStatus.Invalid".into()));
    assert_eq!(world.everything().await, before);
    let tables = [
        "snapshots",
        "snapshot_groups",
        "snapshot_group_members",
        "client_tokens",
        "tags",
        "jobs",
        "links",
    ];
    assert_eq!(tables.map(|table| world.count(table)), [0; 7]);
    std::fs::rename(world.dir.path().join("aside"), world.dir.path().join(&volume)).expect("moved back");
    world.control.keep_house().await.expect("done");
    let id = create(&world, &ask).await;
    group_is(&world, &id, "accomplished").await;
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_part_rows_and_marks() {
    let world = World::new().await;
    let (instance, _) = two_disks(&world).await;
    for _ in 0..5 {
        let params = crate::world::params(&format!("InstanceId={instance}"));
        let request =
            tidemark_ecs::actions::create_snapshot_group::Request::parse(&params).expect("well formed");
        let hung_up = world.control.create_snapshot_group(&world.caller, request);
        let _ = tokio::time::timeout(Duration::from_micros(500), hung_up).await;
        let settled = async || {
            let groups = listed(&world, "").await;
            (groups.iter().all(|group| group.status == "accomplished") && world.count("jobs") == 0)
                .to_string()
        };
        world
            .eventually(settled, "groups of callers who hung up", "true")
            .await;
    }
    assert!(
        listed(&world, "")
            .await
            .iter()
            .all(|group| group.snapshots.len() == 2)
    );
}

#[tokio::test]
async fn deleting_a_group_keeps_what_must_stay_as_a_single_snapshot() {
    let world = World::new().await;
    let (instance, _) = two_disks(&world).await;
    let id = create(&world, &format!("InstanceId={instance}&Tag.1.Key=k")).await;
    group_is(&world, &id, "accomplished").await;
    let members = ids(&find(&world, &id).await.expect("listed"));
    let copy = world.disk_from(&format!("SnapshotId={}", members[0])).await;
    let lock = format!(
        "SnapshotId={}&LockMode=compliance&LockDuration=1&CoolOffPeriod=0",
        members[1]
    );
    call!(world, lock_snapshot, "{lock}").expect("locked");
    let answer = call!(world, delete_snapshot_group, "SnapshotGroupId={id}").expect("deleted");
    let outcomes: Vec<_> = answer
        .operation_progress_set
        .iter()
        .map(|item| {
            (
                item.operation_status.as_str(),
                item.error_code.as_str(),
                item.related_item_set[0].value.as_str(),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("Success", "", members[0].as_str()),
            ("Failed", "InvalidOperation.SnapshotLocked", members[1].as_str())
        ]
    );
    assert!(find(&world, &id).await.is_none());
    assert!(world.find_snapshot(&members[0]).await.is_none());
    assert_eq!(
        world.find_disk(&copy).await.expect("works on").status,
        "Available"
    );
    let single = world.find_snapshot(&members[1]).await.expect("kept");
    assert_eq!(
        (single.status.as_str(), single.snapshot_group_id.as_str()),
        ("accomplished", "")
    );
    assert_eq!(
        (
            world.count("snapshot_groups"),
            world.count("snapshot_group_members")
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_group_goes_with_its_last_snapshot() {
    let world = World::new().await;
    let (instance, disks) = two_disks(&world).await;
    let id = create(&world, &format!("InstanceId={instance}")).await;
    group_is(&world, &id, "accomplished").await;
    let members = ids(&find(&world, &id).await.expect("listed"));
    call!(world, delete_snapshot, "SnapshotId={}", members[0]).expect("deleted");
    assert_eq!(
        ids(&find(&world, &id).await.expect("the other is left")),
        members[1..]
    );
    // What is left can still be rolled back to.
    world.stop(&instance).await;
    let reset = format!("Disk.1.DiskId={}&Disk.1.SnapshotId={}", disks[1], members[1]);
    call!(world, reset_disks, "{reset}").expect("rolled back");
    call!(world, delete_snapshot, "SnapshotId={}", members[1]).expect("deleted");
    assert!(find(&world, &id).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_disks_of_a_group_are_rolled_back_or_none() {
    let world = World::new().await;
    let (instance, disks) = two_disks(&world).await;
    let write = |world: &World, with: u8| {
        for disk in &disks {
            let mut guest = Guest::connect(world, disk).expect("exported");
            guest.write(0, &[with; 4096]);
            guest.flush();
        }
    };
    let read = |world: &World| -> Vec<u8> {
        let first = |disk: &String| Guest::connect(world, disk).expect("exported").read(0, 4096)[0];
        disks.iter().map(first).collect()
    };
    write(&world, 1);
    let id = create(&world, &format!("InstanceId={instance}")).await;
    group_is(&world, &id, "accomplished").await;
    let members = ids(&find(&world, &id).await.expect("listed"));
    write(&world, 2);
    let both = format!(
        "Disk.1.DiskId={}&Disk.1.SnapshotId={}&Disk.2.DiskId={}&Disk.2.SnapshotId={}",
        disks[0], members[0], disks[1], members[1]
    );
    assert_eq!(
        code(call!(world, reset_disks, "{both}")),
        (403, "IncorrectInstanceStatus".into())
    );
    world.stop(&instance).await;
    let swapped = format!(
        "Disk.1.DiskId={}&Disk.1.SnapshotId={}&Disk.2.DiskId={}&Disk.2.SnapshotId={}",
        disks[0], members[0], disks[1], members[0]
    );
    let (other, elsewhere) = world.attached_disk().await;
    let of_other = world.snapshot(&elsewhere).await;
    world.stop(&other).await;
    let apart = format!("{both}&Disk.3.DiskId={elsewhere}&Disk.3.SnapshotId={of_other}");
    let unknown = format!("{both}&Disk.3.DiskId=d-none&Disk.3.SnapshotId={of_other}");
    let before = world.everything().await;
    for (query, status, expected) in [
        (&swapped, 403, "InvalidParameter.Mismatch"),
        (&apart, 403, "InvalidParameter.Mismatch"),
        (&unknown, 404, "InvalidDiskId.NotFound"),
        (&format!("{both}&DryRun=true"), 400, "DryRunOperation"),
    ] {
        assert_eq!(
            code(call!(world, reset_disks, "{query}")),
            (status, expected.into()),
            "{query}"
        );
    }
    assert_eq!(
        world.everything().await,
        before,
        "none is begun if one is refused"
    );
    let answer = call!(world, reset_disks, "{both}").expect("begun");
    for ((item, disk), snapshot) in answer.operation_progress_set.iter().zip(&disks).zip(&members) {
        assert_eq!(
            (item.operation_status.as_str(), item.error_code.as_str()),
            ("Success", "")
        );
        let related: Vec<_> = item
            .related_item_set
            .iter()
            .map(|r| (r.name.as_str(), r.value.as_str()))
            .collect();
        assert_eq!(
            related,
            [("SnapshotId", snapshot.as_str()), ("DiskId", disk.as_str())]
        );
    }
    for disk in &disks {
        world.disk_is(disk, "In_use").await;
    }
    call!(world, start_instance, "InstanceId={instance}").expect("starts");
    world.instance_is(&instance, "Running").await;
    assert_eq!(read(&world), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_disks_as_a_group_has_are_rolled_back_at_once() {
    let world = World::new().await;
    let (instance, _) = world.attached_disk().await;
    for _ in 0..9 {
        world.attach(&instance, &world.disk().await).await;
    }
    let id = create(&world, &format!("InstanceId={instance}")).await;
    group_is(&world, &id, "accomplished").await;
    world.stop(&instance).await;
    let group = find(&world, &id).await.expect("listed");
    let pair = |(n, member): (usize, &tidemark_ecs::model::GroupMember)| {
        let (disk, snapshot) = (&member.source_disk_id, &member.snapshot_id);
        format!("Disk.{n}.DiskId={disk}&Disk.{n}.SnapshotId={snapshot}")
    };
    let pairs: Vec<_> = (1..).zip(&group.snapshots).map(pair).collect();
    let answer = call!(world, reset_disks, "{}", pairs.join("&")).expect("begun");
    let outcomes = answer.operation_progress_set.iter();
    let statuses: Vec<_> = outcomes.map(|item| item.operation_status.as_str()).collect();
    assert_eq!(statuses, ["Success"; 11]);
}

#[tokio::test]
async fn more_disks_than_a_group_has_are_not_rolled_back_at_once() {
    let many = |disks: usize| -> String {
        let pair = |n: usize| format!("Disk.{n}.DiskId=d-{n}&Disk.{n}.SnapshotId=s-{n}");
        (1..=disks).map(pair).collect::<Vec<_>>().join("&")
    };
    let (allowed, refused) = ((404, "InvalidDiskId.NotFound"), (400, "InvalidParameter"));
    // The contract's 10 are allowed also where groups are smaller.
    for (group, disks, expected) in [
        (16, 16, allowed),
        (16, 17, refused),
        (2, 10, allowed),
        (2, 11, refused),
    ] {
        let world = World::with(|config| config.limits.disks_per_snapshot_group = group).await;
        let query = many(disks);
        let found = code(call!(world, reset_disks, "{query}"));
        assert_eq!(found, (expected.0, expected.1.into()), "{disks} of {group}");
    }
}
