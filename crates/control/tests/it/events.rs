//! What is written down of what happens.

use crate::world::{FAR, World, call, code};
use tidemark_ecs::actions::describe_events::Event;
use tidemark_ecs::ram::keys::{KeysOf, UpdateAccessKey};

async fn events(world: &World, query: &str) -> Vec<Event> {
    call!(world, describe_events, "MaxResults=100&{query}")
        .expect("listed")
        .events
}

/// Names and levels, oldest first.
async fn names(world: &World, query: &str) -> Vec<String> {
    let mut rows = events(world, query).await;
    rows.reverse();
    rows.into_iter()
        .map(|event| format!("{} {}", event.level, event.event_name))
        .collect()
}

#[tokio::test]
async fn the_life_of_a_disk_and_its_snapshot() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&disk).await;
    world.stop(&instance).await;
    call!(world, reset_disk, "DiskId={disk}&SnapshotId={snapshot}").expect("begun");
    world.disk_is(&disk, "In_use").await;
    call!(
        world,
        modify_snapshot_attribute,
        "SnapshotId={snapshot}&RetentionDays=1"
    )
    .map(drop)
    .unwrap_or_default();
    world.detach(&instance, &disk).await;
    assert_eq!(
        names(&world, &format!("ResourceId={disk}")).await,
        [
            "INFO Disk:DiskOperationCompleted",
            "INFO Disk:ResetDiskCompleted",
            "INFO Disk:DiskOperationCompleted"
        ]
    );
    assert_eq!(
        names(&world, &format!("ResourceId={snapshot}")).await,
        ["INFO Snapshot:CreateSnapshotCompleted"]
    );
    assert_eq!(
        names(&world, &format!("ResourceId={instance}")).await,
        ["INFO Instance:StateChange", "INFO Instance:StateChange"]
    );
    let (done,) = match &events(&world, &format!("ResourceId={snapshot}")).await[..] {
        [one] => (one.clone(),),
        other => panic!("{other:?}"),
    };
    assert_eq!(done.content["result"], "accomplished");
    assert_eq!(done.content["diskId"], disk.as_str());
    assert_eq!(done.content["snapshotType"], "user");
    // As often as one looks, and over restarts: once.
    let world = world.restart().await;
    world.snapshot_is(&snapshot, "accomplished").await;
    assert_eq!(
        names(&world, "EventName.1=Snapshot:CreateSnapshotCompleted")
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn an_expired_snapshot_is_told() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = call!(world, create_snapshot, "DiskId={disk}&RetentionDays=1")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&id, "accomplished").await;
    world.advance_days(2);
    world.control.keep_house().await.expect("kept");
    assert_eq!(
        names(&world, &format!("ResourceId={id}")).await,
        ["INFO Snapshot:CreateSnapshotCompleted", "INFO Snapshot:Expired"]
    );
}

#[tokio::test]
async fn a_quota_is_told_once_when_nine_tenths_are_used() {
    let world = World::with(|config| config.limits.manual_snapshots_per_disk = 3).await;
    let (_, disk) = world.attached_disk().await;
    let near = async || names(&world, "EventName.1=Quota:Near").await.len();
    for expected in [0, 0, 1] {
        world.snapshot(&disk).await;
        assert_eq!(near().await, expected);
    }
    assert_eq!(
        code(call!(world, create_snapshot, "DiskId={disk}")),
        (403, "QuotaExceed.Snapshot".into())
    );
    assert_eq!(near().await, 1, "a refusal changes nothing");
}

/// Members of groups and copies count like any others.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_told_however_it_is_reached() {
    let world =
        World::two_regions_with(None, None, |config| config.limits.manual_snapshots_per_disk = 1).await;
    let (instance, _) = world.attached_disk().await;
    let told = || world.number("SELECT COUNT(*) FROM events WHERE name = 'Quota:Near'");
    call!(world, create_snapshot_group, "InstanceId={instance}").expect("begun");
    assert_eq!(told(), 2, "one for each disk");
    let mut groups = call!(world, describe_snapshot_groups, "")
        .expect("listed")
        .snapshot_groups;
    let members = groups.remove(0).snapshots;
    for member in &members {
        world.snapshot_is(&member.snapshot_id, "accomplished").await;
    }
    let asked = format!("SnapshotId={}&DestinationRegionId={FAR}", members[0].snapshot_id);
    call!(world, copy_snapshot, "{asked}").expect("begun");
    assert_eq!(told(), 3);
}

