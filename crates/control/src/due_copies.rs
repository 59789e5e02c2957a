//! Copies to another region that policies owe: one for each automatic snapshot of a policy with EnableCrossRegionCopy.
//!
//! What is owed is written with the snapshot's row, so that a later change of the policy does not change it, and is due once
//! the snapshot is accomplished. It ends when the copy is begun (from then on the copy is a snapshot with a job of its
//! own) or when the snapshot goes. Not here: the copying.

use crate::Control;
use crate::catalogue::policies::{self, RunRow};
use crate::store::{StoreError, Transaction};
use tidemark_ecs::ApiError;

/// A copy that a policy owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueCopy {
    /// The snapshot, which is accomplished.
    pub snapshot: String,
    /// Where the copy goes.
    pub region: String,
    /// How long the copy is kept; `None`: for ever.
    pub retention_days: Option<i64>,
    /// Whether the copy is encrypted.
    pub encrypted: bool,
}

impl Control {
    /// The copies that are due, oldest snapshot first.
    pub async fn due_copies(&self) -> Result<Vec<DueCopy>, ApiError> {
        let due = self.store().read(policies::copies_due).await?;
        let show = |run: RunRow| DueCopy {
            snapshot: run.snapshot_id,
            region: run.copy_region,
            retention_days: Some(run.copy_retention_days).filter(|days| *days > 0),
            encrypted: run.copy_encrypted,
        };
        Ok(due.into_iter().map(show).collect())
    }

    /// The snapshot's copy is begun, or can never be: it is owed no more.
    pub async fn copy_begun(&self, snapshot: &str) -> Result<(), ApiError> {
        let id = snapshot.to_owned();
        let done = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
            match RunRow::get(t, id)? {
                Some(run) => RunRow {
                    copy_region: String::new(),
                    ..run
                }
                .save(t),
                None => Ok(()),
            }
        };
        Ok(self.store().write(done).await?)
    }
}
