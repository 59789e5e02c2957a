//! DescribeDiskHydration: how a disk is being filled from its snapshot. The node is asked; the catalogue knows nothing of it.

use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_disk_hydration::{Request, Response};
use tidemark_node::{HydrationStatus, NodeError, NodeErrorKind};
use tidemark_units::DiskId;

impl Control {
    /// As it is now.
    pub async fn describe_disk_hydration(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (region, disk) = self
            .hydrated_disk(caller, request.region_id, request.disk_id)
            .await?;
        let node = self.node_of(&region)?;
        let status = node.hydration(&disk).await.map_err(|e| refusal(&disk, &e))?;
        let parts = match request.parts {
            0 => Vec::new(),
            parts => node
                .absent_parts(&disk, parts)
                .await
                .map_err(|e| refusal(&disk, &e))?,
        };
        Ok(Response {
            parts,
            ..show(&disk, status)
        })
    }

    /// The caller's disk, with its region, for the actions about its hydration.
    pub(super) async fn hydrated_disk(
        &self,
        caller: &Caller,
        region: Option<String>,
        disk: String,
    ) -> Result<(String, DiskId), ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let find = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            control.check_region(region.as_deref())?;
            rules::disk(t, &caller, &disk)
        };
        let found = self.store().read(find).await?;
        let id = DiskId::new(&found.id).map_err(|_| ApiError::internal())?;
        Ok((found.region, id))
    }
}

/// The node does not have the disk now, or could not keep what was asked for.
pub(super) fn refusal(disk: &DiskId, error: &NodeError) -> ApiError {
    if error.kind == NodeErrorKind::Missing {
        let message = format!("The disk {disk} is being created, or cannot be opened now.");
        return ApiError::new(403, "IncorrectDiskStatus", message);
    }
    tracing::error!(%disk, %error, "the node cannot be asked or told about a disk");
    ApiError::service_unavailable(&error.message)
}

fn show(disk: &DiskId, status: HydrationStatus) -> Response {
    let word = match &status {
        status if status.absent_bytes == 0 => "complete",
        status if status.paused => "paused",
        status if status.trouble.is_some() => "waiting",
        _ => "running",
    };
    Response {
        disk_id: disk.to_string(),
        status: word.into(),
        snapshot_id: status.snapshot.map(|id| id.to_string()).unwrap_or_default(),
        absent_bytes: status.absent_bytes,
        data_bytes: status.data_bytes,
        fetched_bytes: status.fetched_bytes,
        rate_bytes: status.bytes_per_second,
        remain_time: status.remaining_seconds,
        paused: status.paused,
        limit_bytes: status.bytes_per_second_max.unwrap_or(0),
        traced_chunks: status.traced_chunks,
        trouble: status.trouble.unwrap_or_default(),
        parts: Vec::new(),
    }
}
