//! DescribeSnapshotChanges: which parts of a disk differ between two of its snapshots. The vault's trees are asked; no data is read.

use super::describe_deleted_snapshots::vault_error;
use crate::catalogue::snapshots::SnapshotRow;
use crate::rules;
use crate::states::SnapshotStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::actions::describe_snapshot_changes::{ChangedRange, Request, Response};
use tidemark_ecs::{ApiError, Params};
use tidemark_node::{ChangesQuestion, NodeError, NodeErrorKind};
use tidemark_units::SnapshotId;

impl Control {
    /// Both snapshots must be complete, and of the same disk and region. The caller must be allowed to ask about the base also when the
    /// request names none: which one that is only the vault knows.
    pub async fn describe_snapshot_changes(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, asker, asked) = (self.clone(), caller.clone(), request.clone());
        let find = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            control.check_region(asked.region_id.as_deref())?;
            let own = complete(t, &asker, &asked.snapshot_id)?;
            let base = match &asked.base_snapshot_id {
                Some(id) => Some(complete(t, &asker, id)?),
                None => None,
            };
            Ok((own, base))
        };
        let (own, base) = self.store().read(find).await?;
        if let Some(base) = &base
            && (base.source_disk_id != own.source_disk_id || base.region != own.region)
        {
            return Err(mismatch(&own.id, &base.id));
        }
        let id = |row: &SnapshotRow| SnapshotId::new(&row.id).map_err(|_| ApiError::internal());
        let question = ChangesQuestion {
            base: base.as_ref().map(id).transpose()?,
            parts: request.parts,
            from_bytes: request.start_offset,
            ranges_max: request.max_ranges,
        };
        let changes = self.node_of(&own.region)?.changes(&id(&own)?, question).await;
        let changes = changes.map_err(|error| refusal(&own, base.as_ref(), error))?;
        if base.is_none()
            && let Some(found) = &changes.base
        {
            self.may_compare(caller, &own.id, found.as_str()).await?;
        }
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

    /// As if the request had named the base. Who may not is not told which one it is.
    async fn may_compare(&self, caller: &Caller, own: &str, base: &str) -> Result<(), ApiError> {
        let params = Params::from_pairs([("SnapshotId", own), ("BaseSnapshotId", base)])?;
        let asked = self.authorize(caller, "ecs", "DescribeSnapshotChanges", &params);
        asked.await.map_err(|error| match &*error.code {
            "Forbidden.RAM" => {
                let message = format!(
                    "User not authorized to operate on the specified resource: no policy of the caller allows \
                     ecs:DescribeSnapshotChanges on the snapshot before {own}, or one denies it."
                );
                ApiError::new(403, "Forbidden.RAM", message)
            }
            _ => error,
        })
    }
}

fn mismatch(own: &str, base: &str) -> ApiError {
    let message = format!("The snapshots {own} and {base} are not of the same disk.");
    ApiError::new(403, "InvalidParameter.Mismatch", message)
}

/// What the node says of two snapshots that the catalogue has.
fn refusal(own: &SnapshotRow, base: Option<&SnapshotRow>, error: NodeError) -> ApiError {
    match (error.kind, base) {
        // Deleted in between; the node says which.
        (NodeErrorKind::Missing, _) => {
            let message = format!(
                "The specified snapshot does not exist any more: {}.",
                error.message
            );
            ApiError::new(404, "InvalidSnapshotId.NotFound", message)
        }
        // The vault knows better than the catalogue.
        (NodeErrorKind::Invalid, Some(base)) => mismatch(&own.id, &base.id),
        _ => vault_error(error),
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
