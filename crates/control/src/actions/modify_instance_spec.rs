//! ModifyInstanceSpec: a stopped instance has another type from its next start on.
//!
//! What must stay true: who runs an instance does not change with its type. Its disks are exported to whoever asks for those of an
//! external one, and to its guest alone for one that we run; its address comes from elsewhere, too. Not here: whether there is room
//! for the new type, which its start finds out.

use crate::catalogue::instances::InstanceRow;
use crate::instance_types::{EXTERNAL, guest_type};
use crate::rules;
use crate::states::InstanceStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_instance_spec::{Request, Response};

impl Control {
    /// 403 `IncorrectInstanceStatus` unless Stopped, 400 `InvalidInstanceType.ValueNotSupported` for a type that is not offered or that
    /// somebody else would run.
    pub async fn modify_instance_spec(
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
    control.check_type(&request.instance_type)?;
    if guest_type(&instance.instance_type).is_some() != guest_type(&request.instance_type).is_some() {
        let message = format!(
            "The instance {} is of type {}: {EXTERNAL} is run by others, every other type here, and that does not change. Make another \
             instance from an image of it.",
            instance.id, instance.instance_type
        );
        return Err(ApiError::new(
            400,
            "InvalidInstanceType.ValueNotSupported",
            message,
        ));
    }
    if instance.status != InstanceStatus::Stopped {
        return Err(rules::wrong_instance_state(
            403,
            &instance,
            "Stopped for another type",
        ));
    }
    instance.instance_type.clone_from(&request.instance_type);
    Ok(InstanceRow::save(&instance, t)?)
}
