//! One row per error code that the contract lists for an action: how to get it, and that it comes with exactly that status.
//!
//! `codes.txt` beside this folder has all pairs that the contract lists, `Action status Code`. Each must be in a table here, or
//! in [`never`] with the reason why it is not sent: the guard at the end sees to that.

mod copies;
mod disks;
mod disks_content;
mod faults;
mod groups;
mod images;
mod instances;
mod lists;
mod never;
mod others;
mod policies;
mod snapshots;
mod tags;

use crate::world::{FAR, FAR_ZONES, World, ZONE, call};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tidemark_control::ControlConfig;
use tidemark_ecs::ApiError;

/// How a code is provoked. `{name}` stands for what [`Stage`] has under that name.
pub(super) enum How {
    /// By asking.
    Ask(&'static str),
    /// By asking when the catalogue has been changed so.
    State(&'static str, &'static str),
    /// By a request that is granted, a change of the catalogue, and this second request.
    Twice(&'static str, &'static str, &'static str),
}

pub(super) type Case = (u16, &'static str, How);
/// The cases of each action.
pub(super) type Table = &'static [(&'static str, &'static [Case])];

/// A world with something of everything, which is as it was again after each case.
pub(super) struct Stage {
    world: World,
    names: BTreeMap<&'static str, String>,
    kept: PathBuf,
}

/// Sends a request to the action of a name.
macro_rules! actions {
    ($($name:literal $module:ident)*) => {
        async fn send(world: &World, action: &str, query: &str) -> Result<(), ApiError> {
            match action {
                $($name => call!(world, $module, "{query}").map(drop),)*
                other => panic!("{other} is not among the actions of these tests"),
            }
        }
    };
}

actions! {
    "AddTags" add_tags
    "ApplyAutoSnapshotPolicy" apply_auto_snapshot_policy
    "AttachDisk" attach_disk
    "AttachKeyPair" attach_key_pair
    "CancelAutoSnapshotPolicy" cancel_auto_snapshot_policy
    "CancelTask" cancel_task
    "CopySnapshot" copy_snapshot
    "CreateAutoSnapshotPolicy" create_auto_snapshot_policy
    "CreateDisk" create_disk
    "CreateImage" create_image
    "CreateKeyPair" create_key_pair
    "CreateSnapshot" create_snapshot
    "CreateSnapshotGroup" create_snapshot_group
    "DeleteAutoSnapshotPolicy" delete_auto_snapshot_policy
    "DeleteDisk" delete_disk
    "DeleteImage" delete_image
    "DeleteInstance" delete_instance
    "DeleteInstances" delete_instances
    "DeleteKeyPairs" delete_key_pairs
    "DeleteSnapshot" delete_snapshot
    "DeleteSnapshotGroup" delete_snapshot_group
    "DescribeAutoSnapshotPolicyAssociations" describe_auto_snapshot_policy_associations
    "DescribeAutoSnapshotPolicyEx" describe_auto_snapshot_policy_ex
    "DescribeDiskMonitorData" describe_disk_monitor_data
    "DescribeDisks" describe_disks
    "DescribeImages" describe_images
    "DescribeImageSharePermission" describe_image_share_permission
    "DescribeInstanceAttribute" describe_instance_attribute
    "DescribeInstances" describe_instances
    "DescribeLockedSnapshots" describe_locked_snapshots
    "DescribeRegions" describe_regions
    "DescribeSnapshotGroups" describe_snapshot_groups
    "DescribeSnapshotLinks" describe_snapshot_links
    "DescribeSnapshotMonitorData" describe_snapshot_monitor_data
    "DescribeSnapshots" describe_snapshots
    "DescribeSnapshotsUsage" describe_snapshots_usage
    "DescribeTaskAttribute" describe_task_attribute
    "DescribeTasks" describe_tasks
    "DescribeUserData" describe_user_data
    "DescribeZones" describe_zones
    "DetachDisk" detach_disk
    "GetInstanceConsoleOutput" get_instance_console_output
    "ImportKeyPair" import_key_pair
    "ListTagResources" list_tag_resources
    "LockSnapshot" lock_snapshot
    "ModifyAutoSnapshotPolicyEx" modify_auto_snapshot_policy_ex
    "ModifyDiskAttribute" modify_disk_attribute
    "ModifyDiskSpec" modify_disk_spec
    "ModifyImageAttribute" modify_image_attribute
    "ModifyImageSharePermission" modify_image_share_permission
    "ModifyInstanceAttribute" modify_instance_attribute
    "ModifyInstanceAutoReleaseTime" modify_instance_auto_release_time
    "ModifyInstanceMetadataOptions" modify_instance_metadata_options
    "ModifyInstanceSpec" modify_instance_spec
    "ModifySnapshotAttribute" modify_snapshot_attribute
    "ModifySnapshotCategory" modify_snapshot_category
    "ModifySnapshotGroup" modify_snapshot_group
    "ReInitDisk" re_init_disk
    "RebootInstance" reboot_instance
    "RebootInstances" reboot_instances
    "RemoveTags" remove_tags
    "ReplaceSystemDisk" replace_system_disk
    "ResetDisk" reset_disk
    "ResetDisks" reset_disks
    "ResizeDisk" resize_disk
    "RunInstances" run_instances
    "StartInstance" start_instance
    "StartInstances" start_instances
    "StopInstance" stop_instance
    "StopInstances" stop_instances
    "TagResources" tag_resources
    "UnlockSnapshot" unlock_snapshot
    "UntagResources" untag_resources
}

/// Sends every request of a table and fails with a list of all answers that differ.
pub(super) async fn check(table: Table) {
    let stage = Stage::new().await;
    let mut wrong = Vec::new();
    for (action, cases) in table {
        for (status, code, how) in *cases {
            let wanted = format!("{status} {code}");
            match stage.answer(action, how).await {
                Ok(found) if found == wanted => {}
                Ok(found) => wrong.push(format!("{action}: {wanted} was wanted, {found} was the answer")),
                Err(why) => wrong.push(format!("{action}: {wanted} was wanted, but {why}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

impl Stage {
    async fn new() -> Self {
        let world = World::two_regions_with(None, None, limits).await;
        let mut names = BTreeMap::from([("zone", ZONE.to_owned()), ("far", FAR.to_owned())]);
        names.insert("farzone", FAR_ZONES[0].to_owned());
        names.insert("essd", format!("ZoneId={ZONE}&DiskCategory=cloud_essd"));
        names.insert("run", "InstanceType=tidemark.external".to_owned());
        let many = |name: &str, count: usize| {
            let pairs: Vec<_> = (1..=count).map(|n| name.replace('N', &n.to_string())).collect();
            pairs.join("&")
        };
        names.insert("tags20", many("Tag.N.Key=kN", 20));
        names.insert("tags21", many("Tag.N.Key=kN", 21));
        names.insert("userdata", "AAAA".repeat(12_000));
        names.insert("keys21", many("TagKey.N=kN", 21));
        names.insert("ids51", many("ResourceId.N=d-N", 51));
        names.insert("groups11", many("SnapshotGroupId.N=ssg-N", 11));
        names.insert("data17", many("DataDisk.N.Size=20", 17));
        names.insert("json101", format!("[{}]", vec!["\"x\""; 101].join(",")));
        names.insert("long", "x".repeat(129));
        names.insert(
            "weekly",
            "timePoints=[\"1\"]&repeatWeekdays=[\"1\"]&retentionDays=-1".to_owned(),
        );

        // `i`: a running instance with the system disk `sys` and the data disk `d`; `j`: the same, stopped.
        for (instance, system, data, of_system, of_data) in
            [("i", "sys", "d", "ss", "s"), ("j", "jsys", "jd", "jss", "js")]
        {
            let (id, disk) = world.attached_disk().await;
            let system_disk = world.system_disk(&id).await;
            names.insert(of_system, world.snapshot(&system_disk).await);
            names.insert(of_data, world.snapshot(&disk).await);
            names.extend([(instance, id), (system, system_disk), (data, disk)]);
        }
        // `free` was attached once, `new` never.
        let free = world.disk().await;
        world.attach(&names["i"], &free).await;
        world.detach(&names["i"], &free).await;
        names.extend([("free", free), ("new", world.disk().await)]);
        world.stop(&names["j"]).await;
        let image = call!(world, create_image, "SnapshotId={}&ImageName=taken", names["jss"]).expect("made");
        names.insert("m", image.image_id);
        let policy = call!(world, create_auto_snapshot_policy, "{}", names["weekly"]).expect("made");
        names.insert("p", policy.auto_snapshot_policy_id);
        let group = call!(world, create_snapshot_group, "InstanceId={}", names["i"]).expect("made");
        names.insert("g", group.snapshot_group_id);

        // A disk of which the catalogue knows and the node does not.
        let lost = format!(
            "CREATE TEMP TABLE lost AS SELECT * FROM disks WHERE id = '{}'; \
             UPDATE lost SET id = 'd-lost', ordinal = 9000; INSERT INTO disks SELECT * FROM lost;",
            names["free"]
        );
        names.insert("lost", lost);

        world.sql("").await;
        let kept = world.dir.path().join("kept.db");
        world.sql(&format!("VACUUM INTO '{}'", kept.display())).await;
        Self { world, names, kept }
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    fn sql(&self, sql: &str) {
        let file = Connection::open(self.world.dir.path().join("control/catalogue.db")).expect("opens");
        file.busy_timeout(std::time::Duration::from_secs(10))
            .expect("set");
        file.execute_batch(&self.fill(sql))
            .expect("the table's own SQL runs");
    }

    async fn answer(&self, action: &str, how: &How) -> Result<String, String> {
        let send = async |query: &str| send(&self.world, action, &self.fill(query)).await;
        let (answer, changed) = match how {
            How::Ask(query) => (send(query).await, false),
            How::State(sql, query) => {
                self.sql(sql);
                (send(query).await, true)
            }
            How::Twice(first, sql, second) => {
                let first = send(first).await;
                self.world.sql("").await;
                self.sql(sql);
                match first {
                    Ok(()) => (send(second).await, true),
                    Err(error) => (
                        Err(ApiError::new(
                            0,
                            "the first request was refused",
                            error.to_string(),
                        )),
                        true,
                    ),
                }
            }
        };
        let answer = match answer {
            Ok(()) => {
                self.world.sql("").await;
                Err("it was granted".to_owned())
            }
            Err(error) if error.status == 0 => Err(format!("{error}")),
            Err(error) => Ok(format!("{} {}", error.status, error.code)),
        };
        if changed || answer.is_err() {
            self.restore();
        }
        answer
    }

    /// The catalogue as it was in the beginning, but for its counters: no id is given twice.
    fn restore(&self) {
        let tables = "SELECT name FROM kept.sqlite_schema \
                      WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'counters'";
        let file = Connection::open(self.world.dir.path().join("control/catalogue.db")).expect("opens");
        file.busy_timeout(std::time::Duration::from_secs(10))
            .expect("set");
        let kept = self.kept.display();
        file.execute_batch(&format!("PRAGMA foreign_keys = OFF; ATTACH '{kept}' AS kept"))
            .expect("attached");
        let mut names = file.prepare(tables).expect("read");
        let names = names.query_map([], |row| row.get::<_, String>(0)).expect("read");
        let copy = names.map(|name| {
            let name = name.expect("a name");
            format!("DELETE FROM main.{name}; INSERT INTO main.{name} SELECT * FROM kept.{name};")
        });
        let copy: String = copy.collect();
        file.execute_batch(&format!("BEGIN IMMEDIATE; {copy} COMMIT"))
            .expect("restored");
    }
}

/// So low that the stage reaches them.
pub(super) fn limits(config: &mut ControlConfig) {
    config.limits.manual_snapshots_per_disk = 4;
    config.limits.data_disks_per_instance = 2;
    config.limits.disks_per_snapshot_group = 3;
    config.limits.policies_per_region = 1;
    config.limits.images = 2;
    config.limits.key_pairs = 1;
    config.linger = std::time::Duration::from_secs(60);
}

/// What others test, and who: a node without room cannot be made here, and what the API does for all actions is not in this crate.
const ELSEWHERE: &[(&str, u16, &str, &str)] = &[
    ("CreateDisk", 400, "QuotaExceed.DiskCapacity", NODE),
    ("ResizeDisk", 400, "QuotaExceed.DiskCapacity", NODE),
    ("ReplaceSystemDisk", 500, "OperationDenied", NODE),
    ("RunInstances", 403, "OperationDenied.NoStock", NODE),
    (
        "RunInstances",
        403,
        "InvalidUser.PassRoleForbidden",
        "crates/control/tests/it/permissions.rs",
    ),
    (
        "DescribeLockedSnapshots",
        400,
        "DryRunOperation",
        "tests/e2e/test_every_action.py",
    ),
    (
        "DescribeSnapshotMonitorData",
        400,
        "Throttling",
        "crates/api/src/throttle.rs",
    ),
];
const NODE: &str = "crates/control/src/actions/refused_by_the_node.rs";

const TABLES: &[Table] = &[
    snapshots::TABLE,
    copies::TABLE,
    groups::TABLE,
    disks::TABLE,
    disks_content::TABLE,
    images::TABLE,
    instances::TABLE,
    lists::TABLE,
    others::TABLE,
    policies::TABLE,
    tags::TABLE,
];

#[test]
fn every_code_that_is_listed_is_sent_or_has_a_reason_not_to_be() {
    let mut sent = BTreeSet::new();
    for (action, cases) in TABLES.iter().copied().flatten() {
        for (status, code, _) in *cases {
            assert!(
                sent.insert((*action, *status, *code)),
                "{action} has {status} {code} twice"
            );
        }
    }
    sent.extend(faults::PROVOKED);
    sent.extend(
        ELSEWHERE
            .iter()
            .map(|(action, status, code, _)| (*action, *status, *code)),
    );
    let listed: Vec<(&str, u16, &str)> = include_str!("../codes.txt")
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [action, status, code] = words[..] else {
                panic!("{line:?} is not Action, status, Code")
            };
            (action, status.parse().expect("a status"), code)
        })
        .collect();
    let mut wrong = Vec::new();
    let mut excused = BTreeSet::new();
    for pair @ (action, status, code) in &listed {
        match (sent.contains(pair), never::excuse(action, *status, code)) {
            (true, None) => {}
            (false, Some(entry)) => drop(excused.insert(entry)),
            (true, Some(_)) => wrong.push(format!(
                "{action} {status} {code} is sent and in the list of those that are not"
            )),
            (false, None) => wrong.push(format!("{action} {status} {code} is in no table")),
        }
    }
    for entry in never::all().filter(|entry| !excused.contains(entry)) {
        wrong.push(format!("{entry:?} excuses nothing that is listed"));
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
