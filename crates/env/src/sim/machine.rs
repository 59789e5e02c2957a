//! A simulated computer: a file system, its faults, a wall clock, and the processes on it.
//!
//! Machines share virtual time, chance and buckets, and nothing else. The world's own program (what
//! [`super::Sim::run`] is given) is a process of the machine called [`MAIN`].

use super::counts::Injected;
use super::fault::{FaultOp, Faults, FileFaults};
use super::names::{Ino, Tree};
use super::process::{Process, ProcessId};
use super::world::{WALL_START, World};
use crate::UnixMillis;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The name of the machine that [`super::Sim::run`] runs its program on.
pub const MAIN: &str = "main";

/// What the world knows of a machine.
pub(super) struct MachineState {
    name: String,
    pub(super) tree: RefCell<Tree>,
    /// Locked directories and who holds the lock.
    pub(super) locks: RefCell<BTreeMap<Ino, ProcessId>>,
    pub(super) faults: RefCell<Faults>,
    pub(super) capacity: Cell<Option<u64>>,
    pub(super) wall_offset: Cell<UnixMillis>,
}

impl MachineState {
    pub(super) fn new(name: &str) -> Rc<Self> {
        Rc::new(Self {
            name: name.to_owned(),
            tree: RefCell::new(Tree::new()),
            locks: RefCell::default(),
            faults: RefCell::default(),
            capacity: Cell::new(None),
            wall_offset: Cell::new(WALL_START),
        })
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name
    }
}

/// A simulated computer. Clones are the same one.
#[derive(Clone)]
pub struct Machine {
    pub(super) world: Rc<World>,
    pub(super) state: Rc<MachineState>,
}

impl Machine {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Starts a process, which lives until it is killed, its power is cut, or the run ends.
    ///
    /// # Panics
    /// Outside a run: nobody would poll its tasks.
    pub fn boot(&self) -> Process {
        assert!(self.world.running.get(), "a process starts inside a run");
        Process {
            world: self.world.clone(),
            state: self.world.start(&self.state),
        }
    }

    /// Cuts its power: kills its processes, then keeps any subset of what was not synced. Called by a
    /// task that runs on it, this comes right after the poll.
    ///
    /// # Panics
    /// Inside a run, if the world's own program runs on it; end that first (see [`super::Sim::run_for`]).
    pub fn power_cut(&self) {
        let processes = self.world.processes_on(&self.state);
        let main = self.world.processes.borrow().first().cloned();
        assert!(
            !main.is_some_and(|main| processes.iter().any(|process| Rc::ptr_eq(process, &main))),
            "the power of the machine that runs the world's own program is cut between two runs"
        );
        let machine = self.state.clone();
        let processes: Vec<_> = processes.iter().collect();
        self.world
            .between_polls(&processes, move |world| world.power_cut(&machine));
    }

    /// Kills its processes and leaves its files as they are. Called by a task that runs on it, this comes right after
    /// the poll.
    pub fn kill_all(&self) {
        let processes = self.world.processes_on(&self.state);
        let all = processes.clone();
        let processes: Vec<_> = processes.iter().collect();
        self.world.between_polls(&processes, move |world| {
            all.iter().for_each(|process| world.kill(process));
        });
    }

    /// Bytes that its files own together.
    pub fn used_bytes(&self) -> u64 {
        self.state.tree.borrow().space_used()
    }

    /// Limits the space that its files may own together, in bytes; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.capacity.set(bytes);
    }

    /// Sets how often its files fail from now on.
    pub fn set_faults(&self, faults: FileFaults) {
        self.state.faults.borrow_mut().rates = faults;
    }

    /// Makes the next `op` on a path that `matches` fail with EIO, once. Several wait in line.
    pub fn fail_next(&self, op: FaultOp, matches: impl Fn(&Path) -> bool + 'static) {
        self.state.faults.borrow_mut().add(op, Box::new(matches), true);
    }

    /// Makes every `op` on a path that `matches` fail with EIO, until [`Machine::clear_faults`].
    pub fn fail_always(&self, op: FaultOp, matches: impl Fn(&Path) -> bool + 'static) {
        self.state.faults.borrow_mut().add(op, Box::new(matches), false);
    }

    /// Forgets the faults of [`Machine::fail_next`] and [`Machine::fail_always`] that have not happened.
    pub fn clear_faults(&self) {
        self.state.faults.borrow_mut().clear();
    }

    /// Lets its wall clock jump by `millis`, either way. [`crate::Clock::now`] does not notice.
    pub fn jump_wall_clock(&self, millis: i64) {
        self.world.count(Injected::ClockJump, 1);
        self.state
            .wall_offset
            .set(self.state.wall_offset.get().saturating_add(millis));
    }

    /// Copies what the medium holds of `from` to `to` on `machine`, as an image of a stopped or running
    /// computer does: what was not synced is missing. The copy is durable. Nothing may be at `to`.
    pub fn copy_dir(&self, from: &Path, machine: &Machine, to: &Path) -> io::Result<()> {
        let image = self.state.tree.borrow().image(from)?;
        machine.state.tree.borrow_mut().restore(to, image)
    }

    /// Flips one random bit of the data that the medium holds for one of the files that `matches`: which
    /// file, and the offset of the byte. `None`: no such file has data.
    pub fn rot(&self, matches: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64)> {
        self.damage(Injected::FileRot, matches)
    }

    /// Overwrites one 4 KiB page of the data that the medium holds for one of the files that `matches`
    /// with another page of the same file: which file, and the offset of the page that is lost. `None`:
    /// no such file has two pages that differ.
    pub fn misdirect(&self, matches: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64)> {
        self.damage(Injected::StrayPage, matches)
    }

    fn damage(&self, kind: Injected, matches: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64)> {
        let (mut tree, mut rng) = (self.state.tree.borrow_mut(), self.world.rng.borrow_mut());
        let mut files = tree.files();
        files.retain(|(path, _)| matches(path));
        // Another file if the one chosen has nothing to damage.
        while !files.is_empty() {
            let (path, ino) = files.swap_remove(rng.below(files.len() as u64) as usize);
            let content = tree.file_mut(ino).ok()?;
            let damaged = match kind {
                Injected::StrayPage => content.misdirect(&mut rng),
                _ => content.rot(&mut rng),
            };
            if let Some(offset) = damaged {
                self.world.count(kind, 1);
                return Some((path, offset));
            }
        }
        None
    }
}

impl World {
    fn power_cut(&self, machine: &Rc<MachineState>) {
        for process in self.processes_on(machine) {
            self.end(&process);
        }
        let misdirected = machine.faults.borrow().rates.misdirected;
        let strays = machine
            .tree
            .borrow_mut()
            .crash(misdirected, &mut self.rng.borrow_mut());
        self.count(Injected::PowerCut, 1);
        self.count(Injected::StraySector, strays);
    }
}
