//! DescribeSnapshotChanges: which parts of a disk differ between two of its snapshots. The vault's trees are asked; no data is read.

use super::describe_deleted_snapshots::vault_error;
use crate::catalogue::snapshots::SnapshotRow;
use crate::rules;
use crate::states::SnapshotStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_changes::{ChangedRange, Request, Response};
use tidemark_node::{ChangesQuestion, NodeErrorKind};
use tidemark_units::SnapshotId;

impl Control {
    /// Both snapshots must be complete, and of the same disk and region.
    pub async fn describe_snapshot_changes(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller, asked) = (self.clone(), caller.clone(), request.clone());
        let find = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            control.check_region(asked.region_id.as_deref())?;
            let own = complete(t, &caller, &asked.snapshot_id)?;
            let base = match &asked.base_snapshot_id {
                Some(id) => Some(complete(t, &caller, id)?),
                None => None,
            };
            Ok((own, base))
        };
        let (own, base) = self.store().read(find).await?;
        if let Some(base) = &base
            && (base.source_disk_id != own.source_disk_id || base.region != own.region)
        {
            let message = format!(
                "The snapshots {} and {} are not of the same disk.",
                own.id, base.id
            );
            return Err(ApiError::new(403, "InvalidParameter.Mismatch", message));
        }
        let id = |row: &SnapshotRow| SnapshotId::new(&row.id).map_err(|_| ApiError::internal());
        let question = ChangesQuestion {
            base: base.as_ref().map(id).transpose()?,
            parts: request.parts,
            from_bytes: request.start_offset,
            ranges_max: request.max_ranges,
        };
        let changes = self.node_of(&own.region)?.changes(&id(&own)?, question).await;
        let changes = changes.map_err(|error| match error.kind {
            // Deleted in between.
            NodeErrorKind::Missing => ApiError::snapshot_not_found(&own.id),
            _ => vault_error(error),
        })?;
        let range = |range: std::ops::Range<u64>| ChangedRange {
            offset: range.start,
            length: range.end - range.start,
        };
        Ok(Response {
            base_snapshot_id: changes.base.map(|id| id.to_string()).unwrap_or_default(),
            source_disk_id: own.source_disk_id,
            snapshot_id: own.id,
            size: changes.size_bytes,
            changed_size: changes.changed_bytes,
            added_size: changes.added_bytes,
            alone_size: changes.alone_bytes,
            parts: changes.parts,
            changed_ranges: changes.ranges.into_iter().map(range).collect(),
            next_offset: changes.next_bytes,
        })
    }
}

/// The caller's snapshot, if it has a content already.
fn complete(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<SnapshotRow, ApiError> {
    let row = rules::snapshot(t, caller, id)?;
    if row.status == SnapshotStatus::Accomplished {
        return Ok(row);
    }
    let message = format!(
        "The snapshot {} is {}: it has no content yet.",
        row.id, row.status
    );
    Err(ApiError::new(403, "InvalidSnapshotId.NotReady", message))
}
