//! A node's settings and a real NBD client, for the tests.

use std::path::Path;
use std::process::Command;
use tidemark_node::NodeConfig;
use tidemark_units::{MIB, SnapshotId};

pub fn config(dir: &Path) -> NodeConfig {
    NodeConfig {
        nbd_socket: Some(dir.join("nbd.sock")),
        spool_bytes_max: 64 * MIB,
        ..NodeConfig::new(dir.join("data"), dir.join("vault"))
    }
}

pub fn snapshot(name: &str) -> SnapshotId {
    SnapshotId::new(name).unwrap()
}

/// Runs nbdcopy from or to a file.
pub async fn nbdcopy(dir: &Path, from: &str, to: &str) {
    let uri = |name: &str| match name.split_once(':') {
        Some(("nbd", export)) => format!("nbd+unix:///{export}?socket={}", dir.join("nbd.sock").display()),
        _ => dir.join(name).display().to_string(),
    };
    let (from, to) = (uri(from), uri(to));
    let run = tokio::task::spawn_blocking(move || Command::new("nbdcopy").args([&from, &to]).output());
    let out = run
        .await
        .unwrap()
        .expect("nbdcopy of the Debian package libnbd-bin must be installed");
    assert!(
        out.status.success(),
        "nbdcopy: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}
