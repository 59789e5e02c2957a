//! A group's call that fails or is repeated touches nothing that was there before.

mod common;

use common::on_node;
use std::time::Duration;
use tidemark_env::sim::{Sim, SimBucket};
use tidemark_node::{MarkRequest, Node, NodeErrorKind, SnapshotStatus};
use tidemark_units::{CHUNK_BYTES, DiskId, GroupId, SnapshotId};

fn group(name: &str) -> GroupId {
    GroupId::new(name).unwrap()
}

fn requests(named: &[(&str, &str)]) -> Vec<(DiskId, MarkRequest)> {
    let one = |(disk, snapshot): &(&str, &str)| {
        let request = MarkRequest {
            snapshot: SnapshotId::new(*snapshot).unwrap(),
            meta: serde_json::Value::Null,
        };
        (DiskId::new(*disk).unwrap(), request)
    };
    named.iter().map(one).collect()
}

async fn accomplished(node: &Node, name: &str) -> bool {
    let snapshot = SnapshotId::new(name).unwrap();
    matches!(
        node.snapshot_status(&snapshot).await.unwrap(),
        SnapshotStatus::Accomplished(_)
    )
}

#[test]
fn a_repeated_group_is_answered_as_it_was_and_a_refused_one_harms_nothing() {
    let sim = Sim::new(1);
    let (machine, bucket) = (sim.machine("host"), SimBucket::new(&sim));
    sim.run(|_| async move {
        let at = bucket.clone();
        let done = on_node(&machine, &bucket, move |node, env| async move {
            for name in ["d-1", "d-2", "d-3"] {
                let disk = DiskId::new(name).unwrap();
                node.create_disk(&disk, CHUNK_BYTES, None).await.unwrap();
            }
            // Captures wait, so the group's marks stay pending.
            at.set_down(true);
            let both = requests(&[("d-2", "s-2"), ("d-1", "s-1")]);
            let made = node.mark_group(&group("g-1"), both.clone()).await.unwrap();
            assert_eq!(made.len(), 2);
            assert_eq!(node.mark_group(&group("g-1"), both).await.unwrap(), made);

            let refused = [
                ("g-2", [("d-1", "s-1"), ("d-2", "s-9")], NodeErrorKind::Invalid),
                ("g-3", [("d-1", "s-8"), ("d-2", "s-9")], NodeErrorKind::Busy),
                ("g-4", [("d-3", "s-8"), ("d-3", "s-9")], NodeErrorKind::Invalid),
                ("g-5", [("d-2", "s-8"), ("d-3", "s-8")], NodeErrorKind::Invalid),
                ("g-6", [("d-3", "s-8"), ("d-4", "s-9")], NodeErrorKind::Missing),
            ];
            for (name, named, kind) in refused {
                let error = node.mark_group(&group(name), requests(&named)).await.unwrap_err();
                assert_eq!(error.kind, kind, "{name}: {error}");
            }
            let error = node.mark_group(&group("g-7"), Vec::new()).await.unwrap_err();
            assert_eq!(error.kind, NodeErrorKind::Invalid);

            at.set_down(false);
            env.clock.sleep(Duration::from_secs(120)).await;
            for name in ["s-1", "s-2"] {
                assert!(accomplished(&node, name).await, "{name}");
            }
            for name in ["s-8", "s-9"] {
                assert!(!accomplished(&node, name).await, "{name}");
            }
            // What was undone is not in the way of what comes next.
            let next = requests(&[("d-1", "s-8"), ("d-2", "s-9"), ("d-3", "s-10")]);
            node.mark_group(&group("g-3"), next).await.unwrap();
        });
        done.await.await.unwrap();
    });
}
