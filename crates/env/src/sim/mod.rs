//! A simulated world: one seed is one history.
//!
//! Everything that the outside may decide is decided by the seed: which ready task runs next, how long
//! an operation takes and at which moment in between it takes effect, what a power cut keeps. Time is
//! virtual and jumps to the next event when no task is ready; if there is none either, the program
//! waits for ever, and that is a panic which names the seed.
//!
//! A world has machines, each with a file system of its own, and buckets that machines share. The
//! program of a run lives on the machine [`MAIN`]; it may boot processes there and elsewhere
//! ([`Machine::boot`]), kill them at any poll, cut a machine's power and boot again. File systems and
//! buckets outlive a run, so that `run`, [`Sim::crash`], `run` is a power cut and a restart, too; `run`,
//! `run` is a killed process and a restart. When a process ends, every task of it is dropped, every
//! handle is dead, and an operation in flight either still happens or never does.
//!
//! What it does not model: torn 512-byte sectors, reordering across a successful sync.

mod bucket;
mod content;
mod counts;
mod fault;
mod fs;
mod machine;
mod names;
mod outside;
mod process;
mod ranges;
mod rng;
mod world;

pub use bucket::{BucketFaults, SimBucket};
pub use counts::{FaultCounts, Injected};
pub use fault::{FaultOp, FileFaults, PathFilter};
pub use machine::{MAIN, Machine};
pub use process::Process;

use crate::Env;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use world::World;

/// Steps after which time goes on although a task is ready: one that only yields until something
/// happens would otherwise keep it from happening.
const BUSY_STEPS_MAX: u32 = 1000;

/// A simulated world. Clones are the same world.
#[derive(Clone)]
pub struct Sim(Rc<World>);

/// When a run is cut off.
#[derive(Clone, Copy)]
struct Limit {
    time: Option<Duration>,
    steps: u64,
}

/// Says which seed to replay when a test fails inside a run.
struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulated world that failed had seed {}", self.0);
        }
    }
}

/// Ends the run when dropped, by a panic too: what is left then would keep the world alive for ever.
struct Run<'a>(&'a World);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.0.end_run();
    }
}

impl Sim {
    /// An empty world; everything that happens in it follows from `seed` and the programs run.
    pub fn new(seed: u64) -> Self {
        Self(World::new(seed))
    }

    /// The machine called `name`, made if it is new. Machines share time, chance and buckets only.
    pub fn machine(&self, name: &str) -> Machine {
        Machine {
            world: self.0.clone(),
            state: self.0.machine(name),
        }
    }

    /// Runs `main` to its end, then drops all other tasks.
    ///
    /// # Panics
    /// When `main` can never end, naming the seed.
    pub fn run<T, F: Future<Output = T>>(&self, main: impl FnOnce(Env) -> F) -> T {
        let ended = self.drive(
            Limit {
                time: None,
                steps: u64::MAX,
            },
            main,
        );
        ended.expect("a run without a limit ends only when `main` does")
    }

    /// As [`Sim::run`], but ends the run after `time` of virtual time: `None` if `main` had not ended.
    pub fn run_for<T, F: Future<Output = T>>(
        &self,
        time: Duration,
        main: impl FnOnce(Env) -> F,
    ) -> Option<T> {
        self.drive(
            Limit {
                time: Some(self.0.now.get() + time),
                steps: u64::MAX,
            },
            main,
        )
    }

    /// As [`Sim::run`], but ends the run after polling tasks `steps` times, which lies between any two
    /// steps of the program: `None` if `main` had not ended.
    pub fn run_steps<T, F: Future<Output = T>>(&self, steps: u64, main: impl FnOnce(Env) -> F) -> Option<T> {
        self.drive(Limit { time: None, steps }, main)
    }

    /// Cuts the power of the machine [`MAIN`] between two runs: of what was not synced, any subset is kept.
    ///
    /// # Panics
    /// Inside a run; end it first (see [`Sim::run_for`] and [`Sim::run_steps`]).
    pub fn crash(&self) {
        self.machine(MAIN).power_cut();
    }

    /// [`Machine::set_capacity`] of the machine [`MAIN`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.machine(MAIN).set_capacity(bytes);
    }

    /// [`Machine::fail_next`] on the machine [`MAIN`].
    pub fn fail_next(&self, op: FaultOp, matches: impl Fn(&Path) -> bool + 'static) {
        self.machine(MAIN).fail_next(op, matches);
    }

    /// [`Machine::fail_always`] on the machine [`MAIN`].
    pub fn fail_always(&self, op: FaultOp, matches: impl Fn(&Path) -> bool + 'static) {
        self.machine(MAIN).fail_always(op, matches);
    }

    /// [`Machine::clear_faults`] of the machine [`MAIN`].
    pub fn clear_faults(&self) {
        self.machine(MAIN).clear_faults();
    }

    /// [`Machine::jump_wall_clock`] of the machine [`MAIN`].
    pub fn jump_wall_clock(&self, millis: i64) {
        self.machine(MAIN).jump_wall_clock(millis);
    }

    /// How often each fault was injected, in all of this world so far.
    pub fn fault_counts(&self) -> FaultCounts {
        self.0.counts()
    }

    /// Lets processes stall, as threads do that the scheduler passes over for some milliseconds: with a chance of `rate` in
    /// 10,000 after each poll of one of their tasks. Those of the machine [`MAIN`]'s program never do.
    pub fn set_stalls(&self, rate: u32) {
        self.0.stalls.set(rate);
    }

    /// Virtual time since the world was made.
    pub fn now(&self) -> Duration {
        self.0.now.get()
    }

    /// The seed of this world.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A number below `bound` from the world's own chance, for tests that choose what to do.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.rng.borrow_mut().below(bound)
    }

    fn drive<T, F: Future<Output = T>>(&self, limit: Limit, main: impl FnOnce(Env) -> F) -> Option<T> {
        let world = &self.0;
        assert!(!world.running.replace(true), "a world runs one program at a time");
        let _name = NameSeed(world.seed);
        let program = world.start(&world.machine(MAIN));
        let _run = Run(world);
        let tasks = &program.tasks;
        let _entered = tasks.enter();
        let (flag, waker) = tasks.flag();
        let mut main = pin!(main(outside::env(world, &program)));
        let mut context = Context::from_waker(&waker);
        let (mut steps, mut busy) = (0, 0);
        loop {
            let ready = tasks.ready_count();
            let own = ready + usize::from(flag.is_raised());
            let choices = own + world.ready_elsewhere();
            if choices == 0 || busy == BUSY_STEPS_MAX && world.next_event().is_some() {
                busy = 0;
                if !world.advance(limit.time) {
                    return None;
                }
                continue;
            }
            busy = (busy + 1).min(BUSY_STEPS_MAX);
            if steps == limit.steps || limit.time.is_some_and(|end| world.now.get() >= end) {
                return None;
            }
            steps += 1;
            let choice = world.rng.borrow_mut().below(choices as u64) as usize;
            if choice >= own {
                world.poll_elsewhere(choice - own);
            } else if choice < ready {
                world.poll_task(&program, choice);
            } else if flag.lower()
                && let Poll::Ready(value) = world.polling(&program, || main.as_mut().poll(&mut context))
            {
                return Some(value);
            }
        }
    }
}
