//! StartVaultScrub: verifies snapshots in the vault now, and repairs what a disk still has.

use crate::{Caller, Control};
use std::collections::BTreeSet;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::start_vault_scrub::{Request, Response};
use tidemark_units::SnapshotId;

impl Control {
    /// Answers at once. Snapshots that the vault does not have are passed over.
    pub async fn start_vault_scrub(&self, _caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let region = self.region(request.region_id.as_deref())?;
        let mut snapshots = BTreeSet::new();
        for id in request.snapshot_ids {
            let snapshot = SnapshotId::new(&id);
            let refused =
                |_| ApiError::invalid_parameter("SnapshotId", format!("{id:?} is no snapshot's id"));
            snapshots.insert(snapshot.map_err(refused)?);
        }
        let asked = self.node_of(&region.id)?.scrub_now(snapshots).await;
        let scrub_number = asked.map_err(|error| {
            tracing::error!(%error, "the scrub cannot be asked");
            ApiError::service_unavailable("the service is shutting down")
        })?;
        Ok(Response { scrub_number })
    }
}
