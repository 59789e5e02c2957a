//! DescribeDeletedSnapshots: what can be brought back.

use crate::rebuild::FoundSnapshot;
use crate::{Caller, Control, views};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_deleted_snapshots::{DeletedSnapshot, Request, Response};
use tidemark_ecs::time;
use tidemark_node::{NodeError, NodeErrorKind};

impl Control {
    /// The caller's deleted snapshots, those first that go first. One whose record cannot be read is passed over: what it
    /// was, and whose, is not known.
    pub async fn describe_deleted_snapshots(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let region = self.region(request.region_id.as_deref())?;
        let node = self.node_of(&region.id)?;
        let mut deleted_snapshots = Vec::new();
        for deleted in node.deleted_snapshots().await.map_err(vault_error)? {
            let record = match node.recorded_snapshot(&deleted.snapshot).await {
                Ok(record) => record,
                Err(error) if error.kind == NodeErrorKind::Busy => return Err(vault_error(error)),
                Err(error) => {
                    tracing::warn!(snapshot = %deleted.snapshot, %error, "a deleted snapshot's record cannot be read");
                    continue;
                }
            };
            // Purged in between.
            let Some(found) = record.map(FoundSnapshot::from) else {
                continue;
            };
            if found.account() == caller.account {
                deleted_snapshots.push(DeletedSnapshot {
                    snapshot_id: found.snapshot.to_string(),
                    source_disk_id: found.disk.to_string(),
                    snapshot_name: found.name(),
                    deleted_until: deleted
                        .until_ms
                        .map(|ms| time::seconds(views::at(ms)))
                        .unwrap_or_default(),
                });
            }
        }
        Ok(Response { deleted_snapshots })
    }
}

/// What the vault does not answer now, it may answer later.
pub(super) fn vault_error(error: NodeError) -> ApiError {
    tracing::error!(%error, "the vault does not answer as it should");
    ApiError::service_unavailable("the vault cannot be read or written now; the service's log says why")
}
