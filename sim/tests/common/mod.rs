//! A node on a simulated machine.

use std::path::PathBuf;
use std::rc::Rc;
use tidemark_env::Env;
use tidemark_env::sim::{Machine, SimBucket};
use tidemark_node::{Node, NodeConfig};
use tidemark_sim::launcher::launcher;
use tidemark_volume::VolumeConfig;
use tokio::sync::oneshot;

fn config() -> NodeConfig {
    NodeConfig {
        volume: VolumeConfig {
            segment_bytes: 128 << 10,
            segments_max: Some(8),
            checkpoint_percent: 20,
            extents_max: 4096,
            reserve_step_bytes: 256 << 10,
        },
        ..NodeConfig::new(PathBuf::from("data"), PathBuf::from("vault"))
    }
}

/// Starts the node on `machine`, runs `work` there, and gives what it gives.
pub async fn on_node<T: 'static, F: Future<Output = T> + 'static>(
    machine: &Machine,
    bucket: &SimBucket,
    work: impl FnOnce(Node, Env) -> F + 'static,
) -> oneshot::Receiver<T> {
    let control = machine.boot();
    let launcher = launcher(machine, &control, Some(bucket.clone()), Rc::default());
    let (done, answer) = oneshot::channel();
    let env = control.env();
    control.env().spawn(async move {
        let node = Node::start_on(launcher, config()).await.unwrap();
        let _ = done.send(work(node, env).await);
    });
    answer
}
