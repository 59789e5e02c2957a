//! Which request touched a snapshot, a group or a disk, and whose it was.

use crate::world::{REGION, World, call, code};
use serde_json::Value;
use tidemark_control::Caller;

const ROOT: &str = "acs:ram::1000000000000001:root";

impl World {
    /// The next calls come as this request.
    fn as_request(&mut self, id: &str) {
        self.caller = Caller {
            request_id: Some(id.into()),
            ..self.caller.clone()
        };
    }

    /// What was told that somebody did, about one resource or (`""`) all, oldest first: event, who, request, action.
    async fn trail(&self, resource: &str) -> Vec<String> {
        let show = |(name, content): (String, Value)| {
            let said = |member: &str| content[member].as_str().unwrap_or_default().to_owned();
            format!("{name} {} {} {}", said("by"), said("requestId"), said("action"))
        };
        self.done(resource).await.into_iter().map(show).collect()
    }

    async fn done(&self, resource: &str) -> Vec<(String, Value)> {
        let answer = call!(self, describe_events, "MaxResults=100&ResourceId={resource}");
        let mut events = answer.expect("listed").events;
        events.reverse();
        events.retain(|event| event.content["action"].is_string());
        events
            .into_iter()
            .map(|event| (event.event_name, event.content))
            .collect()
    }
}

#[tokio::test]
async fn what_is_done_to_a_snapshot_says_who_and_in_which_request() {
    let mut world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let made = call!(world, create_snapshot, "DiskId={disk}&RetentionDays=10").expect("begun");
    let id = made.snapshot_id;
    world.snapshot_is(&id, "accomplished").await;
    let root = world.caller.clone();
    world.caller = Caller {
        region: Some(REGION.into()),
        ..world
            .user("alice", r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*"}"#)
            .await
    };
    let lock = format!("SnapshotId={id}&LockMode=compliance&LockDuration=5&CoolOffPeriod=24");
    world.as_request("R-1");
    code(call!(world, lock_snapshot, "{lock}&DryRun=true"));
    call!(world, lock_snapshot, "{lock}").expect("locked");
    world.as_request("R-2");
    code(call!(world, delete_snapshot, "SnapshotId={id}"));
    call!(world, unlock_snapshot, "SnapshotId={id}").expect("unlocked");
    world.as_request("R-3");
    let named = format!("SnapshotId={id}&SnapshotName=nightly");
    call!(world, modify_snapshot_attribute, "{named}&RetentionDays=20").expect("changed");
    call!(world, modify_snapshot_attribute, "{named}").expect("nothing is different");
    world.as_request("R-4");
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    world.caller = root;
    let alice = "acs:ram::1000000000000001:user/alice";
    assert_eq!(
        world.trail(&id).await,
        [
            format!("Snapshot:Locked {alice} R-1 LockSnapshot"),
            format!("Snapshot:Unlocked {alice} R-2 UnlockSnapshot"),
            format!("Snapshot:Modified {alice} R-3 ModifySnapshotAttribute"),
            format!("Snapshot:Deleted {alice} R-4 DeleteSnapshot"),
        ],
        "refusals and dry runs leave nothing"
    );
    let done = world.done(&id).await;
    assert_eq!(done[0].1["lockDuration"], 5);
    let modified = &done[2].1;
    assert_eq!(
        modified["changed"].to_string(),
        r#"["SnapshotName","RetentionDays"]"#
    );
    assert_eq!(
        (&modified["retentionDaysBefore"], &modified["retentionDays"]),
        (&Value::from(10), &Value::from(20))
    );
    assert_eq!(done[3].1["cancelled"], false);
    assert_eq!(done[3].1["diskId"], disk.as_str());
}

#[tokio::test]
async fn a_cancelled_snapshot_is_told_as_one() {
    let mut world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let begun = format!("UPDATE snapshots SET status = 'progressing' WHERE id = '{id}'");
    world.sql(&begun).await;
    world.as_request("R-1");
    call!(world, delete_snapshot, "SnapshotId={id}").expect("cancelled");
    let done = world.done(&id).await;
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].1["cancelled"], true);
}

