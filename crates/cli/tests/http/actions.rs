//! Actions over HTTP: one walk through all of them, and what hostile parameters do.

use crate::server::{Server, root};
use serde_json::Value;
use std::collections::BTreeMap;
use tidemark_ecs::sign::Credentials;

const R: &str = "RegionId=cn-hangzhou";

/// Asks again until the JSON pointer shows the text. The service works on it meanwhile.
fn until(server: &Server, action: &str, parameters: &str, pointer: &str, wanted: &str) -> Value {
    // Bounded only so that what never comes fails here, with what came instead.
    let mut last = Value::Null;
    for _ in 0..3000 {
        let tree = server.ok(action, parameters);
        let shown = tree.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        if shown.as_deref() == Some(wanted) {
            return tree;
        }
        assert_ne!(shown.as_deref(), Some("failed"), "{tree}");
        last = tree;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{action} {parameters} never showed {wanted} at {pointer}: {last}");
}

fn id(tree: &Value, pointer: &str) -> String {
    tree.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{pointer} in {tree}"))
        .to_owned()
}

#[test]
fn the_walk_from_instance_to_restored_disk() {
    let server = Server::start();
    let zones = server.ok("DescribeZones", R);
    let zone = id(&zones, "/Zones/Zone/0/ZoneId");
    let run = server.ok(
        "RunInstances",
        &format!("{R}&InstanceType=tidemark.external&ImageId=tidemark_external.vhd&InstanceName=box"),
    );
    let instance = id(&run, "/InstanceIdSets/InstanceIdSet/0");
    let by_id = format!("{R}&InstanceIds=[\"{instance}\"]");
    until(
        &server,
        "DescribeInstances",
        &by_id,
        "/Instances/Instance/0/Status",
        "Running",
    );

    let made = server.ok(
        "CreateDisk",
        &format!("{R}&ZoneId={zone}&Size=20&DiskCategory=cloud_essd&Tag.1.Key=k&Tag.1.Value=v"),
    );
    let disk = id(&made, "/DiskId");
    let disk_by_id = format!("{R}&DiskIds=[\"{disk}\"]");
    let seen = server.ok("DescribeDisks", &disk_by_id);
    assert_eq!(
        (id(&seen, "/Disks/Disk/0/DiskId"), seen["TotalCount"].as_u64()),
        (disk.clone(), Some(1))
    );
    until(
        &server,
        "DescribeDisks",
        &disk_by_id,
        "/Disks/Disk/0/Status",
        "Available",
    );
    assert_eq!(
        server.call("CreateSnapshot", &format!("DiskId={disk}")).outcome(),
        "403 IncorrectDiskStatus.NeverAttached"
    );
    server.ok("AttachDisk", &format!("InstanceId={instance}&DiskId={disk}"));
    until(
        &server,
        "DescribeDisks",
        &disk_by_id,
        "/Disks/Disk/0/Status",
        "In_use",
    );

    let taken = server.ok("CreateSnapshot", &format!("DiskId={disk}&SnapshotName=snap1"));
    let members: Vec<_> = taken.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(members, ["RequestId", "SnapshotId"]);
    let snapshot = id(&taken, "/SnapshotId");
    let snapshot_by_id = format!("{R}&SnapshotIds=[\"{snapshot}\"]");
    let seen = until(
        &server,
        "DescribeSnapshots",
        &snapshot_by_id,
        "/Snapshots/Snapshot/0/Status",
        "accomplished",
    );
    let row = &seen["Snapshots"]["Snapshot"][0];
    assert_eq!(
        (row["Progress"].as_str(), row["SourceDiskSize"].as_str()),
        (Some("100%"), Some("20"))
    );

    server.ok(
        "ModifySnapshotAttribute",
        &format!("SnapshotId={snapshot}&Description=why not"),
    );
    server.ok(
        "TagResources",
        &format!("{R}&ResourceType=snapshot&ResourceId.1={snapshot}&Tag.1.Key=a&Tag.1.Value=b"),
    );
    let tags = server.ok(
        "ListTagResources",
        &format!("{R}&ResourceType=snapshot&ResourceId.1={snapshot}"),
    );
    assert_eq!(id(&tags, "/TagResources/TagResource/0/TagValue"), "b");
    server.ok(
        "UntagResources",
        &format!("{R}&ResourceType=snapshot&ResourceId.1={snapshot}&All=true"),
    );

    let reset = format!("DiskId={disk}&SnapshotId={snapshot}");
    assert_eq!(
        server.call("ResetDisk", &reset).outcome(),
        "403 IncorrectInstanceStatus"
    );
    server.ok("StopInstance", &format!("InstanceId={instance}"));
    until(
        &server,
        "DescribeInstances",
        &by_id,
        "/Instances/Instance/0/Status",
        "Stopped",
    );
    assert_eq!(
        server
            .call("ResetDisk", &format!("{reset}&DryRun=true"))
            .outcome(),
        "400 DryRunOperation"
    );
    server.ok("ResetDisk", &reset);
    until(
        &server,
        "DescribeDisks",
        &disk_by_id,
        "/Disks/Disk/0/Status",
        "In_use",
    );
    server.ok("StartInstance", &format!("InstanceId={instance}"));

    let copy = id(
        &server.ok("CreateDisk", &format!("{R}&ZoneId={zone}&SnapshotId={snapshot}")),
        "/DiskId",
    );
    let copy_by_id = format!("{R}&DiskIds=[\"{copy}\"]");
    let seen = until(
        &server,
        "DescribeDisks",
        &copy_by_id,
        "/Disks/Disk/0/Status",
        "Available",
    );
    assert_eq!(
        (
            &seen["Disks"]["Disk"][0]["Size"],
            &seen["Disks"]["Disk"][0]["SourceSnapshotId"]
        ),
        (&20.into(), &snapshot.as_str().into())
    );
    assert_eq!(
        server
            .call("DeleteSnapshot", &format!("SnapshotId={snapshot}"))
            .outcome(),
        "403 SnapshotCreatedDisk"
    );
    server.ok("DeleteDisk", &format!("DiskId={copy}"));
    assert_eq!(
        server.call("DeleteDisk", &format!("DiskId={copy}")).outcome(),
        "404 InvalidDiskId.NotFound"
    );

    until(
        &server,
        "DescribeInstances",
        &by_id,
        "/Instances/Instance/0/Status",
        "Running",
    );
    server.ok("DetachDisk", &format!("InstanceId={instance}&DiskId={disk}"));
    until(
        &server,
        "DescribeDisks",
        &disk_by_id,
        "/Disks/Disk/0/Status",
        "Available",
    );
    server.ok("DeleteInstance", &format!("InstanceId={instance}&Force=true"));
    server.ok("DeleteDisk", &format!("DiskId={disk}"));
    let left = server.ok("DescribeSnapshots", &format!("{R}&DiskId={disk}"));
    assert_eq!(left["TotalCount"], 1, "a snapshot outlives its disk");
    let deleted = server.ok("DeleteSnapshot", &format!("SnapshotId={snapshot}"));
    let told = server.ok("DescribeEvents", &format!("{R}&EventName.1=Snapshot:Deleted"));
    assert_eq!(
        told.pointer("/Events/Event/0/Content/requestId"),
        Some(&deleted["RequestId"]),
        "which request it was"
    );
    assert_eq!(
        server.ok("DescribeSnapshots", &snapshot_by_id)["Snapshots"]["Snapshot"],
        Value::Array(vec![])
    );
}

#[test]
fn a_client_token_gives_the_first_answer_again() {
    let server = Server::start();
    let zone = id(&server.ok("DescribeZones", R), "/Zones/Zone/0/ZoneId");
    let create = format!("{R}&ZoneId={zone}&Size=5&ClientToken=t-1");
    let first = server.ok("CreateDisk", &create);
    let again = server.ok("CreateDisk", &create);
    assert_eq!(first["DiskId"], again["DiskId"]);
    assert_ne!(first["RequestId"], again["RequestId"]);
    let other = format!("{R}&ZoneId={zone}&Size=6&ClientToken=t-1");
    assert_eq!(
        server.call("CreateDisk", &other).outcome(),
        "403 IdempotentParameterMismatch"
    );
}

#[test]
fn lists_carry_a_token_while_there_is_more() {
    let server = Server::start();
    let zone = id(&server.ok("DescribeZones", R), "/Zones/Zone/0/ZoneId");
    let mut made: Vec<String> = (0..3)
        .map(|_| {
            id(
                &server.ok("CreateDisk", &format!("{R}&ZoneId={zone}&Size=5")),
                "/DiskId",
            )
        })
        .collect();
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.ok("DescribeDisks", &format!("{R}&PageSize=2&NextToken={token}"));
        let rows = page["Disks"]["Disk"].as_array().expect("a list").clone();
        seen.extend(rows.iter().map(|row| id(row, "/DiskId")));
        token = id(&page, "/NextToken");
        if token.is_empty() {
            break;
        }
    }
    seen.sort_unstable();
    made.sort_unstable();
    assert_eq!(seen, made);
}

