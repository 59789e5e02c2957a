//! Freeing what nobody needs any more in the vault.
//!
//! What must stay true: a sweep never runs while a volume adopts a snapshot's content (`adopting`), and knows of every
//! root that an open or a closed volume needs; if one cannot be read, nothing is freed.

use super::{Node, Shared, lock};
use crate::types::{NodeError, SweepReport};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tidemark_env::Env;
use tokio::sync::Notify;

/// How long deletions are gathered before the vault is swept for them.
const SWEEP_DELAY: Duration = Duration::from_secs(2);
/// When a sweep that failed is tried again.
const SWEEP_RETRY: Duration = Duration::from_secs(60);

/// Starts sweeping after deletions, on the vault's thread, for as long as the node lives.
pub(super) fn start(shared: &Arc<Shared>) {
    let (wanted, node) = (Arc::clone(&shared.sweep_wanted), Arc::downgrade(shared));
    shared
        .vault
        .cast(move |host| sweeper(host.env().clone(), wanted, node));
}

/// Sweeps some time after something was deleted; again later if that failed.
async fn sweeper(env: Env, wanted: Arc<Notify>, shared: Weak<Shared>) {
    loop {
        wanted.notified().await;
        env.clock.sleep(SWEEP_DELAY).await;
        let Some(node) = shared.upgrade() else { return };
        if let Err(e) = node.sweep().await {
            tracing::warn!(error = %e, "the vault was not swept; nothing was freed, trying again in a minute");
            drop(node);
            env.clock.sleep(SWEEP_RETRY).await;
            wanted.notify_one();
        }
    }
}

impl Shared {
    async fn sweep(&self) -> Result<SweepReport, NodeError> {
        let _nobody_adopts = self.adopting.write().await;
        let open: Vec<_> = lock(&self.disks)
            .iter()
            .map(|(id, d)| (id.clone(), d.remote.clone()))
            .collect();
        let mut roots = Vec::new();
        let mut dirs = Vec::new();
        for (id, remote) in open {
            // A disk whose thread has died counts as closed: its superblock says what it needs.
            if let Ok(needed) = remote.call(|host| async move { host.volume.roots() }).await {
                roots.extend(needed);
                dirs.push(self.dir(&id));
            }
        }
        self.vault
            .call(move |host| async move { host.sweep(roots, dirs).await })
            .await?
    }
}

impl Node {
    /// Frees packs that nothing refers to; also runs by itself after deletions.
    pub async fn sweep(&self) -> Result<SweepReport, NodeError> {
        self.shared.sweep().await
    }
}