/// Every limit that stops something is told of before it does, once on each way up.
#[tokio::test]
async fn other_quotas_are_told_when_nine_tenths_are_used() {
    let world = World::with(|config| {
        config.limits.policies_per_region = 2;
        config.limits.images = 3;
        config.limits.data_disks_per_instance = 2;
    })
    .await;
    let told = async || {
        let mut found = events(&world, "EventName.1=Quota:Near").await;
        found.reverse();
        let show = |event: Event| {
            let (what, used) = (&event.content["quota"], &event.content["used"]);
            let what = what.as_str().unwrap_or_default();
            format!("{} {}: {used} {what}", event.level, event.resource_type)
        };
        found.into_iter().map(show).collect::<Vec<_>>()
    };
    let mut expected = Vec::new();
    let policy = "timePoints=[3]&repeatWeekdays=[1]&retentionDays=-1";
    world.policy(policy).await;
    assert_eq!(told().await, expected);
    let second = world.policy(policy).await;
    expected.push("WARN region: 2 automatic snapshot policies in the region".to_owned());
    assert_eq!(told().await, expected);
    assert!(call!(world, create_auto_snapshot_policy, "{policy}").is_err());
    assert_eq!(told().await, expected, "a refusal changes nothing");
    let away = format!("autoSnapshotPolicyId={second}");
    call!(world, delete_auto_snapshot_policy, "{away}").expect("deleted");
    world.policy(policy).await;
    expected.push(expected[0].clone());
    assert_eq!(told().await, expected, "once on each way up");

    let instance = world.instance().await;
    for _ in 0..2 {
        assert_eq!(told().await, expected);
        let disk = world.disk().await;
        world.attach(&instance, &disk).await;
    }
    expected.push("WARN instance: 2 data disks of the instance".to_owned());
    assert_eq!(told().await, expected);
    let run = "InstanceType=tidemark.external&SystemDisk.Size=20&DataDisk.1.Size=20&DataDisk.2.Size=20";
    call!(world, run_instances, "{run}").expect("made");
    expected.push("WARN instance: 2 data disks of the instance".to_owned());
    assert_eq!(told().await, expected, "all at once");

    let found = call!(world, describe_disks, "InstanceId={instance}&DiskType=system").expect("listed");
    let snapshot = world.snapshot(&found.disks[0].disk_id).await;
    for _ in 0..3 {
        assert_eq!(told().await, expected);
        call!(world, create_image, "SnapshotId={snapshot}").expect("made");
    }
    expected.push("WARN region: 3 images in the region".to_owned());
    assert_eq!(told().await, expected);
}

/// A policy's copy that cannot be is not tried again: somebody has to hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_a_policy_does_not_get_is_told_once() {
    let world = World::two_regions().await;
    let (_, disk) = world.attached_disk().await;
    let snapshot = world.snapshot(&disk).await;
    // Encrypted, into a vault that is not.
    world
        .sql(&format!(
            "INSERT INTO policy_runs (snapshot_id, policy_id, slot_ms, copy_region, copy_retention_days, copy_encrypted) \
             VALUES ('{snapshot}', 'sp-1', 0, '{FAR}', -1, 1)"
        ))
        .await;
    for _ in 0..2 {
        world.control.keep_house().await.expect("kept");
    }
    assert_eq!(
        names(&world, &format!("ResourceId={snapshot}")).await,
        [
            "INFO Snapshot:CreateSnapshotCompleted",
            "WARN Snapshot:CopySnapshotCompleted"
        ]
    );
}

#[tokio::test]
async fn keys_and_users_are_told_without_their_secrets() {
    let world = World::new().await;
    let alice = world
        .user("alice", r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*"}"#)
        .await;
    let off = UpdateAccessKey {
        user_name: Some("alice".into()),
        user_access_key_id: alice.access_key.clone(),
        active: false,
    };
    world
        .control
        .update_access_key(&world.caller, off.clone())
        .await
        .expect("disabled");
    world
        .control
        .update_access_key(&world.caller, off)
        .await
        .expect("is disabled");
    let own = KeysOf { user_name: None };
    let made = world
        .control
        .create_access_key(&world.caller, own)
        .await
        .expect("made")
        .access_key;
    assert_eq!(
        names(&world, "").await,
        [
            "INFO User:Created",
            "INFO Policy:Changed",
            "INFO Policy:Attached",
            "INFO AccessKey:Created",
            "WARN AccessKey:Disabled",
            "INFO AccessKey:Created",
        ]
    );
    let all = format!("{:?}", events(&world, "").await);
    assert!(all.contains(&made.access_key_id) && !all.contains(&made.access_key_secret));
    assert!(all.contains("acs:ram::1000000000000001:root"), "who did it");
}

#[tokio::test]
async fn following_shows_every_event_once_and_in_order() {
    let world = World::new().await;
    world.user("before", "").await;
    let mut token = call!(world, describe_events, "Follow=true")
        .expect("begun")
        .page
        .next_token;
    let mut seen = Vec::new();
    for round in 0..4 {
        for n in 0..5 * round {
            world.user(&format!("u{round}-{n}"), "").await;
        }
        loop {
            let answer = call!(
                world,
                describe_events,
                "Follow=true&MaxResults=10&EventName.1=User:Created&NextToken={token}"
            )
            .expect("followed");
            token = answer.page.next_token;
            assert!(!token.is_empty());
            if answer.events.is_empty() {
                break;
            }
            seen.extend(answer.events.into_iter().map(|event| event.resource_id));
        }
    }
    let expected: Vec<_> = (0..4)
        .flat_map(|round| (0..5 * round).map(move |n| format!("u{round}-{n}")))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn pages_filters_and_the_end_of_old_events() {
    let world = World::with(|config| config.limits.events = 12).await;
    for n in 0..15 {
        world.user(&format!("u{n}"), "").await;
    }
    let mut token = String::new();
    let mut ids = Vec::new();
    loop {
        let page = call!(
            world,
            describe_events,
            "EventName.1=User:Created&MaxResults=10&NextToken={token}"
        )
        .expect("listed");
        ids.extend(page.events.into_iter().map(|event| event.resource_id));
        token = page.page.next_token;
        if token.is_empty() {
            break;
        }
    }
    let newest_first: Vec<_> = (0..15).rev().map(|n| format!("u{n}")).collect();
    assert_eq!(ids, newest_first);
    assert_eq!(names(&world, "Level=WARN").await, [""; 0]);
    assert_eq!(
        names(&world, "ResourceType=user&ResourceId=u3").await,
        ["INFO User:Created"]
    );
    assert_eq!(names(&world, "EndTime=2020-01-01T00:00Z").await, [""; 0]);
    world.control.keep_house().await.expect("kept");
    assert_eq!(world.count("events"), 12, "so many are kept");
    world.advance_days(91);
    world.control.keep_house().await.expect("kept");
    assert_eq!(world.count("events"), 0, "and for so long");
}
