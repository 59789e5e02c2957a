//! `tidemark-sim`: runs simulated histories of the whole engine and checks what it answers.

use clap::Parser;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tidemark_sim::mutants::{Hunt, MUTANTS, hunt};
use tidemark_sim::plan::{FOCUSES, Focus, Plan};
use tidemark_sim::run::{Failure, quiet_panics, run};
use tidemark_sim::shrink::shrink;
use tidemark_sim::world::Tally;

/// Failing seeds that are printed before a run gives up.
const FAILURES_MAX: usize = 20;

/// Runs simulated histories of the whole engine and checks what it answers.
///
/// One seed is one history: machines, guests, faults and crashes. A failing one prints its seed; run it again with
/// `--seed`, see what happens with `--verbose`, make it shorter with `--shrink`.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// Run this one history.
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many histories, from `--from` on.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// What to look at hardest. With `--minutes` all of them, unless one is given.
    #[arg(long, value_enum)]
    focus: Option<Focus>,
    /// Run on for so long, one focus after the other.
    #[arg(long)]
    minutes: Option<u64>,
    /// Run what every change must pass: so many mixed histories, and a tenth of that of each focus.
    #[arg(long)]
    all: bool,
    /// Check that the simulator finds deliberate bugs: all of them, or this one.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "all")]
    mutants: Option<String>,
    /// Run with this deliberate bug.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Make a failing history shorter and print its plan.
    #[arg(long)]
    shrink: bool,
    /// Tell what happens.
    #[arg(long, short)]
    verbose: bool,
}