#[test]
fn a_describe_with_dry_run_is_an_error_that_says_it_would_work() {
    let server = Server::start();
    for action in ["DescribeDisks", "DescribeSnapshots", "DescribeInstances"] {
        assert_eq!(
            server.call(action, &format!("{R}&DryRun=True")).outcome(),
            "400 DryRunOperation"
        );
        assert_eq!(
            server.call(action, "RegionId=mars&DryRun=True").status,
            404 - 4 * u16::from(action == "DescribeDisks")
        );
    }
}

const ACTIONS: &[&str] = &[
    "AttachDisk",
    "CreateDisk",
    "CreateSnapshot",
    "DeleteDisk",
    "DeleteInstance",
    "DeleteSnapshot",
    "DescribeDeletedSnapshots",
    "DescribeDisks",
    "DescribeInstanceStatus",
    "DescribeInstances",
    "DescribeRegions",
    "DescribeSnapshots",
    "DescribeZones",
    "DetachDisk",
    "ListTagResources",
    "ModifySnapshotAttribute",
    "RebootInstance",
    "ResetDisk",
    "RunInstances",
    "StartInstance",
    "StartVaultScrub",
    "StopInstance",
    "TagResources",
    "UndeleteSnapshot",
    "UntagResources",
];
const NAMES: &[&str] = &[
    "RegionId",
    "ZoneId",
    "DiskId",
    "SnapshotId",
    "InstanceId",
    "Size",
    "DiskIds",
    "SnapshotIds",
    "InstanceIds",
    "Tag.1.Key",
    "Tag.1.Value",
    "Filter.1.Key",
    "Filter.1.Value",
    "PageNumber",
    "PageSize",
    "NextToken",
    "MaxResults",
    "RetentionDays",
    "ResourceType",
    "ResourceId.1",
    "TagKey.1",
    "SnapshotName",
    "Description",
    "InstanceType",
    "ImageId",
    "Amount",
    "ClientToken",
    "InstanceName",
    "DataDisk.1.Size",
    "DryRun",
];
const VALUES: &[&str] = &[
    "",
    "cn-hangzhou",
    "tidemark.external",
    "disk",
    "d-1",
    "0",
    "-1",
    "9223372036854775807",
    "[]",
    "[\"\"]",
    "True",
    "../../etc",
    "%00",
    "' OR 1=1 --",
    "\u{202e}\u{0}",
    "CreationStartTime",
    "9999-12-31T23:59Z",
    "中文",
];

