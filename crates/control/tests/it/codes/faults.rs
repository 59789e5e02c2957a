//! Codes that need other limits than the [`super::Stage`] has.

use crate::world::{World, call, code};

/// What the tests of this file get.
pub(super) const PROVOKED: [(&str, u16, &str); 4] = [
    ("CreateSnapshot", 403, CONCURRENT),
    ("CreateSnapshotGroup", 403, CONCURRENT),
    ("CreateImage", 403, CONCURRENT),
    (
        "ApplyAutoSnapshotPolicy",
        403,
        "QuotaExceed.AppliedAutoSnapshotPolicyQuota",
    ),
];
const CONCURRENT: &str = "QuotaExceed.ConcurrentSnapshotQuota";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_two_snapshots_may_be_in_creation_a_third_has_a_code_of_its_own() {
    let world = World::with(|config| config.limits.concurrent_snapshots_per_disk = 2).await;
    let (instance, disk) = world.attached_disk().await;
    world.snapshot(&disk).await;
    world.snapshot(&disk).await;
    world
        .sql("UPDATE snapshots SET status = 'progressing', marked = 0")
        .await;
    let wanted = (403, CONCURRENT.to_owned());
    assert_eq!(code(call!(world, create_snapshot, "DiskId={disk}")), wanted);
    assert_eq!(
        code(call!(world, create_snapshot_group, "InstanceId={instance}")),
        wanted
    );
    assert_eq!(code(call!(world, create_image, "InstanceId={instance}")), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_disk_may_have_several_policies_it_may_not_have_any_number() {
    let world = World::with(|config| config.limits.policies_per_disk = 2).await;
    let disk = world.disk().await;
    let mut answers = Vec::new();
    for hour in 1..=3 {
        let asked = format!("timePoints=[\"{hour}\"]&repeatWeekdays=[\"1\"]&retentionDays=-1");
        let policy = call!(world, create_auto_snapshot_policy, "{asked}").expect("made");
        let asked = format!(
            "autoSnapshotPolicyId={}&diskIds=[\"{disk}\"]",
            policy.auto_snapshot_policy_id
        );
        answers.push(call!(world, apply_auto_snapshot_policy, "{asked}"));
    }
    let third = answers.pop().expect("three were asked for");
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(
        code(third),
        (403, "QuotaExceed.AppliedAutoSnapshotPolicyQuota".into())
    );
}
