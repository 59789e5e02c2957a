//! Freeing what nobody needs any more in the vault, beside whoever else uses it.
//!
//! What must stay true: before a volume depends on a content of the vault, the log of its disk says so ([`Vault::adopt`]),
//! and only what the volume has told, with no capture under way, ever shortens that. Everything else here may be late,
//! fail, or be done twice. Why a collector needs no more than the bucket to know what is needed: `tidemark_vault`'s `gc`.
//!
//! [`Vault::adopt`]: tidemark_vault::Vault::adopt

use super::{Disk, Node, Shared, lock};
use crate::types::{CollectReport, NodeError};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tidemark_env::Env;
use tidemark_units::DiskId;
use tidemark_vault::{CollectOptions, Root, SpaceOptions, SpaceReport};
use tokio::sync::Notify;

/// How long deletions are gathered before the vault is collected for them.
const GATHER: Duration = Duration::from_secs(2);
/// When a run that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How often a run looks for deleted snapshots whose time has come, and for what other nodes left.
const ROUND: Duration = Duration::from_secs(3600);

/// Starts collecting, after deletions and every hour, on the vault's thread, for as long as the node lives.
pub(super) fn start(shared: &Arc<Shared>) {
    let (wanted, node) = (Arc::clone(&shared.collect_wanted), Arc::downgrade(shared));
    shared
        .vault
        .cast(move |host| collector(host.env().clone(), wanted, node));
}

async fn collector(env: Env, wanted: Arc<Notify>, shared: Weak<Shared>) {
    loop {
        match select(pin!(wanted.notified()), env.clock.sleep(ROUND)).await {
            Either::Left(_) | Either::Right(_) => {}
        }
        env.clock.sleep(GATHER).await;
        let Some(node) = shared.upgrade() else { return };
        if let Err(e) = node.collect(&CollectOptions::default()).await {
            tracing::warn!(error = %e, "the vault was not collected; nothing was freed, trying again in a minute");
            drop(node);
            env.clock.sleep(RETRY).await;
            wanted.notify_one();
        }
    }
}

impl Shared {
    async fn collect(&self, options: &CollectOptions) -> Result<CollectReport, NodeError> {
        let open: Vec<(DiskId, Arc<Disk>)> = lock(&self.disks)
            .iter()
            .map(|(id, disk)| (id.clone(), Arc::clone(disk)))
            .collect();
        for (id, disk) in open {
            // One that is being rolled back or so is asked the next time.
            if let Ok(_changing) = disk.changing.try_lock()
                && let Err(e) = self.tell_needs(&id, &disk).await
            {
                tracing::debug!(disk = %id, error = %e, "what a disk needs of the vault stays as it was told before");
            }
        }
        let options = options.clone();
        self.vault
            .call(move |host| async move { host.collect(&options).await })
            .await?
    }

    /// Tells the vault what the disk's volume needs of it now, if that frees anything. The caller holds `changing`.
    pub(super) async fn tell_needs(&self, disk: &DiskId, open: &Disk) -> Result<(), NodeError> {
        let id = disk.clone();
        let since = self
            .vault
            .call(move |host| async move { host.vault.head_log(&id).await.map(|log| log.len()) })
            .await??;
        let (roots, waits) = open
            .remote
            .call(|host| async move { (host.volume.roots(), !host.volume.pending_marks().is_empty()) })
            .await?;
        // A capture under way reads what it is relative to, and the volume learns of its commit later than the log.
        if waits {
            return Ok(());
        }
        let roots = decoded(&roots)?;
        let id = disk.clone();
        self.vault
            .call(move |host| async move { host.vault.hold(&id, since, &roots).await })
            .await??;
        Ok(())
    }
}

/// Roots as volumes keep them.
pub(super) fn decoded(roots: &[Vec<u8>]) -> Result<Vec<Root>, NodeError> {
    let roots = roots.iter().map(|root| Root::from_bytes(root));
    Ok(roots.collect::<Result<_, _>>()?)
}

impl Node {
    /// Frees what nobody needs; also runs by itself, after deletions and every hour.
    pub async fn collect(&self, options: &CollectOptions) -> Result<CollectReport, NodeError> {
        self.shared.collect(options).await
    }

    /// How much of the vault each snapshot takes. Reads the trees of all of them, beside everything else: seconds for an
    /// ordinary vault, hours for a huge one.
    pub async fn space(&self, options: SpaceOptions) -> Result<SpaceReport, NodeError> {
        let asked = self
            .shared
            .vault
            .call(move |host| async move { host.vault.space(&options).await });
        Ok(asked.await??)
    }
}
