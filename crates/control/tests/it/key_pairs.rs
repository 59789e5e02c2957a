//! SSH key pairs: made, brought, given to instances, taken from them, deleted.

use crate::world::{World, call, code};
use tidemark_control::Control;
use tidemark_ecs::model::KeyPair;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
/// As `ssh-keygen -l -E md5` has it.
const FINGER_PRINT: &str = "0f:a2:0a:d7:38:3e:65:45:08:6b:63:84:1c:ff:dc:ba";

async fn names(world: &World, query: &str) -> Vec<String> {
    let found = call!(world, describe_key_pairs, "{query}")
        .expect("listed")
        .key_pairs;
    found.into_iter().map(|pair| pair.key_pair_name).collect()
}

async fn told(control: &Control, instance: &str) -> Option<(String, String)> {
    let own = control.metadata_of(instance).await.expect("read").expect("there");
    own.public_key.map(|key| (key.id, key.openssh))
}

#[tokio::test]
async fn a_private_key_is_told_once_and_the_public_one_on_request() {
    let world = World::new().await;
    let made = call!(
        world,
        create_key_pair,
        "KeyPairName=web&Tag.1.Key=team&Tag.1.Value=red"
    )
    .expect("made");
    assert!(made.private_key_body.contains("OPENSSH PRIVATE KEY"));
    assert!(made.key_pair_id.starts_with("skp-"));
    let listed = call!(world, describe_key_pairs, "").expect("listed").key_pairs;
    let [shown] = &listed[..] else {
        panic!("{listed:?}")
    };
    let expected = KeyPair {
        key_pair_id: made.key_pair_id.clone(),
        key_pair_name: "web".into(),
        key_pair_finger_print: made.key_pair_finger_print.clone(),
        public_key: None,
        ..shown.clone()
    };
    assert_eq!(*shown, expected);
    assert_eq!(
        (shown.tags[0].key.as_str(), shown.tags[0].value.as_str()),
        ("team", "red")
    );
    let with_key = call!(world, describe_key_pairs, "IncludePublicKey=true").expect("listed");
    let public = with_key.key_pairs[0].public_key.clone().expect("asked for");
    assert!(
        public.starts_with("ssh-ed25519 AAAA") && public.ends_with(" web"),
        "{public}"
    );
    // Nothing of the private half is in the catalogue, wherever one looks.
    let secret = made.private_key_body.lines().nth(2).expect("a line").to_owned();
    world.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let file = std::fs::read(world.dir.path().join("control/catalogue.db")).expect("read");
    assert!(
        !file
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    );
}

#[tokio::test]
async fn keys_of_ones_own_are_brought_and_found_by_what_they_are() {
    let world = World::new().await;
    let brought = call!(
        world,
        import_key_pair,
        "KeyPairName=home&PublicKeyBody={KEY} me@home"
    )
    .expect("brought");
    assert_eq!(brought.key_pair_finger_print, FINGER_PRINT);
    call!(world, create_key_pair, "KeyPairName=work&Tag.1.Key=a").expect("made");
    assert_eq!(names(&world, "").await, ["work", "home"], "newest first");
    assert_eq!(names(&world, "KeyPairName=*o*k").await, ["work"]);
    assert_eq!(
        names(&world, &format!("KeyPairFingerPrint={FINGER_PRINT}")).await,
        ["home"]
    );
    assert_eq!(names(&world, "Tag.1.Key=a").await, ["work"]);
    assert_eq!(names(&world, "KeyPairName=other").await, [""; 0]);
    let world = world.restart().await;
    assert_eq!(names(&world, "").await, ["work", "home"]);
}

#[tokio::test]
async fn an_instance_is_told_of_the_key_that_it_has() {
    let world = World::new().await;
    call!(world, import_key_pair, "KeyPairName=home&PublicKeyBody={KEY}").expect("brought");
    let run = "InstanceType=tidemark.external&SystemDisk.Size=20&KeyPairName=home";
    let ids = call!(world, run_instances, "{run}")
        .expect("made")
        .instance_id_sets;
    let (own, other) = (ids[0].clone(), world.instance().await);
    let (id, key) = told(&world.control, &own).await.expect("it has one");
    assert!(id.starts_with("skp-") && key == KEY, "{id} {key}");
    assert_eq!(told(&world.control, &other).await, None);

    call!(world, create_key_pair, "KeyPairName=work").expect("made");
    let both = format!("KeyPairName=work&InstanceIds=[\"{own}\",\"i-none\",\"{other}\"]");
    let answer = call!(world, attach_key_pair, "{both}").expect("answered");
    assert_eq!(
        (answer.total_count.as_str(), answer.fail_count.as_str()),
        ("3", "1")
    );
    let codes: Vec<_> = answer
        .results
        .iter()
        .map(|result| (result.success.as_str(), result.code.as_str()))
        .collect();
    assert_eq!(
        codes,
        [
            ("true", "200"),
            ("false", "InvalidInstanceId.NotFound"),
            ("true", "200")
        ]
    );
    let (_, key) = told(&world.control, &own).await.expect("the new one");
    assert!(key.ends_with(" work"), "{key}");

    let held = call!(world, delete_key_pairs, "KeyPairNames=[\"home\",\"work\"]");
    assert_eq!(
        code(held),
        (400, "InvalidParameter.KeypairAlreadyAttachedInstance".into())
    );
    assert_eq!(names(&world, "").await, ["work", "home"], "all or none");
    let wrong = call!(world, detach_key_pair, "KeyPairName=home&InstanceIds=[\"{own}\"]").expect("answered");
    assert_eq!(wrong.fail_count, "1", "it has another");
    call!(
        world,
        detach_key_pair,
        "KeyPairName=work&InstanceIds=[\"{own}\",\"{other}\"]"
    )
    .expect("taken");
    assert_eq!(told(&world.control, &own).await, None);
    call!(world, delete_key_pairs, "KeyPairNames=[\"home\",\"work\"]").expect("deleted");
    assert_eq!(names(&world, "").await, [""; 0]);
    assert_eq!(world.count("tags"), 0);
}

#[tokio::test]
async fn a_name_is_one_regions() {
    let world = World::two_regions().await;
    call!(world, create_key_pair, "KeyPairName=web").expect("made");
    let far = crate::world::call_in!(world, crate::world::FAR, create_key_pair, "KeyPairName=web");
    far.expect("made there, too");
    let instance = world.far_instance().await;
    let elsewhere = call!(
        world,
        attach_key_pair,
        "KeyPairName=web&InstanceIds=[\"{instance}\"]"
    )
    .expect("answered");
    assert_eq!(elsewhere.results[0].code, "InvalidInstanceId.NotFound");
    assert_eq!(names(&world, "").await, ["web"]);
}
