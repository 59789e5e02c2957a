//! Makes a failing history shorter: leaves out steps as long as it still fails.
//!
//! Leaving a step out changes the schedule of everything after it, so a bug may hide for one schedule and show for
//! another: each shorter plan is tried with a few seeds. The failure that remains need not be the first one's.

use crate::plan::{Plan, Step};
use crate::run::{Failure, run};

/// Seeds tried for each shorter plan.
const SEEDS: u64 = 4;

/// The shortest failing plan found, and how it fails.
pub fn shrink(plan: &Plan, failure: Failure, bug: Option<&'static str>) -> (Plan, Failure) {
    let mut best = (plan.clone(), failure);
    let mut piece = best.0.steps.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < best.0.steps.len() {
            let mut shorter = best.0.clone();
            let end = (at + piece).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            match fails(&shorter, bug) {
                Some(found) => best = found,
                None => at += piece,
            }
        }
        piece /= 2;
    }
    for (number, (_, step)) in best.0.steps.clone().into_iter().enumerate() {
        let Step::Load {
            disk,
            client,
            operations,
        } = step
        else {
            continue;
        };
        for fewer in [1, operations / 4, operations / 2] {
            let mut shorter = best.0.clone();
            shorter.steps[number].1 = Step::Load {
                disk,
                client,
                operations: fewer.max(1),
            };
            if fewer < operations
                && let Some(found) = fails(&shorter, bug)
            {
                best = found;
                break;
            }
        }
    }
    best
}

fn fails(plan: &Plan, bug: Option<&'static str>) -> Option<(Plan, Failure)> {
    (0..SEEDS).find_map(|other| {
        let mut plan = plan.clone();
        plan.seed = plan.seed.wrapping_add(other << 32);
        let failure = run(&plan, bug, false).err()?;
        Some((plan, failure))
    })
}
