//! DescribeImageSharePermission: whom an image is shared with, the latest first.

use super::image_rules;
use crate::catalogue::images;
use crate::store::Transaction;
use crate::views::at;
use crate::{Caller, Control};
use tidemark_ecs::actions::describe_image_share_permission::{Request, Response};
use tidemark_ecs::model::ImageShare;
use tidemark_ecs::page::Cursor;
use tidemark_ecs::{ApiError, time};

impl Control {
    /// One page.
    pub async fn describe_image_share_permission(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (caller, image) = (caller.clone(), request.image_id.clone());
        let read = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            let image = image_rules::own(t, &caller, &image)?;
            Ok(images::shares(t, &image.id)?)
        };
        let shares = self.store().read(read).await?;
        let (shares, page) = request.page.cut(shares, |(account, since)| Cursor {
            created: *since,
            id: account.clone(),
        });
        let accounts = shares.into_iter().map(|(account, since)| ImageShare {
            aliyun_id: account,
            shared_time: time::seconds(at(since)),
        });
        Ok(Response {
            region_id: request.region_id,
            image_id: request.image_id,
            accounts: accounts.collect(),
            page,
        })
    }
}
