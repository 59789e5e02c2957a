//! The store's promises, on real files.

use super::*;
use crate::catalogue::disks::DiskRow;

fn open(dir: &Path) -> Store {
    Store::open(&dir.join("catalogue.db")).expect("a fresh catalogue opens")
}

fn bump(t: &mut dyn Transaction, name: &str, by: i64) -> Result<i64, StoreError> {
    let sql = "INSERT INTO counters (name, value) VALUES ($1, $2) \
               ON CONFLICT (name) DO UPDATE SET value = counters.value + $2 RETURNING value";
    t.query_one(sql, &[name.into(), by.into()])?
        .expect("RETURNING gives a row")
        .integer(0)
}

async fn value(store: &Store, name: &'static str) -> Option<i64> {
    store
        .read(move |t| {
            let row = t.query_one("SELECT value FROM counters WHERE name = $1", &[name.into()])?;
            row.map(|r| r.integer(0)).transpose()
        })
        .await
        .map_err(|e: StoreError| e)
        .expect("readable")
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_read_and_survives_reopening() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path());
    let answer = store.write(|t| bump(t, "a", 3)).await.expect("written");
    assert_eq!(answer, 3);
    assert_eq!(value(&store, "a").await, Some(3));
    drop(store);
    assert_eq!(value(&open(dir.path()), "a").await, Some(3));
}

#[tokio::test]
async fn an_error_undoes_the_whole_request_and_only_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path());
    // Many at once, so that good and bad ones share commits.
    let requests: Vec<_> = (0..200)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(move |t| {
                        bump(t, "shared", 1)?;
                        if n % 2 == 0 {
                            return Err(StoreError::new(StoreErrorKind::Constraint, "test", "refused"));
                        }
                        Ok(())
                    })
                    .await
            })
        })
        .collect();
    let mut good = 0;
    for request in requests {
        good += i64::from(request.await.expect("no panic").is_ok());
    }
    assert_eq!(good, 100);
    assert_eq!(value(&store, "shared").await, Some(100));
}

#[tokio::test]
async fn readers_cannot_write() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path());
    assert!(store.read(|t| bump(t, "a", 1)).await.is_err());
    assert_eq!(value(&store, "a").await, None);
}

#[tokio::test]
async fn parameters_are_positional_in_any_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let row = open(dir.path())
        .read(|t| t.query_one("SELECT $2, $1, $2", &["one".into(), 2.into()]))
        .await
        .expect("runs")
        .expect("a row");
    assert_eq!(row, Row(vec![2.into(), "one".into(), 2.into()]));
    assert_eq!(row.text(0).map_err(|e| e.kind), Err(StoreErrorKind::Corrupt));
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("temp dir");
    drop(open(dir.path()));
    let file = rusqlite::Connection::open(dir.path().join("catalogue.db")).expect("opens");
    file.execute_batch("PRAGMA user_version = 4711").expect("set");
    drop(file);
    let error = Store::open(&dir.path().join("catalogue.db"))
        .err()
        .expect("refused");
    assert_eq!(error.kind, StoreErrorKind::TooNew);
    assert!(error.to_string().contains("4711"), "{error}");
}

#[tokio::test]
async fn a_catalogue_of_every_earlier_version_is_brought_up_to_date_with_its_rows() {
    for known in 1..migrations::ALL.len() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("catalogue.db");
        drop(sqlite::start(&path, &migrations::ALL[..known]).expect("the schema of an earlier program"));
        let file = rusqlite::Connection::open(&path).expect("opens");
        file.execute_batch(
            "INSERT INTO disks (id, ordinal, account, name, description, kind, status, status_before, category, \
             performance_level, size_gib, zone, resource_group, device, ever_attached, delete_with_instance, \
             delete_auto_snapshot, enable_auto_snapshot, bursting_enabled, provisioned_iops, multi_attach, \
             source_snapshot_id, image_id, origin_instance_id, created_ms) VALUES ('d-1', 1, 'a', '', '', 'data', \
             'Available', '', 'cloud', '', 20, 'z', 'rg', '', 0, 0, 1, 1, 0, 0, 'Disabled', '', '', '', 5)",
        )
        .expect("a row of that version");
        drop(file);
        let store = open(dir.path());
        let row = store
            .read(|t| DiskRow::get(t, "d-1"))
            .await
            .expect("read")
            .expect("still there");
        assert_eq!((row.size_gib, row.encrypted), (20, false), "from version {known}");
    }
}

