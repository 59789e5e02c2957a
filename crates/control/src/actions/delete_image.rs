//! DeleteImage: the image goes, its snapshots stay, and so do the instances that were made of it.

use super::image_rules;
use crate::catalogue::images;
use crate::catalogue::tags::{self, ResourceType};
use crate::states::{IMAGE, ImageCause};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_image::{Request, Response};

impl Control {
    /// The image is off the lists when this answers.
    pub async fn delete_image(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| delete(t, &control, &caller, &request);
        self.store().write(work).await?;
        Ok(Response {})
    }
}

fn delete(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<(), ApiError> {
    control.check_region(Some(&request.region_id))?;
    let mut image = image_rules::own(t, caller, &request.image_id)?;
    if !IMAGE.allows(image.status, ImageCause::DeleteImage) {
        return Err(ApiError::operation_conflict(format!(
            "the image {} is {}",
            image.id, image.status
        )));
    }
    if let Some((account, _)) = images::shares(t, &image.id)?.first() {
        let message = format!("The image {} is shared with the account {account}.", image.id);
        return Err(ApiError::new(403, "ImageUseShared", message));
    }
    let user = images::instance_of(t, &image.id, &caller.account)?;
    if let Some((instance, account)) = user.filter(|_| !request.force) {
        let which = match account == caller.account {
            true => format!("The instance {instance}"),
            false => "An instance of another account".to_owned(),
        };
        let message = format!(
            "{which} was made of the image {}; Force deletes it all the same.",
            image.id
        );
        return Err(ApiError::new(403, "ImageUsingByInstance", message));
    }
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    tags::clear(t, ResourceType::Image, &image.id)?;
    image.step(t, ImageCause::DeleteImage)?;
    Ok(())
}
