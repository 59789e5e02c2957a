//! A simulated world: one seed is one history.
//!
//! Everything that the outside may decide is decided by the seed: which ready task runs next, how long
//! an operation takes and at which moment in between it takes effect, what a power cut keeps. Time is
//! virtual and jumps to the next event when no task is ready; if there is none either, the program
//! waits for ever, and that is a panic which names the seed. The file system outlives a run, so that
//! `run`, [`Sim::crash`], `run` is a power cut and a restart; `run`, `run` is a killed process and a
//! restart. At the end of a run every task is dropped, every handle is dead, and an operation in
//! flight either still happens or never does.
//!
//! What it does not model: torn 512-byte sectors, reordering across a successful sync, bit rot.

mod content;
mod fault;
mod fs;
mod names;
mod outside;
mod ranges;
mod rng;

pub use fault::FaultOp;

use crate::tasks::TaskSet;
use crate::timers::Timers;
use crate::{Env, UnixMillis};
use fault::Faults;
use names::Tree;
use rng::Rng;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The wall clock of a new world: 2030-01-01 UTC.
const WALL_START: UnixMillis = 1_893_456_000_000;

/// Steps after which time goes on although a task is ready: one that only yields until something
/// happens would otherwise keep it from happening.
const BUSY_STEPS_MAX: u32 = 1000;

/// A simulated world. Clones are the same world.
#[derive(Clone)]
pub struct Sim(Rc<World>);

/// What takes effect in the file system at some virtual time.
type Effect = Box<dyn FnOnce(&World)>;

struct World {
    seed: u64,
    rng: RefCell<Rng>,
    now: Cell<Duration>,
    wall_offset: Cell<UnixMillis>,
    timers: Rc<Timers>,
    effects: RefCell<BTreeMap<(Duration, u64), Effect>>,
    effects_made: Cell<u64>,
    tree: RefCell<Tree>,
    locks: RefCell<BTreeSet<names::Ino>>,
    faults: RefCell<Faults>,
    capacity: Cell<Option<u64>>,
    /// Counts runs; handles of an earlier run are dead.
    run: Cell<u64>,
    running: Cell<bool>,
}

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

impl Sim {
    /// An empty world; everything that happens in it follows from `seed` and the programs run.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(World {
            seed,
            rng: RefCell::new(Rng::new(seed)),
            now: Cell::new(Duration::ZERO),
            wall_offset: Cell::new(WALL_START),
            timers: Rc::default(),
            effects: RefCell::default(),
            effects_made: Cell::new(0),
            tree: RefCell::new(Tree::new()),
            locks: RefCell::default(),
            faults: RefCell::default(),
            capacity: Cell::new(None),
            run: Cell::new(0),
            running: Cell::new(false),
        }))
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

    /// Cuts the power between two runs: of what was not synced, any subset is kept.
    ///
    /// # Panics
    /// Inside a run; end it first (see [`Sim::run_for`] and [`Sim::run_steps`]).
    pub fn crash(&self) {
        assert!(!self.0.running.get(), "a crash happens between two runs");
        self.0.tree.borrow_mut().crash(&mut self.0.rng.borrow_mut());
    }

    /// Limits the space that files may own together, in bytes; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.capacity.set(bytes);
    }

    /// Makes the next `op` on a path that `matches` fail with EIO, once. Several wait in line.
    pub fn fail_next(&self, op: FaultOp, matches: impl Fn(&Path) -> bool + 'static) {
        self.0.faults.borrow_mut().add(op, Box::new(matches), true);
    }

    /// Makes every `op` on a path that `matches` fail with EIO, until [`Sim::clear_faults`].
    pub fn fail_always(&self, op: FaultOp, matches: impl Fn(&Path) -> bool + 'static) {
        self.0.faults.borrow_mut().add(op, Box::new(matches), false);
    }

    /// Forgets all faults that were asked for and have not happened.
    pub fn clear_faults(&self) {
        self.0.faults.borrow_mut().clear();
    }

    /// Lets the wall clock jump by `millis`, either way. [`crate::Clock::now`] does not notice.
    pub fn jump_wall_clock(&self, millis: i64) {
        self.0.wall_offset.set(self.0.wall_offset.get() + millis);
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
        let tasks = TaskSet::new(|| {});
        let ended = {
            let _entered = tasks.enter();
            let (flag, waker) = tasks.flag();
            let mut main = pin!(main(outside::env(world, &tasks)));
            let mut context = Context::from_waker(&waker);
            let (mut steps, mut busy) = (0, 0);
            loop {
                let ready = tasks.ready_count() as u64;
                let choices = ready + u64::from(flag.is_raised());
                if choices == 0 || busy == BUSY_STEPS_MAX && world.next_event().is_some() {
                    busy = 0;
                    if !world.advance(limit.time) {
                        break None;
                    }
                    continue;
                }
                busy = (busy + 1).min(BUSY_STEPS_MAX);
                if steps == limit.steps || limit.time.is_some_and(|end| world.now.get() >= end) {
                    break None;
                }
                steps += 1;
                let choice = world.rng.borrow_mut().below(choices);
                if choice < ready {
                    if let Some(runnable) = tasks.take(choice as usize) {
                        runnable.run();
                    }
                } else if flag.lower()
                    && let Poll::Ready(value) = main.as_mut().poll(&mut context)
                {
                    break Some(value);
                }
            }
        };
        world.end_run();
        ended
    }
}

impl World {
    /// Lets time jump to the next event. `false`: the end of the run comes first.
    ///
    /// # Panics
    /// When there is no event: nothing will ever happen again.
    fn advance(&self, end: Option<Duration>) -> bool {
        let next = match (self.next_event(), end) {
            (Some(next), Some(end)) if next >= end => None,
            (None, None) => panic!("seed {}: every task waits and nothing will wake one", self.seed),
            (next, _) => next,
        };
        let Some(next) = next else {
            self.now.set(end.unwrap_or(self.now.get()));
            return false;
        };
        self.now.set(next.max(self.now.get()));
        self.take_effect();
        // Effects come first: an operation that ends now has had its effect.
        self.timers.fire(self.now.get());
        true
    }

    fn next_event(&self) -> Option<Duration> {
        let effect = self.effects.borrow().first_key_value().map(|(key, _)| key.0);
        effect.into_iter().chain(self.timers.first()).min()
    }

    fn take_effect(&self) {
        loop {
            let due = {
                let mut effects = self.effects.borrow_mut();
                match effects.first_entry() {
                    Some(first) if first.key().0 <= self.now.get() => first.remove(),
                    _ => return,
                }
            };
            due(self);
        }
    }

    /// Ends the process: what was in flight happens or not, handles die, locks are free.
    fn end_run(&self) {
        for effect in std::mem::take(&mut *self.effects.borrow_mut()).into_values() {
            let happens = self.rng.borrow_mut().coin(1, 2);
            if happens {
                effect(self);
            }
        }
        self.run.set(self.run.get() + 1);
        self.locks.borrow_mut().clear();
        self.tree.borrow_mut().all_closed();
        self.running.set(false);
    }

    /// How long an operation takes: usually little, now and then much longer.
    fn latency(&self) -> Duration {
        let mut rng = self.rng.borrow_mut();
        let micros_max = if rng.coin(1, 32) { 10_000 } else { 200 };
        Duration::from_micros(1 + rng.below(micros_max))
    }
}
