//! ModifyInstanceAttribute: what is told to the machine at its start only changes while it is Stopped.

use crate::catalogue::instances::InstanceRow;
use crate::rules;
use crate::states::InstanceStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_instance_attribute::{Request, Response};

impl Control {
    /// What is not given stays as it is.
    pub async fn modify_instance_attribute(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| modify(t, &control, &caller, &request);
        self.store().write(work).await?;
        Ok(Response {})
    }
}

fn modify(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<(), ApiError> {
    control.check_region(request.region_id.as_deref())?;
    let mut instance = rules::instance(t, caller, &request.instance_id)?;
    rules::not_locked(&instance)?;
    if request.user_data.is_some() && instance.status != InstanceStatus::Stopped {
        return Err(rules::wrong_instance_state(
            403,
            &instance,
            "Stopped for new user data",
        ));
    }
    if let Some(name) = &request.instance_name {
        instance.name.clone_from(name);
    }
    if let Some(description) = &request.description {
        instance.description.clone_from(description);
    }
    instance.deletion_protection = request
        .deletion_protection
        .unwrap_or(instance.deletion_protection);
    let mut attributes = instance.read_attributes()?;
    if let Some(host_name) = &request.host_name {
        attributes.host_name.clone_from(host_name);
    }
    if let Some(user_data) = &request.user_data {
        attributes.user_data.clone_from(user_data);
    }
    if !request.security_group_ids.is_empty() {
        attributes
            .security_group_ids
            .clone_from(&request.security_group_ids);
    }
    instance.attributes = serde_json::to_string(&attributes).map_err(|error| {
        tracing::error!(%error, "an instance's attributes cannot be written");
        ApiError::internal()
    })?;
    Ok(InstanceRow::save(&instance, t)?)
}
