//! The executor of an engine thread, over io_uring and over threads: tasks, time, other threads, sockets.

use bytes::Bytes;
use futures_util::future::{Either, join, join_all, select};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Duration;
use tidemark_env::real::net::Stream;
use tidemark_env::real::{IoChoice, RealEnv, RuntimeOptions, run};
use tidemark_env::{File, OpenMode, Piece};

/// Runs a test on both drivers.
fn both(test: impl AsyncFn(RealEnv)) {
    for io in [IoChoice::Uring, IoChoice::Threads] {
        run(RuntimeOptions { io }, |world| test(world));
    }
}

fn memory(byte: u8, len: usize) -> Piece {
    Bytes::from(vec![byte; len]).into()
}

fn pair(world: &RealEnv) -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (world.net.stream(ours.into()), theirs)
}

async fn recv_all(stream: &Stream, max: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let piece = stream.recv(max).await.unwrap();
        assert!(piece.len() <= max);
        if piece.is_empty() {
            return all;
        }
        all.extend_from_slice(&piece);
    }
}

#[test]
fn tasks_run_beside_each_other_and_the_rest_is_dropped_at_the_end() {
    struct Dropped(Rc<Cell<u32>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    both(async |world| {
        let env = world.env;
        let (ended, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        run(RuntimeOptions::default(), {
            let (ended, dropped) = (ended.clone(), dropped.clone());
            async move |inner: RealEnv| {
                for n in 0..200 {
                    let (ended, mark, env) = (ended.clone(), Dropped(dropped.clone()), inner.env.clone());
                    inner.env.spawn(async move {
                        env.clock
                            .sleep(Duration::from_millis(if n < 100 { 0 } else { 3_600_000 }))
                            .await;
                        ended.set(ended.get() + 1);
                        drop(mark);
                    });
                }
                while ended.get() < 100 {
                    inner.env.tasks.yield_now().await;
                }
            }
        });
        assert_eq!(
            (ended.get(), dropped.get()),
            (100, 200),
            "a run within a run leaves the outer one alone"
        );
        env.tasks.yield_now().await;
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    both(async |world| {
        let woken = RefCell::new(Vec::new());
        let started = world.env.clock.now();
        let sleepers = [30u64, 10, 20].map(|millis| {
            let (sleep, woken) = (world.env.clock.sleep(Duration::from_millis(millis)), &woken);
            async move {
                sleep.await;
                woken.borrow_mut().push(millis);
            }
        });
        join_all(sleepers).await;
        assert_eq!(*woken.borrow(), [10, 20, 30]);
        assert!(world.env.clock.now() - started >= Duration::from_millis(30));
    });
}

#[test]
fn another_thread_wakes_a_sleeping_one() {
    both(async |world| {
        let (wakers, asked) = mpsc::channel::<Waker>();
        let helper = std::thread::spawn(move || asked.iter().for_each(Waker::wake));
        for in_task in [true, false, true] {
            let (wakers, woken) = (wakers.clone(), Rc::new(Cell::new(false)));
            let mut asked = false;
            let wait = poll_fn(move |context| {
                if std::mem::replace(&mut asked, true) {
                    return Poll::Ready(());
                }
                wakers.send(context.waker().clone()).unwrap();
                Poll::Pending
            });
            if in_task {
                let set = woken.clone();
                world.env.spawn(async move {
                    wait.await;
                    set.set(true);
                });
                while !woken.get() {
                    world.env.clock.sleep(Duration::from_millis(1)).await;
                }
            } else {
                wait.await;
            }
        }
        drop(wakers);
        helper.join().unwrap();
    });
}

#[test]
fn computation_happens_on_another_thread() {
    both(async |world| {
        let ours = std::thread::current().id();
        let works = (0..20u64).map(|n| world.env.compute(move || (n, std::thread::current().id())));
        for (n, (result, thread)) in join_all(works).await.into_iter().enumerate() {
            assert_eq!(result, n as u64);
            assert_ne!(thread, ours);
        }
        assert!(world.env.compute.parallelism() >= 1);
    });
}

#[test]
fn a_panic_in_a_computation_or_a_task_reaches_the_thread_that_runs_it() {
    for io in [IoChoice::Uring, IoChoice::Threads] {
        let in_computation = catch_unwind(|| {
            run(RuntimeOptions { io }, async |world: RealEnv| {
                world.env.compute(|| panic!("a bug")).await
            })
        });
        assert!(in_computation.is_err());
        let in_task = catch_unwind(AssertUnwindSafe(|| {
            run(RuntimeOptions { io }, async |world: RealEnv| {
                world.env.spawn(async { panic!("a bug") });
                std::future::pending::<()>().await;
            })
        }));
        assert!(in_task.is_err());
    }
}

#[test]
fn who_gives_way_lets_what_comes_from_outside_go_first() {
    both(async |world| {
        let yields = Rc::new(Cell::new(0));
        world.env.spawn({
            let (yields, tasks) = (yields.clone(), world.env.tasks.clone());
            async move {
                for _ in 0..50 {
                    yields.set(yields.get() + 1);
                    tasks.yield_now().await;
                }
            }
        });
        world.env.clock.sleep(Duration::ZERO).await;
        assert!(
            yields.get() <= 2,
            "{} turns came before a timer that was due",
            yields.get()
        );
    });
}

#[test]
fn random_bytes_differ() {
    both(async |world| assert_ne!(world.env.random::<32>(), world.env.random::<32>()));
}

#[test]
fn a_stream_carries_everything_in_order_both_ways() {
    both(async |world| {
        let (stream, mut peer) = pair(&world);
        // More than a socket buffer holds, so that sending must wait for the peer.
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let echo = std::thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            peer.read_exact(&mut got).unwrap();
            assert!(got == expected);
            peer.write_all(&got).unwrap();
        });
        let pieces: Vec<Piece> = sent
            .chunks(1777)
            .map(|part| Bytes::copy_from_slice(part).into())
            .collect();
        assert!(pieces.len() > 1024, "more pieces than one call takes");
        let (done, got) = join(stream.send(pieces), recv_all(&stream, 100_000)).await;
        done.unwrap();
        assert!(got == sent);
        echo.join().unwrap();
    });
}

#[test]
fn a_dropped_recv_loses_nothing() {
    both(async |world| {
        let (stream, mut peer) = pair(&world);
        for round in 0..50u8 {
            {
                let mut recv = pin!(stream.recv(10));
                let polled = poll_fn(|context| Poll::Ready(recv.as_mut().poll(context))).await;
                assert!(polled.is_pending());
                world.env.tasks.yield_now().await;
            }
            peer.write_all(&[round; 5]).unwrap();
            let mut got = Vec::new();
            while got.len() < 5 {
                got.extend_from_slice(&stream.recv(2).await.unwrap());
            }
            assert_eq!(got, [round; 5]);
        }
    });
}

#[test]
fn several_senders_take_turns() {
    both(async |world| {
        let (stream, mut peer) = pair(&world);
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        let sends = (0..8u8).map(|n| stream.send(vec![memory(n, 150_000), memory(n, 150_000)]));
        assert!(join_all(sends).await.into_iter().all(|sent| sent.is_ok()));
        drop(stream);
        let got = reader.join().unwrap();
        assert_eq!(got.len(), 8 * 300_000);
        assert!(
            got.chunks(300_000)
                .all(|message| message.iter().all(|byte| *byte == message[0]))
        );
    });
}

#[test]
fn the_end_of_a_connection_is_seen() {
    both(async |world| {
        let (stream, peer) = pair(&world);
        drop(peer);
        assert!(stream.recv(10).await.unwrap().is_empty());
        assert_eq!(
            stream.send(vec![memory(1, 1)]).await.unwrap_err().kind(),
            std::io::ErrorKind::BrokenPipe
        );

        let (stream, _peer) = pair(&world);
        let stream = Rc::new(stream);
        let waiting = {
            let stream = stream.clone();
            async move { stream.recv(10).await }
        };
        let ends = async {
            world.env.clock.sleep(Duration::from_millis(5)).await;
            stream.shutdown();
        };
        assert!(join(waiting, ends).await.0.unwrap().is_empty());
    });
}

#[test]
fn a_send_that_was_dropped_midway_breaks_the_stream() {
    both(async |world| {
        let (stream, _peer) = pair(&world);
        let big = stream.send(vec![memory(0, 4_000_000)]);
        let timeout = world.env.clock.sleep(Duration::from_millis(5));
        assert!(matches!(select(pin!(big), timeout).await, Either::Right(_)));
        let after = stream.send(vec![memory(1, 1)]).await;
        assert_eq!(after.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn what_is_written_in_the_background_is_there() {
    both(async |world| {
        let dir = tempfile::tempdir().unwrap();
        let (file, mut content) = cached_file(&world, &dir, 1 << 20).await;
        let pieces = vec![
            Bytes::from(vec![7; 100_000]),
            Bytes::new(),
            Bytes::from(vec![8; 5]),
        ];
        file.write_background(4096, pieces).await.unwrap();
        file.write_background(0, Vec::new()).await.unwrap();
        content[4096..104_096].fill(7);
        content[104_096..104_101].fill(8);
        assert!(file.read_at(0, 1 << 20).await.unwrap() == content);

        let read_only = world
            .env
            .fs
            .open(&dir.path().join("file"), OpenMode::Read)
            .await
            .unwrap();
        assert!(
            read_only
                .write_background(0, vec![Bytes::from_static(b"x")])
                .await
                .is_err()
        );
    });
}

#[test]
fn what_is_read_once_is_right_whether_the_file_system_can_leave_it_out_of_the_cache_or_not() {
    both(async |world| {
        // The second is a file system in memory, where that is refused.
        for dir in [
            tempfile::tempdir().unwrap(),
            tempfile::tempdir_in("/dev/shm").unwrap(),
        ] {
            let (file, content) = cached_file(&world, &dir, 1 << 20).await;
            file.sync().await.unwrap();
            let plain = std::fs::File::open(dir.path().join("file")).unwrap();
            rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            for _ in 0..2 {
                assert!(file.read_once(0, 1 << 20).await.unwrap() == content);
                assert!(file.read_once(12_345, 100_000).await.unwrap() == content[12_345..112_345]);
            }
            let past = file.read_once(1 << 19, 1 << 20).await.unwrap_err();
            assert_eq!(past.kind(), std::io::ErrorKind::UnexpectedEof);
        }
    });
}

/// A file of `len` bytes, in the system's cache.
async fn cached_file(world: &RealEnv, dir: &tempfile::TempDir, len: usize) -> (Rc<dyn File>, Vec<u8>) {
    let content: Vec<u8> = (0..len as u32).map(|n| (n / 7 % 251) as u8).collect();
    let path = dir.path().join("file");
    let file = world.env.fs.open(&path, OpenMode::Create).await.unwrap();
    file.write_at(0, vec![content.clone().into()]).await.unwrap();
    (file, content)
}

fn lent(file: &Rc<dyn File>, offset: u64, len: usize) -> Piece {
    Piece::Lent(
        file.lend(offset, len)
            .expect("it was just written, so it is in the cache"),
    )
}

#[test]
fn what_is_lent_arrives_in_its_place() {
    both(async |world| {
        let dir = tempfile::tempdir().unwrap();
        let (file, content) = cached_file(&world, &dir, 3_000_000).await;
        let (stream, mut peer) = pair(&world);
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            // Slower than the sender: it has to wait, also longer than one call does.
            let mut part = vec![0; 100_000];
            loop {
                std::thread::sleep(Duration::from_millis(if got.len() > 2_000_000 { 0 } else { 6 }));
                match peer.read(&mut part).unwrap() {
                    0 => return got,
                    count => got.extend_from_slice(&part[..count]),
                }
            }
        });
        let pieces = vec![
            memory(1, 10),
            lent(&file, 4096, 2_000_000),
            memory(2, 10),
            lent(&file, 5, 200_000),
        ];
        stream.send(pieces).await.unwrap();
        drop(stream);
        let got = reader.join().unwrap();
        let expected = [
            &[1; 10][..],
            &content[4096..2_004_096],
            &[2; 10],
            &content[5..200_005],
        ]
        .concat();
        assert!(got == expected);
    });
}

#[test]
fn only_what_is_in_the_cache_is_lent() {
    both(async |world| {
        let dir = tempfile::tempdir().unwrap();
        let (file, content) = cached_file(&world, &dir, 1 << 20).await;
        file.sync().await.unwrap();
        assert!(file.lend(0, 1 << 20).is_some());
        assert!(
            file.lend(512 << 10, 1 << 20).is_none(),
            "past its end there is nothing"
        );
        let plain = std::fs::File::open(dir.path().join("file")).unwrap();
        rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(file.lend(0, 1 << 20).is_none());
        assert!(file.read_at(0, 1 << 20).await.unwrap() == content);
        assert!(file.lend(0, 1 << 20).is_some(), "reading has brought it back");
    });
}

#[test]
fn who_is_gone_or_takes_nothing_of_what_was_lent_stops_nobody_else() {
    both(async |world| {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = cached_file(&world, &dir, 4_000_000).await;
        // More peers that never read than there are threads for such work.
        let idle: Vec<_> = (0..20).map(|_| pair(&world)).collect();
        let sends = idle
            .iter()
            .map(|(stream, _)| stream.send(vec![lent(&file, 0, 4_000_000)]));
        let others = async {
            world.env.clock.sleep(Duration::from_millis(50)).await;
            file.sync().await.unwrap();
            let (stream, mut peer) = pair(&world);
            let reader = std::thread::spawn(move || peer.read_exact(&mut vec![0; 2_000_000]));
            stream.send(vec![lent(&file, 0, 2_000_000)]).await.unwrap();
            reader.join().unwrap().unwrap();
        };
        assert!(matches!(
            select(pin!(join_all(sends)), pin!(others)).await,
            Either::Right(_)
        ));

        let (stream, peer) = pair(&world);
        let gone = async {
            world.env.clock.sleep(Duration::from_millis(5)).await;
            drop(peer);
        };
        let (sent, ()) = join(stream.send(vec![lent(&file, 0, 4_000_000)]), gone).await;
        assert!(sent.is_err());
    });
}

#[test]
fn a_descriptor_that_is_no_socket_is_an_error_not_a_hang() {
    both(async |world| {
        let file = tempfile::tempfile().unwrap();
        let stream = world.net.stream(file.into());
        assert!(stream.recv(10).await.is_err());
        assert!(stream.send(vec![memory(1, 1)]).await.is_err());
    });
}

#[test]
fn a_run_ends_although_sockets_and_sleeps_are_waited_for() {
    for io in [IoChoice::Uring, IoChoice::Threads] {
        let (stream, _peer) = run(RuntimeOptions { io }, async |world: RealEnv| {
            let (stream, peer) = pair(&world);
            let (other, other_peer) = pair(&world);
            world.env.spawn(async move {
                let _ = other.recv(10).await;
                drop(other_peer);
            });
            let timeout = world.env.clock.sleep(Duration::from_millis(1));
            assert!(matches!(
                select(pin!(stream.recv(10)), timeout).await,
                Either::Right(_)
            ));
            (stream, peer)
        });
        let refused = run(RuntimeOptions { io }, async |_| stream.recv(10).await);
        assert!(refused.unwrap_err().to_string().contains("has ended"));
    }
}

#[test]
fn a_task_that_is_always_ready_does_not_keep_others_from_running() {
    both(async |world| {
        let (stream, peer) = pair(&world);
        let (ours, _unread) = (Rc::new(stream), peer);
        let stopped = Rc::new(Cell::new(false));
        let (set, clock) = (stopped.clone(), world.env.clock.clone());
        world.env.spawn(async move {
            clock.sleep(Duration::from_millis(5)).await;
            set.set(true);
        });
        let dir = tempfile::tempdir().unwrap();
        let file = world
            .env
            .fs
            .open(&dir.path().join("f"), tidemark_env::OpenMode::CreateNew)
            .await
            .unwrap();
        file.write_at(0, vec![Bytes::from(vec![7; 4096])]).await.unwrap();
        while !stopped.get() {
            assert_eq!(file.read_at(0, 4096).await.unwrap(), vec![7; 4096]);
        }
        drop(ours);
    });
}

/// A lock protects against writes of its earlier holder that nobody waits for any more.
#[test]
fn a_lock_is_free_only_when_abandoned_writes_have_ended() {
    both(async |world| {
        let (fs, dir) = (&world.env.fs, tempfile::tempdir().unwrap());
        let file = fs
            .open(&dir.path().join("f"), tidemark_env::OpenMode::CreateNew)
            .await
            .unwrap();
        for byte in 1..20u8 {
            let lock = fs.lock_dir(dir.path()).await.unwrap();
            {
                let mut write = pin!(file.write_at(0, vec![Bytes::from(vec![byte; 4 << 20])]));
                let _ = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
            }
            drop(lock);
            while fs.lock_dir(dir.path()).await.is_err() {
                world.env.tasks.yield_now().await;
            }
            let last = file.read_at((4 << 20) - 4096, 4096).await.unwrap();
            assert!(last.iter().all(|last| *last == byte));
        }
    });
}
