//! `tidemark doctor`: damage is named with its place, and a healthy or busy data directory is not slandered.

use crate::common::{run, signal};
use crate::service::Service;
use crate::volume::{connect, request, serve};
use serde_json::Value;
use std::path::{Path, PathBuf};

const BLOCK: usize = 4096;

/// A data directory with one volume that was written to, batch after synced batch, and killed.
fn killed_volume() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let volumes = dir.path().join("volumes");
    std::fs::create_dir(&volumes).unwrap();
    assert_eq!(
        run(&volumes, &["volume", "create", "v", "--size", "64M"]).code,
        Some(0)
    );
    let mut child = serve(&volumes, "x");
    let (mut stream, _) = connect(&volumes, "x");
    for n in 1..=6u8 {
        assert_eq!(
            request(&mut stream, 1, u64::from(n) << 16, BLOCK as u32, &[n; BLOCK]),
            0
        );
        assert_eq!(request(&mut stream, 3, 0, 0, &[]), 0);
    }
    signal(&child, "KILL");
    child.wait().unwrap();
    std::fs::remove_file(volumes.join("s")).unwrap();
    dir
}

/// The doctor's exit status and its findings about `item`.
fn findings(dir: &Path, item: &str) -> (Option<i32>, Vec<Value>) {
    let ran = run(
        dir,
        &[
            "doctor",
            "--json",
            "--data-dir",
            dir.to_str().expect("a plain path"),
        ],
    );
    let object: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    assert_eq!(object["Healthy"], ran.code == Some(0), "{object}");
    let about = object["Findings"].as_array().expect("a list").iter();
    (ran.code, about.filter(|f| f["item"] == item).cloned().collect())
}

/// The log file that holds these bytes, its content, and where they are.
fn in_log(dir: &Path, bytes: &[u8]) -> (PathBuf, Vec<u8>, usize) {
    for entry in std::fs::read_dir(dir.join("volumes/v/log")).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        if let Some(at) = content.chunks(BLOCK).position(|block| block == bytes) {
            return (path, content, at * BLOCK);
        }
    }
    panic!("no log file holds what was written");
}

#[test]
fn damage_in_the_middle_of_the_log_is_named_with_its_range_and_a_torn_tail_is_no_damage() {
    let dir = killed_volume();
    let dir = dir.path();
    let (code, found) = findings(dir, "volume v");
    assert_eq!((code, found.len()), (Some(0), 1), "{found:?}");
    assert_eq!(found[0]["verdict"], "OK");
    assert!(
        found[0]["found"].as_str().unwrap().contains("up to LSN 6"),
        "{found:?}"
    );

    // The last batch torn: nothing behind it says that it was ever whole.
    let (path, whole, at) = in_log(dir, &[6; BLOCK]);
    let mut torn = whole.clone();
    torn[at + 100] ^= 1;
    std::fs::write(&path, &torn).unwrap();
    let (code, found) = findings(dir, "volume v");
    assert_eq!(
        (code, &found[0]["verdict"]),
        (Some(0), &Value::from("OK")),
        "{found:?}"
    );

    // The third of six: batches behind it know that it was synced.
    let (path, _, at) = in_log(dir, &[3; BLOCK]);
    let mut damaged = whole;
    damaged[at + 100] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let (code, found) = findings(dir, "volume v");
    assert_eq!(
        (code, &found[0]["verdict"]),
        (Some(1), &Value::from("DAMAGED")),
        "{found:?}"
    );
    let said = found[0]["found"].as_str().unwrap();
    assert!(
        said.contains("log records 3 to 5") && said.contains("segment"),
        "{said}"
    );
    assert!(!found[0]["advice"].as_str().unwrap().is_empty());
    assert_eq!(
        std::fs::read(&path).unwrap(),
        damaged,
        "the doctor repairs nothing"
    );
}

#[test]
fn lost_files_and_leftovers_are_named() {
    let dir = killed_volume();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("marks")).unwrap();
    std::fs::create_dir_all(dir.join("spool/s-lonely")).unwrap();
    std::fs::write(dir.join("marks/s-1.json"), r#"{"disk":"v","meta":{}}"#).unwrap();
    std::fs::write(dir.join("marks/s-2.json"), r#"{"disk":"d-gone","meta":{}}"#).unwrap();
    std::fs::write(dir.join("marks/s-3.json"), "{").unwrap();
    std::fs::create_dir(dir.join("volumes/.d-old")).unwrap();
    let verdict = |item: &str| {
        let (_, found) = findings(dir, item);
        assert_eq!(found.len(), 1, "{item}: {found:?}");
        found[0]["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict("capture s-1"), "OK");
    assert_eq!(verdict("capture s-2"), "WARNING");
    assert_eq!(verdict("capture s-3"), "DAMAGED");
    assert_eq!(verdict("spool s-lonely"), "WARNING");
    assert_eq!(verdict("volume .d-old"), "WARNING");

    std::fs::remove_file(dir.join("volumes/v/base/0000.raw")).unwrap();
    let (_, found) = findings(dir, "volume v");
    assert!(
        found[0]["found"].as_str().unwrap().contains("base shard 0"),
        "{found:?}"
    );
    for slot in ["super.0", "super.1"] {
        std::fs::write(dir.join("volumes/v").join(slot), [0; 4096]).unwrap();
    }
    let (code, found) = findings(dir, "volume v");
    assert!(
        code == Some(1)
            && found[0]["found"]
                .as_str()
                .unwrap()
                .contains("neither superblock slot is valid"),
        "{found:?}"
    );
}

#[test]
fn a_whole_service_is_healthy_after_a_kill_and_is_not_looked_at_while_it_runs() {
    let service = Service::start();
    service.out(&["instance", "create", "--name", "box", "--wait"]);
    let busy = service.run(&["doctor"]);
    assert!(
        busy.code == Some(1) && busy.err.contains("stop the service first"),
        "{}{}",
        busy.out,
        busy.err
    );
    let dir = service.kill();
    let ran = run(dir.path(), &["doctor"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    for line in ["OK       catalogue: whole", "OK       vault: 0 snapshots"] {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
    assert!(ran.out.contains("0 warnings, 0 damaged"), "{}", ran.out);
    // A vault that is another one is not taken for ours.
    let other = Service::start();
    let other = other.stop();
    let vault = dir.path().join("tidemark-data/vault");
    std::fs::remove_dir_all(&vault).unwrap();
    std::fs::rename(other.path().join("tidemark-data/vault"), &vault).unwrap();
    let ran = run(dir.path(), &["doctor"]);
    assert!(
        ran.code == Some(1) && ran.out.contains("DAMAGED  vault") && ran.out.contains("belongs to vault"),
        "{}",
        ran.out
    );
}
