//! `tidemark-sim`: runs histories.

use clap::Parser;
use std::process::ExitCode;
use tidemark_sim::plan::{Focus, Plan};
use tidemark_sim::run::{quiet_panics, run};

/// Runs simulated histories of the whole engine and checks what it answers.
#[derive(Parser)]
struct Args {
    /// Run this one.
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many, from seed 0 on.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// What to look at.
    #[arg(long, value_enum, default_value_t = Focus::Mixed)]
    focus: Focus,
    /// Tell what happens.
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    quiet_panics();
    if args.verbose {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .without_time()
            .init();
    }
    let seeds = match args.seed {
        Some(seed) => seed..seed + 1,
        None => 0..args.seeds,
    };
    let mut failed = 0;
    for seed in seeds {
        let plan = Plan::new(seed, args.focus);
        match run(&plan, None, args.verbose) {
            Ok(tally) if args.verbose => println!("{tally:#?}"),
            Ok(_) => {}
            Err(failure) => {
                failed += 1;
                println!("seed {seed}: {}", failure.what);
            }
        }
    }
    if failed > 0 {
        println!("{failed} histories failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
