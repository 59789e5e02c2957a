//! What [`Fs`] and [`File`] promise, in every world.

mod common;

use bytes::Bytes;
use common::everywhere;
use futures_util::future::{join_all, poll_fn};
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tidemark_env::fs::{create_dir_durable, write_atomic};
use tidemark_env::{DirEntry, Env, File, OpenMode};

const TIB: u64 = 1 << 40;

async fn create(env: &Env, dir: &Path) -> Rc<dyn File> {
    env.fs.open(&dir.join("f"), OpenMode::CreateNew).await.unwrap()
}

fn filled(byte: u8, len: usize) -> Bytes {
    Bytes::from(vec![byte; len])
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("this fails").kind()
}

#[test]
fn open_modes_say_what_must_exist() {
    everywhere(async |env, dir| {
        let path = dir.join("f");
        assert_eq!(
            kind(env.fs.open(&path, OpenMode::Read).await),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(env.fs.open(&path, OpenMode::ReadWrite).await),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(env.fs.open(&dir.join("no/f"), OpenMode::Create).await),
            ErrorKind::NotFound
        );
        let file = env.fs.open(&path, OpenMode::CreateNew).await.unwrap();
        file.write_at(0, vec![filled(1, 10)]).await.unwrap();
        assert_eq!(
            kind(env.fs.open(&path, OpenMode::CreateNew).await),
            ErrorKind::AlreadyExists
        );
        for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Create] {
            let again = env.fs.open(&path, mode).await.unwrap();
            assert_eq!(
                again.read_at(0, 10).await.unwrap(),
                filled(1, 10),
                "opening {mode:?} keeps the content"
            );
        }
        let read_only = env.fs.open(&path, OpenMode::Read).await.unwrap();
        assert!(read_only.write_at(0, vec![filled(2, 1)]).await.is_err());
        assert!(read_only.set_size(0).await.is_err());
        assert_eq!(file.read_at(0, 10).await.unwrap(), filled(1, 10));
        for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Create] {
            assert_eq!(kind(env.fs.open(&dir, mode).await), ErrorKind::IsADirectory);
        }
    });
}

#[test]
fn a_gather_is_written_piece_after_piece() {
    everywhere(async |env, dir| {
        let file = create(&env, &dir).await;
        // Odd lengths, empty pieces, and more of them than one call takes.
        let pieces: Vec<Bytes> = (0..2500usize).map(|n| filled(n as u8, n % 7 * 100 / 3)).collect();
        let whole: Vec<u8> = pieces.concat();
        file.write_at(513, pieces).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 513 + whole.len() as u64);
        assert_eq!(file.read_at(513, whole.len()).await.unwrap(), whole);
        assert_eq!(file.read_at(0, 513).await.unwrap(), filled(0, 513));
        file.write_at(0, vec![]).await.unwrap();
        file.write_at(1 << 30, vec![Bytes::new()]).await.unwrap();
        assert_eq!(
            file.size().await.unwrap(),
            513 + whole.len() as u64,
            "writing nothing changes nothing"
        );
        file.write_at(7, vec![filled(9, 2_000_000)]).await.unwrap();
        assert_eq!(file.read_at(7, 2_000_000).await.unwrap(), filled(9, 2_000_000));
    });
}

#[test]
fn reading_past_the_end_is_an_error_not_a_short_answer() {
    everywhere(async |env, dir| {
        let file = create(&env, &dir).await;
        file.write_at(0, vec![filled(1, 5000)]).await.unwrap();
        assert_eq!(file.read_at(4999, 1).await.unwrap(), filled(1, 1));
        assert_eq!(kind(file.read_at(4999, 2).await), ErrorKind::UnexpectedEof);
        assert_eq!(kind(file.read_at(1 << 40, 1).await), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(1 << 40, 0).await.unwrap(), Bytes::new());
        assert!(file.read_at(u64::MAX - 10, 100).await.is_err());
        assert!(file.write_at(u64::MAX - 10, vec![filled(1, 100)]).await.is_err());
    });
}

