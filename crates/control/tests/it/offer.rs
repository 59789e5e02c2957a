//! Instances one by one, many at once, and what tools ask before they make any.

use crate::world::{World, ZONE, call, code};

const TYPE: &str = "InstanceType=tidemark.external&SystemDisk.Size=20";

#[tokio::test]
async fn an_instance_that_is_created_is_stopped_and_can_be_started_at_once() {
    let world = World::new().await;
    let create = format!("{TYPE}&InstanceName=box&ClientToken=t");
    let id = call!(world, create_instance, "{create}")
        .expect("made")
        .instance_id;
    assert_eq!(world.find_instance(&id).await.expect("listed").status, "Stopped");
    let again = call!(world, create_instance, "{create}")
        .expect("answered before")
        .instance_id;
    assert_eq!(again, id);
    let disks = call!(world, describe_disks, "InstanceId={id}")
        .expect("listed")
        .disks;
    assert_eq!(disks[0].status, "In_use");
    call!(world, start_instance, "InstanceId={id}").expect("starts");
    world.instance_is(&id, "Running").await;
    let dry = code(call!(world, create_instance, "{TYPE}&DryRun=true"));
    assert_eq!(dry, (400, "DryRunOperation".into()));
}

#[tokio::test]
async fn all_together_or_each_for_itself() {
    let world = World::new().await;
    let (one, two) = (world.instance().await, world.instance().await);
    let both = format!("InstanceId.1={one}&InstanceId.2={two}");
    world.stop(&one).await;
    let before = world.everything().await;
    for query in [
        "".to_owned(),
        "&DryRun=true".into(),
        "&BatchOptimization=SuccessFirst&DryRun=true".into(),
    ] {
        let refusal = code(call!(world, stop_instances, "{both}{query}"));
        assert_eq!(refusal, (403, "IncorrectInstanceStatus".into()), "{query}");
    }
    let missing = code(call!(
        world,
        stop_instances,
        "InstanceId.1={two}&InstanceId.2=i-none"
    ));
    assert_eq!(missing, (404, "InvalidInstanceId.NotFound".into()));
    assert_eq!(world.everything().await, before, "all of them, or none");
    let dry = code(call!(world, stop_instances, "InstanceId.1={two}&DryRun=true"));
    assert_eq!(dry, (400, "DryRunOperation".into()));

    let each = call!(
        world,
        stop_instances,
        "{both}&InstanceId.3=i-none&BatchOptimization=SuccessFirst"
    );
    let rows = each.expect("answered").instance_responses;
    let codes: Vec<_> = rows.iter().map(|row| row.code.as_str()).collect();
    assert_eq!(
        codes,
        ["IncorrectInstanceStatus", "200", "InvalidInstanceId.NotFound"]
    );
    assert_eq!(
        (rows[1].previous_status.as_str(), rows[1].current_status.as_str()),
        ("Running", "Stopping")
    );
    world.instance_is(&two, "Stopped").await;
    call!(world, start_instances, "{both}").expect("started");
    for id in [&one, &two] {
        world.instance_is(id, "Running").await;
    }
    call!(world, reboot_instances, "{both}&ForceReboot=true").expect("rebooted");
    for id in [&one, &two] {
        world.instance_is(id, "Running").await;
    }
    let running = code(call!(world, delete_instances, "{both}"));
    assert_eq!(running, (403, "IncorrectInstanceStatus".into()));
    call!(world, delete_instances, "{both}&Force=true&ClientToken=t").expect("deleted");
    call!(world, delete_instances, "{both}&Force=true&ClientToken=t").expect("answered before");
    assert!(world.find_instance(&one).await.is_none() && world.find_instance(&two).await.is_none());
}

