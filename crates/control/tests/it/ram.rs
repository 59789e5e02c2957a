//! Users, keys, policies, roles and temporary keys.

use crate::world::{World, code, params};
use tidemark_control::{Caller, Identity};
use tidemark_ecs::ApiError;
use tidemark_ecs::ram::{NamePage, keys, policies, roles, sts, users};

fn user(name: &str) -> users::OneUser {
    users::OneUser {
        user_name: name.into(),
    }
}

fn keys_of(name: Option<&str>) -> keys::KeysOf {
    keys::KeysOf {
        user_name: name.map(str::to_owned),
    }
}

fn one_key(name: Option<&str>, id: &str) -> keys::OneKey {
    keys::OneKey {
        user_name: name.map(str::to_owned),
        user_access_key_id: id.into(),
    }
}

fn status(name: Option<&str>, id: &str, active: bool) -> keys::UpdateAccessKey {
    keys::UpdateAccessKey {
        user_name: name.map(str::to_owned),
        user_access_key_id: id.into(),
        active,
    }
}

fn attachment(kind: &str, policy: &str, holder: policies::Holder) -> policies::Attachment {
    policies::Attachment {
        policy_type: kind.into(),
        policy_name: policy.into(),
        holder,
    }
}

fn to_user(policy: &str, name: &str) -> policies::Attachment {
    attachment("System", policy, policies::Holder::User(name.into()))
}

fn to_role(policy: &str, name: &str) -> policies::Attachment {
    attachment("System", policy, policies::Holder::Role(name.into()))
}

const ANYBODY: &str = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::1000000000000001:root"}}}"#;

fn role(name: &str, trust: &str) -> roles::CreateRole {
    roles::CreateRole {
        role_name: name.into(),
        description: String::new(),
        assume_role_policy_document: trust.into(),
        max_session_duration: 3600,
    }
}

fn assume(name: &str, seconds: i64) -> sts::AssumeRole {
    sts::AssumeRole {
        role: ("1000000000000001".into(), name.into()),
        role_session_name: "night".into(),
        duration_seconds: seconds,
        policy: None,
    }
}

async fn may(world: &World, caller: &Caller, action: &str) -> bool {
    let asked: Result<(), ApiError> = world.control.authorize(caller, "ecs", action, &params("")).await;
    asked.is_ok()
}

