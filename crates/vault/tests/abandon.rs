//! A capture is given up while its commit is under way: the snapshot is there and whole, or it never comes.

mod common;

use common::*;
use futures_util::future::{Either, select};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_vault::{Sample, SnapshotWriter, Vault, VaultErrorKind};

#[test]
fn an_entry_that_is_under_way_does_not_get_through_later() {
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let bucket = SimBucket::new(&sim);
        sim.run(|env| async move {
            let vault = Vault::open_or_create(&env, bucket.client_of_run()).await.unwrap();
            let dir = Path::new("spool/s-1");
            let spec = spec("s-1", "d-1", 10, None, &[3]);
            let writer = SnapshotWriter::begin(&vault, dir, spec, small()).await.unwrap();
            writer.put(3, chunk(Some(7))).await.unwrap();
            {
                // Dropped while one of its requests is under way: what was sent was sent.
                let finishing = pin!(writer.finish(draft()));
                let moment = env.clock.sleep(Duration::from_micros(500 * seed));
                if let Either::Left((done, _)) = select(finishing, moment).await {
                    done.unwrap();
                }
            }
            writer.close().await;
            drop(writer);
            if let Some(again) = SnapshotWriter::resume(&vault, dir, small()).await.unwrap() {
                // Refused if it was committed.
                let _ = again.abandon().await;
            }
            env.clock.sleep(Duration::from_secs(60)).await;
            let theirs = Vault::open(&env, bucket.client_of_run()).await.unwrap();
            let log = theirs.head_log(&disk("d-1")).await.unwrap();
            for (id, root) in tidemark_vault::head::live_snapshots(&log.entries()) {
                let report = theirs.verify(&root, Sample::All).await.unwrap();
                assert!(report.damage.is_empty(), "seed {seed}: {:?}", report.damage);
                assert!(
                    theirs.snapshot(&id).await.is_ok(),
                    "seed {seed}: {id} has no record"
                );
            }
            if log.is_empty() {
                let gone = theirs.snapshot(&snapshot("s-1")).await.unwrap_err();
                assert_eq!(gone.kind, VaultErrorKind::Missing);
            }
        });
    }
}