#[tokio::test]
async fn a_label_of_a_role_from_before_it_was_a_grant_is_cleared_and_nothing_else() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("catalogue.db");
    drop(sqlite::start(&path, &migrations::ALL[..11]).expect("the schema of an earlier program"));
    let file = rusqlite::Connection::open(&path).expect("opens");
    let had = [
        r#"{"ram_role_name":"admin","host_name":"h"}"#,
        r#"{"ram_role_name":"","host_name":"h"}"#,
        r#"{"host_name":"h"}"#,
        "no json",
    ];
    for (ordinal, attributes) in (1_i64..).zip(had) {
        file.execute(
            "INSERT INTO instances (id, ordinal, account, name, description, status, instance_type, image_id, zone, \
             resource_group, key_pair, security_lock, deletion_protection, created_ms, attributes) VALUES ('i-' || ?1, ?1, \
             'a', '', '', 'Stopped', 't', '', 'z', 'rg', '', 0, 0, 5, ?2)",
            rusqlite::params![ordinal, attributes],
        )
        .expect("a row of that version");
    }
    drop(file);
    let store = open(dir.path());
    let mut found = Vec::new();
    for id in ["i-1", "i-2", "i-3", "i-4"] {
        let read = move |t: &mut dyn Transaction| -> Result<String, StoreError> {
            let sql = "SELECT attributes FROM instances WHERE id = $1";
            t.query_one(sql, &[id.into()])?.expect("still there").text(0)
        };
        found.push(store.read(read).await.expect("read"));
    }
    assert_eq!(found, [had[1], had[1], had[2], had[3]]);
}

#[test]
fn what_is_no_catalogue_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let foreign = dir.path().join("foreign.db");
    let file = rusqlite::Connection::open(&foreign).expect("opens");
    file.execute_batch("CREATE TABLE t (a)").expect("made");
    drop(file);
    assert_eq!(
        Store::open(&foreign).err().map(|e| e.kind),
        Some(StoreErrorKind::Corrupt)
    );

    let text = dir.path().join("text.db");
    std::fs::write(
        &text,
        "not a database, but long enough to look like a file of some kind".repeat(20),
    )
    .expect("written");
    assert_eq!(
        Store::open(&text).err().map(|e| e.kind),
        Some(StoreErrorKind::Corrupt)
    );
}

#[test]
fn only_the_owner_may_read_the_secrets() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("temp dir");
    let _store = open(dir.path());
    for entry in std::fs::read_dir(dir.path()).expect("lists") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
    }
}

#[tokio::test]
async fn a_check_tells_a_whole_catalogue_from_a_damaged_and_a_foreign_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue.db");
    drop(Store::open(&path).unwrap());
    // The threads close the file when they notice; a connection of our own that closes last folds the log in.
    for _ in 0..5000 {
        let last = rusqlite::Connection::open(&path).unwrap();
        let _ = last.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        drop(last);
        if !dir.path().join("catalogue.db-wal").exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(check(&path).unwrap(), Vec::<String>::new());
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    for page in 2..pages {
        bytes[page * 4096..page * 4096 + 16].fill(0xff);
    }
    std::fs::write(&path, bytes).unwrap();
    assert!(check(&path).map_or(true, |wrong| !wrong.is_empty()));
    std::fs::write(
        &path,
        b"not a database, though long enough to be taken for one at first sight".repeat(99),
    )
    .unwrap();
    assert_eq!(check(&path).unwrap_err().kind, StoreErrorKind::Corrupt);
    assert!(check(&dir.path().join("nothing.db")).is_err());
}