#[test]
fn sizes_grow_with_holes_and_cut_for_good() {
    everywhere(async |env, dir| {
        let file = create(&env, &dir).await;
        file.write_at(0, vec![filled(1, 10_000)]).await.unwrap();
        file.set_size(4100).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 4100);
        assert_eq!(kind(file.read_at(0, 4101).await), ErrorKind::UnexpectedEof);
        file.set_size(TIB).await.unwrap();
        assert_eq!(file.read_at(0, 4100).await.unwrap(), filled(1, 4100));
        assert_eq!(
            file.read_at(4100, 6000).await.unwrap(),
            filled(0, 6000),
            "what was cut off does not come back"
        );
        file.sync().await.unwrap();
        assert_eq!(file.size().await.unwrap(), TIB);
        assert_eq!(file.read_at(TIB - 4096, 4096).await.unwrap(), filled(0, 4096));
    });
}

#[test]
fn punched_ranges_read_as_zeros_and_allocated_ones_keep_their_content() {
    everywhere(async |env, dir| {
        let file = create(&env, &dir).await;
        file.write_at(0, vec![filled(1, 64 << 10)]).await.unwrap();
        file.punch(4000, 9000).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 64 << 10);
        assert_eq!(file.read_at(0, 4000).await.unwrap(), filled(1, 4000));
        assert_eq!(file.read_at(4000, 9000).await.unwrap(), filled(0, 9000));
        assert_eq!(file.read_at(13_000, 3000).await.unwrap(), filled(1, 3000));
        file.punch(60 << 10, 1 << 20).await.unwrap();
        assert_eq!(
            file.size().await.unwrap(),
            64 << 10,
            "punching past the end does not grow"
        );
        file.allocate(0, 1 << 20).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 64 << 10);
        assert_eq!(file.read_at(0, 4000).await.unwrap(), filled(1, 4000));
        assert_eq!(file.read_at(4000, 9000).await.unwrap(), filled(0, 9000));
        assert!(file.allocate(0, 0).await.is_err());
        assert!(file.punch(u64::MAX - 10, 100).await.is_err());
    });
}

#[test]
fn data_is_found_between_holes() {
    everywhere(async |env, dir| {
        let file = create(&env, &dir).await;
        assert_eq!(file.next_data(0, TIB).await.unwrap(), None);
        file.set_size(TIB).await.unwrap();
        assert_eq!(file.next_data(0, TIB).await.unwrap(), None);
        let mut written = Vec::new();
        for at in [1u64 << 20, 1 << 30, TIB - (1 << 20)] {
            file.write_at(at, vec![filled(3, 1 << 16)]).await.unwrap();
            written.push((at, at + (1 << 16)));
        }
        let mut found = Vec::new();
        let mut from = 0;
        while let Some((start, end)) = file.next_data(from, TIB).await.unwrap() {
            assert!(start >= from && end > start && end <= TIB);
            found.push((start, end));
            from = end;
        }
        // A file system may call more than was written data, but not less.
        for (start, end) in written {
            assert!(
                found.iter().any(|data| data.0 <= start && end <= data.1),
                "{start}..{end} in {found:?}"
            );
        }
        let total: u64 = found.iter().map(|(start, end)| end - start).sum();
        assert!(total < 16 << 20, "holes are found too");
        let (start, end) = file
            .next_data((1 << 20) + 100, (1 << 20) + 200)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (start, end),
            ((1 << 20) + 100, (1 << 20) + 200),
            "cut to what was asked"
        );
        assert_eq!(file.next_data(TIB, TIB).await.unwrap(), None);
        assert_eq!(file.next_data(100, 50).await.unwrap(), None);
    });
}

#[test]
fn many_operations_at_once_do_not_mix() {
    everywhere(async |env, dir| {
        let file = create(&env, &dir).await;
        let file = &file;
        join_all((0..600u64).map(|n| async move {
            file.write_at(n * 1000, vec![filled(n as u8, 400), filled(!n as u8, 600)])
                .await
                .unwrap();
            if n % 50 == 0 {
                file.sync().await.unwrap();
            }
            assert_eq!(file.read_at(n * 1000, 400).await.unwrap(), filled(n as u8, 400));
        }))
        .await;
        for n in 0..600u64 {
            assert_eq!(
                file.read_at(n * 1000 + 400, 600).await.unwrap(),
                filled(!n as u8, 600)
            );
        }
    });
}

