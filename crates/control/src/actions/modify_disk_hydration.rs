//! ModifyDiskHydration: pause, resume or limit the filling of a disk from its snapshot. The node keeps it.

use super::describe_disk_hydration::refusal;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_disk_hydration::{Request, Response};
use tidemark_node::HydrationChange;

impl Control {
    /// In force, and kept across restarts, when this answers.
    pub async fn modify_disk_hydration(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (region, disk) = self
            .hydrated_disk(caller, request.region_id, request.disk_id)
            .await?;
        let change = HydrationChange {
            paused: request.paused,
            bytes_per_second: request.limit_bytes.map(|limit| (limit > 0).then_some(limit)),
        };
        let changed = self.node_of(&region)?.change_hydration(&disk, change).await;
        changed.map_err(|e| refusal(&disk, &e))?;
        Ok(Response {})
    }
}
