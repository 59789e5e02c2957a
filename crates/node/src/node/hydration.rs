//! What disks do: how they are filled from their snapshots (watched, paused, limited in rate), and what clients ask of them.

use super::Node;
use super::changes::parts_of;
use crate::gauge::History;
use crate::types::{HydrationChange, HydrationStatus, NodeError};
use tidemark_units::{CHUNK_BYTES, DiskId};

impl Node {
    /// How the filling of the disk goes. A disk that is complete says so: nothing is absent.
    pub async fn hydration(&self, disk: &DiskId) -> Result<HydrationStatus, NodeError> {
        let open = self.shared.disk(disk)?;
        Ok(open
            .remote
            .call(|host| async move { host.hydration_status() })
            .await?)
    }

    /// Of each of at most `parts` equal parts of the disk, how many of its bytes are not local yet.
    pub async fn absent_parts(&self, disk: &DiskId, parts: u32) -> Result<Vec<u64>, NodeError> {
        let open = self.shared.disk(disk)?;
        // Counted where the set is: it is as large as the disk.
        let absent = open.remote.call(move |host| async move {
            let chunks = host.volume.size_bytes().div_ceil(CHUNK_BYTES);
            host.volume.absent_in(parts_of(chunks, parts))
        });
        let absent = absent.await?;
        Ok(absent.into_iter().map(|chunks| chunks * CHUNK_BYTES).collect())
    }

    /// What clients asked of the disk and how long they waited, since it was opened.
    pub async fn history(&self, disk: &DiskId) -> Result<History, NodeError> {
        let open = self.shared.disk(disk)?;
        let history = open
            .remote
            .call(|host| async move { host.demand.gauge.history(host.demand.now()) });
        Ok(history.await?)
    }

    /// Changes how the disk is filled, from the next chunk on; kept across restarts and rollbacks. What clients read is
    /// fetched all the same.
    pub async fn change_hydration(&self, disk: &DiskId, change: HydrationChange) -> Result<(), NodeError> {
        let open = self.shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        open.remote
            .call(move |host| async move { host.change_hydration(change).await })
            .await?
    }
}
