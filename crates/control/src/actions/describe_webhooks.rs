//! DescribeWebhooks: who is told of events, and how that goes.

use crate::catalogue::Conditions;
use crate::catalogue::events;
use crate::catalogue::webhooks::WebhookRow;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, views};
use tidemark_ecs::actions::describe_webhooks::{Request, Response, Webhook};
use tidemark_ecs::{ApiError, time};

impl Control {
    /// One page.
    pub async fn describe_webhooks(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let conditions = Conditions::of_account(WebhookRow::TABLE, &caller.account);
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            let newest = events::newest(t)?;
            let found =
                conditions.page(t, &request.page, WebhookRow::select, |row| (row.ordinal, &row.id))?;
            Ok((newest, found))
        };
        let (newest, (rows, page)) = self.store().read(read).await?;
        let show = |row: WebhookRow| Webhook {
            event_names: row.wanted(),
            creation_time: time::seconds(views::at(row.created_ms)),
            last_delivery_time: row
                .delivered_ms
                .map_or_else(String::new, |ms| time::seconds(views::at(ms))),
            failures: row.failures,
            last_error: row.last_error,
            behind: newest - row.seen,
            dropped: row.dropped,
            webhook_id: row.id,
            url: row.url,
        };
        Ok(Response {
            webhooks: rows.into_iter().map(show).collect(),
            page,
        })
    }
}
