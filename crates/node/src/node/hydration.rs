//! How disks are filled from their snapshots: watched, paused, limited in rate.

use super::Node;
use crate::types::{HydrationChange, HydrationStatus, NodeError};
use tidemark_units::DiskId;

impl Node {
    /// How the filling of the disk goes. A disk that is complete says so: nothing is absent.
    pub async fn hydration(&self, disk: &DiskId) -> Result<HydrationStatus, NodeError> {
        let open = self.shared.disk(disk)?;
        Ok(open
            .remote
            .call(|host| async move { host.hydration_status() })
            .await?)
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
