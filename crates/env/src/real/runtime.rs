//! The executor of one thread: tasks, timers, a driver, and the wait when there is nothing to do.
//!
//! What must stay true: the thread sleeps only in [`Driver::wait`], and only when no task is ready;
//! another thread that wakes a task ends that sleep through an eventfd. When the run ends, tasks are
//! dropped first and then whatever they had in flight is waited for, so that nothing of this runtime
//! touches a file afterwards.

use super::IoChoice;
use super::op::Op;
use super::outside::become_idle;
use super::pool::{Job, Pool};
use super::readiness::Readiness;
use super::uring::{RingOp, Uring};
use crate::tasks::{Flag, TaskSet};
use crate::timers::Timers;
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Tasks run before the driver is asked again: keeps sockets served while many tasks are ready.
const TASKS_PER_TURN: usize = 64;
/// Operations that one poll of a task may complete without giving way to others.
const INLINE_PER_POLL: u32 = 64;

/// The moment that [`crate::Clock::now`] counts from; one per process, so that threads agree.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Threads for calls that may block. Enough that a few slow syncs do not hold up every read where
/// there is no io_uring; idle ones end.
static FILES: Pool = Pool::new("files", 16, || {});
/// Threads for writing what nobody waits for.
static BACKGROUND: Pool = Pool::new("background", 4, become_idle);

/// Time since this process first asked.
pub(super) fn now() -> Duration {
    START.elapsed()
}

enum Driver {
    Uring(Rc<Uring>),
    Threads(Rc<Readiness>),
}

/// See the module.
pub(super) struct Runtime {
    pub(super) tasks: Rc<TaskSet>,
    pub(super) timers: Rc<Timers>,
    driver: Driver,
    calls: Arc<Calls>,
    inline_left: Cell<u32>,
    pub(super) gave_way: Rc<GaveWay>,
    ended: Cell<bool>,
}

/// Tasks that have given way: ready again once the driver has been asked what has happened.
#[derive(Default)]
pub(super) struct GaveWay(RefCell<Vec<Waker>>);

