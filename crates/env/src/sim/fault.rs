//! Faults that a test asks for: EIO on chosen operations of chosen files.

use std::path::Path;

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

struct Fault {
    op: FaultOp,
    matches: Box<dyn Fn(&Path) -> bool>,
    once: bool,
}

/// All faults that may still strike.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, op: FaultOp, matches: Box<dyn Fn(&Path) -> bool>, once: bool) {
        self.0.push(Fault { op, matches, once });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether `op` on `path` fails now.
    pub(super) fn strikes(&mut self, op: FaultOp, path: &Path) -> bool {
        let found = self
            .0
            .iter()
            .position(|fault| fault.op == op && (fault.matches)(path));
        if let Some(index) = found
            && self.0[index].once
        {
            self.0.remove(index);
        }
        found.is_some()
    }
}