/// Numbers that look random and are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

#[test]
fn no_parameters_make_it_fail_on_our_side() {
    let server = Server::start();
    let mut dice = Dice(1);
    for round in 0..400 {
        let action = ACTIONS[round % ACTIONS.len()];
        let parameters: BTreeMap<&str, &str> = (0..dice.below(9))
            .map(|_| (dice.of(NAMES), dice.of(VALUES)))
            .collect();
        let query = tidemark_ecs::sign::encode_form(parameters);
        let answer = server.call(action, &query);
        assert!(answer.status < 500, "{action} {query}: {}", answer.text);
        assert!(
            answer.json()["RequestId"].is_string(),
            "{action} {query}: {}",
            answer.text
        );
    }
}

/// V1 SDKs send their profile's region beside the one that the action is about.
#[test]
fn a_region_that_is_spelt_twice_is_one_for_the_check_and_for_the_action() {
    let server = Server::start();
    let ram = |action: &str, parameters: &str| server.ok(action, &format!("Version=2015-05-01&{parameters}"));
    let document = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"ecs:*","Resource":"acs:ecs:cn-hangzhou:*:*"}}"#;
    ram("CreateUser", "UserName=near");
    ram(
        "CreatePolicy",
        &format!("PolicyName=near&PolicyDocument={document}"),
    );
    ram(
        "AttachPolicyToUser",
        "UserName=near&PolicyName=near&PolicyType=Custom",
    );
    let made = ram("CreateAccessKey", "UserName=near");
    let user = Credentials {
        access_key_id: id(&made, "/AccessKey/AccessKeyId"),
        access_key_secret: id(&made, "/AccessKey/AccessKeySecret"),
        security_token: None,
    };
    let ask = |key: &Credentials, action: &str, parameters: &str| {
        let query = server.sign(key, "POST", action, parameters);
        server.send("POST", &format!("/?{query}"), &[], "").outcome()
    };
    for key in [&root(), &user] {
        for (regions, expected) in [
            ("RegionId=mars&regionId=cn-hangzhou", "200"),
            ("RegionId=cn-hangzhou&regionId=", "200"),
            ("regionId=cn-hangzhou", "200"),
            (
                "RegionId=cn-hangzhou&regionId=mars",
                "404 InvalidRegionId.NotFound",
            ),
        ] {
            assert_eq!(ask(key, "DescribeSnapshots", regions), expected, "{regions}");
        }
        let policy =
            r#"RegionId=mars&regionId=cn-hangzhou&timePoints=["0"]&repeatWeekdays=["1"]&retentionDays=1"#;
        assert_eq!(ask(key, "CreateAutoSnapshotPolicy", policy), "200");
    }
}
