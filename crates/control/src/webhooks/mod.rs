//! Webhooks: events are sent to whom it was asked for, in their order, one after another.
//!
//! A webhook's place is the last event that it is done with; a job row stands for "there is more". The place moves on in
//! the transaction after an answer of 2xx: an event is sent at least once, and again after a crash in between. Who does
//! not answer is tried again with growing pauses, for ever; who is further behind than the limit misses the oldest
//! events, and is told how many of those that it wanted.
//!
//! What a receiver answers is looked at only for whether it is 2xx: nobody can read with our eyes what they could not
//! reach by themselves ([`send`]).

pub(crate) mod send;

use crate::Control;
use crate::catalogue::events::{self, EventRow};
use crate::catalogue::jobs::{self, JobRow};
use crate::catalogue::webhooks::WebhookRow;
use crate::jobs::{JobError, Step};
use crate::store::{StoreError, Transaction};
use crate::views;
use send::Message;
use std::time::Duration;

/// Events that are looked at in one transaction.
const LOOK: usize = 100;

/// What a webhook's secret is sealed for.
pub(crate) fn owner(id: &str) -> String {
    format!("webhook {id}")
}

/// What is to be done next.
enum Next {
    /// Nothing: the job's row is gone.
    Nothing,
    /// Only events that it does not want: look on.
    Further,
    /// This one.
    Send(Box<WebhookRow>, Box<EventRow>),
}

/// Sends events until there are no more.
pub(crate) async fn deliver(control: &Control, job: &JobRow) -> Result<Step, JobError> {
    while !control.is_stopped() {
        let (id, subject) = (job.id, job.subject.clone());
        let most = i64::try_from(control.limits().webhook_backlog).unwrap_or(i64::MAX);
        let look = move |t: &mut dyn Transaction| next(t, id, &subject, most);
        match control.store().write::<_, StoreError, _>(look).await? {
            Next::Nothing => return Ok(Step::Done),
            Next::Further => {}
            Next::Send(hook, event) => {
                let sent = tokio::select! {
                    sent = send(control, &hook, &event) => sent,
                    () = control.stopped() => break,
                };
                note(control, job, &hook, &event, sent).await?;
            }
        }
    }
    Ok(Step::Again(Duration::ZERO))
}

fn next(t: &mut dyn Transaction, job: i64, id: &str, most: i64) -> Result<Next, StoreError> {
    let Some(mut hook) = WebhookRow::get(t, id)? else {
        jobs::finish(t, job)?;
        return Ok(Next::Nothing);
    };
    let newest = events::newest(t)?;
    let first = newest.saturating_sub(most);
    if hook.seen < first {
        // Of what is not wanted nothing is missed.
        let missed = hook.count_wanted(t, hook.seen..first)?;
        hook.dropped = hook.dropped.saturating_add(missed);
        hook.seen = first;
        hook.save(t)?;
    }
    let rows = events::after(t, &hook.account, hook.seen, LOOK)?;
    let all = rows.len() < LOOK;
    let last = rows.last().map_or(newest, |row| row.ordinal);
    if let Some(event) = rows.into_iter().find(|row| hook.wants(row)) {
        return Ok(Next::Send(Box::new(hook), Box::new(event)));
    }
    hook.seen = if all { newest } else { last };
    hook.save(t)?;
    if !all {
        return Ok(Next::Further);
    }
    // In the transaction that has seen them all: one that is added later makes a job of its own.
    jobs::finish(t, job)?;
    Ok(Next::Nothing)
}

async fn send(control: &Control, hook: &WebhookRow, event: &EventRow) -> Result<(), String> {
    let secret = control
        .secrets()
        .unseal(&owner(&hook.id), &hook.secret)
        .map_err(|error| error.to_string())?;
    let message = Message {
        url: &hook.url,
        secret: &secret,
        event: &event.id,
        dropped: hook.dropped,
        at_s: control.now_ms().div_euclid(1000),
        body: body(control, event).to_string(),
    };
    control.sender().send(&message).await
}

/// An event as the service that we follow sends it.
fn body(control: &Control, event: &EventRow) -> serde_json::Value {
    let region = match event.region.as_str() {
        "" => &control.home_region().id,
        region => region,
    };
    let content: serde_json::Value = serde_json::from_str(&event.content).unwrap_or_default();
    let east_eight = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    let time = views::at(event.created_ms).to_zoned(east_eight);
    serde_json::json!({
        "ver": "1.0",
        "id": event.id,
        "product": "ECS",
        "resourceId": format!("acs:ecs:{region}:{}:{}/{}", event.account, event.resource_type, event.resource_id),
        "level": event.level.word(),
        "name": event.name.word(),
        "userId": event.account,
        "eventTime": time.strftime("%Y%m%dT%H%M%S%.3f%z").to_string(),
        "regionId": region,
        "content": content,
    })
}

/// Writes down how it went; what did not go is tried again.
async fn note(
    control: &Control,
    job: &JobRow,
    hook: &WebhookRow,
    event: &EventRow,
    sent: Result<(), String>,
) -> Result<(), JobError> {
    let (id, now, ordinal) = (hook.id.clone(), control.now_ms(), event.ordinal);
    let (job, why) = (job.id, sent.clone().err());
    let change = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
        let Some(mut hook) = WebhookRow::get(t, id)? else {
            return Ok(());
        };
        match why {
            None => {
                hook.seen = hook.seen.max(ordinal);
                (hook.failures, hook.last_error) = (0, String::new());
                hook.delivered_ms = Some(now);
                jobs::forget_failures(t, job)?;
            }
            Some(why) => {
                hook.failures += 1;
                hook.last_error = why;
            }
        }
        hook.save(t)
    };
    control.store().write(change).await?;
    sent.map_err(|why| JobError::Undelivered(hook.id.clone(), why))
}
