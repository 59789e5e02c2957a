//! Which names a cut keeps.

use super::*;

fn at(dir: Ino, name: &str) -> Place<'_> {
    (dir, OsStr::new(name))
}

/// The root's names after a cut, as "name:ino" words.
fn after_cut(mut names: Names, seed: u64) -> String {
    names.cut(&mut Rng::new(seed));
    let words: Vec<String> = names
        .list(ROOT)
        .map(|(name, ino)| format!("{}:{ino}", name.display()))
        .collect();
    words.join(" ")
}

fn outcomes(make: impl Fn() -> Names) -> Vec<String> {
    let all: std::collections::BTreeSet<String> = (0..500).map(|seed| after_cut(make(), seed)).collect();
    all.into_iter().collect()
}

#[test]
fn a_created_name_needs_a_sync_of_its_directory() {
    let create = || {
        let mut names = Names::default();
        names.set(at(ROOT, "a"), 2, false);
        names
    };
    assert_eq!(outcomes(create), ["", "a:2"]);
    let synced = || {
        let mut names = create();
        names.sync(ROOT);
        names
    };
    assert_eq!(outcomes(synced), ["a:2"]);
}

#[test]
fn a_rename_is_one_step() {
    let rename = || {
        let mut names = Names::default();
        names.set(at(ROOT, "new"), 3, false);
        names.set(at(ROOT, "kept"), 2, false);
        names.sync(ROOT);
        names.rename(at(ROOT, "new"), at(ROOT, "kept"), 3, false);
        names
    };
    assert_eq!(outcomes(rename), ["kept:2 new:3", "kept:3"]);
}

#[test]
fn syncing_one_directory_makes_both_ends_of_a_rename_safe() {
    let moved = || {
        let mut names = Names::default();
        names.set(at(ROOT, "dir"), 9, true);
        names.set(at(ROOT, "a"), 2, false);
        names.set(at(ROOT, "b"), 3, false);
        names.rename(at(ROOT, "a"), at(9, "a"), 2, false);
        names.sync(9);
        names
    };
    // "a" left the root, by a change that took the creation of "a" along; "dir" and "b" are as unsafe as before.
    assert_eq!(outcomes(moved), ["", "b:3", "b:3 dir:9", "dir:9"]);
}

#[test]
fn what_is_in_a_lost_directory_is_lost_with_it() {
    let mut fates = HashSet::new();
    for seed in 0..100 {
        let mut names = Names::default();
        names.set(at(ROOT, "dir"), 9, true);
        names.set(at(9, "a"), 2, false);
        names.sync(9);
        names.cut(&mut Rng::new(seed));
        let left = (names.look_up(at(ROOT, "dir")), names.look_up(at(9, "a")));
        assert!([(None, None), (Some(9), Some(2))].contains(&left));
        fates.insert(left);
    }
    assert_eq!(fates.len(), 2);
}

#[test]
fn a_directory_never_has_two_names() {
    for seed in 0..1000 {
        let mut names = Names::default();
        names.set(at(ROOT, "a"), 2, true);
        names.sync(ROOT);
        names.rename(at(ROOT, "a"), at(ROOT, "b"), 2, true);
        names.rename(at(ROOT, "b"), at(ROOT, "c"), 2, true);
        names.cut(&mut Rng::new(seed));
        assert_eq!(names.list(ROOT).count(), 1);
    }
}

#[test]
fn without_a_journal_a_later_change_can_survive_an_earlier_one() {
    let two = || {
        let mut names = Names::default();
        names.set(at(ROOT, "a"), 2, false);
        names.set(at(ROOT, "b"), 3, false);
        names
    };
    assert_eq!(outcomes(two), ["", "a:2", "a:2 b:3", "b:3"]);
}
