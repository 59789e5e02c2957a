//! Policies: what the actions promise, each rule with its code.

use crate::world::{World, call, code};

const DAILY: &str = "timePoints=[\"3\"]&repeatWeekdays=[1,2,3,4,5,6,7]&retentionDays=7";

impl World {
    /// A new policy.
    pub async fn policy(&self, query: &str) -> String {
        let answer = call!(self, create_auto_snapshot_policy, "{query}");
        answer.expect("the policy is made").auto_snapshot_policy_id
    }

    /// Applies a policy to a disk.
    pub async fn apply(&self, policy: &str, disk: &str) {
        let query = format!("autoSnapshotPolicyId={policy}&diskIds=[\"{disk}\"]");
        call!(self, apply_auto_snapshot_policy, "{query}").expect("applied");
    }

    async fn policies_of(&self, disk: &str) -> Vec<String> {
        let found = call!(self, describe_auto_snapshot_policy_associations, "DiskId={disk}").expect("listed");
        let rows = found.auto_snapshot_policy_associations;
        rows.into_iter().map(|row| row.auto_snapshot_policy_id).collect()
    }

    async fn disks_of(&self, policy: &str) -> Vec<String> {
        let query = format!("AutoSnapshotPolicyId={policy}");
        let found = call!(self, describe_auto_snapshot_policy_associations, "{query}").expect("listed");
        let rows = found.auto_snapshot_policy_associations;
        rows.into_iter().map(|row| row.disk_id).collect()
    }

    async fn find_policy(&self, id: &str) -> Option<tidemark_ecs::model::AutoSnapshotPolicy> {
        let answer = call!(
            self,
            describe_auto_snapshot_policy_ex,
            "AutoSnapshotPolicyId={id}"
        );
        answer.expect("listed").auto_snapshot_policies.pop()
    }
}