#[tokio::test]
async fn counts_are_kept_until_something_is_committed_and_no_longer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path());
    let count = async || {
        let read = |t: &mut dyn Transaction| t.count("SELECT COUNT(*) FROM counters", &[]);
        store.read::<_, StoreError, _>(read).await.expect("counted")
    };
    for n in 0..50 {
        assert_eq!(count().await, n);
        store
            .write(move |t| bump(t, &n.to_string(), 1))
            .await
            .expect("written");
    }
    assert_eq!(count().await, 50);
    // What is written without syncing is for what no list counts.
    store
        .write_unsynced(|t| bump(t, "unsynced", 1))
        .await
        .expect("written");
    assert_eq!(count().await, 50);
    store.write(|t| bump(t, "0", 1)).await.expect("written");
    assert_eq!(count().await, 51);
    // Who writes counts its own changes.
    let counted = store
        .write(|t| {
            bump(t, "more", 1)?;
            t.count("SELECT COUNT(*) FROM counters", &[])
        })
        .await;
    assert_eq!(counted.expect("written"), 52);
}

#[tokio::test]
async fn what_is_written_without_syncing_is_there_and_fails_alone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path());
    let requests: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let work = move |t: &mut dyn Transaction| match bump(t, "shared", 1) {
                    Ok(_) if n % 3 == 0 => {
                        Err(StoreError::new(StoreErrorKind::Constraint, "test", "refused"))
                    }
                    other => other,
                };
                match n % 2 {
                    0 => store.write(work).await,
                    _ => store.write_unsynced(work).await,
                }
            })
        })
        .collect();
    let mut kept = 0;
    for request in requests {
        kept += i64::from(request.await.expect("no panic").is_ok());
    }
    assert_eq!(kept, 66);
    assert_eq!(value(&store, "shared").await, Some(66));
    drop(store);
    assert_eq!(value(&open(dir.path()), "shared").await, Some(66));
}

#[tokio::test]
async fn the_log_is_moved_beside_the_writer_and_stays_bounded() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path());
    let log = dir.path().join("catalogue.db-wal");
    let page = 4096 + 24;
    let most = u64::try_from(sqlite::LOG_PAGES_MAX).expect("positive") * page;
    let mebibyte = "x".repeat(1 << 20);
    let sql =
        "INSERT INTO counters (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
    // Four times what the log may hold.
    for n in 0..256 {
        let name = format!("{}{mebibyte}", n % 4);
        let write = move |t: &mut dyn Transaction| t.execute(sql, &[name.as_str().into(), n.into()]);
        store.write_unsynced(write).await.expect("written");
        let size = std::fs::metadata(&log).expect("there is a log").len();
        assert!(size <= most + 16 * (1 << 20), "{size} after {n}");
    }
    drop(store);
    assert_eq!(value(&open(dir.path()), "absent").await, None);
}

#[tokio::test]
async fn callers_do_not_wait_for_what_is_read_in_the_background() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path());
    store.write(|t| bump(t, "a", 1)).await.expect("written");
    let (go_on, wait) = mpsc::channel::<()>();
    let looking = tokio::spawn({
        let store = store.clone();
        async move {
            let look = move |t: &mut dyn Transaction| -> Result<i64, StoreError> {
                let _ = wait.recv();
                t.count("SELECT value FROM counters WHERE name = 'a'", &[])
            };
            store.read_in_background(look).await
        }
    });
    // It is at it, or will be: the read and the write end before it either way.
    assert_eq!(value(&store, "a").await, Some(1));
    store.write(|t| bump(t, "a", 1)).await.expect("written");
    assert_eq!(value(&store, "a").await, Some(2));
    go_on.send(()).expect("it waits");
    let seen = looking.await.expect("no panic").expect("read");
    assert!((1..=2).contains(&seen), "{seen}");
}
