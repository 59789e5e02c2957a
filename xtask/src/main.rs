//! The project's chores: `cargo xtask test`, `sim`, `soak`, `fuzz`, `bench` and `screenshots`.
//!
//! What must stay true: continuous integration runs exactly what a developer runs, and every check
//! can be run alone. Nothing here decides what is correct; it only finds, installs, starts and times.

mod bench;
mod deps;
mod fuzz;
mod layers;
mod process;
mod screenshots;
mod sim;
mod soak;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask test [--only fmt|deps|lint|unit|sim|fuzz|e2e] [-- <arguments for pytest>]
       cargo xtask sim [<arguments of the simulator>; --help lists them]
       cargo xtask soak [--rounds N] [--only kill9|powercut|collect|ceph] [--seed N]
       cargo xtask fuzz [--seconds N] [--only TARGET [--input FILE]]
       cargo xtask fuzz --write-seeds
       cargo xtask bench [-- <arguments for bench/run.py>]
       cargo xtask screenshots";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let rest = match args.iter().position(|arg| arg == "--") {
        Some(at) => args.split_off(at).split_off(1),
        None => Vec::new(),
    };
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test::run(None, &rest),
        ["test", "--only", step] => test::run(Some(step), &rest),
        ["fuzz", "--write-seeds"] => fuzz::write_seeds(),
        ["fuzz", options @ ..] => match fuzz::Options::parse(options) {
            Some(options) => fuzz::run(&options),
            None => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        },
        ["sim", words @ ..] => sim::run(words),
        ["bench"] => bench::run(&rest),
        ["screenshots"] => screenshots::run(),
        ["soak", words @ ..] => soak::run(words),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
