//! What the directory bucket does besides passing the suite of crate `conformance`, in every world.

mod common;

use bytes::Bytes;
use common::everywhere;
use futures_util::future::join_all;
use tidemark_env::fs::write_atomic;
use tidemark_env::{Bucket, BucketError, BucketErrorKind, DirBucket, ObjectInfo, OpenMode, Precondition};

fn body(text: &'static str) -> Vec<Bytes> {
    text.as_bytes().chunks(3).map(Bytes::from_static).collect()
}

fn kind<T>(result: Result<T, BucketError>) -> BucketErrorKind {
    result.err().expect("this fails").kind
}

#[test]
fn an_adopted_file_outlives_its_own_name() {
    everywhere(async |env, dir| {
        let bucket = DirBucket::new(env.clone(), dir.join("vault"));
        let file = dir.join("sealed");
        write_atomic(&*env.fs, &file, Bytes::from_static(b"content"))
            .await
            .unwrap();
        assert!(bucket.adopt("packs/ab/cd", &file).await.unwrap());
        assert_eq!(
            kind(bucket.adopt("packs/ab/cd", &file).await),
            BucketErrorKind::Exists
        );
        env.fs.remove_file(&file).await.unwrap();
        assert_eq!(bucket.get("packs/ab/cd").await.unwrap(), "content");
        // What cannot be linked is left to the caller, who will copy it or learn why not.
        assert!(!bucket.adopt("packs/ab/ef", &file).await.unwrap());
        assert_eq!(kind(bucket.get("packs/ab/ef").await), BucketErrorKind::Missing);
    });
}

#[test]
fn objects_are_listed_whole_and_sorted() {
    everywhere(async |env, dir| {
        let bucket = DirBucket::new(env.clone(), dir.clone());
        let keys = ["z", "a/b/c", "a/b.c", "a/a", "b", "a0"];
        let puts = keys.map(|key| bucket.put(key, body("12345"), Precondition::Absent));
        assert!(join_all(puts).await.into_iter().all(|put| put.is_ok()));
        let _lock = env.fs.lock_dir(&dir).await.unwrap();
        let listed = async |prefix: &str| {
            let all = bucket.list(prefix).await.unwrap();
            assert!(all.iter().all(|object| object.bytes == 5));
            all.into_iter()
                .map(|ObjectInfo { key, .. }| key)
                .collect::<Vec<_>>()
        };
        assert_eq!(listed("").await, ["a/a", "a/b.c", "a/b/c", "a0", "b", "z"]);
        assert_eq!(listed("a/").await, ["a/a", "a/b.c", "a/b/c"]);
        assert_eq!(listed("a/b/").await, ["a/b/c"]);
        assert_eq!(listed("b/").await, [""; 0], "an object is no directory");
        assert_eq!(listed("none/").await, [""; 0]);
        assert_eq!(kind(bucket.list("a").await), BucketErrorKind::Other);
        assert_eq!(kind(bucket.list("../").await), BucketErrorKind::Other);
    });
}

#[test]
fn deleting_is_final_and_may_be_repeated() {
    everywhere(async |env, dir| {
        let bucket = DirBucket::new(env, dir);
        bucket.put("a/k", body("x"), Precondition::None).await.unwrap();
        bucket.delete("a/k").await.unwrap();
        bucket.delete("a/k").await.unwrap();
        bucket.delete("never/was").await.unwrap();
        assert_eq!(kind(bucket.get("a/k").await), BucketErrorKind::Missing);
        bucket.put("a/k", body("y"), Precondition::Absent).await.unwrap();
        assert_eq!(
            kind(bucket.get("a").await),
            BucketErrorKind::Missing,
            "a prefix is no object"
        );
        assert_eq!(kind(bucket.get("a/k/below").await), BucketErrorKind::Missing);
        assert_eq!(
            kind(bucket.put("a/k/below", body("z"), Precondition::Absent).await),
            BucketErrorKind::Other
        );
        assert_eq!(
            kind(bucket.put("a", body("z"), Precondition::None).await),
            BucketErrorKind::Other
        );
        assert_eq!(bucket.get("a/k").await.unwrap(), "y");
    });
}

#[test]
fn keys_cannot_leave_the_directory() {
    everywhere(async |env, dir| {
        let bucket = DirBucket::new(env.clone(), dir.join("root"));
        let long = "x".repeat(256);
        for key in [
            "", "/", "/etc/x", "../x", "a/../b", "a//b", "a/", ".", ".tmp/x", "a/.b", "ä", "a b", "a\nb",
            "lock", &long,
        ] {
            assert_eq!(
                kind(bucket.put(key, body("x"), Precondition::None).await),
                BucketErrorKind::Other,
                "{key:?}"
            );
            assert_eq!(kind(bucket.get(key).await), BucketErrorKind::Other, "{key:?}");
            assert_eq!(
                kind(bucket.get_range(key, 0..0).await),
                BucketErrorKind::Other,
                "{key:?}"
            );
            assert_eq!(kind(bucket.size(key).await), BucketErrorKind::Other, "{key:?}");
            assert_eq!(kind(bucket.delete(key).await), BucketErrorKind::Other, "{key:?}");
        }
        assert!(
            !env.fs.exists(&dir.join("root")).await.unwrap(),
            "a refused put leaves no trace"
        );
    });
}

#[test]
fn temporary_files_of_the_dead_are_removed_and_of_the_living_kept() {
    everywhere(async |env, dir| {
        let living = DirBucket::new(env.clone(), dir.clone());
        living.put("a", body("x"), Precondition::None).await.unwrap();
        let dead = dir.join(".tmp/dead");
        env.fs.create_dir_all(&dead).await.unwrap();
        drop(
            env.fs
                .open(&dead.join("half"), tidemark_env::OpenMode::Create)
                .await
                .unwrap(),
        );
        let next = DirBucket::new(env.clone(), dir.clone());
        next.put("b", body("y"), Precondition::Absent).await.unwrap();
        assert!(!env.fs.exists(&dead).await.unwrap());
        living.put("c", body("z"), Precondition::Absent).await.unwrap();
        let mut temporary = env.fs.list(&dir.join(".tmp")).await.unwrap();
        temporary.retain(|entry| entry.is_dir);
        assert_eq!(temporary.len(), 2);
        for handle in temporary {
            let left = env.fs.list(&dir.join(".tmp").join(handle.name)).await.unwrap();
            assert_eq!(left.len(), 1, "only the lock: {left:?}");
        }
    });
}

/// A file that somebody has made larger than any object costs an error, not the memory.
#[test]
fn what_is_larger_than_any_object_is_not_read_whole() {
    everywhere(async |env, dir| {
        let bucket = DirBucket::new(env.clone(), dir.clone());
        bucket
            .put("format", body("content"), Precondition::Absent)
            .await
            .unwrap();
        let file = env
            .fs
            .open(&dir.join("format"), OpenMode::ReadWrite)
            .await
            .unwrap();
        file.set_size((256 << 20) + 1).await.unwrap();
        assert_eq!(kind(bucket.get("format").await), BucketErrorKind::Other);
        assert_eq!(bucket.get_range("format", 0..7).await.unwrap(), "content");
    });
}