#[tokio::test]
async fn attributes_user_data_and_release_of_an_instance() {
    let world = World::new().await;
    let id = world.instance().await;
    let modify = format!("InstanceId={id}");
    call!(
        world,
        modify_instance_attribute,
        "{modify}&InstanceName=renamed&HostName=box-1&Description=for the tests&DeletionProtection=true"
    )
    .expect("modified");
    let running = code(call!(world, modify_instance_attribute, "{modify}&UserData=aGk"));
    assert_eq!(running, (400, "InvalidUserData.NotSupported".into()));
    let running = code(call!(world, modify_instance_attribute, "{modify}&UserData=aGkh"));
    assert_eq!(running, (403, "IncorrectInstanceStatus".into()));
    world.stop(&id).await;
    call!(world, modify_instance_attribute, "{modify}&UserData=aGkh").expect("modified");
    let row = call!(world, describe_instance_attribute, "{modify}").expect("shown");
    assert_eq!(row.io_optimized, "optimized");
    assert_eq!(
        (
            row.instance.instance_name.as_str(),
            row.instance.host_name.as_str()
        ),
        ("renamed", "box-1")
    );
    assert!(row.instance.deletion_protection);
    assert_eq!(
        call!(world, describe_user_data, "{modify}")
            .expect("shown")
            .user_data,
        "aGkh"
    );
    let protected = code(call!(world, delete_instances, "InstanceId.1={id}"));
    assert_eq!(protected, (403, "InvalidOperation.DeletionProtection".into()));
    for missing in [
        code(call!(
            world,
            modify_instance_attribute,
            "InstanceId=i-none&InstanceName=ab"
        )),
        code(call!(world, describe_instance_attribute, "InstanceId=i-none")),
        code(call!(world, describe_user_data, "InstanceId=i-none")),
        code(call!(
            world,
            modify_instance_auto_release_time,
            "InstanceId=i-none"
        )),
    ] {
        assert_eq!(missing, (404, "InvalidInstanceId.NotFound".into()));
    }

    let release = async |when: &str| {
        call!(
            world,
            modify_instance_auto_release_time,
            "{modify}&AutoReleaseTime={when}"
        )
    };
    assert_eq!(
        code(release("2020-01-01T00:00:00Z").await),
        (400, "InvalidAutoReleaseTime.Malformed".into())
    );
    release("2999-01-01T00:00:30Z").await.expect("set");
    let shown = async || world.find_instance(&id).await.expect("listed").auto_release_time;
    assert_eq!(shown().await, "2999-01-01T00:00Z");
    release("").await.expect("never");
    assert_eq!(shown().await, "");
    let over = "InstanceType=tidemark.external&AutoReleaseTime=2020-01-01T00:00:00Z";
    assert_eq!(
        code(call!(world, run_instances, "{over}")),
        (400, "InvalidAutoReleaseTime.Malformed".into())
    );
    // One that names no switch is in the network that the lists show.
    let network = world.find_instance(&id).await.expect("listed").vpc_attributes;
    assert_eq!(
        (network.vpc_id.as_str(), network.vswitch_id.as_str()),
        ("vpc-default", "vsw-default")
    );
}

#[tokio::test]
async fn what_was_asked_for_of_the_internet_is_shown_and_found() {
    let world = World::new().await;
    let plain = world.instance().await;
    let query = "InternetChargeType=PayByBandwidth&InternetMaxBandwidthIn=50&InternetMaxBandwidthOut=5";
    let wide = call!(world, create_instance, "{TYPE}&{query}")
        .expect("made")
        .instance_id;
    for (id, kind, most) in [
        (&plain, "PayByTraffic", (0, 0)),
        (&wide, "PayByBandwidth", (50, 5)),
    ] {
        let shown = world.find_instance(id).await.expect("listed");
        assert_eq!(shown.internet_charge_type, kind);
        assert_eq!(
            (shown.internet_max_bandwidth_in, shown.internet_max_bandwidth_out),
            most
        );
        let found = call!(world, describe_instances, "InternetChargeType={kind}").expect("listed");
        let found: Vec<_> = found.instances.into_iter().map(|i| i.instance_id).collect();
        assert_eq!(found.as_slice(), std::slice::from_ref(id), "{kind}");
    }
    let cluster = code(call!(world, describe_instances, "HpcClusterId=hpc-1"));
    assert_eq!(cluster, (400, "InvalidHpcClusterId.NotFound".into()));
}

#[tokio::test]
async fn what_is_on_offer() {
    let world = World::new().await;
    let types = call!(world, describe_instance_types, "")
        .expect("listed")
        .instance_types;
    assert_eq!((types.len(), types[0].disk_quantity), (1, 17));
    let none = call!(world, describe_instance_types, "InstanceTypes.1=ecs.g6.large").expect("listed");
    assert!(none.instance_types.is_empty());
    let families = call!(world, describe_instance_type_families, "").expect("listed");
    assert_eq!(families.instance_type_families.len(), 1);
    let supported = call!(
        world,
        describe_image_support_instance_types,
        "ImageId=tidemark_external.vhd"
    );
    assert_eq!(supported.expect("listed").instance_types.len(), 1);
    let missing = code(call!(
        world,
        describe_image_support_instance_types,
        "ImageId=m-none"
    ));
    assert_eq!(missing, (404, "InvalidImageId.NotFound".into()));

    let stock = async |query: &str| {
        let answer =
            call!(world, describe_available_resource, "DestinationResource={query}").expect("answered");
        let zone = answer.available_zones.into_iter().next()?;
        Some(zone.available_resources.into_iter().next()?.supported_resources)
    };
    let disks = stock("DataDisk").await.expect("offered");
    let cloud = disks.iter().find(|disk| disk.value == "cloud").expect("offered");
    assert_eq!((cloud.min, cloud.max), (Some(5), Some(2000)));
    assert_eq!(
        stock("SystemDisk&SystemDiskCategory=cloud_ssd")
            .await
            .expect("offered")
            .len(),
        1
    );
    assert_eq!(
        stock(&format!("Zone&ZoneId={ZONE}")).await.expect("offered")[0].value,
        ZONE
    );
    for nothing in [
        "ddh",
        "InstanceType&InstanceType=ecs.g6.large",
        "Zone&InstanceChargeType=PrePaid",
    ] {
        assert!(stock(nothing).await.is_none(), "{nothing}");
    }
    let zone = code(call!(
        world,
        describe_available_resource,
        "DestinationResource=Zone&ZoneId=x"
    ));
    assert_eq!(zone, (404, "InvalidZoneId.NotFound".into()));
    let quota = call!(world, describe_account_attributes, "AttributeName.1=max-images").expect("answered");
    assert_eq!(quota.account_attribute_items[0].attribute_values[0].value, "100");
    let zones = call!(world, describe_zones, "").expect("listed").zones;
    assert_eq!(
        zones[0].available_resource_creation,
        ["VSwitch", "IoOptimized", "Instance", "Disk"]
    );

    assert_eq!(call!(world, describe_vpcs, "").expect("listed").vpcs.len(), 1);
    assert_eq!(
        call!(world, describe_v_switches, "ZoneId={ZONE}")
            .expect("listed")
            .vswitches
            .len(),
        1
    );
    assert_eq!(
        call!(world, describe_v_switches, "VpcId=vpc-x")
            .expect("listed")
            .page
            .total_count,
        0
    );
    let groups = call!(
        world,
        describe_security_groups,
        "SecurityGroupIds=[\"sg-default\"]"
    )
    .expect("listed");
    assert_eq!(groups.security_groups.len(), 1);
}

