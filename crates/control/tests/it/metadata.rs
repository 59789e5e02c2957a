//! What an instance is told about itself: its own data, all of it, and nothing for who cannot be told apart.

use crate::world::{FAR, World, call, call_in};
use std::net::IpAddr;
use std::time::Duration;
use tidemark_control::{InstanceMetadata, MetadataOptions};
use tidemark_ecs::ram::roles::CreateRole;

const RUN: &str = "InstanceType=tidemark.external&SystemDisk.Size=20";
/// Lets instances in.
const TRUST: &str = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["ecs.aliyuncs.com"]}}}"#;

/// A new running instance, with more than the usual.
async fn instance(world: &World, more: &str) -> String {
    let answer = call!(world, run_instances, "{RUN}&{more}").expect("made");
    let id = answer.instance_id_sets[0].clone();
    world.instance_is(&id, "Running").await;
    id
}

async fn of(world: &World, id: &str) -> InstanceMetadata {
    let found = world.control.metadata_of(id).await.expect("read");
    found.expect("there is such an instance")
}

async fn at(world: &World, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().expect("an address");
    let found = world.control.metadata_by_address(address).await.expect("read");
    found.map(|own| own.instance_id)
}

async fn role(world: &World, name: &str) {
    let request = CreateRole {
        role_name: name.into(),
        description: String::new(),
        assume_role_policy_document: TRUST.into(),
        max_session_duration: 3600,
    };
    world
        .control
        .create_role(&world.caller, request)
        .await
        .expect("made");
}

#[tokio::test]
async fn an_instance_is_told_what_the_api_has_of_it() {
    let world = World::new().await;
    let more = "InstanceName=box&HostName=web-1&UserData=AP8K&PrivateIpAddress=10.0.0.9&Tag.1.Key=team&Tag.1.Value=red";
    let id = instance(&world, more).await;
    let disk = world.disk_from("Size=20&DiskName=data").await;
    world.attach(&id, &disk).await;
    let (own, shown) = (
        of(&world, &id).await,
        world.find_instance(&id).await.expect("listed"),
    );
    assert_eq!(own.instance_id, id);
    assert_eq!(
        (own.instance_name.as_str(), own.host_name.as_str()),
        ("box", "web-1")
    );
    assert_eq!(own.serial_number, shown.serial_number);
    assert_eq!((&own.region_id, &own.zone_id), (&shown.region_id, &shown.zone_id));
    assert_eq!(
        (&own.vpc_id, &own.vswitch_id),
        (&shown.vpc_attributes.vpc_id, &shown.vpc_attributes.vswitch_id)
    );
    assert_eq!(own.owner_account_id, world.caller.account);
    assert_eq!(own.image_id, shown.image_id);
    assert_eq!(
        own.private_address.map(|a| a.to_string()).as_deref(),
        Some("10.0.0.9")
    );
    assert_eq!(own.user_data.as_deref(), Some(&[0, 255, 10][..]));
    assert_eq!(own.options, MetadataOptions::default());
    assert_eq!(own.tags, None, "not unless it is allowed");
    let disks: Vec<_> = own
        .disks
        .iter()
        .map(|d| (d.id.clone(), d.name.as_str()))
        .collect();
    assert_eq!(
        disks,
        [(world.system_disk(&id).await, ""), (disk.clone(), "data")]
    );
    assert!(own.disks.iter().all(|d| d.id == format!("d-{}", d.serial)));

    let options =
        "HttpEndpoint=disabled&HttpTokens=required&HttpPutResponseHopLimit=3&InstanceMetadataTags=enabled";
    call!(
        world,
        modify_instance_metadata_options,
        "InstanceId={id}&{options}"
    )
    .expect("changed");
    world.detach(&id, &disk).await;
    let own = of(&world, &id).await;
    let expected = MetadataOptions {
        enabled: false,
        token_required: true,
        hop_limit: 3,
    };
    assert_eq!(own.options, expected);
    assert_eq!(own.disks.len(), 1);
    let tags = own.tags.expect("allowed now");
    assert_eq!((tags[0].key.as_str(), tags[0].value.as_str()), ("team", "red"));
    let shown = world.find_instance(&id).await.expect("listed").metadata_options;
    assert_eq!(
        (
            shown.http_endpoint.as_str(),
            shown.http_tokens.as_str(),
            shown.http_put_response_hop_limit,
            shown.instance_metadata_tags.as_str()
        ),
        ("disabled", "required", 3, "enabled")
    );
    // What is not given stays.
    call!(
        world,
        modify_instance_metadata_options,
        "InstanceId={id}&HttpEndpoint=enabled"
    )
    .expect("changed");
    let expected = MetadataOptions {
        enabled: true,
        ..expected
    };
    assert_eq!(of(&world, &id).await.options, expected);

    let bare = of(&world, &instance(&world, "").await).await;
    assert_eq!(bare.host_name, format!("iZ{}Z", &bare.instance_id[2..]));
    assert_eq!(
        (bare.user_data, bare.private_address, bare.role_name),
        (None, None, None)
    );
    assert_ne!(bare.mac, own.mac);
    assert!(world.control.metadata_of("i-none").await.expect("read").is_none());
}

