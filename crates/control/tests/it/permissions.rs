//! Who may do what: the check that stands before every action.

use crate::world::{FAR, REGION, World, call, code, params};
use tidemark_control::Caller;
use tidemark_ecs::actions::modify_auto_snapshot_policy_ex;
use tidemark_ecs::{ApiError, Params};

/// `ok`, or status and code.
async fn may(world: &World, caller: &Caller, action: &str, query: &str) -> String {
    let asked = world
        .control
        .authorize(caller, "ecs", action, &params(query))
        .await;
    match asked {
        Ok(()) => "ok".into(),
        Err(error) => format!("{} {}", error.status, error.code),
    }
}

const NO: &str = "403 Forbidden.RAM";

#[tokio::test]
async fn documents_and_requests() {
    let world = World::new().await;
    let (own, other) = (world.disk().await, world.disk().await);
    let nobody = world.user("nobody", "").await;
    let reader = world
        .user(
            "reader",
            r#"{"Effect":"Allow","Action":"ecs:Describe*","Resource":"acs:ecs:*:*:*"}"#,
        )
        .await;
    let one = world
        .user(
            "one",
            &format!(r#"{{"Effect":"Allow","Action":"ecs:*","Resource":["acs:ecs:{REGION}:*:disk/{own}","acs:ecs:*:*:snapshot/*"]}}"#),
        )
        .await;
    let elsewhere = world
        .user(
            "elsewhere",
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":"acs:ecs:cn-beijing:*:*"}"#,
        )
        .await;
    let all = world
        .user("all", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#)
        .await;
    let both = format!("DiskIds=[\"{own}\",\"{other}\"]");
    for (who, action, query, expected) in [
        (&world.caller, "DeleteDisk", format!("DiskId={own}"), "ok"),
        (&world.caller, "NoSuchAction", String::new(), "ok"),
        (&nobody, "DescribeRegions", String::new(), NO),
        (&nobody, "DescribeDisks", String::new(), NO),
        (&nobody, "GetCallerIdentity", String::new(), "ok"),
        (&reader, "DescribeDisks", String::new(), "ok"),
        (&reader, "DescribeDisks", both.clone(), "ok"),
        (&reader, "DescribeRegions", String::new(), "ok"),
        (&reader, "DeleteDisk", format!("DiskId={own}"), NO),
        // An action without a row: only who may do everything to everything.
        (&reader, "DescribeNoSuchThing", String::new(), "ok"),
        (&one, "DescribeNoSuchThing", String::new(), NO),
        (&all, "NoSuchAction", String::new(), "ok"),
        // One disk, and nothing but it.
        (&one, "ResizeDisk", format!("DiskId={own}"), "ok"),
        (&one, "ResizeDisk", format!("DiskId={other}"), NO),
        (&one, "ResizeDisk", "DiskId=*".into(), NO),
        (&one, "DescribeDisks", String::new(), NO),
        (&one, "DescribeDisks", "DiskIds=[]".into(), NO),
        (&one, "DescribeDisks", format!("DiskIds=[\"{own}\"]"), "ok"),
        (&one, "DescribeDisks", both, NO),
        (&one, "CreateSnapshot", format!("DiskId={own}"), "ok"),
        (&one, "CreateSnapshot", format!("diskId={own}"), "ok"),
        (&one, "CreateSnapshot", format!("DiskId={other}"), NO),
        (&one, "CreateDisk", "Size=20".into(), NO),
        (&one, "AttachDisk", format!("DiskId={own}&InstanceId=i-1"), NO),
        (
            &one,
            "TagResources",
            format!("ResourceType=disk&ResourceId.1={own}"),
            "ok",
        ),
        (
            &one,
            "TagResources",
            format!("ResourceType=Disk&ResourceId.1={own}&ResourceId.2={other}"),
            NO,
        ),
        (&one, "ListTagResources", "ResourceType=disk".into(), NO),
        (
            &one,
            "ResetDisks",
            format!("Disk.1.DiskId={own}&Disk.2.DiskId={other}"),
            NO,
        ),
        (&elsewhere, "DeleteDisk", format!("DiskId={own}"), NO),
        (&all, "CreateDisk", "Size=20".into(), "ok"),
    ] {
        assert_eq!(
            may(&world, who, action, &query).await,
            expected,
            "{:?} {action} {query}",
            who.identity
        );
    }
}

#[tokio::test]
async fn services_beside_ecs_have_names_and_a_code_of_their_own() {
    let world = World::new().await;
    let statements = r#"{"Effect":"Allow","Action":"ram:*AccessKey*","Resource":"acs:ram::*:user/self"},
        {"Effect":"Allow","Action":"sts:AssumeRole","Resource":"acs:ram::*:role/backup"},
        {"Effect":"Allow","Action":["ram:*Policy*"],"Resource":["acs:ram::*:user/*","acs:ram::1000000000000001:policy/*"]}"#;
    let own = world.user("self", statements).await;
    for (service, action, query, expected) in [
        ("ram", "CreateAccessKey", "", Ok(())),
        ("ram", "CreateAccessKey", "UserName=self", Ok(())),
        ("ram", "CreateAccessKey", "UserName=other", Err(())),
        (
            "ram",
            "DeleteAccessKey",
            "UserName=other&UserAccessKeyId=x",
            Err(()),
        ),
        (
            "ram",
            "AttachPolicyToUser",
            "UserName=self&PolicyName=a&PolicyType=System",
            Err(()),
        ),
        (
            "ram",
            "AttachPolicyToUser",
            "UserName=self&PolicyName=AdministratorAccess&PolicyType=System",
            Err(()),
        ),
        (
            "ram",
            "AttachPolicyToUser",
            "UserName=self&PolicyName=a&PolicyType=Custom",
            Ok(()),
        ),
        ("ram", "DeletePolicy", "PolicyName=a&PolicyType=System", Ok(())),
        ("ram", "ListUsers", "", Err(())),
        ("sts", "AssumeRole", "RoleArn=acs:ram::1:role/backup", Ok(())),
        ("sts", "AssumeRole", "RoleArn=acs:ram::1:role/admin", Err(())),
    ] {
        let asked = world
            .control
            .authorize(&own, service, action, &params(query))
            .await;
        match expected {
            Ok(()) => asked.expect(action),
            Err(()) => assert_eq!(code(asked), (403, "NoPermission".into()), "{action} {query}"),
        }
    }
}

/// Who gives a role to a machine can do what the role may, by asking the machine.
#[tokio::test]
async fn a_role_is_given_to_an_instance_only_by_who_may_pass_it_on() {
    let world = World::new().await;
    let run = r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*"}"#;
    let plain = world.user("plain", run).await;
    let passing =
        format!(r#"{run},{{"Effect":"Allow","Action":"ram:PassRole","Resource":"acs:ram::*:role/backup"}}"#);
    let passing = world.user("passing", &passing).await;
    let forbidden = "403 InvalidUser.PassRoleForbidden";
    for (who, action, query, expected) in [
        (&plain, "RunInstances", "", "ok"),
        (&plain, "RunInstances", "RamRoleName=backup", forbidden),
        (&plain, "RunInstances", "ramRoleName=backup", forbidden),
        (&plain, "CreateInstance", "RamRoleName=backup", forbidden),
        (&passing, "RunInstances", "RamRoleName=backup", "ok"),
        (&passing, "RunInstances", "RamRoleName=admin", forbidden),
        (&world.caller, "RunInstances", "RamRoleName=admin", "ok"),
    ] {
        assert_eq!(
            may(&world, who, action, query).await,
            expected,
            "{action} {query}"
        );
    }
}

/// What somebody may not touch looks the same as what is not there, and as what is somebody else's.
#[tokio::test]
async fn a_refusal_never_tells_whether_there_is_such_a_resource() {
    let world = World::new().await;
    let (plain, prod) = (world.disk().await, world.disk().await);
    let tag = format!("ResourceType=disk&ResourceId.1={prod}&Tag.1.Key=env&Tag.1.Value=prod");
    call!(world, tag_resources, "{tag}").expect("tagged");
    let only_dev = r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*","Condition":{"StringEquals":{"ecs:tag/env":"dev"}}}"#;
    let not_prod = r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*"},
        {"Effect":"Deny","Action":"ecs:*","Resource":"*","Condition":{"StringEquals":{"ecs:tag/env":"prod"}}}"#;
    for statements in [only_dev, not_prod] {
        let name = format!("u{}", statements.len());
        let user = world.user(&name, statements).await;
        let asked = async |disk: &str| {
            let query = params(&format!("DiskId={disk}"));
            let error = world.control.authorize(&user, "ecs", "DeleteDisk", &query).await;
            error.expect_err(disk).to_string().replace(disk, "DISK")
        };
        let (missing, there) = (asked("d-none").await, asked(&prod).await);
        assert_eq!(missing, there, "{statements}");
        let foreign = Caller {
            account: "2".into(),
            ..user.clone()
        };
        let query = params(&format!("DiskId={prod}"));
        assert!(
            world
                .control
                .authorize(&foreign, "ecs", "DeleteDisk", &query)
                .await
                .is_err()
        );
    }
    let user = world
        .caller_of(&world.user("last", not_prod).await.access_key)
        .await;
    assert_eq!(
        may(&world, &user, "DeleteDisk", &format!("DiskId={plain}")).await,
        "ok"
    );
}

#[tokio::test]
async fn tags_of_resources_requests_and_filters_decide() {
    let world = World::new().await;
    let (alices, bobs) = (world.disk().await, world.disk().await);
    for (disk, owner) in [(&alices, "alice"), (&bobs, "bob")] {
        let tag = format!("ResourceType=disk&ResourceId.1={disk}&Tag.1.Key=owner&Tag.1.Value={owner}");
        call!(world, tag_resources, "{tag}").expect("tagged");
    }
    let alice = world
        .user(
            "alice",
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*","Condition":{"StringEquals":{"ecs:tag/owner":"alice"}}}"#,
        )
        .await;
    for (action, query, expected) in [
        ("DeleteDisk", format!("DiskId={alices}"), "ok"),
        ("DeleteDisk", format!("DiskId={bobs}"), NO),
        ("DeleteDisk", "DiskId=d-none".into(), NO),
        // A list shows what its filter says, and nothing else.
        ("DescribeDisks", String::new(), NO),
        ("DescribeDisks", "Tag.1.Key=owner&Tag.1.Value=alice".into(), "ok"),
        ("DescribeDisks", "Tag.1.Key=owner".into(), NO),
        ("DescribeDisks", "Tag.1.Key=owner&Tag.1.Value=bob".into(), NO),
        ("DescribeDisks", format!("DiskIds=[\"{alices}\"]"), "ok"),
        ("DescribeDisks", format!("DiskIds=[\"{alices}\",\"{bobs}\"]"), NO),
        // A filter of a request about one disk says nothing about the disk.
        (
            "DescribeDisks",
            format!("DiskIds=[\"{bobs}\"]&Tag.1.Key=owner&Tag.1.Value=alice"),
            NO,
        ),
        (
            "DeleteDisk",
            format!("DiskId={bobs}&Tag.1.Key=owner&Tag.1.Value=alice"),
            NO,
        ),
        // A list that does not filter by tags does not pretend to.
        (
            "DescribeDeletedSnapshots",
            "Tag.1.Key=owner&Tag.1.Value=alice".into(),
            NO,
        ),
        // What is made has the tags that the request gives it.
        (
            "CreateDisk",
            "Size=20&Tag.1.Key=owner&Tag.1.Value=alice".into(),
            "ok",
        ),
        ("CreateDisk", "Size=20&Tag.1.Key=owner&Tag.1.Value=bob".into(), NO),
        ("CreateDisk", "Size=20".into(), NO),
    ] {
        assert_eq!(
            may(&world, &alice, action, &query).await,
            expected,
            "{action} {query}"
        );
    }
}

#[tokio::test]
async fn a_list_is_only_shown_to_who_may_see_all_that_may_be_in_it() {
    let world = World::new().await;
    let not_prod = world
        .user(
            "not-prod",
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*"},
            {"Effect":"Deny","Action":"ecs:*","Resource":"*","Condition":{"StringEquals":{"ecs:tag/env":"prod"}}}"#,
        )
        .await;
    for (query, expected) in [
        ("", NO),
        // Of a tag without value any value matches.
        ("Tag.1.Key=env", NO),
        ("Tag.1.Key=owner&Tag.1.Value=alice", NO),
        ("Tag.1.Key=env&Tag.1.Value=prod", NO),
        ("Tag.1.Key=env&Tag.1.Value=dev", "ok"),
    ] {
        assert_eq!(
            may(&world, &not_prod, "DescribeDisks", query).await,
            expected,
            "{query}"
        );
    }
}

/// Nobody makes a machine whose disks have no automatic snapshots.
#[tokio::test]
async fn whether_new_disks_get_a_policy_decides() {
    let world = World::new().await;
    let deny = |key: &str| {
        format!(
            r#"{{"Effect":"Deny","Action":"ecs:*","Resource":"*","Condition":{{"StringLike":{{"ecs:{key}":"*false*"}}}}}}"#
        )
    };
    let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let keys = [
        "IsDiskAutoSnapshotPolicyEnabled",
        "IsSystemDiskAutoSnapshotPolicyEnabled",
    ];
    let statements = format!("{all},{},{}", deny(keys[0]), deny(keys[1]));
    let careful = world.user("careful", &statements).await;
    let sure = format!(
        r#"{{"Effect":"Allow","Action":"ecs:*","Resource":"*","Condition":{{"Bool":{{"ecs:{}":"true","ecs:{}":"true"}}}}}}"#,
        keys[0], keys[1]
    );
    let sure = world.user("sure", &sure).await;
    let system = "SystemDisk.AutoSnapshotPolicyId=sp-1";
    let one = "DataDisk.1.Size=20&DataDisk.1.AutoSnapshotPolicyId=sp-1";
    for (query, expected) in [
        (String::new(), NO),
        ("SystemDisk.AutoSnapshotPolicyId=".into(), NO),
        (one.into(), NO),
        (system.into(), "ok"),
        (format!("{system}&{one}"), "ok"),
        (format!("{system}&{one}&DataDisk.2.Size=20"), NO),
        (format!("{system}&DataDisk.1.Size=20"), NO),
    ] {
        for action in ["RunInstances", "CreateInstance"] {
            for who in [&careful, &sure] {
                assert_eq!(
                    may(&world, who, action, &query).await,
                    expected,
                    "{action} {query}"
                );
            }
        }
    }
    // What makes no instance is not concerned.
    for who in [&careful, &sure] {
        assert_eq!(may(&world, who, "CreateDisk", "Size=20").await, "ok");
    }
}

#[tokio::test]
async fn where_a_request_comes_from_decides() {
    let world = World::new().await;
    let office = world
        .user(
            "office",
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*","Condition":{"IpAddress":{"acs:SourceIp":["10.0.0.0/8","127.0.0.1"]}}}"#,
        )
        .await;
    for (source, expected) in [
        (Some("10.1.2.3"), "ok"),
        (Some("127.0.0.1"), "ok"),
        (Some("203.0.113.1"), NO),
        (None, NO),
    ] {
        let from = Caller {
            source: source.map(|text| text.parse().expect("an address")),
            ..office.clone()
        };
        assert_eq!(
            may(&world, &from, "DescribeDisks", "").await,
            expected,
            "{source:?}"
        );
    }
}

/// What `api` makes of a request, whichever way it spells the region.
async fn asked(world: &World, caller: &Caller, action: &str, pairs: &[(&str, &str)]) -> Result<(), ApiError> {
    let params = Params::from_pairs(pairs.iter().copied())
        .expect("each name once")
        .one_region();
    let caller = Caller {
        region: params.text("RegionId"),
        ..caller.clone()
    };
    world.control.authorize(&caller, "ecs", action, &params).await
}

/// A user of one region, who names both, or none, or one that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn the_region_that_is_checked_is_the_one_that_is_worked_in() {
    let world = World::two_regions().await;
    let (near, far) = (world.disk().await, world.far_disk("Size=20").await);
    let statement = format!(r#"{{"Effect":"Allow","Action":"ecs:*","Resource":"acs:ecs:{REGION}:*:*"}}"#);
    let user = world.user("near", &statement).await;
    let mars = "400 InvalidRegion.NotFound";
    for (action, pairs, expected) in [
        (
            "DeleteDisk",
            &[("DiskId", &*near), ("RegionId", FAR), ("regionId", REGION)][..],
            "ok",
        ),
        (
            "DeleteDisk",
            &[("DiskId", &*far), ("RegionId", REGION), ("regionId", FAR)],
            NO,
        ),
        (
            "DeleteDisk",
            &[("DiskId", &*far), ("RegionId", REGION), ("regionId", "")],
            "ok",
        ),
        (
            "DeleteDisk",
            &[("DiskId", &*far), ("RegionId", FAR), ("regionId", "")],
            NO,
        ),
        ("DeleteDisk", &[("DiskId", &*near)], "ok"),
        ("DeleteDisk", &[("DiskId", &*far)], NO),
        ("DescribeDisks", &[("RegionId", REGION), ("regionId", FAR)], NO),
        ("DescribeDisks", &[("RegionId", "mars")], mars),
        ("DescribeDisks", &[("RegionId", "x:*:disk/d-1")], mars),
        ("DescribeRegions", &[("RegionId", "mars")], "ok"),
        // A snapshot is made where its disk is.
        ("CreateSnapshot", &[("DiskId", &*near)], "ok"),
        ("CreateSnapshot", &[("DiskId", &*far)], NO),
        // What concerns every region.
        ("DescribeEvents", &[("RegionId", REGION)], "ok"),
        ("DescribeEvents", &[("RegionId", FAR)], NO),
        ("DescribeEvents", &[], NO),
        (
            "CreateWebhook",
            &[("RegionId", REGION), ("Url", "https://h/")],
            NO,
        ),
        ("DescribeWebhooks", &[], NO),
        // Copies go to another one.
        ("CreateAutoSnapshotPolicy", &[("RegionId", REGION)], "ok"),
        (
            "CreateAutoSnapshotPolicy",
            &[("RegionId", REGION), ("TargetCopyRegions", r#"["cn-beijing"]"#)],
            NO,
        ),
        (
            "CopySnapshot",
            &[("SnapshotId", "s-1"), ("DestinationRegionId", FAR)],
            NO,
        ),
    ] {
        let told = match asked(&world, &user, action, pairs).await {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{} {}", error.status, error.code),
        };
        assert_eq!(told, expected, "{action} {pairs:?}");
    }
    let everywhere = world
        .user(
            "all",
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":"acs:ecs:*:*:*"}"#,
        )
        .await;
    for action in ["DescribeEvents", "DescribeWebhooks", "CreateSnapshot"] {
        asked(&world, &everywhere, action, &[("DiskId", &*far)])
            .await
            .expect(action);
    }
    asked(&world, &everywhere, "DescribeDisks", &[("RegionId", "mars")])
        .await
        .expect("the action says it");
    // Where it is, is not told.
    let tell = async |disk: &str| {
        let refused = asked(
            &world,
            &world.user(disk, "").await,
            "DeleteDisk",
            &[("DiskId", disk)],
        )
        .await;
        refused.expect_err(disk).message.replace(disk, "DISK")
    };
    assert_eq!(tell(&far).await, tell("d-none").await);
}

/// A policy's copies go to the region that was named when it was made.
#[tokio::test]
async fn who_may_not_copy_into_a_region_does_not_switch_copies_into_it_on() {
    let world = World::two_regions().await;
    let statement = format!(r#"{{"Effect":"Allow","Action":"ecs:*","Resource":"acs:ecs:{REGION}:*:*"}}"#);
    let user = world.user("near", &statement).await;
    let daily = "timePoints=[3]&repeatWeekdays=[1]&retentionDays=-1&TargetCopyRegions=[\"cn-beijing\"]";
    let policy = world
        .policy(&format!("{daily}&EnableCrossRegionCopy=false"))
        .await;
    let change = async |caller: &Caller, what: &str| {
        let query = params(&format!("autoSnapshotPolicyId={policy}&{what}"));
        let request = modify_auto_snapshot_policy_ex::Request::parse(&query).expect("valid");
        let changed = world.control.modify_auto_snapshot_policy_ex(caller, request);
        changed.await.map_err(|error| error.code.to_string()).map(drop)
    };
    let no = Err("Forbidden.RAM".to_owned());
    assert_eq!(change(&user, "EnableCrossRegionCopy=true").await, no);
    assert_eq!(
        change(&user, "CopiedSnapshotsRetentionDays=9").await,
        Ok(()),
        "nothing is copied"
    );
    assert_eq!(change(&world.caller, "EnableCrossRegionCopy=true").await, Ok(()));
    assert_eq!(change(&user, "CopiedSnapshotsRetentionDays=99").await, no);
    assert_eq!(change(&user, "autoSnapshotPolicyName=other").await, Ok(()));
}

/// An id in a spelling that the action passes over opens no list, and white space closes no deny.
#[tokio::test]
async fn ids_count_as_the_action_reads_them() {
    let world = World::new().await;
    let mine = world
        .user(
            "mine",
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":["acs:ecs:*:*:*/*-mine","acs:ecs:*:*:instance/*"]}"#,
        )
        .await;
    let most = world
        .user(
            "most",
            r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*"},
            {"Effect":"Deny","Action":"ecs:*","Resource":["acs:ecs:*:*:disk/d-prod","acs:ecs:*:*:image/*"]}"#,
        )
        .await;
    for (who, action, query, expected) in [
        (&mine, "DescribeDisks", r#"DiskIds=["d-mine"]"#, "ok"),
        (&mine, "DescribeDisks", r#"DiskIds= ["d-mine"]"#, "ok"),
        (&mine, "DescribeDisks", "DiskIds.1=d-mine", NO),
        (&mine, "DescribeDisks", "DiskId=d-mine", NO),
        (&mine, "DescribeLockedSnapshots", "SnapshotIds.1=s-mine", "ok"),
        (&mine, "DescribeLockedSnapshots", "SnapshotIds=s-mine", NO),
        (&mine, "DescribeSnapshots", "SnapshotIds.1=s-mine", NO),
        (
            &mine,
            "ListTagResources",
            "ResourceType=disk&ResourceId.1=d-mine",
            "ok",
        ),
        (
            &mine,
            "ListTagResources",
            "ResourceType=disk&ResourceId=d-mine",
            NO,
        ),
        (&mine, "DescribeTags", "ResourceType=disk&ResourceId=d-mine", "ok"),
        (&mine, "DescribeTags", "ResourceType=disk&ResourceId.1=d-mine", NO),
        (
            &mine,
            "DescribeResourceByTags",
            "ResourceType=disk&ResourceId=d-mine",
            NO,
        ),
        (&mine, "DescribeResourceByTags", "Tag.1.Key=k", NO),
        (&most, "ApplyAutoSnapshotPolicy", r#"diskIds=["d-other"]"#, "ok"),
        (&most, "ApplyAutoSnapshotPolicy", r#"diskIds= ["d-prod"]"#, NO),
        // A family names one of all images.
        (&mine, "RunInstances", "InstanceType=t&ImageId=m-mine", "ok"),
        (&mine, "RunInstances", "InstanceType=t&ImageFamily=m-mine", NO),
        (
            &mine,
            "RunInstances",
            "InstanceType=t&ImageFamily=f&ImageId=m-mine",
            "ok",
        ),
        (&most, "CreateInstance", "InstanceType=t&ImageFamily=f", NO),
        (&most, "CreateInstance", "InstanceType=t", "ok"),
    ] {
        assert_eq!(
            may(&world, who, action, query).await,
            expected,
            "{action} {query}"
        );
    }
}
