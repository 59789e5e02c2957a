//! The world behind [`super::Sim`]: chance, virtual time, what will take effect when, and who lives.
//!
//! Invariants: (1) the first process is the run's own program, and there is none between two runs;
//! (2) an effect belongs to the process that asked for it, or to nobody if it happens in any case;
//! (3) a process ends between two polls, never while one of its tasks is polled.

use super::counts::{FaultCounts, Injected};
use super::machine::{MAIN, MachineState};
use super::process::{ProcessId, ProcessState};
use super::rng::{Rng, TEN_THOUSAND};
use crate::UnixMillis;
use crate::timers::Timers;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How long a process stalls at most.
const STALL_MICROS_MAX: u64 = 40_000;

/// The wall clock of a new machine: 2030-01-01 UTC.
pub(super) const WALL_START: UnixMillis = 1_893_456_000_000;

/// What takes effect at some virtual time.
pub(super) type Effect = Box<dyn FnOnce()>;

/// Something to do once the poll that asked for it is over.
type Postponed = Box<dyn FnOnce(&World)>;

struct Pending {
    owner: Option<ProcessId>,
    effect: Effect,
}

/// See the module.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: RefCell<Rng>,
    pub(super) now: Cell<Duration>,
    pub(super) timers: Rc<Timers>,
    effects: RefCell<BTreeMap<(Duration, u64), Pending>>,
    effects_made: Cell<u64>,
    machines: RefCell<Vec<Rc<MachineState>>>,
    pub(super) processes: RefCell<Vec<Rc<ProcessState>>>,
    /// How often a process that was polled stalls, in 1/10,000.
    pub(super) stalls: Cell<u32>,
    processes_made: Cell<ProcessId>,
    /// The process whose task is being polled.
    polled: Cell<Option<ProcessId>>,
    postponed: RefCell<Vec<Postponed>>,
    pub(super) running: Cell<bool>,
    counts: RefCell<FaultCounts>,
}

