//! The simulated clock, entropy, tasks and computation.

use super::fs::SimFs;
use super::process::ProcessState;
use super::world::World;
use crate::tasks::yield_now;
use crate::{Clock, Compute, Entropy, Env, LocalFuture, Tasks, UnixMillis};
use std::rc::Rc;
use std::time::Duration;

/// Works that make sense at once in a simulated world: more than one, so that they overlap.
const PARALLELISM: usize = 4;

/// The view of `world` that `process` gets.
pub(super) fn env(world: &Rc<World>, process: &Rc<ProcessState>) -> Env {
    let outside = Rc::new(Outside {
        world: world.clone(),
        process: process.clone(),
    });
    Env {
        fs: Rc::new(SimFs::new(world.clone(), process.clone())),
        clock: outside.clone(),
        entropy: outside.clone(),
        tasks: outside.clone(),
        compute: outside,
    }
}

struct Outside {
    world: Rc<World>,
    process: Rc<ProcessState>,
}

impl Clock for Outside {
    fn now(&self) -> Duration {
        self.world.now.get()
    }

    fn unix_millis(&self) -> UnixMillis {
        self.process.machine.wall_offset.get() + self.world.now.get().as_millis() as UnixMillis
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
        // Dropped at once if the process has ended.
        self.process.tasks.spawn(task);
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
