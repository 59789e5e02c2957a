//! Tasks: listed, shown, and cancelled where they can be.

use crate::world::{FAR, World, call, call_in, code};

/// What somebody else's work, of a kind that can be cancelled, has begun.
fn import(number: i64, status: &str, cancellable: bool) -> String {
    let cancellable = i64::from(cancellable);
    format!(
        "INSERT INTO tasks (id, ordinal, account, region, action, status, resource_id, group_id, cancellable, percent, \
         failure, created_ms, ended_ms) SELECT 't-{number}', {number}, account, region, 'ImportImage', \
         '{status}', 'm-1', 'g-1', {cancellable}, 7, '', created_ms, NULL FROM disks GROUP BY account;"
    )
}

#[tokio::test]
async fn a_change_of_category_is_a_task() {
    let world = World::two_regions().await;
    let disk = world.disk().await;
    let asked = format!("DiskId={disk}&DiskCategory=cloud_auto&ProvisionedIops=500&ClientToken=t");
    let task = call!(world, modify_disk_spec, "{asked}").expect("done").task_id;
    assert!(task.starts_with("t-bp1"));
    assert_eq!(
        call!(world, modify_disk_spec, "{asked}").expect("again").task_id,
        task
    );
    let row = world.find_disk(&disk).await.expect("listed");
    assert_eq!(
        (&*row.category, &*row.performance_level, row.provisioned_iops),
        ("cloud_auto", "", Some(500))
    );
    let world = world.restart().await;
    let listed = call!(world, describe_tasks, "ResourceIds.1={disk}").expect("listed");
    assert_eq!((listed.task_set.len(), listed.page.total_count), (1, 1));
    let shown = &listed.task_set[0];
    assert_eq!(
        (&*shown.task_id, &*shown.task_action, &*shown.task_status),
        (&*task, "ModifyDiskSpec", "Finished")
    );
    assert!(!shown.support_cancel && shown.finished_time.ends_with('Z'));
    let detail = call!(world, describe_task_attribute, "TaskId={task}").expect("shown");
    assert_eq!(
        (detail.success_count, detail.failed_count, &*detail.task_process),
        (1, 0, "100%")
    );
    let elsewhere = call_in!(world, FAR, describe_tasks, "").expect("listed");
    assert!(elsewhere.task_set.is_empty());
    let refused = code(call!(world, cancel_task, "TaskId={task}"));
    assert_eq!(refused, (403, "InvalidTaskId.TaskActionNotSupport".into()));

    world.advance_days(31);
    world.control.keep_house().await.expect("kept");
    assert!(
        call!(world, describe_tasks, "")
            .expect("listed")
            .task_set
            .is_empty(),
        "forgotten after a month"
    );
}

#[tokio::test]
async fn refusals_of_a_change_of_category() {
    let world = World::new().await;
    let disk = world.disk().await;
    let before = world.everything().await;
    let ask = async |more: &str| {
        let asked = format!("DiskId={disk}&{more}");
        code(call!(world, modify_disk_spec, "{asked}"))
    };
    for (more, status, refusal) in [
        ("PerformanceLevel=PL3", 400, "InvalidSize.ValueNotSupported"),
        (
            "DiskCategory=cloud_ssd&PerformanceLevel=PL1",
            400,
            "InvalidParameter.Conflict",
        ),
        (
            "ProvisionedIops=1",
            400,
            "ProvisionedIopsForDiskCategoryUnsupported",
        ),
        ("DiskCategory=cloud_auto&DryRun=true", 400, "DryRunOperation"),
    ] {
        assert_eq!(ask(more).await, (status, refusal.to_owned()), "{more}");
    }
    assert_eq!(world.everything().await, before);
    assert!(
        call!(world, describe_tasks, "")
            .expect("listed")
            .task_set
            .is_empty()
    );
    world
        .sql(&format!(
            "UPDATE disks SET status = 'ReIniting' WHERE id = '{disk}'"
        ))
        .await;
    assert_eq!(
        ask("DiskCategory=cloud_auto").await,
        (403, "IncorrectDiskStatus".into())
    );
    let none = code(call!(
        world,
        modify_disk_spec,
        "DiskId=d-none&DiskCategory=cloud_auto"
    ));
    assert_eq!(none, (404, "InvalidDiskId.NotFound".into()));
}

#[tokio::test]
async fn a_task_is_cancelled_while_it_is_under_way() {
    let world = World::new().await;
    world.disk().await;
    let rows = [
        import(1, "Processing", true),
        import(2, "Processing", false),
        import(3, "Finished", true),
    ];
    world.sql(&rows.concat()).await;
    let listed = call!(
        world,
        describe_tasks,
        "TaskAction=ImportImage&TaskStatus=Processing"
    )
    .expect("listed");
    let shown: Vec<_> = listed
        .task_set
        .iter()
        .map(|task| (&*task.task_id, task.support_cancel))
        .collect();
    assert_eq!(shown, [("t-2", false), ("t-1", true)]);
    let page = call!(world, describe_tasks, "PageSize=2").expect("listed");
    assert_eq!((page.task_set.len(), page.page.total_count), (2, 3));
    let rest = call!(
        world,
        describe_tasks,
        "PageSize=2&NextToken={}",
        page.page.next_token
    )
    .expect("listed");
    assert_eq!(rest.task_set.len(), 1);
    let named = call!(world, describe_tasks, "TaskIds=t-3,t-9&TaskGroupId=g-1").expect("listed");
    assert_eq!(named.task_set.len(), 1);

    call!(world, cancel_task, "TaskId=t-1").expect("cancelled");
    let detail = call!(world, describe_task_attribute, "TaskId=t-1").expect("shown");
    assert_eq!((&*detail.task.task_status, detail.failed_count), ("Failed", 1));
    assert!(detail.operation_progress_set[0].error_msg.contains("cancelled"));
    for (id, status, refusal) in [
        ("t-1", 403, "InvalidTaskId.IncorrectTaskStatus"),
        ("t-2", 403, "InvalidTaskId.TaskActionNotSupport"),
        ("t-3", 403, "InvalidTaskId.IncorrectTaskStatus"),
        ("t-9", 400, "InvalidTaskId.NotFound"),
    ] {
        let refused = code(call!(world, cancel_task, "TaskId={id}"));
        assert_eq!(refused, (status, refusal.to_owned()), "{id}");
    }
    for refused in [
        code(call_in!(world, "cn-nowhere", describe_tasks, "")),
        code(call_in!(world, "cn-nowhere", cancel_task, "TaskId=t-1")),
        code(call_in!(
            world,
            "cn-nowhere",
            describe_task_attribute,
            "TaskId=t-1"
        )),
    ] {
        assert_eq!(refused, (400, "InvalidRegionId.NotFound".into()));
    }
}
