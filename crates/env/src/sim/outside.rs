//! The simulated clock, entropy, tasks and computation.

use super::World;
use super::fs::SimFs;
use crate::tasks::{TaskSet, yield_now};
use crate::{Clock, Compute, Entropy, Env, LocalFuture, Tasks, UnixMillis};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Works that make sense at once in a simulated world: more than one, so that they overlap.
const PARALLELISM: usize = 4;

/// The view of `world` that a program gets for one run.
pub(super) fn env(world: &Rc<World>, tasks: &Rc<TaskSet>) -> Env {
    let outside = Rc::new(Outside {
        world: world.clone(),
        tasks: Rc::downgrade(tasks),
    });
    Env {
        fs: Rc::new(SimFs::new(world.clone())),
        clock: outside.clone(),
        entropy: outside.clone(),
        tasks: outside.clone(),
        compute: outside,
    }
}

struct Outside {
    world: Rc<World>,
    tasks: Weak<TaskSet>,
}

impl Clock for Outside {
    fn now(&self) -> Duration {
        self.world.now.get()
    }

    fn unix_millis(&self) -> UnixMillis {
        self.world.wall_offset.get() + self.world.now.get().as_millis() as UnixMillis
    }

    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()> {
        Box::pin(self.world.timers.sleep_until(self.world.now.get() + duration))
    }
}

impl Entropy for Outside {
    fn fill(&self, buf: &mut [u8]) {
        let mut rng = self.world.rng.borrow_mut();
        for piece in buf.chunks_mut(8) {
            piece.copy_from_slice(&rng.next().to_le_bytes()[..piece.len()]);
        }
    }
}

impl Tasks for Outside {
    fn spawn(&self, task: LocalFuture<'static, ()>) {
        // The set is gone once the run has ended: then the task is dropped.
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn(task);
        }
    }

    fn yield_now(&self) -> LocalFuture<'static, ()> {
        yield_now()
    }
}

impl Compute for Outside {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()> {
        let finished = self
            .world
            .timers
            .sleep_until(self.world.now.get() + self.world.latency());
        Box::pin(async move {
            finished.await;
            work();
        })
    }

    fn parallelism(&self) -> usize {
        PARALLELISM
    }
}