impl GaveWay {
    /// Lets everything else go first: tasks that are ready, and what comes from sockets, files and timers.
    pub(super) async fn give_way(&self) {
        let mut given = false;
        poll_fn(|context| {
            if given {
                return Poll::Ready(());
            }
            given = true;
            self.0.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut *self.0.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Calls of one runtime that are on other threads, each with what must stay open until its end.
#[derive(Default)]
struct Calls {
    running: Mutex<Slab<Vec<Arc<OwnedFd>>>>,
    ended: Condvar,
}

struct Call {
    calls: Arc<Calls>,
    key: usize,
}

impl Drop for Call {
    fn drop(&mut self) {
        let held = self
            .calls
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.key);
        self.calls.ended.notify_all();
        drop(held);
    }
}

impl Runtime {
    pub(super) fn new(choice: IoChoice) -> io::Result<Rc<Self>> {
        let wake_fd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let driver = Driver::new(choice, &wake_fd)?;
        let tasks = TaskSet::new(move || {
            // Fails only when the counter is full: then the wake-up is already on its way.
            let _ = rustix::io::write(&*wake_fd, &1u64.to_ne_bytes());
        });
        Ok(Rc::new(Self {
            tasks,
            timers: Rc::default(),
            driver,
            calls: Arc::default(),
            inline_left: Cell::new(INLINE_PER_POLL),
            gave_way: Rc::default(),
            ended: Cell::new(false),
        }))
    }

    /// Runs until `main` ends; then drops all tasks and waits for what is in flight.
    pub(super) fn run<T>(&self, main: impl Future<Output = T>) -> io::Result<T> {
        let ended = {
            // Declared before `main`, so that tasks are dropped after it.
            let _entered = self.tasks.enter();
            self.run_until_ready(pin!(main))
        };
        self.ended.set(true);
        let drained = match &self.driver {
            Driver::Uring(ring) => ring.drain(),
            Driver::Threads(_) => Ok(()),
        };
        self.calls.wait();
        let value = ended?;
        drained?;
        Ok(value)
    }

    fn run_until_ready<T>(&self, mut main: Pin<&mut impl Future<Output = T>>) -> io::Result<T> {
        let (flag, waker) = self.tasks.flag();
        let mut context = Context::from_waker(&waker);
        loop {
            if flag.lower() {
                self.inline_left.set(INLINE_PER_POLL);
                if let Poll::Ready(value) = main.as_mut().poll(&mut context) {
                    return Ok(value);
                }
            }
            self.tasks.ready_count();
            for _ in 0..TASKS_PER_TURN {
                let Some(runnable) = self.tasks.pop() else { break };
                self.inline_left.set(INLINE_PER_POLL);
                runnable.run();
            }
            self.turn(&flag)?;
        }
    }

    /// Takes in what has happened; waits for something if no task is ready.
    fn turn(&self, main: &Flag) -> io::Result<()> {
        let mut deadline = self.timers.first();
        if let Some(first) = deadline {
            let now = now();
            if first <= now {
                self.timers.fire(now);
                deadline = self.timers.first();
            }
        }
        let idle = self.gave_way.is_empty() && !main.is_raised();
        let sleeps = idle && self.tasks.prepare_sleep();
        if sleeps && !main.is_raised() {
            self.driver
                .wait(deadline.map(|first| first.saturating_sub(now())))?;
        } else {
            self.driver.poll()?;
        }
        self.tasks.slept();
        self.gave_way.wake();
        if self.timers.first().is_some() {
            self.timers.fire(now());
        }
        Ok(())
    }

    /// Refuses what comes after the end of the run, when nothing would ever complete it.
    pub(super) fn check_running(&self) -> io::Result<()> {
        if self.ended.get() {
            Err(io::Error::other(
                "the runtime that this handle belongs to has ended",
            ))
        } else {
            Ok(())
        }
    }

    /// Called before an operation that may complete at once: gives way now and then.
    pub(super) async fn pace(&self) {
        match self.inline_left.get().checked_sub(1) {
            Some(left) => self.inline_left.set(left),
            None => self.gave_way.give_way().await,
        }
    }

    /// Carries out a file operation off this thread. It runs to its end also when the future is dropped.
    pub(super) fn file_op(&self, mut op: Op) -> FileOp {
        match &self.driver {
            Driver::Uring(ring) => FileOp::Ring(ring.start(op)),
            Driver::Threads(_) => FileOp::Thread(self.call(move || {
                let done = op.run_blocking();
                (op, done)
            })),
        }
    }

    /// Runs `work` on a thread where it may block; it runs to its end also when the future is dropped.
    pub(super) fn call<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        self.call_on(&FILES, work)
    }

    /// As [`Runtime::call`], behind everything else that wants a processor.
    pub(super) fn call_idle<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        self.call_on(&BACKGROUND, work)
    }

    fn call_on<T: Send + 'static>(
        &self,
        pool: &'static Pool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Job<T> {
        let key = self
            .calls
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Vec::new());
        let call = Call {
            calls: self.calls.clone(),
            key,
        };
        pool.run(move || {
            let _call = call;
            work()
        })
    }

    /// Keeps `fd` open until everything has ended that was asked of a file up to now.
    pub(super) fn hold(&self, fd: &Arc<OwnedFd>) {
        if let Driver::Uring(ring) = &self.driver {
            ring.hold(fd);
        }
        let mut running = self.calls.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter_mut().for_each(|(_, held)| held.push(fd.clone()));
    }

    /// The ring, if that is the driver.
    pub(super) fn ring(&self) -> Option<&Rc<Uring>> {
        match &self.driver {
            Driver::Uring(ring) => Some(ring),
            Driver::Threads(_) => None,
        }
    }

    /// The watcher of sockets, if there is no ring.
    pub(super) fn readiness(&self) -> Option<&Rc<Readiness>> {
        match &self.driver {
            Driver::Uring(_) => None,
            Driver::Threads(readiness) => Some(readiness),
        }
    }
}

/// Runs `work` on a thread where it may block; nobody waits for it.
pub(super) fn call_detached(work: impl FnOnce() + Send + 'static) {
    drop(FILES.run(work));
}

impl Calls {
    fn wait(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while !running.is_empty() {
            running = self.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Driver {
    fn new(choice: IoChoice, wake_fd: &Arc<OwnedFd>) -> io::Result<Self> {
        let threads = || Ok(Self::Threads(Rc::new(Readiness::new(wake_fd.clone())?)));
        let uring = || Ok(Self::Uring(Rc::new(Uring::new(wake_fd.clone())?)));
        match choice {
            IoChoice::Threads => threads(),
            IoChoice::Uring => uring(),
            IoChoice::Auto => uring().or_else(|error: io::Error| {
                tracing::info!(%error, "io_uring is not available here; files are served by threads");
                threads()
            }),
        }
    }

    fn poll(&self) -> io::Result<()> {
        match self {
            Self::Uring(ring) => ring.poll(),
            Self::Threads(readiness) => readiness.wait(Some(Duration::ZERO)),
        }
    }

    fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Uring(ring) => ring.wait(time),
            Self::Threads(readiness) => readiness.wait(time),
        }
    }
}

/// See [`Runtime::file_op`].
pub(super) enum FileOp {
    Ring(RingOp),
    Thread(Job<(Op, io::Result<()>)>),
}

impl Future for FileOp {
    type Output = (Op, io::Result<()>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ring(op) => Pin::new(op).poll(context),
            Self::Thread(job) => Pin::new(job).poll(context),
        }
    }
}