#[tokio::test]
async fn a_policy_is_made_changed_and_deleted() {
    let world = World::new().await;
    let query = "timePoints=[12,\"0\"]&repeatWeekdays=[\"7\",\"1\"]&retentionDays=30&autoSnapshotPolicyName=nightly\
                 &Tag.1.Key=env&Tag.1.Value=prod";
    let id = world.policy(query).await;
    assert!(id.starts_with("sp-bp1"), "{id}");
    let shown = world.find_policy(&id).await.expect("listed at once");
    assert_eq!(
        (shown.auto_snapshot_policy_name.as_str(), shown.region_id.as_str()),
        ("nightly", "cn-hangzhou")
    );
    assert_eq!(
        (
            shown.time_points.as_str(),
            shown.repeat_weekdays.as_str(),
            shown.retention_days
        ),
        (r#"["0","12"]"#, r#"["1","7"]"#, 30)
    );
    assert_eq!(
        (shown.status.as_str(), shown.disk_nums, shown.tags.len()),
        ("Normal", 0, 1)
    );
    assert!(!shown.enable_cross_region_copy && shown.target_copy_regions.is_empty());

    let change = format!("autoSnapshotPolicyId={id}&timePoints=[5]&retentionDays=-1");
    call!(world, modify_auto_snapshot_policy_ex, "{change}").expect("changed");
    let shown = world.find_policy(&id).await.expect("listed");
    assert_eq!(
        (
            shown.time_points.as_str(),
            shown.repeat_weekdays.as_str(),
            shown.retention_days
        ),
        (r#"["5"]"#, r#"["1","7"]"#, -1),
        "what was not given is as it was"
    );
    assert_eq!(shown.auto_snapshot_policy_name, "nightly");

    call!(world, delete_auto_snapshot_policy, "autoSnapshotPolicyId={id}").expect("deleted");
    assert!(world.find_policy(&id).await.is_none());
    assert_eq!((world.count("policies"), world.count("tags")), (0, 0));
}

#[tokio::test]
async fn policies_are_listed_by_name_tag_and_page() {
    let world = World::new().await;
    for n in 0..3 {
        world
            .policy(&format!(
                "{DAILY}&autoSnapshotPolicyName=p{n}&Tag.1.Key=n&Tag.1.Value={n}"
            ))
            .await;
    }
    for (filter, names) in [
        ("AutoSnapshotPolicyName=p1", vec!["p1"]),
        ("Tag.1.Key=n&Tag.1.Value=2", vec!["p2"]),
        ("Tag.1.Key=n", vec!["p2", "p1", "p0"]),
        ("PageSize=2", vec!["p2", "p1"]),
        ("PageSize=2&PageNumber=2", vec!["p0"]),
        ("AutoSnapshotPolicyId=sp-none", vec![]),
        ("ResourceGroupId=rg-other", vec![]),
    ] {
        let found = call!(world, describe_auto_snapshot_policy_ex, "{filter}").expect("listed");
        let rows = found.auto_snapshot_policies;
        let seen: Vec<_> = rows
            .iter()
            .map(|row| row.auto_snapshot_policy_name.as_str())
            .collect();
        assert_eq!(seen, names, "{filter}");
    }
    let first = call!(world, describe_auto_snapshot_policy_ex, "PageSize=2")
        .expect("listed")
        .page;
    assert_eq!(first.total_count, 3);
    let query = format!("PageSize=2&NextToken={}", first.next_token);
    let rest = call!(world, describe_auto_snapshot_policy_ex, "{query}").expect("listed");
    assert_eq!(
        (rest.auto_snapshot_policies.len(), rest.page.next_token.as_str()),
        (1, "")
    );
}

#[tokio::test]
async fn tags_of_a_policy_are_tags() {
    let world = World::new().await;
    let id = world.policy(DAILY).await;
    let named = format!("ResourceType=snapshotpolicy&ResourceId.1={id}");
    call!(world, tag_resources, "{named}&Tag.1.Key=a&Tag.1.Value=b").expect("tagged");
    assert_eq!(world.find_policy(&id).await.expect("listed").tags.len(), 1);
    let listed = call!(world, list_tag_resources, "{named}").expect("listed");
    assert_eq!(listed.tag_resources[0].resource_type, "snapshotpolicy");
    call!(world, untag_resources, "{named}&TagKey.1=a").expect("untagged");
    assert!(world.find_policy(&id).await.expect("listed").tags.is_empty());
    let unknown = call!(
        world,
        tag_resources,
        "ResourceType=snapshotpolicy&ResourceId.1=sp-none&Tag.1.Key=a"
    );
    assert_eq!(code(unknown), (404, "InvalidResourceId.NotFound".into()));
}

#[tokio::test]
async fn disks_get_and_lose_policies_and_show_it() {
    let world = World::new().await;
    let (one, two) = (world.disk().await, world.disk().await);
    let (first, second) = (world.policy(DAILY).await, world.policy(DAILY).await);
    let both = format!("diskIds=[\"{one}\",\"{two}\"]");
    call!(
        world,
        apply_auto_snapshot_policy,
        "autoSnapshotPolicyId={first}&{both}"
    )
    .expect("applied");
    assert_eq!(
        world.disks_of(&first).await,
        [two.clone(), one.clone()],
        "the last one first"
    );
    assert_eq!(world.find_policy(&first).await.expect("listed").disk_nums, 2);
    let shown = world.find_disk(&one).await.expect("listed");
    assert!(shown.enable_automated_snapshot_policy);
    assert_eq!(shown.auto_snapshot_policy_id, first);

    // As the 2021 service: a second policy takes the place of the first.
    world.apply(&second, &one).await;
    assert_eq!(world.policies_of(&one).await, std::slice::from_ref(&second));
    for (filter, count) in [
        (format!("AutoSnapshotPolicyId={second}"), 1),
        (format!("AutoSnapshotPolicyId={first}"), 1),
        ("AutoSnapshotPolicyId=sp-none".into(), 0),
        ("EnableAutomatedSnapshotPolicy=true".into(), 2),
        ("EnableAutomatedSnapshotPolicy=false".into(), 0),
    ] {
        let found = call!(world, describe_disks, "{filter}").expect("listed");
        assert_eq!(found.page.total_count, count, "{filter}");
    }

    call!(world, cancel_auto_snapshot_policy, "diskIds=[\"{one}\"]").expect("cancelled");
    call!(world, cancel_auto_snapshot_policy, "diskIds=[\"{one}\"]").expect("none is fine");
    let other = format!("diskIds=[\"{two}\"]&autoSnapshotPolicyId={second}");
    call!(world, cancel_auto_snapshot_policy, "{other}").expect("one that it does not have is fine");
    assert_eq!(world.policies_of(&two).await, std::slice::from_ref(&first));
    let shown = world.find_disk(&one).await.expect("listed");
    assert!(!shown.enable_automated_snapshot_policy && shown.auto_snapshot_policy_id.is_empty());

    call!(world, delete_auto_snapshot_policy, "autoSnapshotPolicyId={first}").expect("deleted");
    assert!(world.policies_of(&two).await.is_empty(), "taken off its disks");
}

#[tokio::test]
async fn a_disk_that_goes_leaves_its_policies() {
    let world = World::new().await;
    let policy = world.policy(DAILY).await;
    let disk = world.disk().await;
    world.apply(&policy, &disk).await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    assert!(world.disks_of(&policy).await.is_empty());
    let instance = world.instance().await;
    let system = call!(world, describe_disks, "InstanceId={instance}")
        .expect("listed")
        .disks
        .remove(0)
        .disk_id;
    world.apply(&policy, &system).await;
    call!(world, delete_instance, "InstanceId={instance}&Force=true").expect("deleted");
    assert!(world.disks_of(&policy).await.is_empty());
    world.disk_is(&system, "").await;
    assert_eq!(world.count("policy_disks"), 0);
}

#[tokio::test]
async fn disks_of_a_new_instance_can_have_policies() {
    let world = World::new().await;
    let (one, two) = (world.policy(DAILY).await, world.policy(DAILY).await);
    let before = world.everything().await;
    let refused = call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&SystemDisk.AutoSnapshotPolicyId=sp-none"
    );
    assert_eq!(
        code(refused),
        (404, "InvalidAutoSnapshotPolicyId.NotFound".into())
    );
    assert_eq!(world.everything().await, before);
    let made = call!(
        world,
        run_instances,
        "InstanceType=tidemark.external&SystemDisk.AutoSnapshotPolicyId={one}&DataDisk.1.Size=20\
         &DataDisk.1.AutoSnapshotPolicyId={two}&DataDisk.2.Size=20"
    );
    let instance = made.expect("made").instance_id_sets.remove(0);
    world.instance_is(&instance, "Running").await;
    assert_eq!(
        (world.disks_of(&one).await.len(), world.disks_of(&two).await.len()),
        (1, 1)
    );
    let system = call!(world, describe_disks, "InstanceId={instance}&DiskType=system").expect("listed");
    assert_eq!(system.disks[0].auto_snapshot_policy_id, one);
    let without = call!(world, describe_disks, "EnableAutomatedSnapshotPolicy=false").expect("listed");
    assert_eq!(without.page.total_count, 1);
}

#[tokio::test]
async fn several_policies_on_a_disk_where_they_are_allowed() {
    let world = World::with(|config| config.limits.policies_per_disk = 2).await;
    let disk = world.disk().await;
    let (one, two, three) = (
        world.policy(DAILY).await,
        world.policy(DAILY).await,
        world.policy(DAILY).await,
    );
    world.apply(&one, &disk).await;
    world.apply(&two, &disk).await;
    world.apply(&one, &disk).await;
    assert_eq!(world.policies_of(&disk).await, [two.clone(), one.clone()]);
    let other = world.disk().await;
    // All disks or none: the other one would have had room.
    let query = format!("autoSnapshotPolicyId={three}&diskIds=[\"{other}\",\"{disk}\"]");
    let refusal = code(call!(world, apply_auto_snapshot_policy, "{query}"));
    assert_eq!(
        refusal,
        (403, "QuotaExceed.AppliedAutoSnapshotPolicyQuota".into())
    );
    assert!(world.policies_of(&other).await.is_empty());
    assert_eq!(
        world
            .find_disk(&disk)
            .await
            .expect("listed")
            .auto_snapshot_policy_id,
        one
    );

    let refusal = code(call!(world, cancel_auto_snapshot_policy, "diskIds=[\"{disk}\"]"));
    assert_eq!(
        refusal,
        (403, "OperationDenied.TooManyAutoSnapshotPolicies".into())
    );
    let query = format!("diskIds=[\"{disk}\"]&autoSnapshotPolicyId={one}");
    call!(world, cancel_auto_snapshot_policy, "{query}").expect("named");
    assert_eq!(world.policies_of(&disk).await, [two]);
}

#[tokio::test]
async fn each_refusal_has_its_code_and_leaves_no_trace() {
    let world = World::with(|config| config.limits.policies_per_region = 1).await;
    let disk = world.disk().await;
    let policy = world.policy(DAILY).await;
    world.apply(&policy, &disk).await;
    let trace = async || {
        let policies = call!(world, describe_auto_snapshot_policy_ex, "").expect("listed");
        format!(
            "{policies:?} {:?} {}",
            world.policies_of(&disk).await,
            world.everything().await
        )
    };
    let before = trace().await;
    let invalid = |status| (status, "ParameterInvalid");
    let apply = |id: &str, disks: &str| format!("autoSnapshotPolicyId={id}&diskIds=[{disks}]");
    let copies = "EnableCrossRegionCopy=true";
    for (refusal, expected) in [
        (
            code(call!(world, create_auto_snapshot_policy, "{DAILY}")),
            (403, "AutoSnapshotPolicy.QuotaExceed"),
        ),
        (
            code(call!(world, create_auto_snapshot_policy, "{DAILY}&regionId=mars")),
            invalid(403),
        ),
        (
            code(call!(
                world,
                create_auto_snapshot_policy,
                "{DAILY}&ResourceGroupId=rg-x"
            )),
            (404, "InvalidResourceGroup.NotFound"),
        ),
        (
            code(call!(world, create_auto_snapshot_policy, "{DAILY}&{copies}")),
            (403, "InvalidParameter.TargetCopyRegions"),
        ),
        (
            code(call!(
                world,
                create_auto_snapshot_policy,
                "{DAILY}&TargetCopyRegions=[\"cn-hangzhou\"]"
            )),
            (403, "InvalidParameter.TargetCopyRegions"),
        ),
        (
            code(call!(
                world,
                create_auto_snapshot_policy,
                "{DAILY}&TargetCopyRegions=[\"mars\"]"
            )),
            (403, "InvalidParameter.TargetCopyRegions"),
        ),
        (
            code(call!(
                world,
                modify_auto_snapshot_policy_ex,
                "autoSnapshotPolicyId=sp-none"
            )),
            invalid(404),
        ),
        (
            code(call!(
                world,
                modify_auto_snapshot_policy_ex,
                "autoSnapshotPolicyId={policy}&{copies}"
            )),
            (403, "InvalidParameter.TargetCopyRegions"),
        ),
        (
            code(call!(
                world,
                delete_auto_snapshot_policy,
                "autoSnapshotPolicyId=sp-none"
            )),
            invalid(404),
        ),
        (
            code(call!(
                world,
                delete_auto_snapshot_policy,
                "autoSnapshotPolicyId={policy}&regionId=mars"
            )),
            invalid(403),
        ),
        (
            code(call!(world, describe_auto_snapshot_policy_ex, "RegionId=mars")),
            (400, "InvalidRegionId.NotFound"),
        ),
        (
            code(call!(
                world,
                apply_auto_snapshot_policy,
                "{}",
                apply("sp-none", &format!("\"{disk}\""))
            )),
            invalid(404),
        ),
        (
            code(call!(
                world,
                apply_auto_snapshot_policy,
                "{}",
                apply(&policy, "\"d-none\"")
            )),
            (404, "InvalidDiskId.NotFound"),
        ),
        (
            code(call!(
                world,
                cancel_auto_snapshot_policy,
                "diskIds=[\"{disk}\",\"d-none\"]"
            )),
            (404, "InvalidDiskId.NotFound"),
        ),
        (
            code(call!(
                world,
                cancel_auto_snapshot_policy,
                "{}",
                apply("sp-none", &format!("\"{disk}\""))
            )),
            invalid(404),
        ),
        (
            code(call!(
                world,
                describe_auto_snapshot_policy_associations,
                "AutoSnapshotPolicyId=sp-none"
            )),
            (404, "InvalidAutoSnapshotPolicyId.NotFound"),
        ),
        (
            code(call!(
                world,
                describe_auto_snapshot_policy_associations,
                "DiskId=d-none"
            )),
            (404, "InvalidDiskId.NotFound"),
        ),
        (
            code(call!(
                world,
                describe_auto_snapshot_policy_associations,
                "DiskId={disk}&RegionId=mars"
            )),
            (404, "InvalidRegionId.NotFound"),
        ),
    ] {
        assert_eq!(refusal, (expected.0, expected.1.to_owned()));
    }
    assert_eq!(trace().await, before);
}