#[tokio::test]
async fn an_address_names_a_running_instance_that_alone_has_it() {
    let world = World::two_regions().await;
    let one = instance(&world, "PrivateIpAddress=127.0.0.5").await;
    let other = instance(&world, "PrivateIpAddress=127.0.0.50&HostName=a-127.0.0.5").await;
    assert_eq!(at(&world, "127.0.0.5").await.as_deref(), Some(&*one));
    assert_eq!(at(&world, "::ffff:127.0.0.5").await.as_deref(), Some(&*one));
    assert_eq!(at(&world, "127.0.0.50").await.as_deref(), Some(&*other));
    for nobody in ["127.0.0.1", "127.0.0.6", "::1", "0.0.0.0"] {
        assert_eq!(at(&world, nobody).await, None, "{nobody}");
    }
    // Another instance with the same address, in another region even: nobody is told anything.
    let twin = call_in!(world, FAR, run_instances, "{RUN}&PrivateIpAddress=127.0.0.5");
    let twin = twin.expect("made").instance_id_sets.remove(0);
    let look = async || at(&world, "127.0.0.5").await.unwrap_or_default();
    world.eventually(look, "who has the address", "").await;
    call_in!(world, FAR, stop_instance, "InstanceId={twin}").expect("stopping begins");
    world.eventually(look, "who has the address", &one).await;
    world.stop(&one).await;
    assert_eq!(at(&world, "127.0.0.5").await, None, "only while it runs");
    assert!(!of(&world, &one).await.running);
}

#[tokio::test]
async fn a_token_is_one_instances_for_a_while_and_over_restarts() {
    let world = World::new().await;
    let (one, other) = (world.instance().await, world.instance().await);
    let token = world.control.metadata_token(&one, 60);
    assert!(world.control.is_metadata_token(&one, &token));
    assert!(!world.control.is_metadata_token(&other, &token));
    let world = world.restart().await;
    assert!(world.control.is_metadata_token(&one, &token));
    world.advance_ms(61_000);
    assert!(!world.control.is_metadata_token(&one, &token));
}

#[tokio::test]
async fn keys_of_a_role_are_the_instances_and_fresh_before_they_end() {
    let world = World::new().await;
    role(&world, "backup").await;
    role(&world, "other").await;
    let one = instance(&world, "RamRoleName=backup").await;
    let bare = world.instance().await;
    assert_eq!(of(&world, &one).await.role_name.as_deref(), Some("backup"));
    let keys = async |id: &str, role: &str| {
        let found = world.control.metadata_role_keys(id, role).await.expect("read");
        found.map(|set| set.keys)
    };
    assert_eq!(keys(&one, "other").await, None);
    assert_eq!(keys(&bare, "backup").await, None);
    let first = keys(&one, "backup").await.expect("it has the role");
    assert_eq!(
        keys(&one, "backup").await.as_ref(),
        Some(&first),
        "the same set again"
    );
    let key = world
        .control
        .access_key(&first.access_key_id)
        .await
        .expect("read")
        .expect("known");
    assert_eq!(key.secret, first.access_key_secret);
    let arn = key.identity.arn(&key.account);
    assert!(
        arn.ends_with(&format!(":assumed-role/backup/vm-ram-{one}")),
        "{arn}"
    );
    let life = key.session.expect("temporary").expires_ms - world.now_ms();
    assert!((5 * 3600 * 1000..=6 * 3600 * 1000).contains(&life), "{life}");

    let minute = Duration::from_secs(60).as_millis() as i64;
    world.advance_ms(329 * minute);
    assert_eq!(keys(&one, "backup").await.as_ref(), Some(&first));
    world.advance_ms(2 * minute);
    let second = keys(&one, "backup").await.expect("fresh");
    assert_ne!(second.access_key_id, first.access_key_id);
    let both = [&first, &second].map(|set| set.access_key_id.clone());
    for id in &both {
        let known = world.control.access_key(id).await.expect("read").expect("known");
        assert!(
            known.session.expect("temporary").expires_ms > world.now_ms(),
            "both work"
        );
    }
    // A role that does not let instances in any more, or is gone, gives none.
    world.sql("DELETE FROM ram_roles WHERE name = 'backup'").await;
    assert_eq!(keys(&one, "backup").await, None);
    assert_eq!(of(&world, &one).await.role_name, None);
}
