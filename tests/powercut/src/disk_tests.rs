//! Files, names and space together.

use super::*;

const RIGHTS: Rights = Rights {
    mode: 0o600,
    uid: 0,
    gid: 0,
};

fn at(name: &str) -> Place<'_> {
    (ROOT, OsStr::new(name))
}

fn disk(seed: u64) -> Disk {
    Disk::new(1 << 20, seed)
}

fn file(disk: &mut Disk, name: &str, bytes: &[u8]) -> Ino {
    let ino = disk.create(at(name), Kind::File, RIGHTS).unwrap().ino;
    disk.write(ino, 0, bytes).unwrap();
    ino
}

#[test]
fn only_a_synced_file_under_a_synced_name_is_sure_to_stay() {
    let (mut names, mut contents) = (0, 0);
    for seed in 0..300 {
        let mut disk = disk(seed);
        let sure = file(&mut disk, "sure", b"sure");
        disk.sync(sure).unwrap();
        disk.sync_dir(ROOT).unwrap();
        file(&mut disk, "unsynced", b"unsynced");
        let nameless = file(&mut disk, "no name", b"synced");
        disk.sync(nameless).unwrap();
        disk.cut();
        assert!(!disk.is_dirty());
        assert_eq!(disk.read(sure, 0..4).unwrap(), b"sure");
        names += u64::from(disk.look_up(at("no name")).is_ok());
        let kept = disk.look_up(at("unsynced"));
        contents += u64::from(kept.is_ok_and(|status| status.size > 0));
    }
    assert!(
        (50..250).contains(&names) && (30..250).contains(&contents),
        "{names} {contents}"
    );
}

#[test]
fn the_usual_way_to_replace_a_file_is_safe_and_its_shortcuts_are_not() {
    let mut empty = 0;
    for seed in 0..300 {
        for careful in [true, false] {
            let mut disk = disk(seed);
            let old = file(&mut disk, "file", b"old");
            disk.sync(old).unwrap();
            disk.sync_dir(ROOT).unwrap();
            let new = file(&mut disk, "file.new", b"new");
            if careful {
                disk.sync(new).unwrap();
            }
            disk.rename(at("file.new"), at("file"), true).unwrap();
            disk.cut();
            let left = disk.look_up(at("file")).unwrap();
            let bytes = disk.read(left.ino, 0..left.size).unwrap();
            if careful {
                assert!([b"old", b"new"].contains(&bytes.as_slice().try_into().unwrap()));
            } else {
                empty += u64::from(bytes.is_empty());
            }
        }
    }
    assert!(empty > 30);
}

#[test]
fn a_removed_file_comes_back_whole_or_not_at_all() {
    let mut back = 0;
    for seed in 0..200 {
        let mut disk = disk(seed);
        let ino = file(&mut disk, "file", b"bytes");
        disk.sync(ino).unwrap();
        disk.sync_dir(ROOT).unwrap();
        disk.unlink(at("file")).unwrap();
        // So many others that what nothing refers to is swept away.
        for number in 0..2 * NAMELESS_MAX {
            let name = number.to_string();
            file(&mut disk, &name, b"x");
            disk.unlink(at(&name)).unwrap();
        }
        disk.cut();
        if let Ok(status) = disk.look_up(at("file")) {
            assert_eq!(disk.read(status.ino, 0..5).unwrap(), b"bytes");
            assert_eq!(status.links, 1);
            back += 1;
        }
    }
    assert!((20..180).contains(&back), "{back}");
}

#[test]
fn a_full_file_system_refuses_and_takes_nothing() {
    let mut disk = disk(1);
    let ino = file(&mut disk, "file", &[1; 1 << 19]);
    assert_eq!(
        disk.write(ino, 1 << 19, &[1; (1 << 19) + 1]),
        Err(ErrorKind::StorageFull)
    );
    assert_eq!(disk.reserve(ino, 0..2 << 20, false), Err(ErrorKind::StorageFull));
    assert_eq!(disk.space().free, 128);
    disk.reserve(ino, 0..1 << 20, false).unwrap();
    assert_eq!((disk.space().free, disk.status(ino).unwrap().size), (0, 1 << 19));
    // Reserved space takes the write.
    disk.write(ino, 1 << 19, &[1; 1 << 19]).unwrap();
    disk.punch(ino, 0..1 << 19).unwrap();
    assert_eq!(disk.space().free, 128);
    disk.set_size(ino, 0).unwrap();
    assert_eq!(disk.space().free, 256);
}

#[test]
fn space_of_removed_files_returns_once_nothing_refers_to_them() {
    let mut disk = disk(1);
    for _ in 0..10 {
        for number in 0..NAMELESS_MAX {
            let name = number.to_string();
            file(&mut disk, &name, &[1; 4096]);
            disk.unlink(at(&name)).unwrap();
        }
        disk.sync_dir(ROOT).unwrap();
    }
    let held = file(&mut disk, "held", b"held");
    disk.opened(held).unwrap();
    disk.unlink(at("held")).unwrap();
    disk.sync_dir(ROOT).unwrap();
    assert_eq!(disk.read(held, 0..4).unwrap(), b"held");
    assert!(disk.space().free >= 256 - 2 * NAMELESS_MAX as u64);
    disk.cut();
    assert_eq!(disk.space().free, 256);
}

#[test]
fn names_are_refused_as_by_any_file_system() {
    let mut disk = disk(1);
    file(&mut disk, "file", b"");
    let dir = disk.create(at("dir"), Kind::Directory, RIGHTS).unwrap().ino;
    disk.create((dir, OsStr::new("in")), Kind::File, RIGHTS).unwrap();
    let refused = |outcome: Result<()>, kind| assert_eq!(outcome, Err(kind));
    refused(disk.unlink(at("none")), ErrorKind::NotFound);
    refused(disk.unlink(at("dir")), ErrorKind::IsADirectory);
    refused(disk.remove_dir(at("file")), ErrorKind::NotADirectory);
    refused(disk.remove_dir(at("dir")), ErrorKind::DirectoryNotEmpty);
    refused(disk.rename(at("file"), at("dir"), true), ErrorKind::IsADirectory);
    refused(
        disk.rename(at("dir"), at("file"), false),
        ErrorKind::AlreadyExists,
    );
    refused(disk.link(dir, at("other")).map(drop), ErrorKind::PermissionDenied);
    refused(
        disk.create(at("file"), Kind::File, RIGHTS).map(drop),
        ErrorKind::AlreadyExists,
    );
}

#[test]
fn one_seed_is_one_outcome() {
    let left = |seed| {
        let mut disk = disk(seed);
        for number in 0..20u8 {
            file(&mut disk, &number.to_string(), &[number; 9000]);
        }
        disk.cut();
        let names = disk.list(ROOT).unwrap();
        let bytes = names.iter().map(|(_, ino, _)| disk.read(*ino, 0..9000).unwrap());
        let bytes: Vec<Vec<u8>> = bytes.collect();
        (names, bytes)
    };
    assert_eq!(left(5), left(5));
    assert_ne!(left(5), left(6));
}
