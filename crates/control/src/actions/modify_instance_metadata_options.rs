//! ModifyInstanceMetadataOptions: the switches of the metadata service, for the very next request of the instance.

use crate::catalogue::instances::InstanceRow;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_instance_metadata_options::{Request, Response};

impl Control {
    /// What is not given stays as it is.
    pub async fn modify_instance_metadata_options(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| modify(t, &control, &caller, request);
        self.store().write(work).await?;
        Ok(Response {})
    }
}

fn modify(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: Request,
) -> Result<(), ApiError> {
    control.check_region(Some(&request.region_id))?;
    let mut instance = rules::instance(t, caller, &request.instance_id)?;
    rules::not_locked(&instance)?;
    let mut own = instance.read_attributes()?;
    own.http_endpoint = request.http_endpoint;
    if let Some(tokens) = request.http_tokens {
        own.http_tokens = tokens;
    }
    if let Some(hops) = request.http_put_response_hop_limit {
        own.http_put_response_hop_limit = hops;
    }
    if let Some(tags) = request.instance_metadata_tags {
        own.instance_metadata_tags = tags;
    }
    instance.attributes = serde_json::to_string(&own).map_err(|error| {
        tracing::error!(%error, "an instance's attributes cannot be written");
        ApiError::internal()
    })?;
    Ok(InstanceRow::save(&instance, t)?)
}