#[tokio::test]
async fn nothing_costs_anything_and_nothing_befalls_a_machine() {
    let world = World::new().await;
    for kind in ["instance", "disk"] {
        let price = call!(world, describe_price, "ResourceType={kind}").expect("answered");
        let price = price.price_info.price;
        assert_eq!(
            (price.original_price, price.discount_price, price.trade_price),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(price.detail_infos[0].resource, kind);
    }
    let status = call!(world, describe_disk_encryption_by_default_status, "");
    assert!(!status.expect("answered").encrypted);
    let events = call!(world, describe_instance_history_events, "PageSize=20").expect("listed");
    assert!(events.instance_system_event_set.is_empty());
    assert_eq!((events.page.total_count, events.page.page_size), (0, 20));
    for elsewhere in [
        code(call!(world, describe_price, "RegionId=nowhere")),
        code(call!(
            world,
            describe_disk_encryption_by_default_status,
            "RegionId=nowhere"
        )),
        code(call!(world, describe_instance_history_events, "RegionId=nowhere")),
    ] {
        assert_eq!(elsewhere, (404, "InvalidRegionId.NotFound".into()));
    }
}

#[tokio::test]
async fn the_old_tag_actions_work_on_the_same_tags() {
    let world = World::new().await;
    let (one, two) = (world.disk().await, world.disk().await);
    for id in [&one, &two] {
        let add = format!("ResourceType=disk&ResourceId={id}&Tag.1.Key=k&Tag.1.Value=v&Tag.2.Key=n");
        call!(world, add_tags, "{add}").expect("tagged");
    }
    let tags = call!(world, describe_tags, "").expect("listed").tags;
    assert_eq!(tags.len(), 2);
    assert_eq!(
        (tags[0].tag_key.as_str(), tags[0].resource_type_count.disk),
        ("k", 2)
    );
    let policy = "timePoints=[\"1\"]&repeatWeekdays=[\"1\"]&retentionDays=7&Tag.1.Key=k&Tag.1.Value=v";
    call!(world, create_auto_snapshot_policy, "{policy}").expect("made");
    let tags = call!(world, describe_tags, "").expect("listed").tags;
    let counts = &tags[0].resource_type_count;
    assert_eq!((counts.disk, counts.snapshot_policy), (2, 1));
    let of_snapshots = call!(world, describe_tags, "ResourceType=snapshot").expect("listed");
    assert_eq!(of_snapshots.page.total_count, 0);
    let wrong_value = format!("ResourceType=disk&ResourceId={one}&Tag.1.Key=k&Tag.1.Value=x");
    call!(world, remove_tags, "{wrong_value}").expect("fine");
    let found = async |query: &str| {
        let answer = call!(world, describe_resource_by_tags, "{query}").expect("listed");
        answer.page.total_count
    };
    assert_eq!(
        found("ResourceType=disk&Tag.1.Key=k&Tag.1.Value=v").await,
        2,
        "another value is another tag"
    );
    call!(
        world,
        remove_tags,
        "ResourceType=disk&ResourceId={one}&Tag.1.Key=k"
    )
    .expect("untagged");
    assert_eq!(found("ResourceType=disk&Tag.1.Key=k&Tag.1.Value=v").await, 1);
    assert_eq!(found("Tag.1.Key=n").await, 2);
    call!(world, remove_tags, "ResourceType=disk&ResourceId={one}").expect("all of them");
    assert_eq!(found("Tag.1.Key=n").await, 1);
    let missing = code(call!(
        world,
        add_tags,
        "ResourceType=disk&ResourceId=d-none&Tag.1.Key=k"
    ));
    assert_eq!(missing, (404, "InvalidResourceId.NotFound".into()));
}
