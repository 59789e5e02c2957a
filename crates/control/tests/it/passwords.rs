//! Passwords of users: who comes in with one, and until when.

use crate::world::{World, code};
use tidemark_control::Identity;
use tidemark_ecs::Params;
use tidemark_ecs::ram::login::SetPassword;
use tidemark_ecs::ram::users::{CreateUser, OneUser};

fn password(name: &str, password: &str) -> SetPassword {
    SetPassword {
        user_name: name.into(),
        password: password.into(),
    }
}

fn user(name: &str) -> OneUser {
    OneUser {
        user_name: name.into(),
    }
}

fn new(name: &str) -> CreateUser {
    let params = Params::from_pairs([("UserName", name)]).expect("parameters");
    CreateUser::parse(&params).expect("a name")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_lets_its_user_in_and_nobody_else() {
    let world = World::new().await;
    let alice = world.user("alice", "").await;
    let (control, root) = (&world.control, &world.caller);
    let enter = async |name: &str, secret: &str| control.console_password(name, secret).await.expect("asked");
    assert_eq!(enter("alice", "").await, None, "she has none yet");
    control
        .create_login_profile(root, password("alice", "correct horse"))
        .await
        .expect("set");
    let first = enter("alice", "correct horse").await.expect("it is hers");
    for (name, secret) in [
        ("alice", "correct horsf"),
        ("alice", ""),
        ("bob", "correct horse"),
        ("", ""),
    ] {
        assert_eq!(enter(name, secret).await, None, "{name}");
    }
    let inside = control
        .console_user(&first)
        .await
        .expect("asked")
        .expect("she may");
    let (Identity::User { id: one, .. }, Identity::User { id: other, .. }) =
        (&inside.identity, &alice.identity)
    else {
        panic!("both are the user");
    };
    assert_eq!(one, other);
    assert_eq!(inside.identity, alice.identity, "she may what she may with a key");

    let again = control
        .create_login_profile(root, password("alice", "another one"))
        .await;
    assert_eq!(code(again), (409, "EntityAlreadyExists.User.LoginProfile".into()));
    control
        .update_login_profile(root, password("alice", "another one"))
        .await
        .expect("changed");
    assert_eq!(enter("alice", "correct horse").await, None);
    assert!(
        control.console_user(&first).await.expect("asked").is_none(),
        "whoever came in with the first one is out"
    );
    let second = enter("alice", "another one").await.expect("it is hers");
    assert!(control.console_user(&second).await.expect("asked").is_some());
    control
        .get_login_profile(root, user("alice"))
        .await
        .expect("shown");

    control
        .delete_login_profile(root, user("alice"))
        .await
        .expect("taken away");
    assert_eq!(enter("alice", "another one").await, None);
    assert!(control.console_user(&second).await.expect("asked").is_none());
    let none = control.delete_login_profile(root, user("alice")).await;
    assert_eq!(code(none), (404, "EntityNotExist.User.LoginProfile".into()));
    let nobody = control
        .create_login_profile(root, password("bob", "correct horse"))
        .await;
    assert_eq!(code(nobody), (404, "EntityNotExist.User".into()));

    // One of the same name is another.
    control.create_user(root, new("carol")).await.expect("made");
    control
        .create_login_profile(root, password("carol", "a third one"))
        .await
        .expect("set");
    let third = enter("carol", "a third one").await.expect("it is hers");
    assert_eq!(world.count("ram_login_profiles"), 1);
    control.delete_user(root, user("carol")).await.expect("deleted");
    assert_eq!(world.count("ram_login_profiles"), 0, "it goes with its user");
    control.create_user(root, new("carol")).await.expect("made");
    control
        .create_login_profile(root, password("carol", "a third one"))
        .await
        .expect("set");
    assert!(control.console_user(&third).await.expect("asked").is_none());
}
