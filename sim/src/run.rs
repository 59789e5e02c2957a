//! Runs histories: one plan in, what was done or what went wrong out.

use crate::plan::Plan;
use crate::world::{Tally, World};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_env::sim::Sim;

/// Virtual time after which a history must have ended.
const TIME_MAX: Duration = Duration::from_secs(40_000);

thread_local! {
    /// What the last panic on this thread said, and where.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of histories quiet: they are what [`run`] returns.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line()));
        let text = info.payload_as_str().unwrap_or("a panic without words");
        SAID.set(Some(format!("{text}{}", place.unwrap_or_default())));
    }));
}

/// A history that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was wrong.
    pub what: String,
}

/// Runs one history, with a deliberate bug or without.
pub fn run(plan: &Plan, bug: Option<&'static str>, verbose: bool) -> Result<Tally, Failure> {
    let sim = Sim::new(plan.seed);
    SAID.set(None);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        mutant::with(bug, || history(&sim, plan, verbose))
    }));
    match outcome {
        Ok(Some(mut tally)) => {
            tally.faults = sim.fault_counts();
            tally.millis = sim.now().as_millis() as u64;
            Ok(tally)
        }
        Ok(None) => Err(Failure {
            what: format!("still running after {TIME_MAX:?} of its time"),
        }),
        Err(_) => Err(Failure {
            what: SAID.take().unwrap_or_else(|| "a panic without words".into()),
        }),
    }
}

fn history(sim: &Sim, plan: &Plan, verbose: bool) -> Option<Tally> {
    sim.run_for(TIME_MAX, |env| async {
        let world = World::new(sim, env, plan.clone(), verbose);
        world.begin().await;
        for (number, step) in &plan.steps {
            world.tend().await;
            world.step(*number, step).await;
        }
        world.finish().await;
        let tally = world.tally.borrow().clone();
        drop(Rc::clone(&world));
        tally
    })
}