#[tokio::test]
async fn one_refusal_per_code() {
    let world = World::new().await;
    let (control, root) = (&world.control, &world.caller);
    let alice = world
        .user("alice", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#)
        .await;
    control
        .create_role(root, role("backup", ANYBODY))
        .await
        .expect("made");
    control
        .attach_policy(root, to_role("AdministratorAccess", "backup"))
        .await
        .expect("attached");
    let created = |name: &str| users::CreateUser {
        user_name: name.into(),
        display_name: String::new(),
        comments: String::new(),
    };
    let bob = control
        .create_user(root, created("bob"))
        .await
        .expect("made")
        .user;
    assert_eq!(
        control.get_user(root, user("bob")).await.expect("there").user,
        bob
    );
    let own = alice.access_key.as_str();
    let policy = |name: &str| policies::CreatePolicy {
        policy_name: name.into(),
        policy_document: r#"{"Version":"1","Statement":[]}"#.into(),
        description: String::new(),
    };
    let gone = policies::DeletePolicy {
        policy_name: "none".into(),
    };
    let held = policies::DeletePolicy {
        policy_name: "p-alice".into(),
    };
    let version = policies::CreatePolicyVersion {
        policy_name: "AdministratorAccess".into(),
        policy_document: String::new(),
    };
    let get = policies::GetPolicy {
        policy_type: "Custom".into(),
        policy_name: "none".into(),
    };
    let one_role = |name: &str| roles::OneRole {
        role_name: name.into(),
    };
    let (user_twice, no_user) = (created("alice"), user("none"));
    let rows = [
        (
            code(control.create_user(root, user_twice).await),
            409,
            "EntityAlreadyExists.User",
        ),
        (
            code(control.get_user(root, no_user.clone()).await),
            404,
            "EntityNotExist.User",
        ),
        (
            code(control.delete_user(root, no_user).await),
            404,
            "EntityNotExist.User",
        ),
        (
            code(control.delete_user(root, user("alice")).await),
            409,
            "DeleteConflict.User.AccessKey",
        ),
        (
            code(control.create_access_key(root, keys_of(Some("none"))).await),
            404,
            "EntityNotExist.User",
        ),
        // Another user's key is none of this user's.
        (
            code(control.delete_access_key(root, one_key(Some("bob"), own)).await),
            404,
            "EntityNotExist.User.AccessKey",
        ),
        (
            code(control.update_access_key(root, status(None, own, false)).await),
            404,
            "EntityNotExist.User.AccessKey",
        ),
        (
            code(control.create_policy(root, policy("p-alice")).await),
            409,
            "EntityAlreadyExists.Policy",
        ),
        (
            code(control.create_policy(root, policy("AdministratorAccess")).await),
            409,
            "EntityAlreadyExists.Policy",
        ),
        (
            code(control.create_policy_version(root, version).await),
            404,
            "EntityNotExist.Policy",
        ),
        (
            code(control.get_policy(root, get).await),
            404,
            "EntityNotExist.Policy",
        ),
        (
            code(control.delete_policy(root, gone).await),
            404,
            "EntityNotExist.Policy",
        ),
        (
            code(control.delete_policy(root, held).await),
            409,
            "DeleteConflict.Policy.Attached",
        ),
        (
            code(control.attach_policy(root, to_user("none", "alice")).await),
            404,
            "EntityNotExist.Policy",
        ),
        (
            code(
                control
                    .attach_policy(root, to_user("AdministratorAccess", "none"))
                    .await,
            ),
            404,
            "EntityNotExist.User",
        ),
        (
            code(
                control
                    .attach_policy(root, to_role("AdministratorAccess", "none"))
                    .await,
            ),
            404,
            "EntityNotExist.Role",
        ),
        (
            code(
                control
                    .attach_policy(root, to_role("AdministratorAccess", "backup"))
                    .await,
            ),
            409,
            "EntityAlreadyExists.Role.Policy",
        ),
        (
            code(
                control
                    .detach_policy(root, to_user("AdministratorAccess", "alice"))
                    .await,
            ),
            404,
            "EntityNotExist.User.Policy",
        ),
        (
            code(control.create_role(root, role("backup", ANYBODY)).await),
            409,
            "EntityAlreadyExists.Role",
        ),
        (
            code(control.get_role(root, one_role("none")).await),
            404,
            "EntityNotExist.Role",
        ),
        (
            code(control.delete_role(root, one_role("backup")).await),
            409,
            "DeleteConflict.Role.Policy",
        ),
        (
            code(control.assume_role(root, assume("none", 900)).await),
            403,
            "NoPermission",
        ),
        (
            code(control.assume_role(root, assume("backup", 3601)).await),
            400,
            "InvalidParameter.DurationSeconds",
        ),
        (
            code(
                control
                    .update_access_key(root, status(None, &root.access_key, false))
                    .await,
            ),
            409,
            "DeleteConflict.LastRootKey",
        ),
        (
            code(
                control
                    .delete_access_key(root, one_key(None, &root.access_key))
                    .await,
            ),
            409,
            "DeleteConflict.LastRootKey",
        ),
    ];
    for (found, status, code) in rows {
        assert_eq!(found, (status, code.to_owned()));
    }
    control
        .create_access_key(root, keys_of(Some("alice")))
        .await
        .expect("a second one");
    let third = control.create_access_key(root, keys_of(Some("alice"))).await;
    assert_eq!(code(third), (409, "LimitExceeded.User.AccessKey".into()));
}

#[tokio::test]
async fn the_account_s_own_key_can_be_replaced_and_one_always_works() {
    let world = World::new().await;
    let (control, root) = (&world.control, &world.caller);
    let made = control
        .create_access_key(root, keys_of(None))
        .await
        .expect("made")
        .access_key;
    let new = world.caller_of(&made.access_key_id).await;
    assert_eq!(new.identity, Identity::Root);
    control
        .update_access_key(&new, status(None, &root.access_key, false))
        .await
        .expect("disabled");
    assert!(
        !control
            .access_key(&root.access_key)
            .await
            .expect("read")
            .expect("there")
            .active
    );
    assert_eq!(control.root_key().await.expect("one").id, made.access_key_id);
    let last = control
        .update_access_key(&new, status(None, &made.access_key_id, false))
        .await;
    assert_eq!(code(last), (409, "DeleteConflict.LastRootKey".into()));
    control
        .delete_access_key(&new, one_key(None, &root.access_key))
        .await
        .expect("deleted");
    let world = world.restart().await;
    assert_eq!(
        world.control.root_key().await.expect("one").id,
        made.access_key_id
    );
}

#[tokio::test]
async fn what_a_user_may_follows_at_once() {
    let world = World::new().await;
    let (control, root) = (&world.control, &world.caller);
    let key = world.user("alice", "").await.access_key;
    let now = async || may(&world, &world.caller_of(&key).await, "DescribeDisks").await;
    assert!(!now().await);
    control
        .attach_policy(root, to_user("AliyunECSReadOnlyAccess", "alice"))
        .await
        .expect("attached");
    assert!(now().await);
    world
        .grant(
            "alice",
            r#"{"Effect":"Deny","Action":"ecs:DescribeDisks","Resource":"*"}"#,
        )
        .await;
    assert!(!now().await, "a deny wins");
    let nothing = policies::CreatePolicyVersion {
        policy_name: "p-alice".into(),
        policy_document: r#"{"Version":"1","Statement":[]}"#.into(),
    };
    control
        .create_policy_version(root, nothing)
        .await
        .expect("changed");
    assert!(now().await);
    control
        .detach_policy(root, to_user("AliyunECSReadOnlyAccess", "alice"))
        .await
        .expect("detached");
    assert!(!now().await);
    // Disabled, enabled, deleted.
    control
        .update_access_key(root, status(Some("alice"), &key, false))
        .await
        .expect("disabled");
    assert!(
        !control
            .access_key(&key)
            .await
            .expect("read")
            .expect("there")
            .active
    );
    control
        .update_access_key(root, status(Some("alice"), &key, true))
        .await
        .expect("enabled");
    assert!(
        control
            .access_key(&key)
            .await
            .expect("read")
            .expect("there")
            .active
    );
    control
        .delete_access_key(root, one_key(Some("alice"), &key))
        .await
        .expect("deleted");
    assert_eq!(control.access_key(&key).await.expect("read"), None);
}

#[tokio::test]
async fn a_key_s_last_use_is_known_to_the_minute() {
    let world = World::new().await;
    let (control, root) = (&world.control, &world.caller);
    let key = world.user("alice", "").await.access_key;
    let used = async || {
        let asked = control
            .get_access_key_last_used(root, one_key(Some("alice"), &key))
            .await;
        asked.expect("there").access_key_last_used.last_used_date
    };
    assert_eq!(used().await, "");
    assert!(control.use_nonce(&key, "n", true).await.expect("noted"));
    let first = used().await;
    assert_eq!(first.len(), "2026-01-02T03:04Z".len());
    world.advance_days(1);
    assert!(
        !control.use_nonce(&key, "n", true).await.is_ok_and(|new| !new),
        "a day later it is new"
    );
    assert_ne!(used().await, first);
}

#[tokio::test]
async fn temporary_keys_are_their_role_s_and_end_with_it() {
    let world = World::new().await;
    let (control, root) = (&world.control, &world.caller);
    let only_alice = ANYBODY.replace(":root", ":user/alice");
    let (alice, bob) = (world.user("alice", "").await, world.user("bob", "").await);
    control
        .create_role(root, role("backup", &only_alice))
        .await
        .expect("made");
    assert_eq!(
        code(control.assume_role(&bob, assume("backup", 900)).await),
        (403, "NoPermission".into())
    );
    let got = control
        .assume_role(&alice, assume("backup", 900))
        .await
        .expect("let in");
    let key = got.credentials;
    assert!(key.access_key_id.starts_with("STS."));
    assert_eq!(
        got.assumed_role_user.arn,
        "acs:ram::1000000000000001:assumed-role/backup/night"
    );
    let caller = world.caller_of(&key.access_key_id).await;
    assert!(!may(&world, &caller, "DescribeDisks").await);
    control
        .attach_policy(root, to_role("AliyunECSReadOnlyAccess", "backup"))
        .await
        .expect("attached");
    let caller = world.caller_of(&key.access_key_id).await;
    assert!(may(&world, &caller, "DescribeDisks").await && !may(&world, &caller, "DeleteDisk").await);
    // Kept to less.
    let within = sts::AssumeRole {
        policy: Some(r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"ecs:DescribeSnapshots","Resource":"*"}}"#.into()),
        ..assume("backup", 900)
    };
    let less = control
        .assume_role(&alice, within)
        .await
        .expect("let in")
        .credentials;
    let less = world.caller_of(&less.access_key_id).await;
    assert!(may(&world, &less, "DescribeSnapshots").await && !may(&world, &less, "DescribeDisks").await);
    // They survive a restart, and the end of their time is known for a day.
    let world = world.restart().await;
    let (control, root) = (&world.control, &world.caller);
    let session = control
        .access_key(&key.access_key_id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(session.secret, key.access_key_secret);
    assert!(session.session.is_some());
    control
        .detach_policy(root, to_role("AliyunECSReadOnlyAccess", "backup"))
        .await
        .expect("detached");
    control
        .delete_role(
            root,
            roles::OneRole {
                role_name: "backup".into(),
            },
        )
        .await
        .expect("deleted");
    assert_eq!(control.access_key(&key.access_key_id).await.expect("read"), None);
    control
        .create_role(root, role("other", ANYBODY))
        .await
        .expect("made");
    let key = control
        .assume_role(root, assume("other", 900))
        .await
        .expect("let in")
        .credentials;
    world.advance_days(1);
    control.keep_house().await.expect("kept");
    assert!(
        control
            .access_key(&key.access_key_id)
            .await
            .expect("read")
            .is_some(),
        "so that it is called expired"
    );
    world.advance_days(1);
    control.keep_house().await.expect("kept");
    assert_eq!(control.access_key(&key.access_key_id).await.expect("read"), None);
}

#[tokio::test]
async fn lists_go_on_from_their_marker() {
    let world = World::new().await;
    for name in ["c", "a", "b"] {
        world.user(name, "").await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = NamePage { size: 2, after };
        let answer = world
            .control
            .list_users(&world.caller, users::ListUsers { page })
            .await
            .expect("listed");
        seen.extend(answer.users.into_iter().map(|user| user.user_name));
        match answer.page.marker {
            Some(marker) => after = marker,
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    let page = NamePage {
        size: 1000,
        after: String::new(),
    };
    let all = policies::ListPolicies {
        policy_type: None,
        page,
    };
    let listed = world
        .control
        .list_policies(&world.caller, all)
        .await
        .expect("listed")
        .policies;
    assert!(
        listed
            .iter()
            .any(|policy| policy.policy_name == "AdministratorAccess" && policy.policy_type == "System")
    );
}
