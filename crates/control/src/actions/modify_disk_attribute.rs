//! ModifyDiskAttribute: all of the disks, or none.

use crate::catalogue::policies;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_disk_attribute::{Request, Response};
use tidemark_ecs::rules::category;

impl Control {
    /// What is not given stays as it is.
    pub async fn modify_disk_attribute(
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
    control.check_region_of("ModifyDiskAttribute", request.region_id.as_deref())?;
    for id in &request.disk_ids {
        let mut disk = rules::disk(t, caller, id)?;
        let takes_bursting = category(&disk.category).is_some_and(|category| category.is_auto());
        if request.bursting_enabled == Some(true) && !takes_bursting {
            let message = format!("Disks of category {} take no BurstingEnabled.", disk.category);
            return Err(ApiError::new(
                400,
                "BurstingEnabledForDiskCategoryUnsupported",
                message,
            ));
        }
        let text = |to: &mut String, given: &Option<String>| {
            if let Some(given) = given {
                to.clone_from(given);
            }
        };
        text(&mut disk.name, &request.disk_name);
        text(&mut disk.description, &request.description);
        let flag = |to: &mut bool, given: Option<bool>| *to = given.unwrap_or(*to);
        flag(&mut disk.delete_with_instance, request.delete_with_instance);
        flag(&mut disk.delete_auto_snapshot, request.delete_auto_snapshot);
        flag(&mut disk.enable_auto_snapshot, request.enable_auto_snapshot);
        flag(&mut disk.bursting_enabled, request.bursting_enabled);
        disk.save(t)?;
        if request.enable_auto_snapshot == Some(true) {
            policies::goes_on(t, &disk.id)?;
        }
    }
    Ok(())
}
