//! DescribeUserData: what an instance is told at its start.

use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_user_data::{Request, Response};

impl Control {
    /// As it was given.
    pub async fn describe_user_data(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let (caller, id) = (caller.clone(), request.instance_id.clone());
        let read = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            let instance = rules::instance(t, &caller, &id)?;
            Ok((instance.read_attributes()?, instance.region))
        };
        let (attributes, region_id) = self.store().read(read).await?;
        Ok(Response {
            region_id,
            instance_id: request.instance_id,
            user_data: attributes.user_data,
        })
    }
}
