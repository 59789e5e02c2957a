//! No key meets a nonce twice: every encryption of a long history is noted, and none comes again.

use super::{KdfCost, Secret, cipher};
use crate::{CaptureOptions, CaptureSpec, Chunk, RecordDraft, Root, SnapshotWriter, Vault, VaultOptions};
use proptest::prelude::*;
use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::DirBucket;
use tidemark_env::sim::Sim;
use tidemark_units::{CHUNK_BYTES, DiskId, Lsn, SnapshotId};

/// One capture: a disk, whether it starts from its last snapshot, and what is written. Few kinds of content, so that
/// the same chunks and nodes are stored again and again.
type Step = (u8, bool, Vec<(u32, u8)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = prop::collection::vec((0..200u32, 1..5u8), 1..12);
    prop::collection::vec((0..4u8, any::<bool>(), writes), 1..16)
}

async fn capture(vault: &Vault, number: usize, parent: Option<Root>, step: Step) -> Root {
    let (disk, _, writes) = step;
    let spec = CaptureSpec {
        snapshot: SnapshotId::new(format!("s-{number}")).unwrap(),
        disk: DiskId::new(format!("d-{disk}")).unwrap(),
        parent,
        size_bytes: 300 * CHUNK_BYTES,
        pending: writes.iter().map(|(index, _)| *index).collect(),
        own_key: disk == 0,
    };
    if spec.own_key {
        vault.create_disk_key(&spec.disk).await.unwrap();
    }
    let options = CaptureOptions {
        pack_bytes: 3 * CHUNK_BYTES,
        ..CaptureOptions::default()
    };
    let dir = Path::new("spool").join(format!("{number}"));
    let writer = SnapshotWriter::begin(vault, &dir, spec, options).await.unwrap();
    for (index, seed) in writes {
        let data = vec![seed; CHUNK_BYTES as usize];
        writer.put(index, Chunk::Data(data.into())).await.unwrap();
    }
    let draft = RecordDraft {
        created_ms: 0,
        parent: None,
        lsn: Lsn(1),
        owner: None,
        meta: serde_json::Value::Null,
    };
    writer.finish(draft).await.unwrap().root
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_key_meets_a_nonce_twice(seed in any::<u64>(), steps in steps()) {
        cipher::seen::take();
        let count = steps.len();
        Sim::new(seed).run(|env| async move {
            let secret = Secret::key_file(&[1; 32]).unwrap();
            let options = VaultOptions { secret: Some(secret.clone()), ..VaultOptions::default() };
            let bucket = Rc::new(DirBucket::new(env.clone(), "bucket"));
            let mut vault = Vault::create_with(&env, bucket.clone(), options.clone()).await.unwrap();
            let mut last: [Option<Root>; 4] = [None; 4];
            for (number, step) in steps.into_iter().enumerate() {
                let disk = usize::from(step.0);
                let parent = last[disk].filter(|_| step.1);
                last[disk] = Some(capture(&vault, number, parent, step).await);
                if number % 5 == 4 {
                    vault.rotate_keys(&[(secret.clone(), String::new())], KdfCost::default()).await.unwrap();
                    vault = Vault::open_with(&env, bucket.clone(), options.clone()).await.unwrap();
                }
            }
        });
        let seen = cipher::seen::take();
        // At least a chunk, a leaf, a top, two footers, a record and a head entry for each capture.
        prop_assert!(seen.len() >= 7 * count, "{} encryptions by {count} captures", seen.len());
        let different: HashSet<_> = seen.iter().collect();
        prop_assert_eq!(different.len(), seen.len());
    }
}
