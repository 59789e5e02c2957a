//! Damage in the vault is told once, whatever was missed in between. The scrub's part is played by changes to the file that it
//! keeps: all that is said beside it may be lost. One test has a real one.

use crate::data::fill;
use crate::world::{World, call};
use serde_json::{Value, json};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A place that is damaged.
fn loss(object: &str) -> Value {
    json!({
        "Object": object, "Kind": "Chunks", "Lost": true, "Disk": "d-1", "Snapshots": [],
        "Start": 0, "End": 65536, "What": "a chunk", "Error": "its hash is another",
    })
}

impl World {
    fn scrub_file(&self) -> PathBuf {
        self.dir.path().join("node").join(tidemark_node::SCRUB_FILE)
    }

    /// Has the scrub write its file.
    async fn scrubbed(&self) {
        let number = call!(self, start_vault_scrub, "").expect("asked").scrub_number;
        let asked = async || {
            let file = std::fs::read(self.scrub_file()).unwrap_or_default();
            let state: Value = serde_json::from_slice(&file).unwrap_or_default();
            state["Asked"].to_string()
        };
        self.eventually(asked, "the scrub", &number.to_string()).await;
    }

    /// What the file says from now on: damage that is open, and what was repaired, with its number.
    fn scrub_notes(&self, open: &[&str], repaired: &[(i64, &str)]) {
        let open: Vec<_> = open
            .iter()
            .map(|object| json!({ "Loss": loss(object), "SinceMs": 1, "Round": 0 }))
            .collect();
        let repaired: Vec<_> = repaired
            .iter()
            .map(|(number, object)| json!({ "Number": number, "Loss": loss(object) }))
            .collect();
        self.scrub_note("Open", open.into());
        self.scrub_note("Repaired", repaired.into());
    }

    fn scrub_note(&self, name: &str, value: Value) {
        let file = std::fs::read(self.scrub_file()).expect("there is one");
        let mut state: Value = serde_json::from_slice(&file).expect("as it was written");
        state[name] = value;
        std::fs::write(self.scrub_file(), state.to_string()).expect("written");
    }

    /// What was told of damage, oldest first.
    async fn told(&self) -> Vec<String> {
        let query = "EventName.1=Vault:DamageFound&EventName.2=Vault:Repaired&MaxResults=100";
        let mut events = call!(self, describe_events, "{query}").expect("listed").events;
        events.reverse();
        let show = |event: &tidemark_ecs::actions::describe_events::Event| {
            let object = event.content["object"].as_str().unwrap_or_default();
            format!("{} {object}", event.event_name.trim_start_matches("Vault:"))
        };
        events.iter().map(show).collect()
    }

    async fn told_after_a_round(&self) -> Vec<String> {
        self.control.keep_house().await.expect("kept");
        self.told().await
    }
}

#[tokio::test]
async fn damage_that_was_noted_before_a_start_is_told_at_it_and_once() {
    let world = World::new().await;
    world.scrubbed().await;
    world.scrub_notes(&["a"], &[]);
    let mut world = world.restart().await;
    for _ in 0..2 {
        let count = async || world.told().await.len().to_string();
        world.eventually(count, "what was told", "1").await;
        assert_eq!(world.told_after_a_round().await, ["DamageFound a"]);
        world = world.restart().await;
    }
}

#[tokio::test]
async fn what_nobody_heard_is_told_by_the_next_round() {
    let world = World::new().await;
    world.scrubbed().await;
    world.scrub_notes(&["a"], &[]);
    assert_eq!(world.told_after_a_round().await, ["DamageFound a"]);
    world.scrub_notes(&["a", "b"], &[(7, "c")]);
    let three = ["DamageFound a", "Repaired c", "DamageFound b"];
    assert_eq!(world.told_after_a_round().await, three);
    assert_eq!(world.told_after_a_round().await, three);
    // A place that was repaired and is damaged once more is new, and so is a second repair of it.
    world.scrub_notes(&["a", "b"], &[(7, "c"), (8, "a")]);
    let four = [&three[..], &["Repaired a", "DamageFound a"]].concat();
    assert_eq!(world.told_after_a_round().await, four);
    world.scrub_notes(&["b"], &[(7, "c"), (8, "a"), (9, "a")]);
    let more = [&four[..], &["Repaired a"]].concat();
    assert_eq!(world.told_after_a_round().await, more);
}

/// A whole round that did not meet it says that damage is over; a file that begins anew does not.
#[tokio::test]
async fn damage_that_comes_back_is_told_again_and_what_a_lost_file_left_out_is_not() {
    let world = World::new().await;
    world.scrubbed().await;
    for (round, told) in [(Value::Null, 1), (whole_round(), 2)] {
        world.scrub_note("Last", round);
        for open in [&["a"][..], &[], &["a"]] {
            world.scrub_notes(open, &[]);
            world.control.keep_house().await.expect("kept");
        }
        assert_eq!(world.told().await.len(), told);
    }
}

fn whole_round() -> Value {
    json!({ "BegunMs": 1, "EndedMs": 2, "Nodes": 1, "Chunks": 1, "Bytes": 1, "Found": 0, "Repaired": 0 })
}

#[tokio::test]
async fn a_catalogue_that_cannot_be_written_costs_no_event() {
    let world = World::new().await;
    world.scrubbed().await;
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
    world.sql(broken).await;
    world.scrub_notes(&["a"], &[(7, "b")]);
    assert_eq!(world.told_after_a_round().await, [""; 0]);
    world.sql("DROP TRIGGER broken").await;
    assert_eq!(world.told_after_a_round().await, ["Repaired b", "DamageFound a"]);
}

/// The files below a directory with their sizes.
fn files(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let below = entries.map(|entry| {
        let entry = entry.expect("listed");
        match entry.metadata().expect("there").is_dir() {
            true => files(&entry.path()),
            false => vec![(entry.metadata().expect("there").len(), entry.path())],
        }
    });
    below.flatten().collect()
}

/// What is said is heard at once, not by the next round: that is far away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_scrub_says_is_told_at_once() {
    let world = World::with(|config| config.housekeeping = Duration::from_secs(24 * 3600)).await;
    let (instance, disk) = world.attached_disk().await;
    fill(&world, &disk, 1, 2);
    let snapshot = world.snapshot(&disk).await;
    let (bytes, pack) = files(&world.dir.path().join("vault/packs"))
        .into_iter()
        .max()
        .expect("a pack");
    let rot = async || {
        let file = std::fs::File::options().write(true).open(&pack).expect("opens");
        file.write_all_at(b"rot", bytes / 2).expect("damaged");
        world.scrubbed().await;
    };
    let count = async || world.told().await.len().to_string();
    rot().await;
    world.eventually(count, "what was told", "1").await;
    world.detach(&instance, &disk).await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    rot().await;
    world.eventually(count, "what was told", "2").await;
    let told = world.told().await;
    assert!(
        told[0].starts_with("Repaired packs/"),
        "its disk had it: {told:?}"
    );
    assert!(
        told[1].starts_with("DamageFound packs/"),
        "nobody has it: {told:?}"
    );
    let query = "EventName.1=Vault:DamageFound";
    let found = call!(world, describe_events, "{query}").expect("listed").events;
    assert_eq!(found[0].content["snapshotIds"], json!([snapshot]));
    assert_eq!(world.told_after_a_round().await, told, "once");
}
