//! OpenSnapshotService: the service is always open here.

use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::open_snapshot_service::{Request, Response};

impl Control {
    /// Nothing to do.
    pub async fn open_snapshot_service(
        &self,
        _caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        Ok(Response {})
    }
}
