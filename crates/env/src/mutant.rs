//! Deliberate bugs, to prove that the simulator finds bugs.
//!
//! The engine asks [`on`] at the places where a rule could be broken; the answer is a constant `false` unless
//! the feature `mutants` is compiled in, which only the simulator does, and then it is `false` for all but the one
//! name that [`with`] was given on this thread. A mutant is named after its crate and the rule it breaks
//! (`volume-ack-before-write`); the list, with what each breaks, is the simulator's.

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Whether the deliberate bug `name` is switched on on this thread.
    pub fn on(name: &str) -> bool {
        ON.get() == Some(name)
    }

    /// Runs `work` with the deliberate bug `name` (or none) switched on on this thread.
    pub fn with<T>(name: Option<&'static str>, work: impl FnOnce() -> T) -> T {
        struct Reset(Option<&'static str>);
        impl Drop for Reset {
            fn drop(&mut self) {
                ON.set(self.0);
            }
        }
        let _reset = Reset(ON.replace(name));
        work()
    }
}

#[cfg(feature = "mutants")]
pub use switch::{on, with};

/// Whether the deliberate bug `name` is switched on: never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_name: &str) -> bool {
    false
}
