//! A head log that several tasks of one process share while another process appends to it.

mod common;

use common::*;
use futures_util::future::join_all;
use tidemark_env::sim::Sim;
use tidemark_vault::{HeadEntry, Vault};

#[test]
fn tasks_that_read_on_at_once_all_learn_the_entries_in_their_order() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        sim.clone().run(|env| async move {
            let bucket = Bad::new(&sim, &env);
            let ours = Vault::open_or_create(&env, bucket.clone()).await.unwrap();
            let theirs = Vault::open(&env, bucket).await.unwrap();
            let disk = disk("d-1");
            let log = ours.head_log(&disk).await.unwrap();
            log.claim("ours", 0).await.unwrap();
            let other = theirs.head_log(&disk).await.unwrap();
            for epoch in 1..6 {
                other.claim("theirs", epoch).await.unwrap();
            }
            let read = join_all((0..4).map(|_| log.refresh())).await;
            assert!(read.iter().all(Result::is_ok), "seed {seed}: {read:?}");
            let epoch = |entry: HeadEntry| match entry {
                HeadEntry::Own { epoch, .. } => epoch,
                other => panic!("seed {seed}: {other:?}"),
            };
            let epochs: Vec<u64> = log.entries().into_iter().map(epoch).collect();
            assert_eq!(epochs, [0, 1, 2, 3, 4, 5], "seed {seed}");
        });
    }
}
