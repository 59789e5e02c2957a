//! Help, refusals and completions: what a newcomer meets first.

use crate::common::{Ran, run, tidemark};
use std::net::TcpListener;

const GROUPS: &[&str] = &[
    "up",
    "disk",
    "snapshot",
    "instance",
    "image",
    "ecs",
    "volume",
    "rebuild",
    "completions",
];

#[test]
fn every_group_is_listed_and_teaches_by_example() {
    let dir = tempfile::tempdir().unwrap();
    let top = run(dir.path(), &["--help"]);
    assert_eq!(top.code, Some(0));
    for group in GROUPS {
        assert!(
            top.out.contains(&format!("\n  {group} ")),
            "{group} is missing:\n{}",
            top.out
        );
        let help = run(dir.path(), &[group, "--help"]);
        assert_eq!(help.code, Some(0), "{group}: {}", help.err);
        assert!(
            help.out.contains("Examples:\n") && help.out.contains("tidemark "),
            "{group}:\n{}",
            help.out
        );
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for words in [
        &["dsik"][..],
        &["disk", "create"],
        &["disk", "create", "--size", "8X"],
        &["volume", "create", "v"],
    ] {
        let ran = run(dir.path(), words);
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.err);
    }
    assert!(
        run(dir.path(), &["disk", "create", "--size", "8X"])
            .err
            .contains("8X")
    );
}

#[test]
fn without_a_server_the_way_out_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for words in [
        &["ecs", "DescribeDisks"][..],
        &["disk", "list"],
        &["snapshot", "list"],
        &["instance", "list"],
    ] {
        let ran = run(dir.path(), words);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{words:?}");
        assert!(
            ran.err.starts_with("ERROR: ") && ran.err.contains("tidemark up"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let words = [
        "ecs",
        "DescribeDisks",
        "--endpoint",
        &address,
        "--access-key-id",
        "k",
        "--access-key-secret",
        "s",
    ];
    let ran = run(dir.path(), &words);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(
        ran.err
            .starts_with(&format!("ERROR: cannot reach http://{address}: ")),
        "{}",
        ran.err
    );
}

#[test]
fn completions_know_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(dir.path(), &["completions", shell]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        for word in ["tidemark", "snapshot", "endpoint", "retention-days"] {
            assert!(ran.out.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn up_refuses_before_it_touches_anything() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.toml"), "lissten = '127.0.0.1:1'\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (words, part) in [
        (&["up", "--config", "c.toml"][..], "lissten"),
        (&["up", "--config", "none.toml"], "none.toml"),
        (&["up", "--listen", "nowhere"], "--listen nowhere"),
        (&["up", "--listen", &address], "in use"),
    ] {
        let ran = run(dir.path(), words);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(1), ""),
            "{words:?}: {}",
            ran.err
        );
        assert!(ran.err.contains(part), "{words:?}: {}", ran.err);
        assert!(
            !dir.path().join("tidemark-data/vault").exists(),
            "{words:?} left something"
        );
    }
    let mut half = tidemark(dir.path(), &["up"]);
    let ran = Ran::from(half.env("TIDEMARK_ACCESS_KEY_ID", "k").output().unwrap());
    assert!(
        ran.code == Some(1) && ran.err.contains("TIDEMARK_ACCESS_KEY_SECRET"),
        "{}",
        ran.err
    );
}
