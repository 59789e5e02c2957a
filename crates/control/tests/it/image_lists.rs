//! Images as they are listed and described: filters, names, shares, quotas, and who is said to use one.

use crate::images::total;
use crate::world::{World, call, code};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_counted() {
    let world = World::with(|config| config.limits.images = 1).await;
    let (_, snapshot) = world.system_snapshot(1).await;
    call!(world, create_image, "SnapshotId={snapshot}").expect("made");
    let refusal = code(call!(world, create_image, "SnapshotId={snapshot}"));
    assert_eq!(refusal, (403, "QuotaExceed.Image".into()));
    world.sql("UPDATE images SET region = 'cn-beijing'").await;
    call!(world, create_image, "SnapshotId={snapshot}").expect("another region's do not count");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_uses_an_image_is_said_of_ones_own_only() {
    let world = World::new().await;
    let (instance, snapshot) = world.system_snapshot(1).await;
    let image = call!(world, create_image, "SnapshotId={snapshot}")
        .expect("made")
        .image_id;
    world.image_is(&image, "Available").await;
    let delete = format!("ImageId={image}");
    for (account, named) in [("account", true), ("'42'", false)] {
        world
            .sql(&format!(
                "UPDATE instances SET image_id = '{image}', account = {account} WHERE id = '{instance}'"
            ))
            .await;
        let refusal = call!(world, delete_image, "{delete}").expect_err("in use");
        assert_eq!(refusal.code, "ImageUsingByInstance");
        assert_eq!(refusal.message.contains(&instance), named, "{}", refusal.message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_found_by_every_filter() {
    let world = World::new().await;
    let (_, snapshot) = world.system_snapshot(1).await;
    let image = call!(
        world,
        create_image,
        "SnapshotId={snapshot}&ImageName=my-web-1&ImageFamily=web&Platform=Windows Server 2022&Architecture=arm64&Tag.1.Key=k&Tag.1.Value=v"
    )
    .expect("made")
    .image_id;
    call!(world, create_image, "SnapshotId={snapshot}&ImageName=my-db-1").expect("made");
    for (query, expected) in [
        ("".to_owned(), 3),
        (format!("ImageId={image}"), 1),
        (format!("ImageId={image},m-none"), 1),
        ("ImageOwnerAlias=self".into(), 2),
        ("ImageOwnerAlias=system".into(), 1),
        ("ImageOwnerAlias=others".into(), 0),
        ("ImageOwnerAlias=marketplace".into(), 0),
        ("Status=Creating".into(), 0),
        ("Status=Deprecated,Available".into(), 3),
        ("ImageName=web".into(), 1),
        ("ImageName=my-*-1".into(), 2),
        ("ImageFamily=web".into(), 1),
        (format!("SnapshotId={snapshot}"), 2),
        ("SnapshotId=s-none".into(), 0),
        ("OSType=windows".into(), 1),
        ("Architecture=arm64".into(), 1),
        ("InstanceType=tidemark.external".into(), 3),
        ("Usage=instance".into(), 1),
        ("Usage=none&ImageOwnerAlias=self".into(), 2),
        ("ResourceGroupId=rg-default".into(), 3),
        ("IsSupportIoOptimized=false".into(), 0),
        ("IsSupportCloudinit=true".into(), 0),
        ("ImageOwnerAlias=others&IsPublic=true".into(), 0),
        ("Usable=false&Status=ALL".into(), 0),
        ("ImageOwnerId=1000000000000001".into(), 2),
        ("Tag.1.Key=k&Tag.1.Value=v".into(), 1),
        (
            "Filter.1.Key=CreationEndTime&Filter.1.Value=1999-01-01T00:00Z&ImageOwnerAlias=self".into(),
            0,
        ),
        ("Filter.1.Key=NetworkType&Filter.1.Value=vpc".into(), 3),
    ] {
        let found = total(call!(world, describe_images, "{query}"));
        assert_eq!(found, expected, "{query}");
    }
    let other_type = code(call!(world, describe_images, "InstanceType=ecs.g6.large"));
    assert_eq!(other_type, (400, "InvalidInstanceType.ValueNotSupported".into()));
    let page = call!(world, describe_images, "PageSize=2").expect("listed");
    assert_eq!(page.images.len(), 2);
    let rest = call!(
        world,
        describe_images,
        "PageSize=2&NextToken={}",
        page.page.next_token
    )
    .expect("listed");
    assert_eq!(rest.images[0].image_owner_alias, "system", "older than any other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_renamed_retired_and_shared() {
    let world = World::new().await;
    let (_, snapshot) = world.system_snapshot(1).await;
    let old = call!(
        world,
        create_image,
        "SnapshotId={snapshot}&ImageName=one&ImageFamily=web"
    )
    .expect("made")
    .image_id;
    let new = call!(
        world,
        create_image,
        "SnapshotId={snapshot}&ImageName=two&ImageFamily=web"
    )
    .expect("made")
    .image_id;
    let newest = async || {
        let answer = call!(world, describe_image_from_family, "ImageFamily=web").expect("answered");
        answer.image.map(|image| image.image_id).unwrap_or_default()
    };
    assert_eq!(newest().await, new);
    let modify = format!("ImageId={new}");
    let taken = code(call!(world, modify_image_attribute, "{modify}&ImageName=one"));
    assert_eq!(taken, (400, "InvalidImageName.Duplicated".into()));
    call!(
        world,
        modify_image_attribute,
        "{modify}&ImageName=three&Description=a third&Status=Deprecated"
    )
    .expect("done");
    assert_eq!(newest().await, old, "a deprecated one is not offered");
    let row = world.find_image(&new).await.expect("listed");
    assert_eq!(
        (row.image_name.as_str(), row.status.as_str()),
        ("three", "Deprecated")
    );
    let run = "InstanceType=tidemark.external&ImageId";
    let refused = code(call!(world, run_instances, "{run}={new}"));
    assert_eq!(refused, (403, "OperationDenied.ImageNotValid".into()));
    call!(world, modify_image_attribute, "{modify}&Status=Available").expect("done");
    assert_eq!(newest().await, new);
    let missing = code(call!(
        world,
        modify_image_attribute,
        "ImageId=m-none&ImageName=ab"
    ));
    assert_eq!(missing, (404, "InvalidImageId.NotFound".into()));

    call!(
        world,
        modify_image_share_permission,
        "{modify}&AddAccount.1=42&AddAccount.2=43"
    )
    .expect("shared");
    call!(
        world,
        modify_image_share_permission,
        "{modify}&AddAccount.1=42&RemoveAccount.1=43"
    )
    .expect("shared");
    let shares = call!(world, describe_image_share_permission, "{modify}").expect("listed");
    assert_eq!(shares.accounts.len(), 1);
    assert_eq!(shares.accounts[0].aliyun_id, "42");
    assert_eq!(
        world.find_image(&new).await.expect("listed").is_self_shared,
        "True"
    );
    let shared = code(call!(world, delete_image, "{modify}&Force=true"));
    assert_eq!(shared, (403, "ImageUseShared".into()));
    // The other account sees it, and can make instances of it; it is not its own.
    let mut other = world;
    let own = std::mem::replace(&mut other.caller.account, "42".into());
    let seen = other.find_image(&new).await.expect("shared");
    assert_eq!(seen.image_owner_alias, "others");
    assert!(other.find_image(&old).await.is_none(), "not shared");
    let made = call!(other, run_instances, "{run}={new}")
        .expect("made")
        .instance_id_sets
        .remove(0);
    other.instance_is(&made, "Running").await;
    let not_own = code(call!(other, delete_image, "{modify}"));
    assert_eq!(not_own, (404, "InvalidImageId.NotFound".into()));
    other.caller.account = own;
    call!(
        other,
        modify_image_share_permission,
        "{modify}&RemoveAccount.1=42"
    )
    .expect("unshared");
    call!(other, delete_image, "{modify}&Force=true").expect("deleted");
}
