//! ModifySnapshotCategory: not offered, and says why. A vault stores all snapshots in one way: there is no cheaper place to
//! move one to, and a label that says so would be a lie that cannot be taken back.

use crate::rules;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_snapshot_category::{Request, Response};

impl Control {
    /// Refused, whatever the snapshot; one that does not exist is told apart.
    pub async fn modify_snapshot_category(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let caller = caller.clone();
        self.store()
            .read(move |t| rules::snapshot(t, &caller, &request.snapshot_id))
            .await?;
        Err(ApiError::new(
            400,
            "UnsupportedOperation",
            "There is no archive: the vault stores all snapshots in the same way, compressed and each content once.",
        ))
    }
}
