//! A process of a simulated machine: its tasks, and its sudden end.

use super::counts::Injected;
use super::machine::MachineState;
use super::outside;
use super::world::World;
use crate::tasks::TaskSet;
use crate::{Env, LocalFuture};
use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Numbers processes in the order of their start; never used twice.
pub(super) type ProcessId = u64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Its tasks are being dropped.
    Ending,
    Ended,
}

/// What the world knows of a process.
pub(super) struct ProcessState {
    pub(super) id: ProcessId,
    pub(super) machine: Rc<MachineState>,
    pub(super) tasks: Rc<TaskSet>,
    life: Cell<Life>,
    /// None of its tasks is polled before.
    pub(super) stalled_until: Cell<Duration>,
    /// How often its tasks are still polled before it is killed.
    polls_left: Cell<Option<u64>>,
    /// How often its tasks are still polled before it stalls, and for how long it does then.
    stall_ahead: Cell<Option<(u64, Duration)>>,
    /// A part of a path: it is killed when it has changed such a file, or such a name.
    kill_upon: RefCell<Option<String>>,
    mourners: RefCell<Vec<Waker>>,
}

impl ProcessState {
    pub(super) fn new(id: ProcessId, machine: Rc<MachineState>) -> Rc<Self> {
        Rc::new(Self {
            id,
            machine,
            tasks: TaskSet::new(|| {}),
            life: Cell::new(Life::Running),
            stalled_until: Cell::new(Duration::ZERO),
            polls_left: Cell::new(None),
            stall_ahead: Cell::new(None),
            kill_upon: RefCell::default(),
            mourners: RefCell::default(),
        })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.life.get() == Life::Ended
    }

    pub(super) fn check_alive(&self) -> io::Result<()> {
        match self.has_ended() {
            false => Ok(()),
            true => Err(io::Error::other(
                "the process that this handle belongs to has ended",
            )),
        }
    }

    /// One of its tasks was polled at `now`. `true`: that was the last time.
    pub(super) fn polled(&self, now: Duration) -> bool {
        match self.stall_ahead.take() {
            Some((0 | 1, time)) => self.stall(now + time),
            ahead => self.stall_ahead.set(ahead.map(|(left, time)| (left - 1, time))),
        }
        let left = self.polls_left.get().map(|left| left.saturating_sub(1));
        self.polls_left.set(left);
        left == Some(0)
    }

    /// It has changed what `path` names. If that was waited for, it is polled once more, so that what it does next may or may
    /// not happen, and then no more.
    pub(super) fn changed(&self, path: &Path) {
        let mut upon = self.kill_upon.borrow_mut();
        if upon
            .take_if(|part| path.to_string_lossy().contains(&**part))
            .is_some()
        {
            self.polls_left.set(Some(1));
        }
    }

    /// None of its tasks is polled before `until`.
    pub(super) fn stall(&self, until: Duration) {
        self.stalled_until.set(until.max(self.stalled_until.get()));
    }

    /// Drops its tasks, then lets `settle` decide what is in flight, then everybody may know. Once.
    pub(super) fn end(&self, settle: impl FnOnce()) {
        if self.life.get() != Life::Running {
            return;
        }
        self.life.set(Life::Ending);
        self.tasks.clear();
        settle();
        self.life.set(Life::Ended);
        self.machine
            .locks
            .borrow_mut()
            .retain(|_, holder| *holder != self.id);
        self.machine.tree.borrow_mut().all_closed(self.id);
        self.mourners.take().into_iter().for_each(Waker::wake);
    }
}

/// A process of a [`super::Machine`]. Clones are the same process; dropping them does not end it.
#[derive(Clone)]
pub struct Process {
    pub(super) world: Rc<World>,
    pub(super) state: Rc<ProcessState>,
}

impl Process {
    /// The outside world as this process sees it: what is spawned there is a task of this process.
    pub fn env(&self) -> Env {
        outside::env(&self.world, &self.state)
    }

    /// Ends it as SIGKILL would: its tasks are dropped, its handles are dead, its locks free, and what is
    /// in flight happens or never does. Called by one of its own tasks, this comes right after the poll.
    pub fn kill(&self) {
        let state = self.state.clone();
        self.world
            .between_polls(&[&self.state], move |world| world.kill(&state));
    }

    /// Kills it between two polls, once its tasks were polled `polls` more times (0: now).
    pub fn kill_after(&self, polls: u64) {
        match polls {
            0 => self.kill(),
            _ => self.state.polls_left.set(Some(polls)),
        }
    }

    /// Kills it when it has next changed a file, or removed a name, whose path contains `part`: between a change and what is to
    /// make it durable is where names and bytes get lost.
    pub fn kill_upon(&self, part: &str) {
        *self.state.kill_upon.borrow_mut() = Some(part.to_owned());
    }

    /// Lets it stall for `time`, once its tasks were polled `polls` more times: as a thread does that waits for a page that is
    /// swapped out. Unlike the stalls of [`super::Sim::set_stalls`] this one happens once, and can be long.
    pub fn stall_after(&self, polls: u64, time: Duration) {
        self.state.stall_ahead.set(Some((polls, time)));
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        !self.state.has_ended()
    }

    /// Completes once it has ended.
    pub fn died(&self) -> LocalFuture<'static, ()> {
        let state = self.state.clone();
        Box::pin(std::future::poll_fn(move |context| {
            if state.has_ended() {
                return Poll::Ready(());
            }
            let mut mourners = state.mourners.borrow_mut();
            if !mourners.iter().any(|waker| waker.will_wake(context.waker())) {
                mourners.push(context.waker().clone());
            }
            Poll::Pending
        }))
    }
}

impl World {
    /// Kills `process` if it has not ended; not while one of its tasks is polled.
    pub(super) fn kill(&self, process: &Rc<ProcessState>) {
        if !process.has_ended() {
            self.count(Injected::Kill, 1);
            self.end(process);
        }
    }
}
