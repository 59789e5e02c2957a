//! Secrets in the catalogue, and what becomes of keys.

use crate::world::World;
use tempfile::TempDir;
use tidemark_control::{Control, ControlConfig};
use tidemark_ecs::ram::keys::KeysOf;

/// Whether a text stands anywhere in the catalogue's files.
fn is_in_catalogue(dir: &TempDir, text: &str) -> bool {
    let files = std::fs::read_dir(dir.path().join("control")).expect("lists");
    files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("catalogue.db"))
        })
        .any(|path| {
            let bytes = std::fs::read(&path).expect("read");
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        })
}

#[tokio::test]
async fn the_catalogue_alone_signs_nothing() {
    let world = World::new().await;
    let root = world.control.root_key().await.expect("a root key");
    let own = KeysOf { user_name: None };
    let made = world
        .control
        .create_access_key(&world.caller, own)
        .await
        .expect("made")
        .access_key;
    for (id, secret) in [
        (&root.id, &root.secret),
        (&made.access_key_id, &made.access_key_secret),
    ] {
        assert!(
            is_in_catalogue(&world.dir, id),
            "the test looks in the right place"
        );
        assert!(!is_in_catalogue(&world.dir, secret));
    }
    let world = world.restart().await;
    let again = world
        .control
        .access_key(&made.access_key_id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(again.secret, made.access_key_secret);
    assert_eq!(
        world.control.root_key().await.expect("a root key").secret,
        root.secret
    );
}

/// As an earlier program left it: the secret as it is, in a row and in pages that are not used any more.
const UNSEALED: &str = "
    UPDATE access_keys SET secret = 'plain-as-it-was-before', sealed = 0;
    DELETE FROM counters WHERE name = 'secrets_rewritten';
    CREATE TABLE scratch (a TEXT);
    INSERT INTO scratch VALUES ('plain-as-it-was-before');
    DROP TABLE scratch;";

#[tokio::test]
async fn secrets_of_an_earlier_program_are_sealed_at_the_next_start_and_nothing_of_them_stays() {
    let world = World::new().await;
    let world = world
        .restart_with(|dir| {
            let path = dir.path().join("control/catalogue.db");
            let file = rusqlite::Connection::open(path).expect("opens");
            file.execute_batch(UNSEALED).expect("the test's own SQL runs");
            drop(file);
            std::fs::remove_file(dir.path().join("control/secrets.key")).expect("not there yet");
            assert!(is_in_catalogue(dir, "plain-as-it-was-before"));
        })
        .await;
    assert!(!is_in_catalogue(&world.dir, "plain-as-it-was-before"));
    let key = world.control.root_key().await.expect("a root key");
    assert_eq!(key.secret, "plain-as-it-was-before");
}

#[tokio::test]
async fn a_lost_key_of_the_secrets_is_said_and_not_replaced() {
    let world = World::new().await;
    let key = world.dir.path().join("control/secrets.key");
    let saved = std::fs::read(&key).expect("the key");
    world.control.shutdown().await;
    std::fs::remove_file(&key).expect("removed");
    let config = ControlConfig::new(world.dir.path().join("control"));
    let error = Control::open(config.clone(), world.node.clone())
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("secrets.key"), "{error}");
    assert!(!key.exists(), "a new key would open nothing");
    // Kept elsewhere, it is found when it is named.
    let elsewhere = world.dir.path().join("kept");
    std::fs::write(&elsewhere, saved).expect("written");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o600)).expect("set");
    let config = ControlConfig {
        secrets_key: Some(elsewhere),
        ..config
    };
    let control = Control::open(config, world.node.clone()).await.expect("opens");
    control.root_key().await.expect("opens");
    control.shutdown().await;
}