#[test]
fn a_dropped_write_that_has_started_still_happens() {
    everywhere(async |env, dir| {
        let file = create(&env, &dir).await;
        file.set_size(8 << 20).await.unwrap();
        {
            let mut write = pin!(file.write_at(0, (0..2000).map(|_| filled(5, 4096)).collect()));
            let _ = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        }
        let last = 1999 * 4096;
        while file.read_at(last, 4096).await.unwrap() != filled(5, 4096) {
            env.clock.sleep(std::time::Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn names_are_listed_renamed_linked_and_removed() {
    everywhere(async |env, dir| {
        let fs = &env.fs;
        fs.create_dir_all(&dir.join("a/b")).await.unwrap();
        fs.create_dir_all(&dir.join("a/b")).await.unwrap();
        let (x, y) = (dir.join("a/x"), dir.join("a/b/y"));
        let file = fs.open(&x, OpenMode::CreateNew).await.unwrap();
        file.write_at(0, vec![filled(1, 3)]).await.unwrap();
        let entry = |name: &str, is_dir| DirEntry {
            name: name.to_owned(),
            is_dir,
        };
        assert_eq!(
            fs.list(&dir.join("a")).await.unwrap(),
            [entry("b", true), entry("x", false)]
        );
        assert_eq!(
            fs.list_sizes(&dir.join("a")).await.unwrap(),
            [(entry("b", true), 0), (entry("x", false), 3)]
        );

        fs.link_new(&x, &y).await.unwrap();
        assert_eq!(kind(fs.link_new(&x, &y).await), ErrorKind::AlreadyExists);
        fs.remove_file(&x).await.unwrap();
        assert_eq!(kind(fs.remove_file(&x).await), ErrorKind::NotFound);
        assert!(
            !fs.exists(&x).await.unwrap() && fs.exists(&y).await.unwrap() && fs.exists(&dir).await.unwrap()
        );
        assert_eq!(
            fs.open(&y, OpenMode::Read)
                .await
                .unwrap()
                .read_at(0, 3)
                .await
                .unwrap(),
            filled(1, 3)
        );

        let other = fs.open(&x, OpenMode::CreateNew).await.unwrap();
        other.write_at(0, vec![filled(2, 2)]).await.unwrap();
        fs.rename(&x, &y).await.unwrap();
        assert!(!fs.exists(&x).await.unwrap());
        assert_eq!(
            fs.open(&y, OpenMode::Read)
                .await
                .unwrap()
                .read_at(0, 2)
                .await
                .unwrap(),
            filled(2, 2)
        );
        assert_eq!(
            file.read_at(0, 3).await.unwrap(),
            filled(1, 3),
            "an open file outlives its name"
        );
        assert_eq!(kind(fs.rename(&x, &y).await), ErrorKind::NotFound);

        fs.sync_dir(&dir.join("a")).await.unwrap();
        assert_eq!(kind(fs.sync_dir(&dir.join("none")).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.list(&dir.join("none")).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.list(&y).await), ErrorKind::NotADirectory);
        assert!(fs.create_dir_all(&y).await.is_err());
        fs.remove_dir_all(&dir.join("a")).await.unwrap();
        assert!(!fs.exists(&y).await.unwrap() && !fs.exists(&dir.join("a")).await.unwrap());
    });
}

#[test]
fn a_directory_has_one_lock() {
    everywhere(async |env, dir| {
        let lock = env.fs.lock_dir(&dir).await.unwrap();
        assert_eq!(kind(env.fs.lock_dir(&dir).await), ErrorKind::WouldBlock);
        assert!(env.fs.exists(&dir.join("lock")).await.unwrap());
        drop(lock);
        drop(env.fs.lock_dir(&dir).await.unwrap());
        assert_eq!(
            kind(env.fs.lock_dir(&dir.join("none")).await),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn space_is_told() {
    everywhere(async |env, dir| {
        let space = env.fs.space(&dir).await.unwrap();
        assert!(space.total_bytes > 0 && space.available_bytes <= space.total_bytes);
        assert!(env.fs.space(&dir.join("none")).await.is_err());
    });
}

#[test]
fn a_file_is_replaced_whole() {
    everywhere(async |env, dir| {
        let deep = dir.join("one/two");
        create_dir_durable(&*env.fs, &deep).await.unwrap();
        create_dir_durable(&*env.fs, &deep).await.unwrap();
        let path = deep.join("state");
        for content in [filled(1, 5000), filled(2, 10)] {
            write_atomic(&*env.fs, &path, content.clone()).await.unwrap();
            let file = env.fs.open(&path, OpenMode::Read).await.unwrap();
            let size = file.size().await.unwrap() as usize;
            assert_eq!(file.read_at(0, size).await.unwrap(), content);
        }
        assert_eq!(env.fs.list(&deep).await.unwrap().len(), 1);
    });
}
