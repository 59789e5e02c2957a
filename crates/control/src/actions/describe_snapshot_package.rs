//! DescribeSnapshotPackage: nothing is sold here, so there are no plans.

use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_package::{Request, Response};
use tidemark_ecs::page::Cursor;

impl Control {
    /// An empty page.
    pub async fn describe_snapshot_package(
        &self,
        _caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (snapshot_packages, page) = request.page.cut(Vec::new(), |_| Cursor {
            created: 0,
            id: String::new(),
        });
        Ok(Response {
            snapshot_packages,
            page,
        })
    }
}
