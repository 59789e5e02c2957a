//! Head logs that several tasks and handles read at once.

mod common;

use common::*;
use futures_util::future::try_join_all;
use tidemark_env::sim::Sim;
use tidemark_vault::Vault;

/// One handle's tasks each look for what another handle has appended, all in the same log.
#[test]
fn tasks_that_read_a_head_log_at_once_learn_the_same() {
    for seed in 0..50 {
        let sim = Sim::new(seed);
        let world = sim.clone();
        sim.run(|env| async move {
            let bucket = Bad::new(&world, &env);
            let ours = Vault::create(&env, bucket.clone()).await.unwrap();
            let log = ours.head_log(&disk("d-1")).await.unwrap();
            log.claim("here", 1).await.unwrap();
            let theirs = Vault::open(&env, bucket).await.unwrap();
            let their_log = theirs.head_log(&disk("d-1")).await.unwrap();
            for epoch in 2..6 {
                their_log.claim("there", epoch).await.unwrap();
            }
            let of = disk("d-1");
            let read = try_join_all((0..6).map(|_| ours.head_log(&of))).await;
            read.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(log.entries(), their_log.entries(), "seed {seed}");
        });
    }
}
