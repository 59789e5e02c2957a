//! DeleteWebhook: who is not told of events any more.

use crate::catalogue::events::EventKind;
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::webhooks::WebhookRow;
use crate::ram::note;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_webhook::{Request, Response};

impl Control {
    /// What is on its way at this moment may still arrive.
    pub async fn delete_webhook(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            control.check_region(request.region_id.as_deref())?;
            let id = &request.webhook_id;
            let row = WebhookRow::get(t, id)?.filter(|row| row.account == caller.account);
            let row = row.ok_or_else(|| {
                let message = format!("The specified WebhookId {id:?} does not exist.");
                ApiError::new(404, "InvalidWebhookId.NotFound", message)
            })?;
            jobs::drop_kind(t, JobKind::DeliverEvents, &row.id)?;
            row.remove(t)?;
            let of = ("webhook", row.id.as_str());
            note(
                t,
                &control,
                &caller,
                EventKind::WebhookDeleted,
                of,
                serde_json::json!({}),
            )?;
            Ok(Response {})
        };
        let answer = self.store().write::<_, ApiError, _>(work).await?;
        self.jobs().wake();
        Ok(answer)
    }
}
