//! The bucket suite on a directory, in the real and the simulated world, and on the simulated store.

use std::rc::Rc;
use tidemark_conformance::bucket::{self, Limits};
use tidemark_env::real::{IoChoice, RuntimeOptions, run};
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_env::{Bucket, DirBucket, Env};

const LIMITS: Limits = Limits {
    component_bytes: 255,
    large_bytes: 40 << 20,
    listed: 2_500,
    creators: 8,
};
/// In the simulated worlds every byte costs more.
const SMALL: Limits = Limits {
    large_bytes: 1 << 20,
    listed: 300,
    ..LIMITS
};
const SEEDS: u64 = 5;

async fn directories(limits: Limits, env: &Env, root: &std::path::Path) {
    let mut made = 0;
    bucket::all(limits, &mut || {
        made += 1;
        let (env, dir) = (env.clone(), root.join(made.to_string()));
        Box::new(move || Rc::new(DirBucket::new(env.clone(), dir.clone())) as Rc<dyn Bucket>)
    })
    .await;
}

#[test]
fn a_directory_is_a_bucket() {
    for io in [IoChoice::Uring, IoChoice::Threads] {
        let dir = tempfile::tempdir().unwrap();
        run(RuntimeOptions { io }, |world| {
            let root = dir.path().to_owned();
            async move { directories(LIMITS, &world.env, &root).await }
        });
    }
}

#[test]
fn a_simulated_directory_is_a_bucket() {
    for seed in 0..SEEDS {
        Sim::new(seed).run(|env| async move { directories(SMALL, &env, "/".as_ref()).await });
    }
}

#[test]
fn a_simulated_store_is_a_bucket() {
    for seed in 0..SEEDS {
        let sim = Sim::new(seed);
        sim.run(|_env| async {
            bucket::all(SMALL, &mut || {
                let store = SimBucket::new(&sim);
                Box::new(move || store.client_of_run())
            })
            .await;
        });
    }
}