/// The totals of many histories.
#[derive(Default)]
struct Totals {
    histories: AtomicU64,
    tally: Mutex<Tally>,
    failures: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs histories on all cores until `next` gives none.
fn many(next: impl Fn() -> Option<(u64, Focus)> + Sync, bug: Option<&'static str>, totals: &Totals) {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((seed, focus)) = next() {
                        one(&Plan::new(seed, focus), bug, totals);
                        if lock(&totals.failures).len() >= FAILURES_MAX {
                            return;
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let started = Instant::now();
            let mut told = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                if started.elapsed() - told >= Duration::from_secs(10) {
                    told = started.elapsed();
                    let histories = totals.histories.load(Ordering::Relaxed);
                    eprintln!(
                        "   {histories} histories, {} failed",
                        lock(&totals.failures).len()
                    );
                }
            }
        });
        for worker in workers {
            let _ = worker.join();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn one(plan: &Plan, bug: Option<&'static str>, totals: &Totals) {
    let outcome = run(plan, bug, false);
    totals.histories.fetch_add(1, Ordering::Relaxed);
    match outcome {
        Ok(tally) => lock(&totals.tally).add(&tally),
        Err(Failure { what }) => {
            let line = format!("--focus {} --seed {}: {what}", name(plan.focus), plan.seed);
            println!("FAILED {line}");
            lock(&totals.failures).push(line);
        }
    }
}

fn name(focus: Focus) -> String {
    format!("{focus:?}").to_lowercase()
}

fn report(totals: &Totals, started: Instant) -> ExitCode {
    let tally = lock(&totals.tally);
    let failures = lock(&totals.failures).len();
    println!(
        "{} histories in {:.0} s: {:.1} simulated hours, {} writes, {} marks and {} groups, {} recoveries, {} restores",
        totals.histories.load(Ordering::Relaxed),
        started.elapsed().as_secs_f64(),
        tally.millis as f64 / 3_600_000.0,
        tally.writes,
        tally.marks,
        tally.groups,
        tally.recoveries,
        tally.restores,
    );
    println!(
        "compared whole: {} disks, {} snapshots; failed loudly: {} snapshots, {} disks; {} writes refused",
        tally.compared, tally.verified, tally.failed_snapshots, tally.refused_disks, tally.refused
    );
    let faults: Vec<String> = tally
        .faults
        .iter()
        .map(|(what, n)| format!("{what:?} {n}"))
        .collect();
    println!("{} faults: {}", tally.faults.total(), faults.join(", "));
    match failures {
        0 => ExitCode::SUCCESS,
        n => {
            println!("{n} histories FAILED");
            ExitCode::FAILURE
        }
    }
}

/// Runs one history, loudly.
fn single(plan: &Plan, bug: Option<&'static str>, args: &Args) -> ExitCode {
    if args.verbose {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .without_time()
            .with_ansi(false)
            .init();
    }
    let failure = match run(plan, bug, args.verbose) {
        Ok(tally) => {
            println!("{tally:#?}");
            return ExitCode::SUCCESS;
        }
        Err(failure) => failure,
    };
    println!("FAILED: {}", failure.what);
    if args.shrink {
        let (plan, failure) = shrink(plan, failure, bug);
        println!("shorter: {}\nseed {} {:#?}", failure.what, plan.seed, plan.setup);
        for (number, step) in &plan.steps {
            println!("{number:4} {step:?}");
        }
    }
    ExitCode::FAILURE
}

/// The table of deliberate bugs.
fn mutants(which: &str) -> ExitCode {
    let chosen: Vec<_> = MUTANTS
        .iter()
        .filter(|m| which == "all" || m.name == which)
        .collect();
    if chosen.is_empty() {
        eprintln!("there is no deliberate bug called {which:?}");
        return ExitCode::from(2);
    }
    let (next, survived) = (AtomicU64::new(0), AtomicU64::new(0));
    let lines = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((at, mutant)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    chosen.get(at).map(|m| (at, m))
                } {
                    let line = match hunt(mutant) {
                        Hunt::Found {
                            focus,
                            seed,
                            tried,
                            what,
                        } => {
                            let what: String = what.chars().take(90).collect();
                            format!(
                                "| `{}` | {} | {tried} | {} {seed}: {what} |",
                                mutant.name,
                                mutant.what,
                                name(focus)
                            )
                        }
                        Hunt::Survived { tried } => {
                            survived.fetch_add(1, Ordering::Relaxed);
                            format!(
                                "| `{}` | {} | {tried} | **NOT FOUND** |",
                                mutant.name, mutant.what
                            )
                        }
                    };
                    eprintln!("{line}");
                    lock(&lines).push((at, line));
                }
            });
        }
    });
    let mut lines = std::mem::take(&mut *lock(&lines));
    lines.sort();
    println!("| deliberate bug | what is broken | histories | found by |\n|---|---|---|---|");
    lines.iter().for_each(|(_, line)| println!("{line}"));
    match survived.into_inner() {
        0 => ExitCode::SUCCESS,
        n => {
            println!("{n} of {} not found: the simulator is blind there", chosen.len());
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    quiet_panics();
    if let Some(which) = &args.mutants {
        return mutants(which);
    }
    let bug = match &args.mutant {
        None => None,
        Some(wanted) => match MUTANTS.iter().find(|m| m.name == wanted) {
            Some(mutant) => Some(mutant.name),
            None => {
                eprintln!("there is no deliberate bug called {wanted:?}");
                return ExitCode::from(2);
            }
        },
    };
    let focus = args.focus.unwrap_or(Focus::Mixed);
    if let Some(seed) = args.seed {
        return single(&Plan::new(seed, focus), bug, &args);
    }
    let (totals, started) = (Totals::default(), Instant::now());
    let count = AtomicU64::new(0);
    let next = || count.fetch_add(1, Ordering::Relaxed);
    if let Some(minutes) = args.minutes {
        let end = started + Duration::from_secs(60 * minutes);
        let focuses: Vec<Focus> = args.focus.map_or(FOCUSES.to_vec(), |focus| vec![focus]);
        let job = || {
            let n = next();
            let focus = focuses[n as usize % focuses.len()];
            (Instant::now() < end).then(|| (args.from + n / focuses.len() as u64, focus))
        };
        many(job, bug, &totals);
    } else if args.all {
        let each = args.seeds / 10;
        let job = || {
            let n = next();
            if n < args.seeds {
                return Some((args.from + n, Focus::Mixed));
            }
            let (focus, seed) = ((n - args.seeds) / each.max(1), (n - args.seeds) % each.max(1));
            let focus = FOCUSES.get(1 + focus as usize)?;
            Some((args.from + seed, *focus))
        };
        many(job, bug, &totals);
    } else {
        let job = || Some((args.from + next(), focus)).filter(|(seed, _)| *seed < args.from + args.seeds);
        many(job, bug, &totals);
    }
    report(&totals, started)
}
