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

/// Runs a test on both drivers.
fn both(test: impl AsyncFn(RealEnv)) {
    for io in [IoChoice::Uring, IoChoice::Threads] {
        run(RuntimeOptions { io }, |world| test(world));
    }
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
        let pieces: Vec<Bytes> = sent.chunks(1777).map(Bytes::copy_from_slice).collect();
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
        let sends =
            (0..8u8).map(|n| stream.send(vec![Bytes::from(vec![n; 150_000]), Bytes::from(vec![n; 150_000])]));
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
            stream
                .send(vec![Bytes::from_static(b"x")])
                .await
                .unwrap_err()
                .kind(),
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
        let big = stream.send(vec![Bytes::from(vec![0; 4_000_000])]);
        let timeout = world.env.clock.sleep(Duration::from_millis(5));
        assert!(matches!(select(pin!(big), timeout).await, Either::Right(_)));
        let after = stream.send(vec![Bytes::from_static(b"x")]).await;
        assert_eq!(after.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_descriptor_that_is_no_socket_is_an_error_not_a_hang() {
    both(async |world| {
        let file = tempfile::tempfile().unwrap();
        let stream = world.net.stream(file.into());
        assert!(stream.recv(10).await.is_err());
        assert!(stream.send(vec![Bytes::from_static(b"x")]).await.is_err());
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
