//! What captures of this process have stored but not committed, for the sweep to leave alone.
//!
//! While a sweep runs nothing is forgotten, not even by a capture that commits meanwhile: the sweep
//! may have read the head log before that commit and seen the pack in the listing after the upload.

use crate::id::PackId;
use crate::tree::Root;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

#[derive(Default)]
pub(crate) struct InFlight {
    captures: RefCell<HashMap<u64, Capture>>,
    next: Cell<u64>,
    sweeps: Cell<u32>,
}

#[derive(Default)]
struct Capture {
    packs: HashSet<PackId>,
    parent: Option<Root>,
    ended: bool,
}

impl InFlight {
    /// Registers a capture; its number is for the other calls.
    pub(crate) fn begin(&self, parent: Option<Root>) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.captures.borrow_mut().insert(
            number,
            Capture {
                parent,
                ..Capture::default()
            },
        );
        number
    }

    /// Adds a pack, before its upload starts.
    pub(crate) fn add(&self, number: u64, pack: PackId) {
        if let Some(capture) = self.captures.borrow_mut().get_mut(&number) {
            capture.packs.insert(pack);
        }
    }

    /// The capture is committed or given up.
    pub(crate) fn end(&self, number: u64) {
        if let Some(capture) = self.captures.borrow_mut().get_mut(&number) {
            capture.ended = true;
        }
        self.forget_ended();
    }

    fn forget_ended(&self) {
        if self.sweeps.get() == 0 {
            self.captures.borrow_mut().retain(|_, capture| !capture.ended);
        }
    }

    pub(crate) fn packs(&self) -> Vec<PackId> {
        self.captures
            .borrow()
            .values()
            .flat_map(|capture| capture.packs.iter().copied())
            .collect()
    }

    pub(crate) fn roots(&self) -> Vec<Root> {
        self.captures
            .borrow()
            .values()
            .filter_map(|capture| capture.parent)
            .collect()
    }

    pub(crate) fn holds(&self, pack: &PackId) -> bool {
        self.captures
            .borrow()
            .values()
            .any(|capture| capture.packs.contains(pack))
    }

    /// Nothing is forgotten until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.sweeps.set(self.sweeps.get() + 1);
        Hold(self)
    }
}

pub(crate) struct Hold<'a>(&'a InFlight);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.sweeps.set(self.0.sweeps.get() - 1);
        self.0.forget_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_outlives_the_captures_it_met() {
        let in_flight = InFlight::default();
        let (early, pack) = (in_flight.begin(None), PackId([1; 16]));
        in_flight.add(early, pack);
        let hold = in_flight.hold();
        in_flight.end(early);
        assert!(in_flight.holds(&pack));
        drop(hold);
        assert!(!in_flight.holds(&pack));
    }
}