impl World {
    pub(super) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            seed,
            rng: RefCell::new(Rng::new(seed)),
            now: Cell::new(Duration::ZERO),
            timers: Rc::default(),
            effects: RefCell::default(),
            effects_made: Cell::new(0),
            machines: RefCell::new(vec![MachineState::new(MAIN)]),
            processes: RefCell::default(),
            stalls: Cell::new(0),
            processes_made: Cell::new(0),
            polled: Cell::new(None),
            postponed: RefCell::default(),
            running: Cell::new(false),
            counts: RefCell::default(),
        })
    }

    /// The machine called `name`, made if it is new.
    pub(super) fn machine(&self, name: &str) -> Rc<MachineState> {
        let mut machines = self.machines.borrow_mut();
        if let Some(found) = machines.iter().find(|machine| machine.is_called(name)) {
            return found.clone();
        }
        let machine = MachineState::new(name);
        machines.push(machine.clone());
        machine
    }

    /// Starts a process on `machine`.
    pub(super) fn start(&self, machine: &Rc<MachineState>) -> Rc<ProcessState> {
        let id = self.processes_made.get();
        self.processes_made.set(id + 1);
        let process = ProcessState::new(id, machine.clone());
        self.processes.borrow_mut().push(process.clone());
        process
    }

    /// The processes on `machine` that have not ended.
    pub(super) fn processes_on(&self, machine: &Rc<MachineState>) -> Vec<Rc<ProcessState>> {
        let processes = self.processes.borrow();
        let on_it = processes
            .iter()
            .filter(|process| Rc::ptr_eq(&process.machine, machine));
        on_it.cloned().collect()
    }

    /// Ends `process`: what it has in flight happens or never does.
    pub(super) fn end(&self, process: &Rc<ProcessState>) {
        process.end(|| self.settle(|owner| owner == Some(process.id)));
        self.processes.borrow_mut().retain(|other| other.id != process.id);
    }

    /// Ends the run and with it every process, the program's own first.
    pub(super) fn end_run(&self) {
        loop {
            let Some(process) = self.processes.borrow().first().cloned() else {
                break;
            };
            self.end(&process);
        }
        self.settle(|_| true);
        self.postponed.take();
        self.running.set(false);
    }

    /// How many tasks of processes other than the run's own program are ready.
    pub(super) fn ready_elsewhere(&self) -> usize {
        let processes = self.processes.borrow();
        processes
            .iter()
            .skip(1)
            .map(|process| self.ready_in(process))
            .sum()
    }

    /// How many tasks of `process` are ready and may be polled: none while it stalls.
    fn ready_in(&self, process: &ProcessState) -> usize {
        match process.stalled_until.get() > self.now.get() {
            true => 0,
            false => process.tasks.ready_count(),
        }
    }

    /// Polls the ready task at `index` of those that [`World::ready_elsewhere`] counts.
    pub(super) fn poll_elsewhere(&self, mut index: usize) {
        let processes = self.processes.borrow();
        for process in processes.iter().skip(1) {
            let ready = self.ready_in(process);
            if index < ready {
                let process = process.clone();
                drop(processes);
                self.poll_task(&process, index);
                if self.happens(self.stalls.get()) {
                    let micros = 1 + self.rng.borrow_mut().below(STALL_MICROS_MAX);
                    process.stall(self.now.get() + Duration::from_micros(micros));
                }
                return;
            }
            index -= ready;
        }
    }

    /// Polls the ready task at `index` of `process`.
    pub(super) fn poll_task(&self, process: &Rc<ProcessState>, index: usize) {
        let Some(runnable) = process.tasks.take(index) else {
            return;
        };
        self.polling(process, || {
            let _within = process.tasks.within();
            runnable.run()
        });
        if process.polled(self.now.get()) {
            self.kill(process);
        }
    }

    /// Polls something of `process` by `poll`, then does what had to wait for the end of the poll.
    pub(super) fn polling<T>(&self, process: &Rc<ProcessState>, poll: impl FnOnce() -> T) -> T {
        self.polled.set(Some(process.id));
        let polled = poll();
        self.polled.set(None);
        loop {
            let postponed = self.postponed.take();
            if postponed.is_empty() {
                break;
            }
            postponed.into_iter().for_each(|work| work(self));
        }
        polled
    }

    /// Does `work` now, or after the present poll if that is of one of `processes`.
    pub(super) fn between_polls(&self, processes: &[&Rc<ProcessState>], work: impl FnOnce(&World) + 'static) {
        let polled = self.polled.get();
        if processes.iter().any(|process| Some(process.id) == polled) {
            self.postponed.borrow_mut().push(Box::new(work));
        } else {
            work(self);
        }
    }

    /// Lets `effect` happen at `time`; if `owner` ends before, perhaps never.
    pub(super) fn at(&self, time: Duration, owner: Option<ProcessId>, effect: Effect) {
        if time <= self.now.get() {
            return effect();
        }
        let number = self.effects_made.get();
        self.effects_made.set(number + 1);
        let pending = Pending { owner, effect };
        self.effects.borrow_mut().insert((time, number), pending);
    }

    /// Lets time jump to the next event. `false`: the end of the run comes first.
    ///
    /// # Panics
    /// When there is no event: nothing will ever happen again.
    pub(super) fn advance(&self, end: Option<Duration>) -> bool {
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

    pub(super) fn next_event(&self) -> Option<Duration> {
        let effect = self.effects.borrow().first_key_value().map(|(key, _)| key.0);
        let stalled = self
            .processes
            .borrow()
            .iter()
            .fold(None, |first: Option<Duration>, process| {
                let until = process.stalled_until.get();
                let waits = until > self.now.get() && process.tasks.ready_count() > 0;
                first.into_iter().chain(waits.then_some(until)).min()
            });
        effect.into_iter().chain(self.timers.first()).chain(stalled).min()
    }

    /// How long an operation takes: usually little, now and then much longer.
    pub(super) fn latency(&self) -> Duration {
        let mut rng = self.rng.borrow_mut();
        let micros_max = if rng.coin(1, 32) { 10_000 } else { 200 };
        Duration::from_micros(1 + rng.below(micros_max))
    }

    /// Whether something of `rate` in 10,000 happens now.
    pub(super) fn happens(&self, rate: u32) -> bool {
        rate > 0 && self.rng.borrow_mut().coin(rate.into(), TEN_THOUSAND)
    }

    pub(super) fn count(&self, what: Injected, times: u64) {
        self.counts.borrow_mut().count(what, times);
    }

    pub(super) fn counts(&self) -> FaultCounts {
        self.counts.borrow().clone()
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
            (due.effect)();
        }
    }

    /// What is in flight and belongs to `whose` happens now or never.
    fn settle(&self, whose: impl Fn(Option<ProcessId>) -> bool) {
        let settled = self
            .effects
            .borrow_mut()
            .extract_if(.., |_, pending| whose(pending.owner))
            .collect::<Vec<_>>();
        if std::thread::panicking() {
            // The test has failed; what it left half done must not fail again.
            return;
        }
        for (_, pending) in settled {
            let happens = self.rng.borrow_mut().coin(1, 2);
            if happens {
                (pending.effect)();
            }
        }
    }
}
