//! Starting the scrub, with this node's disks as those that may repair the vault.

use super::{Node, Shared, lock};
use crate::disk::DiskHost;
use crate::remote::Remote;
use crate::scrub::{self, ScrubState};
use crate::types::NodeError;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use tidemark_env::LocalFuture;
use tidemark_units::{ChunkIndex, DiskId, SnapshotId};
use tidemark_vault::Donor;

/// Starts scrubbing on the vault's thread, for as long as the node lives, if it shall scrub by itself.
pub(super) fn start(shared: &Arc<Shared>) {
    if shared.config.scrub.bytes_per_second > 0 {
        launch(shared);
    }
}

fn launch(shared: &Arc<Shared>) {
    let node = Arc::downgrade(shared);
    shared.vault.cast(move |host| async move {
        if host.scrub_requests.is_first_start() {
            scrub::run(host, Box::new(move || disks_of(&node))).await;
        }
    });
}

impl Node {
    /// Verifies these snapshots (all, if none is named) soon and as fast as it can, and repairs what a disk here still has.
    /// Returns at once: it is done when [`crate::ScrubState::asked`] in the data directory is at least this number.
    pub async fn scrub_now(&self, snapshots: BTreeSet<SnapshotId>) -> Result<i64, NodeError> {
        let asked = self.shared.vault.call(move |host| async move {
            host.scrub_requests.ask(host.env().clock.unix_millis(), snapshots)
        });
        let number = asked.await?;
        launch(&self.shared);
        Ok(number)
    }

    /// Whether somebody has asked for this snapshot to be verified ([`Node::scrub_now`]), and that is not done yet. Once it is,
    /// what came of it is in [`Node::scrub_state`].
    pub async fn is_being_verified(&self, snapshot: &SnapshotId) -> Result<bool, NodeError> {
        let snapshot = snapshot.clone();
        let wanted = self
            .shared
            .vault
            .call(move |host| async move { host.scrub_requests.wants(&snapshot) });
        Ok(wanted.await?)
    }

    /// Whether the vault is scrubbed without anybody asking.
    pub fn scrubs_by_itself(&self) -> bool {
        self.shared.config.scrub.bytes_per_second > 0
    }

    /// What the scrub has done and found, as it has noted it; `None`: nothing of this vault yet. Damage is there before the
    /// event that tells of it, and stays when nobody heard that.
    pub async fn scrub_state(&self) -> Result<Option<ScrubState>, NodeError> {
        let read = self
            .shared
            .vault
            .call(|host| async move { scrub::noted(&host).await });
        Ok(read.await??)
    }
}

/// An open disk of this node.
struct LocalDisk {
    disk: DiskId,
    remote: Remote<DiskHost>,
}

fn disks_of(node: &Weak<Shared>) -> Vec<Rc<dyn Donor>> {
    let Some(node) = node.upgrade() else {
        return Vec::new();
    };
    let disks = lock(&node.disks);
    disks
        .iter()
        .map(|(disk, open)| -> Rc<dyn Donor> {
            Rc::new(LocalDisk {
                disk: disk.clone(),
                remote: open.remote.clone(),
            })
        })
        .collect()
}

impl Donor for LocalDisk {
    fn disk(&self) -> &DiskId {
        &self.disk
    }

    fn read(&self, index: u32) -> LocalFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            let read = self
                .remote
                .call(move |host| async move { host.volume.read_local(ChunkIndex(index)).await });
            // A disk that cannot be read now has nothing to give.
            read.await.ok()?.ok()?
        })
    }
}
