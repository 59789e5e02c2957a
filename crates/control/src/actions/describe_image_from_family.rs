//! DescribeImageFromFamily: the newest image of a family that instances can be made of.

use super::image_rules;
use crate::image_view::ImageView;
use crate::rules::EXTERNAL_IMAGE_FAMILY;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_image_from_family::{Request, Response};

impl Control {
    /// No image when the family has none that is Available.
    pub async fn describe_image_from_family(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            if request.image_family == EXTERNAL_IMAGE_FAMILY {
                return Ok(Some(ImageView::builtin(t)?));
            }
            match image_rules::newest_of(t, &caller, &request.region_id, &request.image_family)? {
                Some(row) => Ok(Some(ImageView::read(t, row, &caller.account)?)),
                None => Ok(None),
            }
        };
        let view = self.store().read(read).await?;
        Ok(Response {
            image: view.map(ImageView::show),
        })
    }
}
