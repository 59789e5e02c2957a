//! Tags on resources.

use crate::world::{World, call, code};

#[tokio::test]
async fn tags_are_set_listed_and_removed() {
    let world = World::new().await;
    let (one, two) = (world.disk().await, world.disk().await);
    let both = format!("ResourceType=disk&ResourceId.1={one}&ResourceId.2={two}");
    call!(
        world,
        tag_resources,
        "{both}&Tag.1.Key=env&Tag.1.Value=test&Tag.2.Key=x"
    )
    .expect("tagged");
    call!(
        world,
        tag_resources,
        "ResourceType=disk&ResourceId.1={one}&Tag.1.Key=env&Tag.1.Value=prod"
    )
    .expect("tagged");
    let found = call!(
        world,
        list_tag_resources,
        "ResourceType=disk&Tag.1.Key=env&Tag.1.Value=prod"
    )
    .expect("listed");
    let pairs: Vec<_> = found
        .tag_resources
        .iter()
        .map(|t| (t.resource_id.as_str(), t.tag_key.as_str(), t.tag_value.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [(one.as_str(), "env", "prod"), (one.as_str(), "x", "")],
        "all tags of what matches"
    );
    assert_eq!(
        call!(world, describe_disks, "Tag.1.Key=x")
            .expect("listed")
            .page
            .total_count,
        2
    );
    assert_eq!(
        call!(world, describe_disks, "Tag.1.Key=env&Tag.1.Value=test")
            .expect("listed")
            .disks[0]
            .disk_id,
        two
    );
    call!(world, untag_resources, "{both}&TagKey.1=x").expect("untagged");
    assert_eq!(world.find_disk(&one).await.expect("listed").tags.len(), 1);
    call!(world, untag_resources, "{both}&All=true").expect("untagged");
    assert!(world.find_disk(&two).await.expect("listed").tags.is_empty());
}

#[tokio::test]
async fn what_the_service_tagged_itself_stays() {
    let world = World::new().await;
    let disk = world.disk_from("Size=20&Tag.1.Key=k&Tag.1.Value=v").await;
    world
        .sql(&format!(
            "INSERT INTO tags (account, resource_type, resource_id, tag_key, tag_value) \
             SELECT account, 'disk', id, 'acs:ecs:createFrom', 'i-1' FROM disks WHERE id = '{disk}'"
        ))
        .await;
    let of = format!("ResourceType=disk&ResourceId.1={disk}");
    call!(world, untag_resources, "{of}&TagKey.1=acs:ecs:createFrom").expect("untagged");
    assert_eq!(world.find_disk(&disk).await.expect("listed").tags.len(), 2);
    call!(world, untag_resources, "{of}&All=true").expect("untagged");
    let left = world.find_disk(&disk).await.expect("listed").tags;
    assert_eq!(
        left.iter().map(|tag| tag.key.as_str()).collect::<Vec<_>>(),
        ["acs:ecs:createFrom"]
    );
}

#[tokio::test]
async fn one_missing_resource_means_nothing_changes() {
    let world = World::new().await;
    let disk = world.disk().await;
    let refusal = code(call!(
        world,
        tag_resources,
        "ResourceType=disk&ResourceId.1={disk}&ResourceId.2=d-none&Tag.1.Key=k"
    ));
    assert_eq!(refusal, (404, "InvalidResourceId.NotFound".into()));
    // A disk's id is no snapshot's.
    let refusal = code(call!(
        world,
        tag_resources,
        "ResourceType=snapshot&ResourceId.1={disk}&Tag.1.Key=k"
    ));
    assert_eq!(refusal, (404, "InvalidResourceId.NotFound".into()));
    assert!(world.find_disk(&disk).await.expect("listed").tags.is_empty());
}

#[tokio::test]
async fn more_tags_than_the_quota_are_refused_as_a_whole() {
    let world = World::new().await;
    let disk = world.disk().await;
    let tags = |from: usize, count: usize| {
        (0..count)
            .map(|n| format!("&Tag.{}.Key=k{}", n + 1, from + n))
            .collect::<String>()
    };
    let on = format!("ResourceType=disk&ResourceId.1={disk}");
    call!(world, tag_resources, "{on}{}", tags(0, 19)).expect("19 are fine");
    assert_eq!(
        code(call!(world, tag_resources, "{on}{}", tags(19, 2))),
        (403, "QuotaExceed.Tags".into())
    );
    assert_eq!(world.find_disk(&disk).await.expect("listed").tags.len(), 19);
    call!(world, tag_resources, "{on}{}", tags(18, 2)).expect("one new, one again");
}

#[tokio::test]
async fn a_deleted_resources_tags_go_with_it() {
    let world = World::new().await;
    let disk = world.disk_from("Size=20&Tag.1.Key=k").await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    let look = async || {
        call!(world, list_tag_resources, "ResourceType=disk&Tag.1.Key=k")
            .expect("listed")
            .tag_resources
            .len()
            .to_string()
    };
    world.eventually(look, "tags", "0").await;
}
