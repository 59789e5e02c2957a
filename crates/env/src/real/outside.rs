//! The real clock, entropy, tasks and computation.

#![allow(unsafe_code)]

use super::pool::Pool;
use super::runtime::{GaveWay, Runtime, now};
use crate::tasks::TaskSet;
use crate::timers::Timers;
use crate::{Clock, Compute, Entropy, LocalFuture, Tasks, UnixMillis};
use std::rc::{Rc, Weak};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Computation of all engine threads together.
static COMPUTE: OnceLock<Pool> = OnceLock::new();

fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Everything but files and sockets.
pub(super) struct Outside {
    timers: Rc<Timers>,
    tasks: Weak<TaskSet>,
    gave_way: Rc<GaveWay>,
}

impl Outside {
    pub(super) fn new(runtime: &Runtime) -> Self {
        Self {
            timers: runtime.timers.clone(),
            tasks: Rc::downgrade(&runtime.tasks),
            gave_way: runtime.gave_way.clone(),
        }
    }
}

impl Clock for Outside {
    fn now(&self) -> Duration {
        now()
    }

    fn unix_millis(&self) -> UnixMillis {
        let millis =
            |duration: Duration| UnixMillis::try_from(duration.as_millis()).unwrap_or(UnixMillis::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        }
    }

    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()> {
        Box::pin(self.timers.sleep_until(now().saturating_add(duration)))
    }
}

impl Entropy for Outside {
    /// # Panics
    /// When the kernel has no randomness to give; ids and keys must never be guessable.
    fn fill(&self, buf: &mut [u8]) {
        getrandom::fill(buf).expect("the kernel gives random bytes");
    }
}

impl Tasks for Outside {
    fn spawn(&self, task: LocalFuture<'static, ()>) {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn(task);
        }
    }

    fn yield_now(&self) -> LocalFuture<'static, ()> {
        let gave_way = self.gave_way.clone();
        Box::pin(async move { gave_way.give_way().await })
    }
}

impl Compute for Outside {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()> {
        // Borrowed for the life of the process: the pool is never dropped.
        let pool: &'static Pool = COMPUTE.get_or_init(|| Pool::new("compute", parallelism(), become_idle));
        Box::pin(async move { pool.run(work).await })
    }

    fn parallelism(&self) -> usize {
        parallelism()
    }
}

/// Puts this thread behind everything else, for the processor and for disks. Where that is refused
/// it works on as it is: slower guests are no reason to take no snapshots.
pub(super) fn become_idle() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_IDLE: libc::c_int = 3 << 13;
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread, and the parameters outlive the call.
    let scheduled = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
    if scheduled != 0
        && let Err(errno) = rustix::process::nice(19)
    {
        tracing::debug!(%errno, "computation keeps its processor priority");
    }
    // SAFETY: takes three numbers; 0 is this thread.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE) };
    if set != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "computation keeps its disk priority");
    }
}
