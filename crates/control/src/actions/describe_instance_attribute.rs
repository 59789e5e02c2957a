//! DescribeInstanceAttribute: one of the caller's instances.

use crate::rules;
use crate::store::Transaction;
use crate::views::InstanceView;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_instance_attribute::{Request, Response};

impl Control {
    /// As DescribeInstances shows it.
    pub async fn describe_instance_attribute(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            let row = rules::instance(t, &caller, &request.instance_id)?;
            Ok(InstanceView::read(t, row)?)
        };
        let instance = self.store().read(read).await?.show(self);
        let io_optimized = if instance.io_optimized {
            "optimized"
        } else {
            "none"
        };
        Ok(Response {
            instance,
            io_optimized: io_optimized.into(),
        })
    }
}
