//! Every world that a promise of the traits must hold in.

use std::path::PathBuf;
use tidemark_env::Env;
use tidemark_env::real::{IoChoice, RuntimeOptions, run};
use tidemark_env::sim::Sim;

/// Histories of the simulated world that a test sees.
const SEEDS: u64 = 10;

/// Runs `test` over io_uring, over threads and in simulated worlds, each with an empty directory.
pub fn everywhere(test: impl AsyncFn(Env, PathBuf)) {
    for io in [IoChoice::Uring, IoChoice::Threads] {
        let dir = tempfile::tempdir().unwrap();
        run(RuntimeOptions { io }, |world| {
            test(world.env, dir.path().to_owned())
        });
    }
    for seed in 0..SEEDS {
        Sim::new(seed).run(|env| test(env, PathBuf::from("/")));
    }
}
