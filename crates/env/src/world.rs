//! [`Env`], and the small traits that are neither files nor buckets.

use crate::Fs;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// A boxed future that stays on its thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Milliseconds since 1970-01-01 UTC.
pub type UnixMillis = i64;

/// Time. Nothing that decides about data may compare two machines' wall clocks.
pub trait Clock {
    /// Time since some fixed moment of this process; never goes back.
    fn now(&self) -> Duration;
    /// The wall clock; may jump either way.
    fn unix_millis(&self) -> UnixMillis;
    /// Completes once `now()` has grown by `duration`.
    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()>;
}

/// Randomness, for ids, salts and keys.
pub trait Entropy {
    /// Fills `buf` with random bytes (cryptographically strong in the real world).
    fn fill(&self, buf: &mut [u8]);
}

/// Starts tasks on the thread's executor.
pub trait Tasks {
    /// Runs `task` to its end beside the others; nobody waits for it.
    fn spawn(&self, task: LocalFuture<'static, ()>);
    /// Lets the other ready tasks run first, and what has come from files, sockets and timers.
    fn yield_now(&self) -> LocalFuture<'static, ()>;
}

/// Heavy computation (hashing, compression), kept off the thread that serves guests.
pub trait Compute {
    /// Runs `work` elsewhere, at idle priority in the real world; completes when it has finished.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()>;
    /// How many such works make sense at once.
    fn parallelism(&self) -> usize;
}

/// One thread's view of the outside world. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Files and directories.
    pub fs: Rc<dyn Fs>,
    /// Time.
    pub clock: Rc<dyn Clock>,
    /// Randomness.
    pub entropy: Rc<dyn Entropy>,
    /// Tasks on this thread.
    pub tasks: Rc<dyn Tasks>,
    /// Computation off this thread.
    pub compute: Rc<dyn Compute>,
}

impl Env {
    /// Starts `task` on this thread's executor; nobody waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn(Box::pin(task));
    }

    /// Runs `work` off this thread and hands back what it returns.
    pub async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tx, rx) = std::sync::mpsc::sync_channel(1);
        let run = self.compute.run(Box::new(move || {
            // The receiver lives until this future ends; a dropped one only means nobody asks any more.
            let _ = tx.send(work());
        }));
        run.await;
        rx.try_recv()
            .expect("the computation has finished, so its result is there")
    }

    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}