#[tokio::test]
async fn a_group_says_which_snapshots_went_and_which_stayed() {
    let mut world = World::new().await;
    let (instance, _) = world.attached_disk().await;
    let group = call!(world, create_snapshot_group, "InstanceId={instance}")
        .expect("begun")
        .snapshot_group_id;
    let listed = call!(world, describe_snapshot_groups, "").expect("listed");
    let members = listed.snapshot_groups[0].snapshots.clone();
    for member in &members {
        world.snapshot_is(&member.snapshot_id, "accomplished").await;
    }
    let (kept, gone) = (&members[0].snapshot_id, &members[1].snapshot_id);
    let lock = format!("SnapshotId={kept}&LockMode=compliance&LockDuration=5&CoolOffPeriod=0");
    call!(world, lock_snapshot, "{lock}").expect("locked");
    world.as_request("R-1");
    call!(world, delete_snapshot_group, "SnapshotGroupId={group}").expect("deleted");
    let by = format!("{ROOT} R-1 DeleteSnapshotGroup");
    assert_eq!(world.trail(&group).await, [format!("SnapshotGroup:Deleted {by}")]);
    assert_eq!(
        world.done(&group).await[0].1["keptSnapshotIds"],
        serde_json::json!([kept])
    );
    assert_eq!(world.trail(gone).await, [format!("Snapshot:Deleted {by}")]);
    assert_eq!(world.trail(kept).await.len(), 1, "its lock alone");
}

/// However a disk goes, it is told, and so are the automatic snapshots that go with it.
#[tokio::test]
async fn a_disk_that_goes_is_told_with_its_automatic_snapshots() {
    let mut world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let (manual, automatic) = (world.snapshot(&disk).await, world.snapshot(&disk).await);
    let by_policy = format!("UPDATE snapshots SET snapshot_type = 'timer' WHERE id = '{automatic}'");
    world.sql(&by_policy).await;
    let by_system = call!(world, describe_disks, "InstanceId={instance}&DiskType=system").expect("listed");
    let system = by_system.disks[0].disk_id.clone();
    world.detach(&instance, &disk).await;
    world.as_request("R-1");
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    let by = format!("{ROOT} R-1 DeleteDisk");
    assert_eq!(world.trail(&disk).await, [format!("Disk:Deleted {by}")]);
    assert_eq!(world.trail(&automatic).await, [format!("Snapshot:Deleted {by}")]);
    assert_eq!(world.trail(&manual).await, [""; 0], "it stays");
    world.stop(&instance).await;
    world.as_request("R-2");
    call!(world, delete_instance, "InstanceId={instance}").expect("deleted");
    assert_eq!(
        world.trail(&system).await,
        [format!("Disk:Deleted {ROOT} R-2 DeleteInstance")]
    );
    // Its time of release was settled before; nobody asks now.
    let other = world.instance().await;
    let now = world.now_ms();
    let due = format!("UPDATE instances SET auto_release_ms = {now} WHERE id = '{other}'");
    world.sql(&due).await;
    world.control.keep_house().await.expect("kept");
    let last = world.trail("").await.pop();
    assert_eq!(last.as_deref(), Some("Disk:Deleted service  AutoReleaseTime"));
}

/// The job that sees the old disk off knows whose request it is from.
#[tokio::test]
async fn a_replaced_system_disk_is_told() {
    let mut world = World::new().await;
    let (instance, _) = world.attached_disk().await;
    let found = call!(world, describe_disks, "InstanceId={instance}&DiskType=system").expect("listed");
    let old = found.disks[0].disk_id.clone();
    let snapshot = world.snapshot(&old).await;
    let image = call!(world, create_image, "SnapshotId={snapshot}").expect("made");
    world.stop(&instance).await;
    world.as_request("R-1");
    let asked = format!("InstanceId={instance}&ImageId={}", image.image_id);
    let new = call!(world, replace_system_disk, "{asked}")
        .expect("begun")
        .disk_id;
    world.disk_is(&new, "In_use").await;
    assert_eq!(
        world.trail(&old).await,
        [format!("Disk:Deleted {ROOT} R-1 ReplaceSystemDisk")]
    );
}
