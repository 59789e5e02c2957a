//! ModifyImageAttribute: what an image is called, and whether new instances may be made of it.

use super::image_rules;
use crate::states::{IMAGE, ImageCause};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_image_attribute::{Request, Response};

impl Control {
    /// What is not given stays as it is.
    pub async fn modify_image_attribute(
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
    control.check_region(Some(&request.region_id))?;
    let mut image = image_rules::own(t, caller, &request.image_id)?;
    if let Some(name) = request.image_name.as_ref().filter(|name| **name != image.name) {
        image_rules::name_is_free(t, &caller.account, &image.region, name)?;
    }
    let by = match request.status.as_deref() {
        Some("Deprecated") => Some(ImageCause::Deprecate),
        Some(_) => Some(ImageCause::Restore),
        None => None,
    };
    if let Some(by) = by.filter(|by| !IMAGE.allows(image.status, *by)) {
        let message = format!(
            "The image {} is {}; it cannot become {by}.",
            image.id, image.status
        );
        return Err(ApiError::new(403, "OperationDenied.ImageNotValid", message));
    }
    let fields = [
        (&mut image.name, &request.image_name),
        (&mut image.description, &request.description),
        (&mut image.family, &request.image_family),
        (&mut image.boot_mode, &request.boot_mode),
        (&mut image.nvme_support, &request.nvme_support),
        (&mut image.imds_support, &request.imds_support),
    ];
    for (to, given) in fields {
        if let Some(given) = given {
            to.clone_from(given);
        }
    }
    image.save(t)?;
    if let Some(by) = by {
        image.step(t, by)?;
    }
    Ok(())
}
