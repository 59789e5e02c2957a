//! Faults of a machine's files: asked for one by one, or by chance at settable rates.

use super::counts::Injected;
use super::rng::{Rng, TEN_THOUSAND};
use std::path::Path;
use std::rc::Rc;

/// Which operations a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOp {
    /// [`crate::File::read_at`].
    Read,
    /// [`crate::File::write_at`]; a part of the data may have been written.
    Write,
    /// [`crate::File::sync`]; unsynced sectors are kept or lost, and clean afterwards.
    Sync,
    /// [`crate::Fs::sync_dir`], by the directory's path.
    SyncDir,
    /// [`crate::Fs::open`] and other changes of names, by the (first) path.
    Name,
}

impl FaultOp {
    pub(super) fn injected(self) -> Injected {
        match self {
            Self::Read => Injected::ReadError,
            Self::Write => Injected::WriteError,
            Self::Sync => Injected::SyncError,
            Self::SyncDir => Injected::SyncDirError,
            Self::Name => Injected::NameError,
        }
    }
}

/// Chooses paths.
pub type PathFilter = Rc<dyn Fn(&Path) -> bool>;

/// How often a machine's files fail, in 1/10,000 of the operations. The default is never.
#[derive(Clone, Default)]
pub struct FileFaults {
    /// EIO of [`FaultOp::Read`].
    pub read_eio: u32,
    /// EIO of [`FaultOp::Write`]; a part may have been written.
    pub write_eio: u32,
    /// EIO of [`FaultOp::Sync`].
    pub sync_eio: u32,
    /// EIO of [`FaultOp::SyncDir`].
    pub sync_dir_eio: u32,
    /// EIO of [`FaultOp::Name`].
    pub name_eio: u32,
    /// ENOSPC of writes (a part may have been written), allocations, and whatever makes a name.
    pub enospc: u32,
    /// Of the unsynced sectors that a power cut keeps, how many get the new bytes of another unsynced
    /// sector of the same file.
    pub misdirected: u32,
    /// Which paths all of these strike but `misdirected`; `None` is every path.
    pub only: Option<PathFilter>,
}

impl FileFaults {
    fn rate(&self, op: FaultOp) -> u32 {
        match op {
            FaultOp::Read => self.read_eio,
            FaultOp::Write => self.write_eio,
            FaultOp::Sync => self.sync_eio,
            FaultOp::SyncDir => self.sync_dir_eio,
            FaultOp::Name => self.name_eio,
        }
    }

    /// Whether something of that `rate` happens to `path` now.
    fn happens(&self, rate: u32, path: &Path, rng: &mut Rng) -> bool {
        rate > 0 && self.only.as_ref().is_none_or(|only| only(path)) && rng.coin(rate.into(), TEN_THOUSAND)
    }
}

struct Fault {
    op: FaultOp,
    matches: Box<dyn Fn(&Path) -> bool>,
    once: bool,
}

/// All faults that may still strike.
#[derive(Default)]
pub(super) struct Faults {
    asked: Vec<Fault>,
    pub(super) rates: FileFaults,
}

impl Faults {
    pub(super) fn add(&mut self, op: FaultOp, matches: Box<dyn Fn(&Path) -> bool>, once: bool) {
        self.asked.push(Fault { op, matches, once });
    }

    pub(super) fn clear(&mut self) {
        self.asked.clear();
    }

    /// Whether `op` on `path` fails now.
    pub(super) fn strikes(&mut self, op: FaultOp, path: &Path, rng: &mut Rng) -> bool {
        let mut asked = self.asked.iter();
        let Some(index) = asked.position(|fault| fault.op == op && (fault.matches)(path)) else {
            return self.rates.happens(self.rates.rate(op), path, rng);
        };
        if self.asked[index].once {
            self.asked.remove(index);
        }
        true
    }

    /// Whether what needs space for `path` finds none now.
    pub(super) fn no_space(&self, path: &Path, rng: &mut Rng) -> bool {
        self.rates.happens(self.rates.enospc, path, rng)
    }
}
