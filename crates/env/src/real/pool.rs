//! Threads for what blocks or computes, and futures that wait for it.
//!
//! Threads start when there is work and none is idle, up to a limit, and end after some idle time.
//! Work that was handed over runs to its end, also when nobody waits for it any more.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// A group of threads.
pub(super) struct Pool {
    name: &'static str,
    threads_max: usize,
    prepare: fn(),
    state: Mutex<PoolState>,
    changed: Condvar,
}

struct PoolState {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// A pool whose threads run `prepare` when they start.
    pub(super) const fn new(name: &'static str, threads_max: usize, prepare: fn()) -> Self {
        let state = PoolState {
            waiting: VecDeque::new(),
            threads: 0,
            idle: 0,
        };
        Self {
            name,
            threads_max,
            prepare,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Runs `work` on one of the threads.
    pub(super) fn run<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let slot = Arc::new(Slot(Mutex::new(Progress::Running(None))));
        let finish = Finish(slot.clone());
        self.push(Box::new(move || {
            let done = work();
            finish.end(Progress::Ended(done));
        }));
        Job(slot)
    }

    fn push(&'static self, work: Work) {
        let mut state = self.lock();
        state.waiting.push_back(work);
        if state.idle >= state.waiting.len() || state.threads == self.threads_max {
            self.changed.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let started = std::thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(|| self.serve());
        if let Err(error) = started {
            let mut state = self.lock();
            state.threads -= 1;
            if state.threads > 0 {
                return;
            }
            // No thread will ever come for it: better to block this one than to wait for ever.
            tracing::warn!(%error, pool = self.name, "cannot start a thread; working on the caller's");
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.into_iter().for_each(|work| work());
        }
    }

    fn serve(&self) {
        (self.prepare)();
        let mut state = self.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                drop(state);
                // A panic ends up with whoever waits for the work; see `Finish`.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, timeout) = self
                .changed
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Progress<T> {
    Running(Option<Waker>),
    Ended(T),
    Panicked,
}

struct Slot<T>(Mutex<Progress<T>>);

/// The side that works: says how it ended, also if that is by a panic.
struct Finish<T>(Arc<Slot<T>>);

impl<T> Finish<T> {
    fn end(&self, progress: Progress<T>) {
        let mut slot = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Progress::Running(waker) = &mut *slot {
            let waker = waker.take();
            *slot = progress;
            drop(slot);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Finish<T> {
    fn drop(&mut self) {
        self.end(Progress::Panicked);
    }
}

/// Waits for work on a [`Pool`].
pub(super) struct Job<T>(Arc<Slot<T>>);

impl<T> Future for Job<T> {
    type Output = T;

    /// # Panics
    /// When the work panicked: its bug is its caller's.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Progress::Running(waker) = &mut *slot {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *slot, Progress::Panicked) {
            Progress::Ended(done) => Poll::Ready(done),
            Progress::Running(_) | Progress::Panicked => {
                panic!("work handed to another thread panicked there")
            }
        }
    }
}
