//! CreateWebhook: who is told of events, from now on.

use crate::catalogue::events::{self, EventKind, Level};
use crate::catalogue::webhooks::WebhookRow;
use crate::keys::letters;
use crate::ram::note;
use crate::store::Transaction;
use crate::webhooks::owner;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_webhook::{Request, Response};

impl Control {
    /// Its secret is in this answer and in no other. Events that happened before are not sent.
    pub async fn create_webhook(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| create(t, &control, &caller, request);
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }
}

fn create(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: Request,
) -> Result<Response, ApiError> {
    control.check_region(request.region_id.as_deref())?;
    if let Some(unknown) = request
        .event_names
        .iter()
        .find(|name| name.parse::<EventKind>().is_err())
    {
        let why = format!("{unknown:?} is no event's name");
        return Err(ApiError::invalid_parameter("EventName", why));
    }
    let level = match request.level.as_deref() {
        None => Level::Info,
        Some(word) => word
            .parse()
            .map_err(|()| ApiError::invalid_parameter("Level", format!("{word:?} is no level")))?,
    };
    let (most, sql) = (control.limits().webhooks, "WHERE account = $1");
    if WebhookRow::select(t, sql, &[(&caller.account).into()])?.len() as u64 >= most {
        let message = format!("There are {most} webhooks already; delete one first.");
        return Err(ApiError::new(403, "QuotaExceed.Webhook", message));
    }
    let (id, secret) = (format!("wh-{}", letters(20)), letters(40));
    let names = match request.event_names.as_slice() {
        [] => String::new(),
        names => serde_json::Value::from(names).to_string(),
    };
    // Before there is the row: it is about the webhook, for all others.
    let (kind, of) = (EventKind::WebhookCreated, ("webhook", id.as_str()));
    note(t, control, caller, kind, of, serde_json::json!({}))?;
    let row = WebhookRow {
        ordinal: WebhookRow::next_ordinal(t)?,
        account: caller.account.clone(),
        url: request.url,
        secret: control.secrets().seal(&owner(&id), &secret),
        names,
        level,
        seen: events::newest(t)?,
        dropped: 0,
        failures: 0,
        last_error: String::new(),
        delivered_ms: None,
        created_ms: control.now_ms(),
        id,
    };
    row.insert(t)?;
    Ok(Response {
        webhook_id: row.id,
        secret,
    })
}
